"""The record of losses: what was appended comes back in order, and a mean that falls is told from one that does not."""

import torch

from posterity.infer.loss_record import LossRecord


def test_it_holds_what_was_appended_in_order():
    record = LossRecord(torch.tensor([4.0, 3.0]))
    record.append(torch.tensor([2.0]))
    record.append(torch.tensor([1.0, 0.0]))
    assert len(record) == 5
    for start in range(6):
        assert record.since(start).tolist() == [4.0, 3.0, 2.0, 1.0, 0.0][start:]


def test_an_empty_record_has_no_losses():
    assert len(LossRecord()) == 0
    assert LossRecord().since(0).shape == (0,)


def test_losses_that_fall_by_more_than_their_noise_have_not_stopped():
    noise = torch.tensor([-1.0, 1.0]).repeat(50)
    slope = -torch.arange(100.0) / 25
    assert not LossRecord(noise + slope).have_stopped_falling(50, 0)  # a mean 2 lower, where half an error is 0.1
    assert LossRecord(noise).have_stopped_falling(50, 0)
    assert LossRecord(noise - slope).have_stopped_falling(50, 0)


def test_it_takes_twice_the_patience_of_steps_to_tell():
    flat = LossRecord(torch.tensor([-1.0, 1.0]).repeat(50))
    assert flat.have_stopped_falling(10, 80)
    assert not flat.have_stopped_falling(10, 81)
    assert not flat.have_stopped_falling(51, 0)
