"""Von Mises angles, and the height of von Mises-Fisher draws over their mean direction."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from posterity.kernels.elementwise import elementwise
from posterity.kernels.random import Key, Source
from posterity.kernels.reading import records_gradient
from posterity.kernels.samplers.noise import Noise, is_eager, settle
from posterity.kernels.samplers.parameters import drawn_shape, sampler_parameters
from posterity.kernels.samplers.rejection import first_accepted
from posterity.kernels.von_mises import drift
from posterity.kernels.von_mises_fisher import versine_drift

# A candidate is rejected with probability below 0.343, its limit for large concentrations; 0.343^26 = 8e-13.
_CANDIDATES = 26

# Up to here, elements are drawn one by one.
_FEW = 16

# Elements that are drawn at a time, so that the temporaries stay in the cache.
_BLOCK = 1 << 14

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
    shape = torch.Size((*sample_shape, *concentration.shape))
    fixed = concentration.detach()
    settled = settle(source, fixed)
    if not isinstance(settled, Key) and is_eager(fixed) and fixed.is_cpu:
        draws = _drawn_directly(fixed.expand(shape), settled)
    else:
        draws = first_accepted(_propose, (fixed,), shape, settled, _CANDIDATES)
    return _with_gradient(draws, concentration) if records_gradient(concentration) else draws


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
        Tensor `[*sample_shape, *concentration.shape]` in [0, 2], with the implicit gradient with respect to the
        concentration.

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
    draws = first_accepted(propose, (concentration,), shape, settled, _FISHER_CANDIDATES)
    return _with_fisher_gradient(draws, concentration, dimension)


def _drawn_directly(concentration: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draws of the shape of `concentration`, made of the 53 random bits that torch's generator gives on the CPU."""
    if concentration.numel() <= _FEW:
        angles = [_angle(kappa, generator) for kappa in concentration.reshape(-1).tolist()]
        return concentration.new_tensor(angles).view(concentration.shape)
    parts = [_half_tangents(part.double(), generator, _CANDIDATES) for part in concentration.reshape(-1).split(_BLOCK)]
    half_tangents = torch.cat(parts) if len(parts) > 1 else parts[0]
    return half_tangents.atan_().mul_(2).to(concentration.dtype).view(concentration.shape)


def _angle(concentration: float, generator: torch.Generator | None) -> float:
    """One draw, as the numbers of Python, which are much faster than tensors of one element."""
    if not 0 <= concentration < math.inf:
        return math.nan
    twice = 2 * concentration
    inverse_kd = 1 + twice / (1 + math.hypot(twice, 1))
    scale = 1 / math.sqrt(1 + twice * inverse_kd)
    for _ in range(_CANDIDATES):
        place, level = torch.empty(2, dtype=torch.float64).uniform_(generator=generator).tolist()
        half_tangent = scale * math.tan(math.pi * (place - 0.5))
        square = half_tangent * half_tangent
        c = 1 / inverse_kd + twice * square / (1 + square)
        if math.log1p(-level) <= math.log(c) + 1 - c:
            break
    return 2 * math.atan(half_tangent)


def _half_tangents(concentration: Tensor, generator: torch.Generator | None, left: int) -> Tensor:
    """Tangents of half the angles; few elements get several of their `left` candidates at once."""
    count = len(concentration)
    at_once = min(left, 8 if count <= 64 else 4 if count <= 2048 else 1)
    inverse_kd, scale = _envelope(concentration)
    noise = concentration.new_empty((2, at_once, count)).uniform_(generator=generator)
    candidates = noise[0].sub_(0.5).mul_(torch.pi).tan_().mul_(scale)
    square = candidates.square()
    c = torch.addcmul(1 / inverse_kd, square.div_(1 + square), concentration, value=2)
    accepted = c.log().sub_(c).sub_(noise[1].log_()) >= -1
    usable, first = accepted.to(torch.uint8).max(0, keepdim=True)
    chosen = candidates.gather(0, first)[0]
    rest = (usable[0] == 0).nonzero().squeeze(-1)
    if len(rest) and left > at_once:
        chosen[rest] = _half_tangents(concentration[rest], generator, left - at_once)
    return chosen


def _envelope(concentration: Tensor) -> tuple[Tensor, Tensor]:
    """One over the product of the concentration and the d that rejects least, and the scale of the Cauchy number."""
    twice = 2 * concentration
    # It grows from 1 to 2 with the concentration.
    inverse_kd = 1 + twice / (1 + torch.hypot(twice, torch.ones_like(twice)))
    return inverse_kd, torch.rsqrt(1 + twice * inverse_kd)


def _propose(source: Noise, concentration: Tensor) -> tuple[Tensor, Tensor]:
    inverse_kd, scale = _envelope(concentration)
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


@elementwise(None, lambda draw, concentration, dimension, value: versine_drift(value, concentration, dimension), None)
def _with_fisher_gradient(draw: Tensor, concentration: Tensor, dimension: Tensor) -> Tensor:
    return draw.clone()
