"""Subsets are without repetition, and each is as likely as any other."""

import math

import pytest
import torch
from scipy import stats

from posterity.infer.stochastic_gradient.subsamples import random_subsets
from posterity.kernels import Key
from tests.statistical import FALSE_ALARM


@pytest.mark.parametrize(("size", "taken"), [(5, 2), (5, 4), (7, 1), (6, 3)])
def test_every_subset_is_as_likely_as_any_other(size, taken, monkeypatch):
    for sorted_from in (64, 0):  # by Floyd's algorithm, and by sorting
        monkeypatch.setattr("posterity.infer.stochastic_gradient.subsamples._SORTED", sorted_from)
        subsets = random_subsets(size, taken, Key(5).fold_in(torch.arange(20_000)))
        codes = (2**subsets).sum(-1)
        found, counts = codes.unique(return_counts=True)
        assert len(found) == math.comb(size, taken)
        assert all(bin(int(code)).count("1") == taken for code in found)  # no repetition
        assert stats.chisquare(counts.numpy()).pvalue > FALSE_ALARM


@pytest.mark.parametrize(("size", "taken"), [(3000, 60), (100, 90)])  # the second one is sorted
def test_a_keys_subset_does_not_depend_on_the_other_keys(size, taken):
    together = random_subsets(size, taken, Key(1).fold_in(torch.arange(6)).fold_in(torch.arange(3)[:, None]))
    alone = random_subsets(size, taken, Key(1).fold_in(4).fold_in(2))
    assert together.shape == (3, 6, taken)
    assert torch.equal(together[2, 4], alone)
    assert together.min() >= 0
    assert together.max() < size
