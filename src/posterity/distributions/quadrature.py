"""A Gauss-Kronrod rule of 15 points over the pieces of the line, with its ends mapped to infinity."""

from collections.abc import Callable

import torch
from torch import Tensor

_MAX_VALUES = 2**16


def gauss_kronrod(
    integrand: Callable[[Tensor], Tensor],
    points: Tensor,
    lower: Tensor,
    upper: Tensor,
    span: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The integral over `[lower, upper]`, the sum of the error estimates of its pieces, and the integral of |f|.

    Args:
        integrand: From `[num_nodes, *shape]` to the same shape.
        points: Where the line is cut, ascending, `[num_points, *shape]`.
        lower: The lower end, which may be infinite; broadcasts against `shape`.
        upper: The upper end, likewise.
        span: The scale of the pieces that reach to infinity; None: the distance of the outermost points.

    Source: Piessens et al., QUADPACK, 1983, https://doi.org/10.1007/978-3-642-61786-7

    Example:
        >>> cuts = torch.tensor([-1.0, 0.0, 1.0])
        >>> infinity = torch.tensor(torch.inf)
        >>> gauss_kronrod(lambda x: (-x.square()).exp(), cuts, -infinity, infinity)[0]
        tensor(1.7725)
    """
    column = (-1,) + (1,) * points.dim()
    nodes = points.new_tensor(_NODES).reshape(column)
    kronrod = points.new_tensor(_KRONROD).reshape(column)
    gauss = points.new_tensor(_GAUSS).reshape(column)
    left, right = points[:-1], points[1:]
    inner = left + (right - left) * nodes
    inner_jacobian = (right - left).expand_as(inner)
    # An end piece is straight where the support ends, and x = cut + span t / (1 - t) where it does not.
    ends = torch.stack([points[0], points[-1]])
    limits = torch.stack([lower.expand_as(points[0]), upper.expand_as(points[0])])
    span = (points[-1] - points[0] if span is None else span).clamp(min=torch.finfo(points.dtype).tiny)
    outwards = torch.stack([-span, span])
    endless = limits.isinf()
    reach = torch.where(endless, outwards, limits - ends)
    outer = ends + torch.where(endless, nodes / (1 - nodes), nodes) * reach
    outer_jacobian = torch.where(endless, (1 - nodes) ** -2, 1) * reach.abs()
    x = torch.cat([inner, outer], dim=1)
    jacobian = torch.cat([inner_jacobian, outer_jacobian], dim=1)
    # The nodes of an empty piece, or one a few roundings wide, may be the end itself, where a density may be infinite.
    widest = (right - left).argmax(0, keepdim=True)
    middle = left.gather(0, widest).lerp(right.gather(0, widest), 0.5)
    x = torch.where((jacobian > 0) & (x != lower) & (x != upper), x, middle)
    # A few pieces at a time: a mixture multiplies every node by its number of components.
    parts = x.chunk(1 + x.numel() // _MAX_VALUES, dim=1)
    evaluated = [integrand(part.flatten(0, 1)).reshape(part.shape) for part in parts]
    heights = torch.cat(evaluated, dim=1) * jacobian
    pieces = (kronrod * heights).sum(0)
    error = (pieces - (gauss * heights).sum(0)).detach().abs().sum(0)
    magnitude = (kronrod * heights.detach().abs()).sum((0, 1))
    return pieces.sum(0), error, magnitude


# The 15 nodes of the Kronrod rule on [0, 1], their weights, and those of the 7-point Gauss rule inside it.
_HALF_NODES = (
    0.991455371120812639206854697526329,
    0.949107912342758524526189684047851,
    0.864864423359769072789712788640926,
    0.741531185599394439863864773280788,
    0.586087235467691130294144691258379,
    0.405845151377397166906606412076961,
    0.207784955007898467600689403773245,
)
_HALF_KRONROD = (
    0.022935322010529224963732008058970,
    0.063092092629978553290700663189204,
    0.104790010322250183839876322541518,
    0.140653259715525918745189590510238,
    0.169004726639267902826583426598550,
    0.190350578064785409913256402421014,
    0.204432940075298892414161999234649,
)
_HALF_GAUSS = (
    0.0,
    0.129484966168869693270611432679082,
    0.0,
    0.279705391489276667901467771423780,
    0.0,
    0.381830050505118944950369775488975,
    0.0,
)
_NODES = [0.5 - 0.5 * x for x in _HALF_NODES] + [0.5] + [0.5 + 0.5 * x for x in reversed(_HALF_NODES)]
_KRONROD = [0.5 * w for w in (*_HALF_KRONROD, 0.209482141084727828012999174891714, *reversed(_HALF_KRONROD))]
_GAUSS = [0.5 * w for w in (*_HALF_GAUSS, 0.417959183673469387755102040816327, *reversed(_HALF_GAUSS))]
