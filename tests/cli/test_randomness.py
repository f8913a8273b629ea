"""A run's own randomness and threads do not touch the caller's."""

import pytest
import torch

from posterity.cli.randomness import own_randomness_and_threads


def test_the_same_seed_draws_the_same():
    draws = []
    for seed in (1, 1, 2):
        with own_randomness_and_threads(seed):
            draws.append(torch.rand(3))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_the_callers_randomness_and_threads_are_as_before_even_after_an_error():
    threads = torch.get_num_threads()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    inside = []

    def interrupted() -> None:
        with own_randomness_and_threads(0, threads + 1):
            inside.append(torch.get_num_threads())
            torch.rand(1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert inside == [threads + 1]
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.rand(3), expected)


def test_no_number_of_threads_keeps_the_callers():
    threads = torch.get_num_threads()
    with own_randomness_and_threads(0, None):
        assert torch.get_num_threads() == threads
