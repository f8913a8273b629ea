"""Owen's T function, by quadrature with a relative error in its tails."""

import math

import torch
from torch import Tensor

from posterity.kernels.elementwise import elementwise
from posterity.kernels.gauss_legendre import gauss_legendre
from posterity.kernels.normal_tails import density, ndtr


def _slope_in_a_by_a(h: Tensor, a: Tensor, value: Tensor) -> Tensor:
    h, a = finite(h), finite(a)
    return -a * value * (h.square() + 2 / (1 + a.square()))


def _slope_in_a_by_h(h: Tensor, a: Tensor, value: Tensor) -> Tensor:
    return -finite(h) * _corner(h, a)


@elementwise(_slope_in_a_by_h, _slope_in_a_by_a)
def slope_in_a(h: Tensor, a: Tensor) -> Tensor:
    """The derivative of `owens_t` in `a`, the density of the integral."""
    return _corner(h, a) / (1 + finite(a).square())


def _slope_in_h_by_h(h: Tensor, a: Tensor, value: Tensor) -> Tensor:
    return -finite(h) * value - finite(a) * _corner(h, a)


@elementwise(_slope_in_h_by_h, _slope_in_a_by_h)
def _slope_in_h(h: Tensor, a: Tensor) -> Tensor:
    return -0.5 * density(h) * torch.erf(finite(h) * finite(a) * math.sqrt(0.5))


@elementwise(lambda h, a, value: _slope_in_h(h, a), lambda h, a, value: slope_in_a(h, a))
def owens_t(h: Tensor, a: Tensor) -> Tensor:
    r"""Owen's T function, $\frac{1}{2\pi} \int_0^a e^{-h^2 (1 + t^2) / 2} / (1 + t^2) \, dt$.

    It is the probability that X > h and 0 < Y < a X, for independent standard normals X and Y and positive h and a.

    Args:
        h: Any real values; T is even in them.
        a: Any real values; T is odd in them.

    Returns:
        The function, of the broadcast shape.

    Source: Owen (1956), Tables for Computing Bivariate Normal Probabilities: Gauss-Legendre quadrature for
    |a| <= 1, and his reflection formula beyond.

    Example:
        >>> owens_t(torch.tensor([0.0, 1.0, 10.0]), 2.0)
        tensor([1.7621e-01, 7.8468e-02, 3.8099e-24])
    """
    height, slope = finite(h.abs()), finite(a.abs())
    result = (-0.5 * height.square()).exp() * scaled_owens_t(height, slope)
    return torch.where(a < 0, -result, result)


def scaled_owens_t(h: Tensor, a: Tensor) -> Tensor:
    """T(h, a) e^{h^2 / 2}, for finite arguments of at least 0."""
    steep = a > 1
    outer = h * a
    flat_h, flat_a = torch.where(steep, outer, h), torch.where(steep, 1 / a, a)
    # Beyond the cut the integrand is negligible.
    cut = 6.0 if h.dtype == torch.float32 else 9.0
    curvature = 0.5 * flat_h.square().unsqueeze(-1)
    flat = gauss_legendre(
        lambda t: (-curvature * t.square()).exp() / (1 + t.square()), torch.minimum(flat_a, cut / flat_h), _NUM_NODES
    ) / (2 * math.pi)
    # T(h, a) + T(a h, 1 / a) is half of Phi(h) Q(a h) + Q(h) Phi(a h).
    decay = (-0.5 * (outer - h) * (outer + h)).exp()
    corners = 0.5 * (decay * ndtr(h) * scaled_tail(outer) + scaled_tail(h) * ndtr(outer))
    return torch.where(steep, corners - torch.where(decay == 0, 0, decay * flat), flat)


def scaled_tail(h: Tensor) -> Tensor:
    """The normal probability above h, times e^{h^2 / 2}."""
    tail: Tensor = 0.5 * torch.special.erfcx(h * math.sqrt(0.5))
    return tail


def finite(x: Tensor) -> Tensor:
    """With a bound whose square is finite."""
    bound = 1e150 if x.dtype == torch.float64 else 1e15
    return x.clamp(-bound, bound)


def _corner(h: Tensor, a: Tensor) -> Tensor:
    h, a = finite(h), finite(a)
    return (-0.5 * (h.square() + (h * a).square())).exp() / (2 * math.pi)


_NUM_NODES = 36
