"""The masses of a discrete scalar distribution as a table, from which sums are taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from posterity.distributions.supports import support_ends

if TYPE_CHECKING:
    from posterity.distributions.base import Distribution

_MAX_LISTED = 2**12
_MAX_VALUES = 2**20
_MAX_UNKNOWN_VALUES = 2**16


def mass_table(d: Distribution) -> tuple[Tensor, Tensor]:
    """Consecutive values that carry all but a negligible mass, and their masses, each `[num_values, *batch_shape]`.

    A finite support that the distribution lists is taken whole, unless it is long. Otherwise, where the cdf has a
    closed form, what is left out on either side is at most eps squared; where not, the table grows until masses
    underflow.
    Gradients flow through the masses.

    Raises:
        ArithmeticError: So many values are needed that a sum is no way to a statistic.
        NotImplementedError: The support goes on in both directions and there is no closed form of the cdf.
    """
    if d.has_enumerate_support and not (_is_long(d) and d._has_closed_form("cdf")):
        values = d.enumerate_support()
        return values, d.prob(values)
    if not d.batch_shape.numel():
        empty = d._like().new_zeros(1, *d.batch_shape)
        return empty, empty
    with torch.no_grad():
        first, last = _window(d) if d._has_closed_form("cdf") else _window_without_cdf(d)
        size = int((last - first).max()) + 1 if first.numel() else 1
        if size > _MAX_VALUES:
            raise ArithmeticError(
                f"{type(d).__name__} spreads its mass over more than {_MAX_VALUES} values with these parameters: a sum "
                "over them is out of reach."
            )
        steps = torch.arange(size, dtype=first.dtype, device=first.device)
        values = first + steps.reshape((-1,) + (1,) * first.dim())
        inside = values <= last
        values = torch.where(inside, values, last)
    return values, torch.where(inside, d.prob(values), 0)


def summed_cdf(d: Distribution, value: Tensor, *, above: bool) -> Tensor:
    """P(X <= value), or P(X > value), by summing the table of masses."""
    values, masses = mass_table(d)
    sums = masses.flip(0).cumsum(0).flip(0) if above else masses.cumsum(0)
    none, all_ = torch.zeros_like(sums[:1]), torch.ones_like(sums[:1])
    # Entry i: the mass of the first i values, or of those from the i-th on; that of all without rounding.
    sums = torch.cat([all_, sums[1:], none] if above else [none, sums[:-1], all_])
    shape = torch.broadcast_shapes(value.shape, d.batch_shape)
    flat = value.expand(shape).reshape(_rows(shape, d), *d.batch_shape)
    count = (flat.floor() - values[0] + 1).clamp(0, len(values))
    unknown = count.isnan()
    return torch.where(unknown, torch.nan, sums.gather(0, torch.where(unknown, 0, count).long())).reshape(shape)


def summed_quantile(d: Distribution, level: Tensor) -> Tensor:
    """The least value whose summed cdf reaches `level`."""
    values, masses = mass_table(d)
    shape = torch.broadcast_shapes(level.shape, d.batch_shape)
    flat = level.expand(shape).reshape(_rows(shape, d), *d.batch_shape).movedim(0, -1)
    cumulative = masses.cumsum(0).movedim(0, -1).contiguous()
    # Rounding leaves the last sum next to 1, and no level may lie above it.
    index = torch.searchsorted(cumulative, torch.minimum(flat, cumulative[..., -1:]).contiguous())
    return values.movedim(0, -1).gather(-1, index).movedim(-1, 0).reshape(shape)


def _is_long(d: Distribution) -> bool:
    if d.event_shape or d.support is None or not d.batch_shape.numel():
        return False
    lower, upper = support_ends(d)
    return bool((upper - lower).amax() >= _MAX_LISTED)


def _rows(shape: torch.Size, d: Distribution) -> int:
    return shape[: len(shape) - len(d.batch_shape)].numel()


def _window(d: Distribution) -> tuple[Tensor, Tensor]:
    from posterity.distributions.quantiles import least_integer

    level = torch.finfo(d._like().dtype).eps ** 2
    first = least_integer(d, lambda k: d.cdf(k) < level)
    return first, least_integer(d, lambda k: d.survival_function(k) > level).maximum(first)


def _window_without_cdf(d: Distribution) -> tuple[Tensor, Tensor]:
    lower, upper = support_ends(d)
    if bool(lower.isinf().any()):
        raise NotImplementedError(
            f"{type(d).__name__} has no closed form of its cdf, and no least value from which masses could be summed."
        )
    steps, tiny = 64, torch.finfo(lower.dtype).tiny
    while True:
        last = (lower + steps).minimum(upper)
        column = torch.arange(steps + 1, dtype=lower.dtype, device=lower.device).reshape((-1,) + (1,) * lower.dim())
        masses = d.prob((lower + column).minimum(upper))
        total = torch.where(lower + column <= upper, masses, 0).sum(0)
        # Masses may underflow below the bulk too.
        if bool((((masses[-1] < tiny) & (total > 0.5)) | (last == upper)).all()):
            return lower, last
        if steps >= _MAX_UNKNOWN_VALUES:
            raise ArithmeticError(
                f"{type(d).__name__} has a mass of only {float(total.min()):.6g} on its {_MAX_UNKNOWN_VALUES} least "
                "values: a sum over its values is out of reach."
            )
        steps *= 2
