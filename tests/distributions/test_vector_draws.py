"""Projections of vector draws onto one dimension follow known laws, and move with the parameters as the means do."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats

from posterity import kernels
from posterity.distributions import (
    Dirichlet,
    GaussianRandomWalk,
    InverseWishart,
    LKJCholesky,
    LogisticNormal,
    LowRankMultivariateNormal,
    MatrixNormal,
    MultivariateNormal,
    MultivariateStudentT,
    PowerSpherical,
    VonMisesFisher,
    Wishart,
)
from tests.distributions.catalogue import vectors
from tests.distributions.catalogue.entry import parameters
from tests.statistical import FALSE_ALARM, assert_mean

NUM_DRAWS = 20_000
TRIL = torch.tensor([[1.2, 0.0, 0.0], [-0.4, 0.7, 0.0], [0.3, 0.9, 2.0]], dtype=torch.float64)
COVARIANCE = TRIL @ TRIL.T
LOC = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
SIDE = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
FACTOR = torch.tensor([[1.0, 0.2], [-3.0, 0.0], [0.5, 0.7]], dtype=torch.float64)
DIAGONAL = torch.tensor([0.5, 0.1, 2.0], dtype=torch.float64)
SPREAD = math.sqrt(float(SIDE @ COVARIANCE @ SIDE))


def _direction(size):
    return torch.nn.functional.normalize(torch.arange(size, dtype=torch.float64) - size / 3, dim=0)


def _fisher_cosine(concentration, size):
    """The cdf of the cosine to the mean direction, integrated on a grid of angles."""
    angle = np.linspace(0, math.pi, 20_001)
    density = np.exp(concentration * (np.cos(angle) - 1)) * np.sin(angle) ** (size - 2)
    below = integrate.cumulative_simpson(density, x=angle, initial=0)
    return lambda t: 1 - np.interp(np.arccos(np.clip(t, -1, 1)), angle, below / below[-1])


def _quadratic(x, side):
    return torch.einsum("...ij,i,j->...", x, side, side)


PROJECTIONS = {
    "MultivariateNormal": (
        MultivariateNormal(LOC, scale_tril=TRIL),
        lambda x: x @ SIDE,
        stats.norm(float(LOC @ SIDE), SPREAD).cdf,
    ),
    "LowRankMultivariateNormal": (
        LowRankMultivariateNormal(LOC, FACTOR, DIAGONAL),
        lambda x: x @ SIDE,
        stats.norm(
            float(LOC @ SIDE), math.sqrt(float((FACTOR.T @ SIDE).square().sum() + DIAGONAL @ SIDE.square()))
        ).cdf,
    ),
    "MultivariateStudentT": (
        MultivariateStudentT(1.5, LOC, TRIL),
        lambda x: (x - LOC) @ SIDE / SPREAD,
        stats.t(1.5).cdf,
    ),
    "Dirichlet": (
        Dirichlet(torch.tensor([0.3, 2.0, 0.7, 5.0], dtype=torch.float64)),
        lambda x: x[:, 0] + x[:, 3],
        stats.beta(5.3, 2.7).cdf,
    ),
    "LogisticNormal": (
        LogisticNormal(LOC, DIAGONAL),
        lambda x: (x[:, 1] / x[:, 2:].sum(-1)).log(),
        stats.norm(-1.0 - math.log(2), 0.1).cdf,
    ),
    "LKJCholesky": (
        LKJCholesky(4, torch.tensor(0.7, dtype=torch.float64)),
        lambda x: (1 + (x @ x.mT)[:, 2, 3]) / 2,
        stats.beta(1.7, 1.7).cdf,
    ),
    "LKJCholesky, first pair": (
        LKJCholesky(4, torch.tensor(3.0, dtype=torch.float64)),
        lambda x: (1 + (x @ x.mT)[:, 0, 1]) / 2,
        stats.beta(4.0, 4.0).cdf,
    ),
    "Wishart": (
        Wishart(2.3, scale_tril=TRIL),
        lambda x: _quadratic(x, SIDE) / SPREAD**2,
        stats.chi2(2.3).cdf,
    ),
    "InverseWishart": (
        InverseWishart(2.3, scale_tril=TRIL),
        lambda x: x[:, 1, 1],
        stats.invgamma(0.15, scale=float(COVARIANCE[1, 1]) / 2).cdf,
    ),
    "InverseWishart, inverted": (
        InverseWishart(7.0, COVARIANCE),
        lambda x: _quadratic(x.inverse(), SIDE) / float(SIDE @ COVARIANCE.inverse() @ SIDE),
        stats.chi2(7.0).cdf,
    ),
    "MatrixNormal": (
        MatrixNormal(torch.stack([LOC, -LOC]), 2 * TRIL[:2, :2], TRIL),
        lambda x: x[:, 1] @ SIDE,
        stats.norm(-float(LOC @ SIDE), 2 * math.sqrt(0.65) * SPREAD).cdf,
    ),
    "GaussianRandomWalk": (
        GaussianRandomWalk(torch.tensor(0.3, dtype=torch.float64), 5),
        lambda x: x[:, 4] - x[:, 1],
        stats.norm(0, 0.3 * math.sqrt(3)).cdf,
    ),
    **{
        f"VonMisesFisher in {n} dimensions": (
            VonMisesFisher(_direction(n), kappa),
            lambda x, n=n: x @ _direction(n),
            _fisher_cosine(kappa, n),
        )
        for n, kappa in ((2, 3.0), (3, 0.0), (5, 0.5), (40, 60.0))
    },
    "VonMisesFisher, around its direction": (
        VonMisesFisher(torch.tensor([0.0, 0.0, -1.0], dtype=torch.float64), 5.0),
        lambda x: torch.atan2(x[:, 0], x[:, 1]),
        stats.uniform(-math.pi, 2 * math.pi).cdf,
    ),
    **{
        f"PowerSpherical in {n} dimensions": (
            PowerSpherical(_direction(n), kappa),
            lambda x, n=n: (1 + x @ _direction(n)) / 2,
            stats.beta(kappa + (n - 1) / 2, (n - 1) / 2).cdf,
        )
        for n, kappa in ((2, 0.2), (3, 0.0), (30, 100.0))
    },
}


@pytest.mark.parametrize("source", ["generator", "key"])
@pytest.mark.parametrize("name", PROJECTIONS)
def test_projections_follow_their_law(name, source):
    d, project, cdf = PROJECTIONS[name]
    generator = torch.Generator().manual_seed(5) if source == "generator" else kernels.Key(5)
    draws = d.sample((NUM_DRAWS,), generator=generator)
    assert bool(draws.isfinite().all())
    assert stats.kstest(project(draws).numpy(), cdf).pvalue > FALSE_ALARM


@pytest.mark.parametrize("size", [2, 5])
def test_directions_are_alike_on_both_sides_of_the_reflection(size):
    # The law depends on the angle alone, wherever the mean direction points.
    for axis in (0, size - 1):
        for sign in (-1.0, 1.0):
            loc = sign * torch.eye(size, dtype=torch.float64)[axis]
            x = VonMisesFisher(loc, 8.0).sample((NUM_DRAWS,), generator=torch.Generator().manual_seed(2))
            assert stats.kstest((x @ loc).numpy(), _fisher_cosine(8.0, size)).pvalue > FALSE_ALARM


reparameterised = [e for e in vectors.ENTRIES if e.family.has_rsample]


@pytest.mark.parametrize("entry", reparameterised, ids=lambda e: e.family.__name__)
def test_draws_move_with_the_parameters_as_their_mean_does(entry):
    # The derivative of E[w . X] is that of w . mean, and of E[v . |X - c|^2] that of variance and mean together.
    given = parameters([entry.settings[0]], torch.float64)
    event = entry.make(0).event_shape
    w = torch.linspace(-1, 1.5, event.numel(), dtype=torch.float64).reshape(event)
    c = entry.make(0).mean
    for name in given:
        each = {n: v.expand(NUM_DRAWS, *v.shape).clone() for n, v in given.items()}
        each[name].requires_grad_()
        draws = entry.build(each).rsample(generator=torch.Generator().manual_seed(6))
        one = {**given, name: given[name].clone().requires_grad_()}
        d = entry.build(one)
        for ours, exact in (
            ((w * draws).sum(), (w * d.mean).sum()),
            ((w * (draws - c).square()).sum(), (w * (d.variance + (d.mean - c).square())).sum()),
        ):
            (slopes,) = torch.autograd.grad(ours, each[name], retain_graph=True)
            # The mean of some depends on the location alone.
            exact = exact + 0 * one[name].sum()
            assert_mean(slopes, torch.autograd.grad(exact, one[name], retain_graph=True)[0])


@pytest.mark.parametrize("entry", vectors.ENTRIES, ids=lambda e: e.family.__name__)
def test_draws_in_single_precision_are_in_the_support(entry):
    d = entry.make(dtype=torch.float32)
    draws = d.sample((NUM_DRAWS // 4,), generator=torch.Generator().manual_seed(9))
    assert bool(d.support.check(draws).all())
    assert bool(d.log_prob(draws).isfinite().all())


def test_logits_of_shares_are_those_of_a_logistic_function():
    # The convention: with loc = 0 each share's median is that of an even split of what is left.
    pieces = LogisticNormal(torch.zeros(3), torch.full((3,), 1e-6)).sample(generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(pieces, torch.full((4,), 0.25), rtol=1e-4, atol=0)
    assert special.logit(0.25) == pytest.approx(-math.log(3))
