"""Von Mises angles, and the height of von Mises-Fisher draws over their mean direction."""

from collections.abc import Sequence

import torch
from torch import Tensor

from posterity.kernels.elementwise import elementwise
from posterity.kernels.random import Source
from posterity.kernels.samplers.noise import Noise, settle
from posterity.kernels.samplers.parameters import drawn_shape, sampler_parameters
from posterity.kernels.samplers.rejection import first_accepted
from posterity.kernels.von_mises import drift

# A candidate is rejected with probability below 0.343, its limit for large concentrations; 0.343^26 = 8e-13.
_CANDIDATES = 26

# A candidate is rejected with probability below 0.343 in any dimension from 2.
_FISHER_CANDIDATES = 26


def von_mises(concentration: Tensor, sample_shape: Sequence[int] = (), *, source: Source = None) -> Tensor:
    """Angles from the von Mises distribution around zero.

    Args:
        concentration: Not negative; zero is the uniform law on the circle.
        sample_shape: Drawn in front of the concentration's shape.
        source: A `torch.Generator`, a `Key`, or None for torch's global generator.

    Returns:
        Tensor `[*sample_shape, *concentration.shape]` of radians in [-pi, pi], with the implicit gradient with
        respect to the concentration. Angles keep their relative accuracy however large the concentration.

    Raises:
        TypeError: `concentration` is not a real tensor.

    Source: Best and Fisher (1979), "Efficient simulation of the von Mises distribution", rearranged so that nothing
    cancels: with w = 1 - cos x and d their r - 1, the test is on c = concentration (d + w).

    Example:
        >>> von_mises(torch.tensor([0.0, 1e8]), (2,), source=torch.Generator().manual_seed(0)).shape
        torch.Size([2, 2])
    """
    (concentration,) = sampler_parameters("von_mises", concentration=concentration)
    shape = drawn_shape("von_mises", sample_shape, concentration=concentration)
    draws = first_accepted(_propose, (concentration,), shape, settle(source, concentration.detach()), _CANDIDATES)
    return _with_gradient(draws, concentration)


def von_mises_fisher_versine(
    concentration: Tensor, dimension: int, sample_shape: Sequence[int] = (), *, source: Source = None
) -> Tensor:
    """1 - cos of the angle between a von Mises-Fisher draw and its mean direction.

    The draw itself is `(1 - v) m + sqrt(v (2 - v)) u` with v the versine, m the mean direction and u a uniform
    direction orthogonal to m. The versine keeps its relative accuracy where the cosine rounds to 1.

    Args:
        concentration: Not negative; zero is the uniform law on the sphere.
        dimension: Of the space around the sphere, at least 2.
        sample_shape: Drawn in front of the concentration's shape.
        source: A `torch.Generator`, a `Key`, or None for torch's global generator.

    Returns:
        Tensor `[*sample_shape, *concentration.shape]` in [0, 2], without gradient.

    Raises:
        TypeError: `concentration` is not a real tensor.
        ValueError: `dimension` is below 2.

    Source: Wood (1994), "Simulation of the von Mises Fisher distribution", algorithm VM*, with the symmetric beta
    variates of Ulrich (1984), "Computer generation of distributions on the m-sphere".

    Example:
        >>> von_mises_fisher_versine(torch.tensor(10.0), 3, (2,), source=torch.Generator().manual_seed(0)).shape
        torch.Size([2])
    """
    (concentration,) = sampler_parameters("von_mises_fisher_versine", concentration=concentration)
    if dimension < 2:
        raise ValueError(f"von_mises_fisher_versine: dimension must be at least 2, got {dimension}.")

    def propose(source: Noise, concentration: Tensor) -> tuple[Tensor, Tensor]:
        return _propose_versine(source, concentration, dimension)

    shape = drawn_shape("von_mises_fisher_versine", sample_shape, concentration=concentration)
    settled = settle(source, concentration.detach())
    return first_accepted(propose, (concentration,), shape, settled, _FISHER_CANDIDATES)


def _propose(source: Noise, concentration: Tensor) -> tuple[Tensor, Tensor]:
    twice = 2 * concentration
    # kd is concentration * d with the d that rejects least; it falls from 1 to 1/2 as the concentration grows.
    inverse_kd = 1 + twice / (1 + torch.hypot(twice, torch.ones_like(twice)))
    scale = torch.rsqrt(1 + twice * inverse_kd)
    # A wrapped Cauchy angle: the tangent of its half is a Cauchy number.
    half_tangent = scale * torch.tan(0.5 * torch.pi * source.signed())
    square = half_tangent.square()
    versine = 2 * square / (1 + square)
    c = 1 / inverse_kd + concentration * versine
    return 2 * torch.atan(half_tangent), -source.exponential() <= torch.log(c) + 1 - c


def _propose_versine(source: Noise, concentration: Tensor, dimension: int) -> tuple[Tensor, Tensor]:
    m = dimension - 1
    twice = 2 * concentration
    b = m / (twice + torch.hypot(twice, torch.full_like(twice, m)))
    x0 = (1 - b) / (1 + b)
    best = 2 * b / (1 + b)
    # Twice a Beta(m / 2, m / 2) variate is 1 + its offset.
    # With three directions or more, U^(2 / (dimension - 2)) is exp(-2 E / (dimension - 2)).
    radius = torch.ones_like(twice)
    if dimension > 2:
        radius = torch.sqrt(-torch.expm1(-2 / (dimension - 2) * source.exponential()))
    offset = radius * torch.cos(torch.pi * source.uniform())
    versine = 2 * b * (1 + offset) / ((1 - offset) + b * (1 + offset))
    distance = versine - best
    gain = -concentration * distance + m * torch.log1p(x0 * distance / (best * (2 - best)))
    return versine, -source.exponential() <= gain


@elementwise(None, lambda draw, concentration, value: -drift(value, concentration))
def _with_gradient(draw: Tensor, concentration: Tensor) -> Tensor:
    return draw.clone()
