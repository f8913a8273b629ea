"""The Bayesian fraction of missing information is ArviZ's."""

import arviz
import pytest
import torch

from posterity.infer.diagnostics import bayesian_fraction

from .processes import autoregressive


def test_it_is_that_of_arviz():
    for phi in (0.0, 0.9, -0.5):
        energies = 1e5 + autoregressive(phi, 4, 501)
        theirs = torch.from_numpy(arviz.bfmi(energies.numpy()))
        # Energies of 1e5 carry 1e-11 of their spread.
        torch.testing.assert_close(bayesian_fraction(energies), theirs, rtol=1e-8, atol=0)


def test_it_is_its_formula():
    # Squared changes 1, 1, 1; variance (2 * 0.5^2 * 2) / 3 = 1/3.
    torch.testing.assert_close(bayesian_fraction(torch.tensor([[0, 1, 0, 1]])), torch.tensor([3.0]))


def test_equal_energies_have_none_and_neither_have_those_that_are_no_numbers():
    energies = torch.ones(3, 10)
    energies[1:] = torch.arange(10.0)
    energies[2, 3] = torch.inf
    assert bayesian_fraction(energies).isnan().tolist() == [True, False, True]


def test_what_it_cannot_use_is_refused():
    with pytest.raises(ValueError, match=r"energies must be \[num_chains, num_draws\], not of shape \(4, 10, 1\)"):
        bayesian_fraction(torch.zeros(4, 10, 1))
    with pytest.raises(ValueError, match=r"energies must be \[num_chains, num_draws, ...\], not of shape \(10,\)"):
        bayesian_fraction(torch.zeros(10))
    with pytest.raises(TypeError, match="energies must be a real tensor"):
        bayesian_fraction(3.0)
