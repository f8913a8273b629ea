"""The Poisson probability in saddle-point form, of which binomial, multinomial and other count masses are products.

No factorial of a large count is taken, so that float32 keeps its digits at counts of a million.
"""

import math

import torch
from torch import Tensor

from posterity.kernels.elementwise import BLOCK, elementwise, in_blocks
from posterity.kernels.log_factorial import log_factorial
from posterity.kernels.reading import lies_within, readable, records_gradient
from posterity.kernels.stirling import stirling_error

# Up to |v| = 0.3 the series of the deviance is cut below the rounding of float64: 0.3^(2 * 15) = 2e-16.
_NEAR, _TERMS = 0.3, 15

# Errors of 2^-53 k log k: 2e-9 beside float32 results of at least 6e-8, 3e-14 beside float64 ones.
FEW = {torch.float32: 2.0**20, torch.float64: 64.0}


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
    quick = quick_poisson_mass(count, rate, readable_logarithm(rate))
    if quick is not None:
        return quick
    many, few = count.clamp(min=10), count.clamp(max=10)
    positive = rate > 0
    r = torch.where(positive, rate, 1)
    large = -deviance(many, r) - stirling_error(many) - 0.5 * torch.log(2 * math.pi * many)
    small = few * r.log() - r - torch.lgamma(few + 1)
    value = torch.where(count < 10, small, large)
    at_zero = torch.where(count == 0, 0, torch.where(count > 0, -torch.inf, torch.nan))
    return torch.where(positive, value, torch.where(rate == 0, at_zero, torch.nan))


def quick_poisson_mass(
    count: Tensor, rate: Tensor, log_rate: Tensor | None, limit: float | None = None
) -> Tensor | None:
    """`log_poisson_mass` of few whole counts at positive rates, by factorials in float64; None where that may not do.

    Values are read, no derivative is recorded. A result shows that all counts are whole and not negative.

    Args:
        count: k.
        rate: r.
        log_rate: `readable_logarithm(rate)`, which may be kept for many counts.
        limit: The greatest count, if not what keeps the last digits: the error is 2^-53 k log k.

    Example:
        >>> rate = torch.tensor([2.0])
        >>> [quick_poisson_mass(k, rate, readable_logarithm(rate)) for k in (rate - 1, rate / 4)]
        [tensor([-1.3069]), None]
    """
    if log_rate is None or records_gradient(count) or not readable(count, rate):
        return None
    most = greatest_of_few(count, limit)
    if most is None:
        return None

    def formula(count: Tensor, rate: Tensor, log_rate: Tensor) -> Tensor:
        return (count.double() * log_rate).sub_(rate).sub_(log_factorial(count, most)).to(count.dtype)

    return in_blocks(formula, count, rate, log_rate)


def readable_logarithm(rate: Tensor) -> Tensor | None:
    """Of positive, finite values the logarithms in float64; None where values are not to be read, or others."""
    if records_gradient(rate) or not readable(rate) or not lies_within(rate, 0.0, torch.finfo(rate.dtype).max):
        return None
    return rate.double().log()


def greatest_of_few(count: Tensor, limit: float | None = None) -> float | None:
    """The greatest of whole numbers whose factorials, taken in float64, keep the digits of masses; None of others.

    The factorial of k has a rounding error of k log k: at these counts it is below the result's own. Values are read,
    so that the answer is None in graphs, under transforms of `torch.func`, and where reading means waiting.

    Args:
        count: Any numbers.
        limit: What the greatest may be, if not what masses allow for.

    Example:
        >>> greatest_of_few(torch.tensor([5.0, 2.0])), greatest_of_few(torch.tensor(1e7))
        (5.0, None)
    """
    if not readable(count):
        return None
    bound = FEW[count.dtype] if limit is None else limit
    if count.numel() == 1:
        number = float(count.item())
        return number if 0 <= number <= bound and number.is_integer() else None
    least, most = (float(end.item()) for end in count.detach().aminmax())
    if not (least >= 0 and most <= bound):
        return None
    size = BLOCK // count.element_size()
    parts = count.detach().reshape(-1).split(size) if count.numel() > size else (count.detach(),)
    return most if all(torch.equal(part, part.trunc()) for part in parts) else None


@elementwise(
    lambda x, mean, value: 1 / mean,
    lambda x, mean, value: torch.where(x == 0, 0, -x / torch.where(x == 0, 1, mean).square()),
)
def _relative_excess(x: Tensor, mean: Tensor) -> Tensor:
    """`x / mean - 1`, and -1 at 0 / 0."""
    return torch.where(x == 0, -1, (x - mean) / mean)
