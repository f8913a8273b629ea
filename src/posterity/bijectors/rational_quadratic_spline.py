"""Monotone piecewise rational-quadratic curves, the elementwise map of neural spline flows."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from posterity.bijectors import constraints
from posterity.bijectors.base import Bijector
from posterity.bijectors.scale_matvec import require_floating

MIN_SIZE = 1e-3
MIN_SLOPE = 1e-3
# Raw slopes are shifted by this, so that 0 means a slope of 1.
_SLOPE_OF_ZERO = math.log(math.expm1(1 - MIN_SLOPE))
# Where a square root has a finite gradient.
_TINY = 1e-30


class RationalQuadraticSpline(Bijector):
    """An increasing curve from [-bound, bound] onto itself through K + 1 knots, and the identity outside.

    Between two knots it is a quotient of two quadratics, and its slope is continuous everywhere. The parameters are
    unconstrained; where all are 0 the map is the identity. A bin is at least 1e-3 of the interval wide and high, and
    slopes are at least 1e-3. Both directions are closed formulas in which neither a discriminant nor a log-det
    suffers from cancellation. (Durkan, Bekasov, Murray and Papamakarios 2019, "Neural Spline Flows",
    section 3.1; Gregory and Delbourgo 1982.)

    Args:
        widths: `[*batch, K]`: the bins take shares softmax(widths) of the interval.
        heights: `[*batch, K]`: likewise of the image.
        slopes: `[*batch, K - 1]`: the slopes at the inner knots are softplus(slopes), shifted so that 0 gives 1.
        bound: Half the length of the interval.

    Raises:
        TypeError: A parameter is not a real floating tensor.
        ValueError: The numbers of bins do not agree, or are too many, or `bound` is not positive.

    Example:
        >>> import torch
        >>> from posterity.bijectors import RationalQuadraticSpline
        >>> spline = RationalQuadraticSpline(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0]), torch.zeros(1))
        >>> spline.inverse(spline(torch.tensor([-1.0, 0.5, 9.0])))
        tensor([-1.0000,  0.5000,  9.0000])
    """

    domain = codomain = constraints.real
    _increasing = 1

    def __init__(self, widths: Tensor, heights: Tensor, slopes: Tensor, bound: float = 5.0) -> None:
        super().__init__()
        for name, value in (("widths", widths), ("heights", heights), ("slopes", slopes)):
            require_floating("RationalQuadraticSpline", name, value)
        shapes = [value.shape for value in (widths, heights, slopes)]
        bins = widths.shape[-1] if widths.dim() else 0
        if not all(shapes) or bins < 1 or heights.shape[-1] != bins or slopes.shape[-1] != bins - 1:
            raise ValueError(
                "RationalQuadraticSpline needs widths and heights of K bins and slopes at the K - 1 knots between "
                f"them, in their last dimensions, but they have shapes {', '.join(str(tuple(s)) for s in shapes)}."
            )
        if bins * MIN_SIZE >= 1:
            raise ValueError(f"RationalQuadraticSpline has room for less than {1 / MIN_SIZE:.0f} bins, not for {bins}.")
        if not bound > 0:
            raise ValueError(f"bound of RationalQuadraticSpline must be positive, but is {bound}.")
        self.widths, self.heights, self.slopes = widths, heights, slopes
        self.bound = float(bound)
        self._bounded: Tensor | None = None

    @property
    def batch_shape(self) -> torch.Size:
        """The shape of the parameters but for their last dimension."""
        return torch.Size(
            torch.broadcast_shapes(self.widths.shape[:-1], self.heights.shape[:-1], self.slopes.shape[:-1])
        )

    def _forward(self, x: Tensor) -> Tensor:
        return self._forward_and_log_det(x)[0]

    def _inverse(self, y: Tensor) -> Tensor:
        return self._inverse_and_log_det(y)[0]

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return self._forward_and_log_det(x)[1]

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return self._inverse_and_log_det(y)[1]

    def _forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        inside, clamped = self._within(x)
        corner, size, slopes = self._bin(clamped, at_input=True)
        (left, low), (width, height), (slope_left, slope_right) = (t.unbind(-1) for t in (corner, size, slopes))
        # By rounding, a value may lie a little outside its bin.
        slope, before = height / width, ((clamped - left) / width).clamp(0.0, 1.0)
        after = 1 - before
        denominator = _denominator(slope, slope_left, slope_right, before * after)
        share = before * (slope * before + slope_left * after) / denominator
        log_det = _log_slope(slope, slope_left, slope_right, before, after, denominator)
        return torch.where(inside, low + height * share, x), torch.where(inside, log_det, 0.0)

    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        inside, clamped = self._within(y)
        corner, size, slopes = self._bin(clamped, at_input=False)
        (left, low), (width, height), (slope_left, slope_right) = (t.unbind(-1) for t in (corner, size, slopes))
        slope, below = height / width, ((clamped - low) / height).clamp(0.0, 1.0)
        above = 1 - below
        # Durkan et al., eq. (25) to (29), divided by the bin's height: a = s - b and c = -s t, so that the
        # discriminant b^2 - 4 a c is the sum of squares below, which is positive.
        b = slope_left * above + (2 * slope - slope_right) * below
        double = 2 * slope * below
        root = torch.addcmul((b - double).square(), 2 * double * slope, above).clamp(min=_TINY).sqrt()
        falling = b < 0
        sum_of_both = root + b.abs()
        before = torch.where(falling, sum_of_both / torch.where(falling, 2 * (slope - b), 1.0), double / sum_of_both)
        before = before.clamp(0.0, 1.0)
        after = 1 - before
        denominator = _denominator(slope, slope_left, slope_right, before * after)
        log_det = -_log_slope(slope, slope_left, slope_right, before, after, denominator)
        return torch.where(inside, left + width * before, y), torch.where(inside, log_det, 0.0)

    def _within(self, value: Tensor) -> tuple[Tensor, Tensor]:
        # The ends are kept as they are, as what lies outside: slopes there are 1.
        return value.abs() < self.bound, value.clamp(-self.bound, self.bound)

    def _bin(self, value: Tensor, *, at_input: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Of the bin that holds each value: its lower corner, its sizes and the slopes at its ends, `[*batch, 2]` each.

        Sizes are exp(raw) over their sum, as in a softmax; that one would be slow for so few entries. Only those of the
        bin that is wanted are divided.
        """
        raw, bins = self._sizes(), self.widths.shape[-1]
        weights = raw.exp()
        ends = weights.cumsum(-1)
        share = 1 - MIN_SIZE * bins
        with torch.no_grad():
            own = ends[..., 0 if at_input else 1, :]
            steps = torch.arange(1, bins, dtype=own.dtype, device=own.device) * MIN_SIZE
            inner = torch.addcmul(steps, own[..., :-1], share / own[..., -1:])
            at = (((value + self.bound) / (2 * self.bound)).unsqueeze(-1) >= inner).sum(-1, keepdim=True)
        chosen = at.unsqueeze(-2).expand(*at.shape[:-1], 2, 1)
        weight = _taken(weights, chosen).squeeze(-1)
        end, total = _taken(ends, torch.cat([chosen, torch.full_like(chosen, bins - 1)], -1)).unbind(-1)
        factor = 2 * self.bound * share / total
        size = torch.add(weight * factor, 2 * self.bound * MIN_SIZE)
        corner = (end - weight) * factor + (at.to(end.dtype) * (2 * self.bound * MIN_SIZE) - self.bound)
        slopes = _taken(F.pad(self.slopes, (1, 1)), torch.cat([at, at + 1], -1))
        return corner, size, MIN_SLOPE + F.softplus(slopes + _SLOPE_OF_ZERO)

    def _sizes(self) -> Tensor:
        """`[*batch, 2, K]`, widths and heights, small enough for exp."""
        if self._bounded is not None:
            return self._bounded
        raw = torch.stack(torch.broadcast_tensors(self.widths, self.heights), -2)
        return raw - raw.detach().amax(-1, keepdim=True)


def bounded_spline(parameters: Tensor, num_bins: int, bound: float) -> RationalQuadraticSpline:
    """The spline of `[*batch, 3 num_bins - 1]` parameters, widths, heights and slopes, of moderate size; unchecked."""
    spline = RationalQuadraticSpline.__new__(RationalQuadraticSpline)
    Bijector.__init__(spline)
    sizes, spline.slopes = parameters.split([2 * num_bins, num_bins - 1], -1)
    spline._bounded = sizes.unflatten(-1, (2, num_bins))
    spline.widths, spline.heights = spline._bounded.unbind(-2)
    spline.bound = bound
    return spline


def _taken(table: Tensor, places: Tensor) -> Tensor:
    if table.shape[:-1] != places.shape[:-1]:
        table = table.expand(*places.shape[:-1], table.shape[-1])
    return table.gather(-1, places)


def _denominator(slope: Tensor, slope_left: Tensor, slope_right: Tensor, product: Tensor) -> Tensor:
    """Of Durkan et al., eq. (19): s + (d_0 + d_1 - 2 s) t (1 - t); the product is 1/4 at most: half of s stays."""
    return torch.addcmul(slope, torch.sub(slope_left + slope_right, slope, alpha=2), product)


def _log_slope(
    slope: Tensor, slope_left: Tensor, slope_right: Tensor, before: Tensor, after: Tensor, denominator: Tensor
) -> Tensor:
    """Durkan et al., eq. (22)."""
    ratio = slope / denominator
    numerator = slope_right * before.square() + 2 * slope * (before * after) + slope_left * after.square()
    return (ratio.square() * numerator).log()
