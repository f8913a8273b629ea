"""The Poisson probability in saddle-point form, of which binomial, multinomial and other count masses are products.

No factorial of a large count is taken, so that float32 keeps its digits at counts of a million.
"""

import math

import torch
from torch import Tensor

from posterity.kernels.elementwise import elementwise
from posterity.kernels.samplers.factorials import log_factorial_rest
from posterity.kernels.samplers.noise import is_eager

# Up to |v| = 0.3 the series of the deviance is cut below the rounding of float64: 0.3^(2 * 15) = 2e-16.
_NEAR, _TERMS = 0.3, 15


@elementwise(
    lambda x, mean, value: torch.log(x / mean),
    lambda x, mean, value: _relative_excess(x, mean).neg(),
)
def deviance(x: Tensor, mean: Tensor) -> Tensor:
    r"""The term $x \log(x / m) + m - x$, without cancellation where x is close to m.

    It is the KL divergence of Poisson distributions of rates x and m, and half the deviance of a count.

    Args:
        x: At least 0; where it is 0 the term is m.
        mean: m, at least 0; where it is 0 the term is infinite, except for x = 0.

    Returns:
        The term, of the broadcast shape, with a relative error of a few roundings.

    Source: Loader, Fast and Accurate Computation of Binomial Probabilities, 2000, where it is called bd0.

    Example:
        >>> deviance(torch.tensor([1000001.0, 2.0, 0.0]), torch.tensor([1e6, 0.0, 0.0]))
        tensor([5.0000e-07,        inf, 0.0000e+00])
    """
    inside = (x > 0) & (mean > 0)
    a, m = torch.where(inside, x, 1), torch.where(inside, mean, 1)
    v = (a - m) / (a + m)
    near = v.clamp(-_NEAR, _NEAR)
    square = near * near
    series = torch.zeros_like(v)
    for j in range(_TERMS, 0, -1):
        series = square * (series + 1 / (2 * j + 1))
    # (x - m) v plus 2 x v times the sum over j >= 1 of v^(2j) / (2j + 1).
    close = (a - m) * near + 2 * a * near * series
    far = a * (a.log() - m.log()) + (m - a)
    value = torch.where(v.abs() < _NEAR, close, far)
    edge = torch.where(x == 0, mean, torch.inf)
    return torch.where(torch.isnan(x + mean), torch.nan, torch.where(inside, value, edge))


@elementwise(
    lambda count, rate, value: torch.log(rate) - torch.digamma(count + 1),
    lambda count, rate, value: _relative_excess(count, rate),
)
def log_poisson_mass(count: Tensor, rate: Tensor) -> Tensor:
    r"""The log probability of a Poisson count, $k \log r - r - \log \Gamma(k + 1)$.

    The binomial probability of k among n at p is that of k at n p, times that of n - k at n (1 - p), over that of n
    at n: in this form the error does not grow with the counts. Differentiable in both arguments.

    Args:
        count: k, at least 0; whole or not.
        rate: r, at least 0; at 0 the count 0 is certain.

    Returns:
        The log probability, of the broadcast shape. Its error is a few roundings of itself, of 1, and of the
        standardised excess $(k - r) / \sqrt r$ squared.

    Raises:
        TypeError: No argument is a tensor, or one is complex.

    Source: Loader, Fast and Accurate Computation of Binomial Probabilities, 2000; Stirling's series is DLMF 5.11.1.

    Example:
        >>> log_poisson_mass(torch.tensor([1e6, 0.0]), torch.tensor([1e6, 0.0]))
        tensor([-7.8267,  0.0000])
    """
    many, few = count.clamp(min=10), count.clamp(max=10)
    positive = rate > 0
    r = torch.where(positive, rate, 1)
    large = -deviance(many, r) - log_factorial_rest(many) - 0.5 * torch.log(2 * math.pi * many)
    small = few * r.log() - r - torch.lgamma(few + 1)
    value = torch.where(count < 10, small, large)
    at_zero = torch.where(count == 0, 0, torch.where(count > 0, -torch.inf, torch.nan))
    return torch.where(positive, value, torch.where(rate == 0, at_zero, torch.nan))


def factorials_suffice(counts: Tensor, *others: Tensor) -> bool:
    """Whether masses of `counts` keep their digits when factorials are taken in float64, which is a few times faster.

    The factorial of k has a rounding error of k log k: at these counts it is below the result's own. Values are read,
    so that the answer is no in graphs, under transforms of `torch.func`, and where reading means waiting.

    Args:
        counts: The greatest of the counts whose factorials are taken.
        others: Parameters that must be positive and finite.

    Example:
        >>> factorials_suffice(torch.tensor(5.0), torch.tensor(0.1)), factorials_suffice(torch.tensor(1e7))
        (True, False)
    """
    if not is_eager(counts, *others) or not counts.is_cpu or counts.dtype not in _FACTORIALS:
        return False
    if counts.numel() == 0 or not counts.detach().amax().item() <= _FACTORIALS[counts.dtype]:
        return False
    for other in others:
        least, greatest = other.detach().aminmax()
        if not (least.item() > 0 and greatest.item() < math.inf):
            return False
    return True


# Errors of 2^-53 k log k: 2e-9 beside float32 results of at least 6e-8, 3e-14 beside float64 ones.
_FACTORIALS = {torch.float32: 2.0**20, torch.float64: 64.0}


@elementwise(
    lambda x, mean, value: 1 / mean,
    lambda x, mean, value: torch.where(x == 0, 0, -x / torch.where(x == 0, 1, mean).square()),
)
def _relative_excess(x: Tensor, mean: Tensor) -> Tensor:
    """`x / mean - 1`, and -1 at 0 / 0."""
    return torch.where(x == 0, -1, (x - mean) / mean)
