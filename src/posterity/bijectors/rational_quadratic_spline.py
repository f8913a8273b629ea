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


class RationalQuadraticSpline(Bijector):
    """An increasing curve from [-bound, bound] onto itself through K + 1 knots, and the identity outside.

    Between two knots it is a quotient of two quadratics, and its slope is continuous everywhere. The parameters are
    unconstrained; where all are 0 the map is the identity. A bin is at least 1e-3 of the interval wide and high, and
    slopes are at least 1e-3. Both directions are closed formulas of sums of positive terms, so neither a discriminant
    nor a log-det suffers from cancellation. (Durkan, Bekasov, Murray and Papamakarios 2019, "Neural Spline Flows",
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
        left, right, width, low, high, height, slope_left, slope_right = self._bin(clamped, at_input=True)
        before, after = _shares(clamped, left, right, width)
        slope = height / width
        # Denominator s + (d_0 + d_1 - 2 s) b a with b + a = 1, as a sum of positive terms.
        denominator = slope * (before.square() + after.square()) + (slope_left + slope_right) * before * after
        # From the nearer knot, so that knots are met exactly.
        up = height * before * (slope * before + slope_left * after) / denominator
        down = height * after * (slope * after + slope_right * before) / denominator
        y = torch.where(before < after, low + up, high - down)
        log_det = _log_slope(slope, slope_left, slope_right, before, after, denominator)
        return torch.where(inside, y, x), torch.where(inside, log_det, 0.0)

    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        inside, clamped = self._within(y)
        left, right, width, low, high, height, slope_left, slope_right = self._bin(clamped, at_input=False)
        slope = height / width
        below, above = _shares(clamped, low, high, height)
        # Durkan et al., eq. (25) to (29), divided by the bin's height: a = s - b and c = -s t, so that the
        # discriminant b^2 - 4 a c is the sum of squares below, which is positive.
        b = slope_left * above + (2 * slope - slope_right) * below
        root = ((b - 2 * slope * below).square() + 4 * slope.square() * below * above).sqrt()
        falling = b < 0
        a = torch.where(falling, slope - b, 1.0)
        before = torch.where(falling, (root + b.abs()) / (2 * a), 2 * slope * below / (root + b.abs())).clamp(0.0, 1.0)
        after = 1 - before
        x = torch.where(before < after, left + width * before, right - width * after)
        denominator = slope * (before.square() + after.square()) + (slope_left + slope_right) * before * after
        log_det = -_log_slope(slope, slope_left, slope_right, before, after, denominator)
        return torch.where(inside, x, y), torch.where(inside, log_det, 0.0)

    def _within(self, value: Tensor) -> tuple[Tensor, Tensor]:
        return value.abs() <= self.bound, value.clamp(-self.bound, self.bound)

    def _bin(self, value: Tensor, *, at_input: bool) -> list[Tensor]:
        """Of the bin that holds each value: both ends and the size in x, the same in y, and the slopes at the ends."""
        widths, heights = _sizes(self.widths, self.bound), _sizes(self.heights, self.bound)
        across, up = _knots(widths, self.bound), _knots(heights, self.bound)
        slopes = MIN_SLOPE + F.softplus(self.slopes + math.log(math.expm1(1 - MIN_SLOPE)))
        slopes = F.pad(slopes, (1, 1), value=1.0)
        inner = (across if at_input else up)[..., 1:-1]
        at = (value.unsqueeze(-1) >= inner).sum(-1, keepdim=True)
        # Sizes as they are: differences of knots would lose digits where a bin is narrow.
        tables = ((across, 0), (across, 1), (widths, 0), (up, 0), (up, 1), (heights, 0), (slopes, 0), (slopes, 1))
        return [
            table.expand(*at.shape[:-1], table.shape[-1]).gather(-1, at + offset).squeeze(-1)
            for table, offset in tables
        ]


def _sizes(raw: Tensor, bound: float) -> Tensor:
    return 2 * bound * (MIN_SIZE + (1 - MIN_SIZE * raw.shape[-1]) * raw.softmax(-1))


def _knots(sizes: Tensor, bound: float) -> Tensor:
    """K + 1 ascending knots, whose ends are -bound and bound exactly."""
    inner = sizes[..., :-1].cumsum(-1) - bound
    return F.pad(F.pad(inner, (1, 0), value=-bound), (0, 1), value=bound)


def _shares(value: Tensor, start: Tensor, end: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """The shares of a bin before a value and after it, measured from the nearer end; their sum is 1."""
    before, after = (value - start) / size, (end - value) / size
    near = before < after
    return torch.where(near, before, 1 - after), torch.where(near, 1 - before, after)


def _log_slope(
    slope: Tensor, slope_left: Tensor, slope_right: Tensor, before: Tensor, after: Tensor, denominator: Tensor
) -> Tensor:
    """Durkan et al., eq. (22)."""
    numerator = slope_right * before.square() + 2 * slope * before * after + slope_left * after.square()
    return 2 * slope.log() + numerator.log() - 2 * denominator.log()
