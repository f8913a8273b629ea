"""Log probabilities of intervals, and quantiles from log probabilities: both from the nearer tail."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from posterity.distributions.base import Distribution
from posterity.distributions.laplace import Laplace
from posterity.distributions.logistic import Logistic
from posterity.distributions.normal import Normal
from posterity.distributions.quantiles import _INTEGERS, _ordered, _unordered
from posterity.distributions.supports import point_inside, support_ends
from posterity.kernels import log1mexp, logsubexp, ndtri_exp


def log_tails(d: Distribution, x: Tensor) -> tuple[Tensor, Tensor]:
    """Logs of P(X <= x) and P(X > x), with finite gradients where one of them is 0: x may be infinite.

    Args:
        d: A scalar distribution.
        x: Of a shape that broadcasts against the batch.

    Example:
        >>> log_tails(Normal(0.0, 1.0), torch.tensor(torch.inf))
        (tensor(0.), tensor(-inf))
    """
    lower, upper = support_ends(d)
    nothing, everything = x < lower if d._is_discrete() else x <= lower, x >= upper
    inner = torch.where(nothing | everything, point_inside(d).to(x.dtype).detach(), x)
    below = torch.where(nothing, -torch.inf, torch.where(everything, 0, d.log_cdf(inner)))
    return below, torch.where(nothing, 0, torch.where(everything, -torch.inf, d.log_survival_function(inner)))


def log_mass_between(first: tuple[Tensor, Tensor], last: tuple[Tensor, Tensor]) -> Tensor:
    """Log of P(a < X <= b) from the log tails at a and at b: differences are taken in the tail that is smaller.

    Args:
        first: `log_tails(d, a)`.
        last: `log_tails(d, b)`, where b is not less than a.

    Example:
        >>> d = Normal(0.0, 1.0)
        >>> log_mass_between(log_tails(d, torch.tensor(3.0)), log_tails(d, torch.tensor(4.0)))
        tensor(-6.6315)
    """
    (below_a, above_a), (below_b, above_b) = first, last
    half = -math.log(2)
    left = below_b < half
    right = ~left & (above_a < half)
    empty = (below_a >= below_b) & (above_a <= above_b)
    # Each difference sees only its own intervals, so that no other sends a NaN into the gradient.
    in_left, in_right = left & ~empty, right & ~empty
    lower = logsubexp(torch.where(in_left, below_b, 0), torch.where(in_left, below_a, -torch.inf))
    upper = logsubexp(torch.where(in_right, above_a, 0), torch.where(in_right, above_b, -torch.inf))
    middle = ~(left | right | empty)
    outside = torch.where(middle, below_a, -torch.inf).exp() + torch.where(middle, above_b, -torch.inf).exp()
    inside = torch.where(in_left, lower, torch.where(in_right, upper, torch.log1p(-outside)))
    return torch.where(empty, -torch.inf, inside)


def complement(log_p: Tensor, log_rest: Tensor) -> Tensor:
    """`log_p`, from the log of what is left to 1 where that is the smaller."""
    near_one = log_rest < -math.log(2)
    return torch.where(near_one, -_minus_log1mexp(torch.where(near_one, -log_rest, 1)), log_p)


def _minus_log1mexp(x: Tensor) -> Tensor:
    finite = x < torch.inf
    return torch.where(finite, -log1mexp(torch.where(finite, x, 1)), 0)


def quantile_from_logs(d: Distribution, below: Tensor, above: Tensor) -> Tensor:
    """The value x of a continuous scalar distribution with these logs of P(X <= x) and P(X > x); no gradients.

    In closed form for normal, logistic and Laplace distributions; for others the ordered floating-point numbers are
    halved, and the smaller of the two probabilities is compared.

    Args:
        d: The distribution.
        below: Log of the probability below; its exponential and that of `above` sum to 1.
        above: Log of the probability above.
    """
    with torch.no_grad():
        closed = _CLOSED.get(type(d))
        if closed is not None:
            left = below <= above
            distance = closed(torch.where(left, below, above))
            placed: Tensor = d.loc + d.scale * torch.where(left, distance, -distance)  # type: ignore[attr-defined]
            return placed
        shape = torch.broadcast_shapes(below.shape, d.batch_shape)
        lower, upper = (end.expand(shape) for end in support_ends(d))
        largest, integer = torch.finfo(lower.dtype).max, _INTEGERS[lower.element_size()]
        first = _ordered(lower.clamp(min=-largest), integer)
        last = _ordered(upper.clamp(max=largest), integer)
        for _ in range(8 * lower.element_size()):
            # The mean of two integers, without their sum, which might overflow.
            middle = (first & last) + ((first ^ last) >> 1)
            x = _unordered(middle, lower.dtype)
            short = torch.where(below <= above, d.log_cdf(x) < below, d.log_survival_function(x) > above)
            first, last = torch.where(short, middle, first), torch.where(short, last, middle)
        return _unordered(last, lower.dtype)


def _logistic_quantile(log_p: Tensor) -> Tensor:
    return log_p - log1mexp(-log_p)


# From the log of a probability of at most one half to the standardised quantile, which is not positive.
_CLOSED: dict[type, Callable[[Tensor], Tensor]] = {
    Normal: ndtri_exp,
    Laplace: lambda log_p: log_p + math.log(2),
    Logistic: _logistic_quantile,
}
