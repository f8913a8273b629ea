"""The fitting loop that all networks share."""

import pytest
import torch
from torch import nn

from posterity.networks import fit_by_epochs
from posterity.networks.fitting import hold_out


def line_and_data(num=96):
    x = torch.linspace(-1, 1, num).unsqueeze(-1)
    return nn.Linear(1, 1), x, 3 * x + 1


def test_a_line_is_found():
    line, x, y = line_and_data()
    result = fit_by_epochs(line, lambda x, y: (line(x) - y).square().mean(), (x, y), lr=0.05, num_epochs=300, seed=0)
    torch.testing.assert_close(line.weight.item(), 3.0, atol=1e-2, rtol=0)
    assert len(result.losses) == 300
    assert result.best_epoch == 299


def test_the_weights_that_did_best_on_held_out_data_are_kept():
    line, x, y = line_and_data()
    # Held-out targets lie on another line, so that training passes by what is best for them.
    held_out = (x, 1.5 * x + 1)
    seen = []

    def measure(x, y):
        seen.append((float((line(x) - y).square().mean()), {k: v.clone() for k, v in line.state_dict().items()}))
        return (line(x) - y).square().mean()

    result = fit_by_epochs(
        line, lambda x, y: (line(x) - y).square().mean(), (x, y), held_out, validation_loss=measure, lr=0.05,
        num_epochs=200, patience=5, seed=0,
    )  # fmt: skip
    best, state = min(seen, key=lambda pair: pair[0])
    assert len(result.losses) == result.best_epoch + 6 < 200
    assert result.validation_losses.min().item() == pytest.approx(best)
    assert torch.equal(line.weight, state["weight"])
    assert not line.training


def test_an_interrupted_fit_has_its_best_weights():
    line, x, y = line_and_data()
    best = []

    def measure(x, y):
        if len(best) == 3:
            raise KeyboardInterrupt
        best.append(line.weight.clone())
        return torch.tensor(float(len(best)))  # ever worse

    with pytest.raises(KeyboardInterrupt):
        fit_by_epochs(line, lambda x, y: (line(x) - y).square().mean(), (x, y), (x, y), validation_loss=measure)
    assert torch.equal(line.weight, best[0])


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_generator_alone():
    weights = []
    for _ in range(2):
        torch.manual_seed(5)
        net = nn.Sequential(nn.Linear(1, 4), nn.Dropout(0.5), nn.Linear(4, 1))
        _, x, y = line_and_data()
        before = torch.get_rng_state()
        fit_by_epochs(net, lambda x, y: (net(x) - y).square().mean(), (x, y), num_epochs=3, batch_size=10, seed=1)  # noqa: B023
        assert torch.equal(before, torch.get_rng_state())
        weights.append(net[0].weight.detach())
    assert torch.equal(*weights)


def test_the_loss_of_an_epoch_is_the_mean_over_its_examples_not_over_its_batches():
    scale = nn.Parameter(torch.ones(()))
    module = nn.Module()
    module.scale = scale
    data = torch.arange(10.0)
    result = fit_by_epochs(module, lambda x: (0 * scale + x).mean(), (data,), num_epochs=1, batch_size=4, seed=0)
    assert result.losses.item() == pytest.approx(4.5)


def test_a_loss_that_is_not_finite_is_an_error():
    line, x, y = line_and_data()
    with pytest.raises(FloatingPointError, match="the loss became inf in epoch 0; a smaller lr"):
        fit_by_epochs(line, lambda x, y: line(x).square().sum() * torch.inf, (x, y), num_epochs=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_epochs": 0}, "num_epochs must be a whole number of at least 1, got 0"),
        ({"batch_size": 1.5}, "batch_size must be a whole number"),
        ({"patience": True}, "patience must be a whole number"),
        ({"lr": 0.0}, "lr must be positive"),
        ({"clip_norm": -1.0}, "clip_norm must be positive"),
        ({"weight_decay": -1.0}, "weight_decay must be zero or positive"),
    ],
)
def test_numbers_out_of_range_are_refused(options, message):
    line, x, y = line_and_data()
    with pytest.raises(ValueError, match=message):
        fit_by_epochs(line, lambda x, y: line(x).sum(), (x, y), **options)


def test_data_that_do_not_fit_are_refused():
    line, x, y = line_and_data()
    with pytest.raises(ValueError, match=r"differ in their number of examples: \[96, 1\] and \[95, 1\]"):
        fit_by_epochs(line, lambda x, y: line(x).sum(), (x, y[1:]))
    with pytest.raises(ValueError, match="the data hold no examples"):
        fit_by_epochs(line, lambda x, y: line(x).sum(), (x[:0],))
    with pytest.raises(ValueError, match="Identity has no parameters to train"):
        fit_by_epochs(nn.Identity(), lambda x: x.sum(), (x,))


def test_held_out_examples_are_a_part_of_all():
    x = torch.arange(20)
    train, held_out = hold_out((x, 2 * x), 0.25, seed=0)
    assert len(held_out[0]) == 5
    assert torch.equal(torch.cat([train[0], held_out[0]]).sort().values, x)
    assert torch.equal(train[1], 2 * train[0])


def test_a_held_out_fraction_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"validation_fraction must be in \[0, 1\)"):
        hold_out((torch.ones(3),), 1.0, seed=0)
    with pytest.raises(ValueError, match="of 1 examples leaves none to train on"):
        hold_out((torch.ones(1),), 0.5, seed=0)
