"""Zero-inflated distributions against the table of their masses."""

import math

import pytest
import torch

from posterity import kernels
from posterity.distributions import Categorical, Normal, Poisson, ZeroInflated, kl_divergence
from tests.statistical import assert_mean, assert_variance

PROBS = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
GATE = torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)


def test_statistics_are_those_of_the_table():
    d = ZeroInflated(Categorical(PROBS), gate=GATE)
    k = torch.arange(3).unsqueeze(-1)
    table = (1 - GATE) * PROBS.unsqueeze(-1)
    table = torch.cat([table[:1] + GATE, table[1:]])
    torch.testing.assert_close(d.prob(k), table)
    torch.testing.assert_close(d.cdf(k), table.cumsum(0))
    torch.testing.assert_close(d.log_cdf(k).exp(), table.cumsum(0))
    torch.testing.assert_close(d.survival_function(k), 1 - table.cumsum(0))
    torch.testing.assert_close(d.log_survival_function(k).exp(), 1 - table.cumsum(0))
    mean = (table * k).sum(0)
    torch.testing.assert_close(d.mean, mean)
    torch.testing.assert_close(d.variance, (table * (k - mean).square()).sum(0))
    torch.testing.assert_close(d.entropy(), torch.special.entr(table).sum(0))
    assert d.mode.tolist() == [1, 0, 0]
    assert d.icdf(torch.tensor(0.6)).tolist() == [1, 1, 0]
    draws = d.sample((4000,), generator=kernels.Key(0)).double()
    assert bool((draws[:, 2] == 0).all())
    assert_mean(draws, mean)
    assert_variance(draws, d.variance)


def test_log_odds_of_the_gate():
    logits = torch.tensor([-40.0, 0.3, 200.0], dtype=torch.float64)
    d = ZeroInflated(Poisson(torch.tensor(50.0, dtype=torch.float64)), gate_logits=logits)
    torch.testing.assert_close(d.gate, logits.sigmoid())
    # The gate that is never taken leaves exp(-40) at zero; the one that always is, exp(-200) elsewhere.
    assert float(d.log_prob(torch.tensor(0.0))[0]) == pytest.approx(-40, rel=1e-4)
    elsewhere = d.base_dist.log_prob(torch.tensor(50.0))[2]
    assert float(d.log_prob(torch.tensor(50.0))[2]) == pytest.approx(float(elsewhere) - 200, rel=1e-12)
    assert float(ZeroInflated(Categorical(PROBS), gate=0.5).gate_logits) == 0


def test_gradients_batches_and_compiled_graphs():
    k = torch.tensor([0.0, 2.0], dtype=torch.float64)

    def log_prob(rate, gate):
        return ZeroInflated(Poisson(rate), gate).log_prob(k)

    given = tuple(torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (1.7, 0.3))
    assert torch.autograd.gradcheck(log_prob, given)
    gate = torch.tensor(0.0, requires_grad=True)
    slope = torch.autograd.grad(ZeroInflated(Poisson(1.0), gate).log_prob(torch.tensor(0.0)), gate)[0]
    assert bool(slope.isfinite())
    torch.compiler.reset()
    compiled = torch.compile(log_prob, fullgraph=True, backend="aot_eager")(*given)
    torch.testing.assert_close(compiled, log_prob(*given))
    d = ZeroInflated(Poisson(torch.ones(2, 1)), gate=torch.full((3,), 0.5)).expand((4, 2, 3))
    assert d.sample((5,)).shape == (5, 4, 2, 3)
    p, q = (ZeroInflated(Categorical(PROBS), gate=g) for g in (0.2, 0.6))
    table = [d.prob(torch.arange(3)) for d in (p, q)]
    torch.testing.assert_close(kl_divergence(p, q), (table[0] * (table[0] / table[1]).log()).sum())


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ZeroInflated(Normal(0.0, 1.0), 0.5), ValueError, "must be over integers.* is a Hurdle"),
        (lambda: ZeroInflated(Poisson(1.0)), ValueError, "ZeroInflated takes either gate or gate_logits"),
        (lambda: ZeroInflated(Poisson(1.0), 0.5, 0.0), ValueError, "give exactly one"),
        (lambda: ZeroInflated(Poisson(1.0), 1.5), ValueError, "gate of ZeroInflated must satisfy"),
        (lambda: ZeroInflated(Poisson(1.0), gate_logits=math.nan), ValueError, "gate_logits of ZeroInflated"),
        (lambda: ZeroInflated(2.0, 0.5), TypeError, "base_distribution of ZeroInflated"),
        (lambda: ZeroInflated.fit(torch.zeros(2)), NotImplementedError, "does not know the base's family"),
    ],
)
def test_what_is_undefined_is_refused_by_name(make, error, message):
    with pytest.raises(error, match=message):
        make()
