"""Hurdle distributions, of counts and of amounts."""

import math

import pytest
import torch
from scipy import stats

from posterity import kernels
from posterity.distributions import Categorical, Exponential, Hurdle, LogNormal, Normal, Uniform, kl_divergence
from tests.statistical import assert_mean, assert_variance

GATE = torch.tensor([0.3, 0.9], dtype=torch.float64)


def test_counts_are_those_of_the_table():
    probs = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
    d = Hurdle(Categorical(probs), gate=GATE)
    k = torch.arange(3.0, dtype=torch.float64).unsqueeze(-1)
    table = torch.stack([GATE, (1 - GATE) * 0.4, (1 - GATE) * 0.6])
    torch.testing.assert_close(d.prob(k), table)
    torch.testing.assert_close(d.cdf(k), table.cumsum(0))
    torch.testing.assert_close(d.survival_function(k), 1 - table.cumsum(0))
    mean = (table * k).sum(0)
    torch.testing.assert_close(d.mean, mean)
    torch.testing.assert_close(d.variance, (table * (k - mean).square()).sum(0))
    torch.testing.assert_close(d.entropy(), torch.special.entr(table).sum(0))
    assert d.mode.tolist() == [2, 0]
    assert d.icdf(torch.tensor(0.5)).tolist() == [1, 0]
    draws = d.sample((4000,), generator=kernels.Key(0))
    assert_mean(draws, mean)
    assert_variance(draws, d.variance)
    q = Hurdle(Categorical(probs.flip(0)), gate=0.5)
    expected = (d.prob(k) * (d.log_prob(k) - q.log_prob(k))).sum(0)
    torch.testing.assert_close(kl_divergence(d, q), expected)


def test_amounts_have_a_mass_at_zero_and_a_density_above():
    d = Hurdle(LogNormal(torch.zeros(2, dtype=torch.float64), 0.5), gate=GATE)
    exact = stats.lognorm(0.5)
    y = torch.tensor([-1.0, 0.0, 0.7, 3.0], dtype=torch.float64).unsqueeze(-1)
    rest = torch.tensor(exact.sf([0, 0.7, 3.0])).unsqueeze(-1)
    torch.testing.assert_close(d.survival_function(y[1:]), (1 - GATE) * rest)
    torch.testing.assert_close(d.log_survival_function(y[1:]), ((1 - GATE) * rest).log())
    torch.testing.assert_close(d.cdf(y[1:]), 1 - (1 - GATE) * rest)
    torch.testing.assert_close(d.log_cdf(y[1:]).exp(), d.cdf(y[1:]))
    assert d.cdf(y[:1]).tolist() == [[0, 0]]
    torch.testing.assert_close(d.prob(y[1]), GATE)
    torch.testing.assert_close(d.prob(y[2]), (1 - GATE) * float(exact.pdf(0.7)))
    torch.testing.assert_close(d.mean, (1 - GATE) * exact.mean())
    torch.testing.assert_close(d.entropy(), torch.special.entr(torch.stack([GATE, 1 - GATE])).sum(0)
                               + (1 - GATE) * float(exact.entropy()))  # fmt: skip
    assert d.icdf(torch.tensor(0.3, dtype=torch.float64)).tolist() == [0, 0]
    assert float(d.icdf(torch.tensor(0.65))[0]) == pytest.approx(1.0)
    draws = d.sample((4000,), generator=kernels.Key(1))
    assert_mean(draws, d.mean)
    assert_variance(draws, d.variance)
    assert float(kl_divergence(d, LogNormal(0.0, 1.0))[0]) == math.inf
    q = Hurdle(LogNormal(1.0, 1.0), gate=0.5)
    gates = (GATE * (GATE / 0.5).log()) + (1 - GATE) * ((1 - GATE) / 0.5).log()
    expected = gates + (1 - GATE) * kl_divergence(LogNormal(0.0, 0.5), LogNormal(1.0, 1.0)).double()
    torch.testing.assert_close(kl_divergence(d, q), expected)
    with pytest.raises(NotImplementedError, match="mass at zero cannot be compared"):
        d.mode  # noqa: B018


def test_a_base_with_negative_values_is_cut_at_zero():
    d = Hurdle(Normal(torch.zeros((), dtype=torch.float64), 1.0), gate=0.5)
    half = stats.halfnorm()
    torch.testing.assert_close(d.log_prob(torch.tensor(1.5)), torch.tensor(math.log(0.5) + half.logpdf(1.5)).double())
    assert float(d.mean) == pytest.approx(0.5 * half.mean(), rel=1e-8)
    assert float(d.variance) == pytest.approx(0.5 * (half.var() + 0.5 * half.mean() ** 2), rel=1e-8)


def test_gradients_batches_and_compiled_graphs():
    y = torch.tensor([0.0, 1.5], dtype=torch.float64)

    def log_prob(rate, logits):
        return Hurdle(Exponential(rate), gate_logits=logits).log_prob(y)

    given = tuple(torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.7, -0.4))
    assert torch.autograd.gradcheck(log_prob, given)
    torch.compiler.reset()
    compiled = torch.compile(log_prob, fullgraph=True, backend="aot_eager")(*given)
    torch.testing.assert_close(compiled, log_prob(*given))
    d = Hurdle(Exponential(torch.ones(2, 1)), gate=torch.full((3,), 0.5)).expand((4, 2, 3))
    assert d.sample((5,)).shape == (5, 4, 2, 3)
    torch.testing.assert_close(d.mean, torch.full((4, 2, 3), 0.5))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Hurdle(Uniform(-2.0, -1.0), 0.5), ValueError, "base_distribution of Hurdle must have positive values"),
        (lambda: Hurdle(Exponential(1.0)), ValueError, "Hurdle takes either gate or gate_logits"),
        (lambda: Hurdle(Exponential(1.0), -0.1), ValueError, "gate of Hurdle must satisfy"),
        (lambda: Hurdle(Exponential(1.0), 0.5).log_prob(torch.tensor(-1.0)), ValueError, "value of Hurdle must"),
        (lambda: Hurdle.fit(torch.zeros(2)), NotImplementedError, "does not know the base's family"),
    ],
)
def test_what_is_undefined_is_refused_by_name(make, error, message):
    with pytest.raises(error, match=message):
        make()
