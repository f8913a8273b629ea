"""KL without a closed form: sums and integrals, and what is refused."""

import math

import mpmath
import pytest
import torch

from posterity.bijectors import RealNVP
from posterity.distributions import (
    Beta,
    BetaBinomial,
    Binomial,
    Categorical,
    Laplace,
    Mixture,
    MixtureSameFamily,
    NegativeBinomial,
    Normal,
    Skellam,
    TransformedDistribution,
    kl_divergence,
)
from posterity.distributions.kl import has_closed_form


def test_mixture_against_a_normal_is_the_integral_of_its_definition():
    p = Mixture([Normal(torch.tensor(-1.0, dtype=torch.float64), 0.5), Laplace(2.0, 0.3)])
    q = Normal(torch.tensor(0.5, dtype=torch.float64), 2.0)

    def gap(x):
        x = torch.tensor(float(x), dtype=torch.float64)
        return float(p.prob(x) * (p.log_prob(x) - q.log_prob(x)))

    exact = mpmath.quad(gap, [-12, -3, -1, 0, 1, 2, 3, 5, 15])
    assert float(kl_divergence(p, q)) == pytest.approx(float(exact), rel=1e-8)
    assert float(kl_divergence(p, p)) == 0


def test_batches_of_both_sides_broadcast():
    p = Mixture([Normal(torch.zeros(3, 1), 1.0), Normal(torch.ones(3, 1), 2.0)])
    q = Normal(torch.tensor([0.0, 0.5]), 1.0)
    both = kl_divergence(p, q)
    assert both.shape == (3, 2)
    one = kl_divergence(Mixture([Normal(0.0, 1.0), Normal(1.0, 2.0)]), Normal(0.5, 1.0))
    torch.testing.assert_close(both[:, 1], one.expand(3), rtol=2e-5, atol=2e-5)


def test_a_mixture_of_one_has_the_kl_of_its_component():
    p, q = (
        Normal(torch.tensor(0.3, dtype=torch.float64), 0.7),
        Laplace(torch.tensor(0.0, dtype=torch.float64), 1.0),
    )
    assert float(Mixture([p]).kl_divergence(q)) == pytest.approx(float(p.kl_divergence(q)), rel=1e-9)


def test_finite_mixtures_are_summed():
    p = MixtureSameFamily(
        Categorical(torch.tensor([0.5, 0.5])), Categorical(torch.tensor([[1.0, 1.0, 0.0], [1.0, 3.0, 0.0]]))
    )
    q = Categorical(torch.tensor([0.2, 0.3, 0.5]))
    exact = 0.375 * math.log(0.375 / 0.2) + 0.625 * math.log(0.625 / 0.3)
    assert float(kl_divergence(p, q)) == pytest.approx(exact, rel=1e-6)


def test_gradients_flow_through_the_integral():
    def kl(loc, scale):
        return kl_divergence(Mixture([Normal(loc, scale), Laplace(1.0, scale)]), Normal(scale, 1.5))

    arguments = tuple(torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.2, 0.8))
    assert torch.autograd.gradcheck(kl, arguments)


def test_formulas_are_found_through_torchs_own_function():
    p, q = Normal(0.2, 0.5), Laplace(0.0, 1.0)
    assert torch.equal(torch.distributions.kl_divergence(p, q), kl_divergence(p, q))


def test_a_more_specific_registration_wins():
    class Special(Normal):
        pass

    torch.distributions.register_kl(Special, Special)(lambda p, q: torch.tensor(7.0))
    assert float(kl_divergence(Special(0.0, 1.0), Special(0.0, 1.0))) == 7


def test_refusals_say_why():
    vector = Mixture([Normal(torch.zeros(2), 1.0).to_event()])
    with pytest.raises(NotImplementedError, match="out of reach of quadrature: kl_monte_carlo"):
        kl_divergence(vector, Normal(torch.zeros(2), 1.0).to_event())
    with pytest.raises(ValueError, match=r"equal event shapes, but p has \(2,\) and q \(\)"):
        kl_divergence(Normal(torch.zeros(2), 1.0).to_event(), Normal(0.0, 1.0))
    with pytest.raises(ValueError, match=r"batch shapes of p and q must broadcast.*p \(2,\), q \(3,\)"):
        kl_divergence(Normal(torch.zeros(2), 1.0), Normal(torch.zeros(3), 1.0))


@pytest.mark.parametrize(
    ("p", "q"),
    [
        (BetaBinomial(1.0, 2.0, total_count=1), BetaBinomial(torch.tensor([[1.0], [3.0]]), 2.0, total_count=1)),
        (Binomial(2, 0.5), Binomial(torch.tensor([[3.0], [2.0]]), 0.25)),
        (NegativeBinomial(2.0, 0.5), NegativeBinomial(torch.tensor([[3.0], [2.0]]), 0.25)),
        (Skellam(1.0, 2.0), Skellam(torch.tensor([[1.0], [3.0]]), 2.0)),
    ],
    ids=lambda d: type(d).__name__,
)
def test_sums_broadcast_over_a_second_batch_of_higher_rank(p, q):
    together = kl_divergence(p.expand((3,)), q)
    apart = torch.stack([kl_divergence(p, type(q)(**_row(q, i))) for i in range(2)])
    torch.testing.assert_close(together, apart.reshape(2, 1).expand(2, 3))


def _row(d, i):
    names = [name for name in d.arg_constraints if name in d.__dict__]
    return {name: getattr(d, name)[i, 0] for name in names}


def test_a_pole_at_an_end_of_the_support_is_integrated():
    p = Mixture([Beta(torch.tensor(0.5, dtype=torch.float64), 2.0)])
    q = Beta(torch.tensor(1.0, dtype=torch.float64), 2.0)
    assert float(p.kl_divergence(q)) == pytest.approx(float(p.components[0].kl_divergence(q)), rel=1e-8)


def test_images_under_different_maps_have_no_closed_form():
    base = Normal(torch.zeros(2), 1.0).to_event(1)
    maps = [RealNVP(2), RealNVP(2)]
    p, q = (TransformedDistribution(base, [m]) for m in maps)
    assert not has_closed_form(p, q)
    assert has_closed_form(p, TransformedDistribution(base, [maps[0]]))
