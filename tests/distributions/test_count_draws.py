"""Counts drawn in eager code by torch's own samplers, where these are right."""

import pytest
import torch
from scipy import stats

from posterity.distributions import Binomial, NegativeBinomial, Poisson
from posterity.kernels import Key
from tests.statistical import FALSE_ALARM

LAWS = [
    (Poisson(torch.tensor([0.3, 7.0, 1e6])), [stats.poisson(0.3), stats.poisson(7), stats.poisson(1e6)]),
    (
        # torch's float32 draws of the last are wrong.
        Binomial(torch.tensor([12.0, 100.0, 1e8]), torch.tensor([0.3, 0.9, 0.5])),
        [stats.binom(12, 0.3), stats.binom(100, float(torch.tensor(0.9))), stats.binom(10**8, 0.5)],
    ),
    (
        Binomial(torch.tensor([12.0, 100.0]), logits=torch.tensor([-1.0, 3.0])),
        [
            stats.binom(12, torch.tensor(-1.0).double().sigmoid()),
            stats.binom(100, torch.tensor(3.0).double().sigmoid()),
        ],
    ),
    (
        NegativeBinomial(torch.tensor([0.4, 3.0]), torch.tensor([0.25, 0.75])),
        [stats.nbinom(0.4, 0.75), stats.nbinom(3, 0.25)],
    ),
]


@pytest.mark.parametrize("law", range(len(LAWS)))
@pytest.mark.parametrize("many", [False, True])
def test_draws_follow_the_law(law, many):
    d, references = LAWS[law]
    generator = torch.Generator().manual_seed(law)
    # A batch of one shape with its parameters, or draws in front of it.
    wide = d.expand((20_000, len(references)))
    draws = d.sample((20_000,), generator=generator) if many else wide.sample(generator=generator)
    for column, reference in zip(draws.double().T.numpy(), references, strict=True):
        cuts = [reference.ppf(q) for q in (0.1, 0.25, 0.5, 0.75, 0.9)]
        for cut in sorted(set(cuts)):
            # float32 holds counts of 1e8 in steps of 8.
            level = reference.cdf(cut + 4 if cut > 2**24 else cut)
            seen = int((column <= cut).sum())
            assert stats.binomtest(seen, len(column), min(level, 1.0)).pvalue > FALSE_ALARM / 10


def test_draws_carry_no_gradient_and_leave_the_parameters_alone():
    rate = torch.tensor([2.0, 3.0], requires_grad=True)
    n, p = torch.tensor([5.0, 9.0]), torch.tensor([0.5, 0.25], requires_grad=True)
    kept = [t.detach().clone() for t in (rate, n, p)]
    for d in (Poisson(rate), Binomial(n, p), NegativeBinomial(n, p)):
        assert not d.sample().requires_grad
        assert not d.sample((3,)).requires_grad
        d.log_prob(torch.ones(2)), d.cdf(torch.ones(2)), d.icdf(torch.full((2,), 0.3))
    assert all(torch.equal(t.detach(), k) for t, k in zip((rate, n, p), kept, strict=True))


def test_a_key_and_a_generator_each_repeat_themselves():
    for d, _ in LAWS:
        for make in (lambda: Key(3), lambda: torch.Generator().manual_seed(3)):
            assert torch.equal(d.sample((4,), generator=make()), d.sample((4,), generator=make()))
