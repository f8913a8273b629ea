"""The Hurwitz zeta function of a real exponent, in log space and differentiable in both arguments."""

import torch
from torch import Tensor

# With 12 terms summed and 9 of the correction the relative error is below 1e-16 for q >= 1 and every exponent > 1.
_SUMMED = 12
# Bernoulli's numbers over factorials, B_2k / (2k)!, from k = 1.
_BERNOULLI = (
    1 / 12,
    -1 / 720,
    1 / 30240,
    -1 / 1209600,
    1 / 47900160,
    -691 / 1307674368000,
    1 / 74724249600,
    -3617 / 10670622842880000,
    43867 / 5109094217170944000,
)


def log_zeta(s: Tensor, q: Tensor) -> Tensor:
    r"""The log of the Hurwitz zeta function, $\log \sum_{n \ge 0} (q + n)^{-s}$; at q = 1 that of Riemann's.

    By Euler and Maclaurin's formula, relative to the first term, so that it neither overflows nor underflows: a
    relative error of a few roundings of 1 and of s log q. Made of torch's own operations, it can be differentiated
    to any order.

    Args:
        s: The exponent, above 1.
        q: At least 1 for the accuracy stated; broadcasts against `s`.

    Returns:
        The logarithm, of the broadcast shape; NaN where s <= 1 or q <= 0.

    Source: DLMF 25.11.1 and 25.11.5, with 2.10.1.

    Example:
        >>> log_zeta(torch.tensor(2.0), torch.tensor(1.0)).exp()
        tensor(1.6449)
        >>> log_zeta(torch.tensor(60.0), torch.tensor(1e30))
        tensor(-4079.6533)
    """
    s, q = torch.broadcast_tensors(s, q)
    valid = (s > 1) & (q > 0)
    s, q = torch.where(valid, s, 2), torch.where(valid, q, 1)
    rest = torch.zeros_like(s)
    for n in range(1, _SUMMED):
        rest = rest + torch.exp(-s * torch.log1p(n / q))
    end = q + _SUMMED
    correction = torch.full_like(s, 0.5)
    # (s)_(2k-1) / end^(2k-1), one pair of factors after the other.
    factor = s / end
    for k, coefficient in enumerate(_BERNOULLI, start=1):
        correction = correction + coefficient * factor
        factor = factor * ((s + 2 * k - 1) / end) * ((s + 2 * k) / end)
    power = torch.exp(-s * torch.log1p(_SUMMED / q))
    # Where the power underflows, its factors may overflow for a large exponent.
    rest = rest + torch.where(power > 0, power, 0) * torch.where(power > 0, end / (s - 1) + correction, 0)
    return torch.where(valid, torch.log1p(rest) - torch.xlogy(s, q), torch.nan)


def log_zeta_slope(s: Tensor, q: Tensor) -> Tensor:
    """The derivative of `log_zeta` in the exponent; for q = 1 minus the mean of log k under Zipf's law.

    Example:
        >>> log_zeta_slope(torch.tensor(2.0), torch.tensor(1.0))
        tensor(-0.5700)
    """
    s, q = torch.broadcast_tensors(s, q)
    pulled_back = torch.func.vjp(lambda t: log_zeta(t, q), s)[1]
    slope: Tensor = pulled_back(torch.ones_like(s))[0]
    return slope
