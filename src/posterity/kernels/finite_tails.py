"""The incomplete gamma and beta functions of moderate whole numbers, as tails of Poisson and binomial counts: by sums.

Such a sum of positive terms takes a fraction of the time that the functions of real arguments take.
"""

import torch
from torch import Tensor

from posterity.kernels.elementwise import in_blocks
from posterity.kernels.incomplete_beta import betainc, betaincc, widened
from posterity.kernels.incomplete_gamma import gammainc, gammaincc
from posterity.kernels.log_factorial import log_factorial
from posterity.kernels.poisson_mass import greatest_of_few
from posterity.kernels.reading import lies_within, readable, records_gradient

# Up to here a sum is faster; it grows with the root.
_MOST = 200.0

# Steps between looks at whether the terms have vanished.
_STRIDE = 6


def finite_gammainc(a: Tensor, x: Tensor) -> Tensor:
    """`gammainc(a, x)`, the probability of at least `a` counts at the rate `x`, quick where a is whole and moderate.

    Args:
        a: Positive.
        x: At least 0.

    Source: DLMF 8.4.9 and 8.7.1.

    Example:
        >>> finite_gammainc(torch.tensor(1.0), torch.tensor(2.0))
        tensor(0.8647)
    """
    found = _poisson_tail(a, x, above=True)
    return gammainc(widened(a), widened(x)).to(x.dtype) if found is None else found


def finite_gammaincc(a: Tensor, x: Tensor) -> Tensor:
    """`gammaincc(a, x)`, the probability of fewer than `a` counts at the rate `x`; see `finite_gammainc`.

    Example:
        >>> finite_gammaincc(torch.tensor(1.0), torch.tensor(2.0))
        tensor(0.1353)
    """
    found = _poisson_tail(a, x, above=False)
    return gammaincc(widened(a), widened(x)).to(x.dtype) if found is None else found


def finite_betainc(a: Tensor, b: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """`betainc(a, b, x, y)`, the probability of at least `a` successes among a + b - 1 trials.

    Args:
        a: Positive; the function is quick where a and b are whole and moderate.
        b: Positive.
        x: Probability of a success.
        y: That of a failure.

    Source: DLMF 8.17.5.

    Example:
        >>> finite_betainc(torch.tensor(2.0), torch.tensor(1.0), torch.tensor(0.5), torch.tensor(0.5))
        tensor(0.2500)
    """
    found = _binomial_tail(a, b, x, y, above=True)
    return betainc(a, b, x, y) if found is None else found


def finite_betaincc(a: Tensor, b: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """`betaincc(a, b, x, y)`, the probability of fewer than `a` successes; see `finite_betainc`.

    Example:
        >>> finite_betaincc(torch.tensor(2.0), torch.tensor(1.0), torch.tensor(0.5), torch.tensor(0.5))
        tensor(0.7500)
    """
    found = _binomial_tail(a, b, x, y, above=False)
    return betaincc(a, b, x, y) if found is None else found


def _poisson_tail(a: Tensor, x: Tensor, *, above: bool) -> Tensor | None:
    if records_gradient(a, x) or not readable(a, x) or not lies_within(x, 0.0, _MOST):
        return None
    most = greatest_of_few(a, _MOST)
    if most is None:
        return None

    def formula(a: Tensor, x: Tensor) -> Tensor:
        k, rate = a.double() - 1, x.double()
        # Of P(X <= k) and P(X > k) the one from whose first term on the others fall.
        below = k < rate
        first = torch.where(below, k, a.double())
        mass = (first * rate.log()).sub_(rate).sub_(log_factorial(first, most)).exp_()
        falling = below.double()
        numerator, denominator = torch.where(below, k, rate), torch.where(below, rate, k + 2)
        tail = mass.mul_(_falling_sum(numerator, falling.neg(), denominator, 1 - falling, _negligible(x)))
        return torch.where(below == above, 1 - tail, tail).to(x.dtype)

    return in_blocks(formula, *torch.broadcast_tensors(a, x))


def _binomial_tail(a: Tensor, b: Tensor, x: Tensor, y: Tensor, *, above: bool) -> Tensor | None:
    if records_gradient(a, b, x, y) or not readable(a, b, x, y):
        return None
    if not (lies_within(x, 0.0, 1.0) and lies_within(y, 0.0, 1.0)):
        return None
    most = greatest_of_few(a, _MOST)
    other = greatest_of_few(b, _MOST)
    if most is None or other is None or a.amin().item() < 1 or b.amin().item() < 1:
        return None
    greatest = most + other

    def formula(a: Tensor, b: Tensor, x: Tensor, y: Tensor) -> Tensor:
        wide = [t.double() for t in (a, b, x, y)]
        # The smaller of the two probabilities has all its digits.
        rare = wide[2] < wide[3]
        p, q = torch.where(rare, wide[2], 1 - wide[3]), torch.where(rare, 1 - wide[2], wide[3])
        trials = wide[0] + wide[1] - 1
        # Of P(X < a) and P(X >= a) the one from whose first term on the others fall; the second is that of failures.
        below = wide[0] - 1 < trials * p
        k = torch.where(below, wide[0], wide[1]).sub_(1)
        rest = trials - k
        odds = torch.where(below, p, q).div_(torch.where(below, q, p))
        orders = log_factorial(trials, greatest) - log_factorial(k, greatest) - log_factorial(rest, greatest)
        base = torch.where(below, q, p).log_().mul_(trials)
        mass = orders.add_(base).add_(k * odds.log()).exp_()
        tail = mass.mul_(_falling_sum(k, torch.full_like(k, -1), rest.add_(1).mul_(odds), odds, _negligible(x)))
        return torch.where(below == above, 1 - tail, tail).to(x.dtype)

    return in_blocks(formula, *torch.broadcast_tensors(a, b, x, y))


def _negligible(x: Tensor) -> float:
    return 1e-3 * torch.finfo(x.dtype).eps


def _falling_sum(
    numerator: Tensor, numerator_step: Tensor, denominator: Tensor, denominator_step: Tensor, negligible: float
) -> Tensor:
    """1 plus the sum of products of successive ratios, which fall from at most 1; a numerator of 0 ends it."""
    term, total = torch.ones_like(numerator), torch.ones_like(numerator)
    while True:
        for _ in range(_STRIDE):
            term.mul_(numerator).div_(denominator)
            total.add_(term)
            numerator.add_(numerator_step)
            denominator.add_(denominator_step)
        if not term.amax().item() > negligible:
            return total
