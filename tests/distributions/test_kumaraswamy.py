"""What is particular about the Kumaraswamy distribution: its divergence, the ends of the interval, direct draws."""

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from posterity.distributions import Kumaraswamy, kl_divergence
from tests.statistical import FALSE_ALARM


def pair(a, b, dtype=torch.float64):
    return Kumaraswamy(torch.tensor(a, dtype=dtype), torch.tensor(b, dtype=dtype))


@pytest.mark.parametrize(
    ("p", "q"),
    [((2.0, 3.0), (1.5, 0.7)), ((2.5, 0.3), (0.6, 0.2)), ((0.05, 0.1), (3.0, 0.4)), ((1.0, 1.0), (1.0, 30.0))],
)
def test_the_divergence_is_the_integral_of_the_log_ratio(p, q):
    (a, b), (c, d) = p, q

    def log_ratio(t):  # at x^a = 1 - exp(-t / b), where t is standard exponential
        log_x, log_rest = np.log(-np.expm1(-t / b)) / a, -t / b
        log_rest_q = np.log(-np.expm1(c * log_x)) if t / b < 30 else np.log(c / a) - t / b
        return np.log(a * b / (c * d)) + (a - c) * log_x + (b - 1) * log_rest - (d - 1) * log_rest_q

    pieces = [(0, 1e-60), (1e-60, 1e-25), (1e-25, 1e-8), (1e-8, 1e-3), (1e-3, 1), (1, 10), (10, 60)]
    exact = sum(integrate.quad(lambda t: np.exp(-t) * log_ratio(t), *ends, limit=400)[0] for ends in pieces)
    # What quad leaves out below 1e-300 and beyond 60, and its own accuracy.
    assert float(kl_divergence(pair(a, b), pair(c, d))) == pytest.approx(exact, rel=1e-6, abs=1e-6)
    single = kl_divergence(pair(a, b, torch.float32), pair(c, d, torch.float32))
    assert single.dtype == torch.float32
    assert float(single) == pytest.approx(exact, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("b", [0.3, 1.0, 5.0])
def test_the_divergence_from_itself_is_zero_and_has_no_slope(b):
    first, second = (torch.tensor([0.7, b], dtype=torch.float64, requires_grad=True) for _ in range(2))
    divergence = kl_divergence(Kumaraswamy(*first), Kumaraswamy(*second))
    # The accuracy of the quadrature.
    assert float(divergence.detach()) == pytest.approx(0, abs=1e-9)
    for slope in torch.autograd.grad(divergence, (first, second)):
        assert slope.abs().max() < 1e-8


@pytest.mark.parametrize("a", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("b", [0.5, 1.0, 2.0])
def test_the_density_at_the_ends_does_not_depend_on_whether_gradients_are_recorded(a, b):
    x = torch.tensor([0.0, 1.0, 0.25])
    recorded = Kumaraswamy(torch.tensor(a, requires_grad=True), b).log_prob(x)
    # At the ends a x^(a - 1) b (1 - x^a)^(b - 1) is infinite, the other factor's, or 0, as the powers are.
    ends = [float(np.log(a * b)) if power == 1 else np.inf * np.sign(1 - power) for power in (a, b)]
    inner = np.log(a * b * 0.25 ** (a - 1) * (1 - 0.25**a) ** (b - 1))
    assert recorded.tolist() == pytest.approx([*ends, inner], rel=1e-6)
    assert Kumaraswamy(a, b).log_prob(x).tolist() == pytest.approx([*ends, inner], rel=1e-6)


@pytest.mark.parametrize("a", [0.1, 0.3, 4.0])  # on both sides of where draws are powers
@pytest.mark.parametrize("b", [0.4, 200.0])
def test_draws_follow_the_law(a, b):
    d = Kumaraswamy(torch.tensor(a), torch.tensor(b))
    draws = d.sample((20_000,), generator=torch.Generator().manual_seed(1)).double().numpy()
    # What rounds to 1 is moved below it, and the least normal number takes what underflows.
    inside = (draws > 1e-36) & (draws < 1 - 1e-6)
    ends = [-np.expm1(b * np.log1p(-(x**a))) for x in (1e-36, 1 - 1e-6)]

    def cdf(x):
        return (-np.expm1(b * np.log1p(-(x**a))) - ends[0]) / (ends[1] - ends[0])

    assert stats.kstest(draws[inside], cdf).pvalue > FALSE_ALARM
    assert stats.binomtest(int(inside.sum()), len(draws), ends[1] - ends[0]).pvalue > FALSE_ALARM


def test_tails_of_a_number_that_is_none_are_none():
    d = Kumaraswamy(2.0, 3.0, validate_args=False)
    for name in ("cdf", "log_cdf", "survival_function", "log_survival_function", "log_prob"):
        assert bool(getattr(d, name)(torch.tensor([0.5, torch.nan])).isnan()[1]), name
