"""KL formulas for one parameter, against torch's and against numerical integration."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from posterity import distributions as dist
from posterity.nn import ScaleMixture
from posterity.nn.divergence import NormalPair, joined, normal_kl, sampled_kl
from tests.statistical import assert_mean


@given(
    shape=st.lists(st.integers(1, 4), max_size=3),
    prior_scale=st.floats(1e-3, 1e3),
    magnitude=st.floats(1e-3, 1e3),
    seed=st.integers(0, 2**31),
)
def test_normal_kl_is_torchs(shape, prior_scale, magnitude, seed):
    make = torch.Generator().manual_seed(seed)
    loc, rho, prior_loc = (magnitude * torch.randn(shape, generator=make, dtype=torch.float64) for _ in range(3))
    rho = rho.clamp(-30, 30)
    prior_scale = torch.tensor(prior_scale, dtype=torch.float64)
    p = torch.distributions.Normal(loc, F.softplus(rho))
    expected = torch.distributions.kl_divergence(p, torch.distributions.Normal(prior_loc, prior_scale)).sum()
    torch.testing.assert_close(normal_kl(NormalPair(loc, rho, prior_loc, prior_scale)), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("prior_shape", [(), (3,), (2, 1), (2, 3)])
def test_normal_kl_broadcasts_the_prior_and_gradients_agree(prior_shape):
    loc, rho = (torch.randn(2, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    prior = torch.distributions.Normal(torch.randn(prior_shape).double(), 1.7)
    actual = normal_kl(NormalPair(loc, rho, prior.loc, prior.scale))
    expected = torch.distributions.kl_divergence(torch.distributions.Normal(loc, F.softplus(rho)), prior).sum()
    torch.testing.assert_close(actual, expected)
    for a, b in zip(*(torch.autograd.grad(v, (loc, rho)) for v in (actual, expected)), strict=True):
        torch.testing.assert_close(a, b)


def test_normal_kl_is_zero_at_the_prior_itself():
    rho = torch.randn(50, dtype=torch.float64)
    loc = torch.randn(50, dtype=torch.float64)
    assert normal_kl(NormalPair(loc, rho, loc, F.softplus(rho))).abs() < 1e-12


def test_sampled_kl_is_unbiased_for_the_scale_mixture():
    recipe = ScaleMixture(scales=(1.0, 0.05), probs=(0.25, 0.75))
    prior = recipe.distribution(recipe.init(torch.zeros(1, dtype=torch.float64)))
    loc = torch.tensor([-2.0, -0.1, 0.0, 0.03, 1.0], dtype=torch.float64)
    scale = torch.tensor([0.3, 0.05, 1.0, 0.01, 2.0], dtype=torch.float64)

    def exact(m: float, s: float) -> float:
        def integrand(x: float) -> float:
            p = 0.25 * stats.norm.pdf(x, 0, 1) + 0.75 * stats.norm.pdf(x, 0, 0.05)
            return stats.norm.pdf(x, m, s) * (stats.norm.logpdf(x, m, s) - float(torch.tensor(p).log()))

        return integrate.quad(integrand, m - 10 * s, m + 10 * s, limit=400, points=[m, 0.0])[0]

    expected = sum(exact(float(m), float(s)) for m, s in zip(loc, scale, strict=True))
    q = dist.Normal(loc, scale)
    estimates = torch.stack([sampled_kl(q, prior) for _ in range(4000)])
    assert_mean(estimates, expected)


def test_gradient_of_the_sampled_kl_is_unbiased():
    # Against a normal prior, where the gradient is known: d/dm = (m - m0) / s0^2, d/ds = s / s0^2 - 1 / s.
    loc = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    scale = torch.tensor([0.4], dtype=torch.float64, requires_grad=True)
    prior = dist.Normal(torch.tensor(-0.5).double(), torch.tensor(1.3).double())
    grads = [torch.autograd.grad(sampled_kl(dist.Normal(loc, scale), prior), (loc, scale)) for _ in range(4000)]
    assert_mean(torch.stack([g[0] for g in grads]), 1.2 / 1.3**2)
    assert_mean(torch.stack([g[1] for g in grads]), 0.4 / 1.3**2 - 1 / 0.4)


def test_parameters_joined_have_the_sum_of_their_divergences():
    pairs = [
        NormalPair(torch.randn(3, 4), torch.randn(3, 4), None, torch.tensor(0.7)),
        NormalPair(torch.randn(5), torch.randn(5), torch.tensor(0.3), torch.rand(5) + 0.1),
        NormalPair(torch.randn(2, 2), torch.randn(2, 2), torch.randn(2, 2), torch.rand(2) + 0.1),
        NormalPair(torch.randn(()), torch.randn(()), None, torch.tensor(2.0)),
    ]
    pairs = [NormalPair(*(t if t is None else t.double() for t in pair)) for pair in pairs]
    torch.testing.assert_close(normal_kl(joined(pairs)), torch.stack([normal_kl(p) for p in pairs]).sum())
