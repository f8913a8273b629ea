"""Probabilities of the skew normal distribution, relatively accurate in both tails."""

import math

import torch
from torch import Tensor

from posterity.kernels.elementwise import elementwise
from posterity.kernels.gauss_legendre import gauss_legendre
from posterity.kernels.normal_tails import density, mills_ratio, ndtr
from posterity.kernels.owens_t import finite, scaled_owens_t, scaled_tail, slope_in_a


@elementwise(
    lambda x, shape, value: 2 * density(x) * ndtr(_product(x, shape)),
    lambda x, shape, value: -2 * slope_in_a(x, shape),
)
def skew_normal_cdf(x: Tensor, shape: Tensor) -> Tensor:
    r"""The probability of the standard skew normal, with density $2 \phi(t) \Phi(shape \, t)$, below `x`.

    Args:
        x: Any real values.
        shape: Slant; 0 is the normal distribution, inf its positive half.

    Returns:
        Probabilities of the broadcast shape, $\Phi(x) - 2 T(x, shape)$ without its cancellation. The upper tail's are
        `skew_normal_cdf(-x, -shape)`.

    Source: Azzalini (1985), A Class of Distributions which Includes the Normal Ones; `skew_normal_log_cdf`.

    Example:
        >>> skew_normal_cdf(torch.tensor([-5.0, 0.0, 1.0]), 2.0)
        tensor([8.92...e-31, 1.4758e-01, 6.8441e-01])
    """
    return _log_cdf(x, shape).exp()


@elementwise(
    lambda x, shape, value: _slope_in_x(x, shape),
    lambda x, shape, value: _slope_in_shape(x, shape),
)
def skew_normal_log_cdf(x: Tensor, shape: Tensor) -> Tensor:
    r"""The log probability of the standard skew normal below `x`.

    Args:
        x: Any real values.
        shape: Slant; 0 is the normal distribution, inf its positive half.

    Returns:
        Log probabilities of the broadcast shape, finite where the probability itself underflows.

    Source: Owen (1956), Tables for Computing Bivariate Normal Probabilities, in combinations of T with normal tails
    that cancel little; far out in the light tail (x < 0 < shape) Gauss-Legendre quadrature of
    $\frac{1}{\pi} \int_{shape}^\infty e^{-x^2 (1 + t^2) / 2} / (1 + t^2) dt$.

    Example:
        >>> skew_normal_log_cdf(torch.tensor([-50.0, 5.0]), 2.0)
        tensor([-6.2613e+03, -5.7330e-07])
    """
    return _log_cdf(x, shape)


def _by_x_twice(x: Tensor, shape: Tensor, value: Tensor) -> Tensor:
    curve = value * (-finite(x) + _pull(x, shape) * finite(shape) - value)
    return _curvature(x, value, curve, -1 - finite(shape.clamp(min=0)).square())


def _by_x_and_shape(x: Tensor, shape: Tensor, value: Tensor) -> Tensor:
    curve = value * (_pull(x, shape) * finite(x) - _slope_in_shape(x, shape))
    return _curvature(x, value, curve, -2 * finite(x) * finite(shape.clamp(min=0)))


def _by_shape_and_x(x: Tensor, shape: Tensor, value: Tensor) -> Tensor:
    curve = value * (-finite(x) * (1 + finite(shape).square()) - _slope_in_x(x, shape))
    return _curvature(x, value, curve, -2 * finite(x) * finite(shape.clamp(min=0)))


def _by_shape_twice(x: Tensor, shape: Tensor, value: Tensor) -> Tensor:
    slant = finite(shape)
    curve = -value * (slant * (finite(x).square() + 2 / (1 + slant.square())) + value)
    return _curvature(x, value, curve, torch.where(shape > 0, -finite(x).square(), 0))


def _curvature(x: Tensor, value: Tensor, curve: Tensor, limit: Tensor) -> Tensor:
    """A second derivative: its limit where `curve` has lost its digits, and 0 where all slope is gone."""
    reach = 1e4 if x.dtype == torch.float64 else 60.0
    return torch.where(x < -reach, limit, torch.where(value == 0, 0, curve))


def _pull(x: Tensor, shape: Tensor) -> Tensor:
    """The derivative of log Phi(shape x) in its argument."""
    return 1 / mills_ratio(-_product(x, shape))


@elementwise(_by_x_twice, _by_x_and_shape)
def _slope_in_x(x: Tensor, shape: Tensor) -> Tensor:
    mantissa, far = _lower_tail(x, shape)
    outer = _product(x, shape)
    weight = torch.where(far, scaled_tail(outer.abs()), ndtr(outer))
    below = math.sqrt(2 / math.pi) * weight / mantissa
    above = 2 * density(x) * ndtr(outer) / _log_cdf(x, shape).exp()
    return torch.where(x > 0, above, below)


@elementwise(_by_shape_and_x, _by_shape_twice)
def _slope_in_shape(x: Tensor, shape: Tensor) -> Tensor:
    mantissa, far = _lower_tail(x, shape)
    outer = _product(x, shape)
    weight = torch.where(far, 1, (-0.5 * outer.square()).exp())
    below = -weight / (math.pi * (1 + finite(shape).square()) * mantissa)
    above = -2 * slope_in_a(x, shape) / _log_cdf(x, shape).exp()
    return torch.where(x > 0, above, below)


def _log_cdf(x: Tensor, shape: Tensor) -> Tensor:
    mantissa, far = _lower_tail(x, shape)
    height, slope = finite(x.abs()), finite(shape.abs())
    outer = height * slope
    tail = mantissa.log() - 0.5 * height.square() - torch.where(far, 0.5 * outer.square(), 0)
    # Above 0 the tail is the upper one. Where it holds most, positive terms give what is left of it.
    crossed = (-0.5 * outer.square()).exp() * scaled_owens_t(outer, finite(1 / slope))
    rest = torch.erf(height * math.sqrt(0.5)) * ndtr(outer) + 2 * crossed
    upper = torch.where((tail > -0.5) & (shape > 0), rest.log(), torch.log1p(-tail.exp()))
    result = torch.where(x > 0, upper, tail)
    return torch.where(x == -math.inf, -math.inf, torch.where(x == math.inf, 0, result))


def _lower_tail(x: Tensor, shape: Tensor) -> tuple[Tensor, Tensor]:
    """The probability below -|x| in units of e^{-x^2 / 2}, or e^{-x^2 (1 + shape^2) / 2} in the tails flagged as far.

    For positive x both signs are turned.
    """
    light = (x > 0) ^ (shape > 0)
    height, slope = finite(x.abs()), finite(shape.abs())
    outer = height * slope
    far = light & (outer > _FAR)
    tail, twice = scaled_tail(height), 2 * scaled_owens_t(height, slope)
    # Q(h) - 2 T(h, a) in the form of T(a h, 1 / a), which cancels less for steep slopes; h is at most 2 there.
    steep = torch.where(slope > 1, slope, 1)
    near = torch.where(slope > 1, height.clamp(max=_FAR), 0)
    crossed = 2 * (-0.5 * (steep * near).square()).exp() * scaled_owens_t(steep * near, 1 / steep)
    crossed = crossed - torch.erf(near * math.sqrt(0.5)) * ndtr(-steep * near)
    moderate = torch.where(slope > 1, crossed * (0.5 * near.square()).exp(), tail - twice)
    mantissa = torch.where(light, moderate, tail + twice)
    return torch.where(far, _far_tail(height, outer), mantissa), far


def _far_tail(height: Tensor, outer: Tensor) -> Tensor:
    # With outer + v = height t, to where the integrand has lost e^-40.
    length = 80 / (outer + torch.hypot(outer, torch.full_like(outer, math.sqrt(80))))
    h, c = height.unsqueeze(-1), outer.unsqueeze(-1)
    integrand = gauss_legendre(
        lambda v: (-v * (0.5 * v + c)).exp() * (h / (h.square() + (c + v).square())), length, _NUM_NODES
    )
    return integrand / math.pi


def _product(x: Tensor, shape: Tensor) -> Tensor:
    return finite(x) * finite(shape)


# From this product of x and shape on the light tail is integrated itself: before, too few digits cancel to matter.
_FAR = 2.0
_NUM_NODES = 40
