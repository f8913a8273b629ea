"""Gamma draws, also in log space, with the gradient of their quantiles: Gamma, Beta and Dirichlet rest on them.

The gradient is implicit: a draw keeps its probability level while the concentration moves.
"""

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from posterity.kernels.elementwise import elementwise
from posterity.kernels.incomplete_gamma import gamma_quantile_slope
from posterity.kernels.random import Key, Source
from posterity.kernels.reading import lies_within, readable, records_gradient
from posterity.kernels.samplers.gamma_blocks import eager_gamma
from posterity.kernels.samplers.noise import Noise, Settled, is_eager, noise, settle
from posterity.kernels.samplers.parameters import drawn_shape, sampler_parameters
from posterity.kernels.samplers.rejection import PROPOSAL_CALLS, first_accepted

# Above concentration 1 a candidate is rejected with probability below 0.0491; 0.0491^10 = 8e-14.
_CANDIDATES = 10

# A draw of this concentration is below the least normal number of float32 with a probability of 5e-14.
_NEVER_TINY = 0.35


def standard_gamma(concentration: Tensor, sample_shape: Sequence[int] = (), *, source: Source = None) -> Tensor:
    """Draws from the gamma distribution of rate 1.

    Args:
        concentration: Positive; any shape.
        sample_shape: Drawn in front of the concentration's shape.
        source: A `torch.Generator`, a `Key`, or None for torch's global generator.

    Returns:
        Tensor `[*sample_shape, *concentration.shape]`, positive (what underflows is the least normal number), with
        the implicit gradient with respect to the concentration.

    Raises:
        TypeError: `concentration` is not a real tensor.

    Source: Marsaglia and Tsang (2000), "A simple method for generating gamma variables", also for concentrations
    below 1; Figurnov, Mohamed and Mnih (2018), "Implicit reparameterization gradients", equation 6.

    Example:
        >>> a = torch.tensor([0.5, 2.0], requires_grad=True)
        >>> standard_gamma(a, (3,), source=Key(0)).shape
        torch.Size([3, 2])
    """
    if _is_direct(concentration, source):
        shape = torch.Size((*sample_shape, *concentration.shape))
        return eager_gamma(concentration, shape, cast(torch.Generator | None, source))
    (concentration,) = sampler_parameters("standard_gamma", concentration=concentration)
    fixed = concentration.detach()
    shape = drawn_shape("standard_gamma", sample_shape, concentration=fixed)
    settled = settle(source, fixed)
    if isinstance(settled, Key):
        gamma, shift = _unboosted(fixed, shape, settled)
        draws = (gamma * shift.exp()).clamp(min=torch.finfo(gamma.dtype).tiny)
    else:
        draws = eager_gamma(fixed, shape, settled)
    return _with_gradient(draws, concentration)


def log_standard_gamma(concentration: Tensor, sample_shape: Sequence[int] = (), *, source: Source = None) -> Tensor:
    """Logarithms of draws from the gamma distribution of rate 1, also where the draws themselves underflow.

    A draw of concentration a is one of a + 1 times U^(1/a), so log G(a) = log G(a + 1) + log(U) / a. Arguments,
    errors and sources are those of `standard_gamma`.

    Returns:
        Tensor `[*sample_shape, *concentration.shape]`, finite, with the implicit gradient.

    Example:
        >>> log_standard_gamma(torch.tensor(1e-4), (2,), source=Key(0)).isfinite()
        tensor([True, True])
    """
    (concentration,) = sampler_parameters("log_standard_gamma", concentration=concentration)
    fixed = concentration.detach()
    shape = drawn_shape("log_standard_gamma", sample_shape, concentration=fixed)
    gamma, shift = _unboosted(fixed, shape, settle(source, fixed))
    return _with_log_gradient(torch.log(gamma) + shift, concentration)


def gamma_ratio_terms(
    first: Tensor, second: Tensor, shape: Sequence[int], source: Source
) -> tuple[Tensor, Tensor] | None:
    """Two gamma draws of a shape that may be divided by each other as they are, or None.

    None where a draw may underflow, where gradients are recorded, in graphs and for keys: the logarithms of draws
    serve all of these.

    Args:
        first: Concentration of the first; broadcasts to `shape`.
        second: Concentration of the second.
        shape: Of the draws.
        source: As in `standard_gamma`.
    """
    one = direct_gamma(first, shape, source)
    other = direct_gamma(second, shape, source) if one is not None else None
    return (one, other) if one is not None and other is not None else None


def direct_gamma(concentration: Tensor, shape: Sequence[int], source: Source) -> Tensor | None:
    """A gamma draw that may be divided by, where `gamma_ratio_terms` gives two."""
    if (
        (source is None or isinstance(source, torch.Generator))
        and readable(concentration)
        and not records_gradient(concentration)
        and lies_within(concentration, _NEVER_TINY, math.inf)
    ):
        return eager_gamma(concentration, torch.Size(shape), source)
    return None


def _is_direct(concentration: Tensor, source: Source) -> bool:
    """Whether torch's own draws serve: no key, no graph, no gradient."""
    return (
        (source is None or isinstance(source, torch.Generator))
        and isinstance(concentration, Tensor)
        and concentration.dtype in (torch.float32, torch.float64)
        and is_eager(concentration)
        and not records_gradient(concentration)
    )


def _unboosted(concentration: Tensor, shape: torch.Size, source: Settled) -> tuple[Tensor, Tensor]:
    """A gamma draw of concentration at least 1, and the logarithm of what it is to be multiplied by."""
    small = concentration < 1
    raised = torch.where(small, concentration + 1, concentration)
    if isinstance(source, Key):
        gamma = first_accepted(_propose, (raised,), shape, source, _CANDIDATES)
    else:
        gamma = eager_gamma(raised, shape, source)
    level = noise(source, shape, concentration, PROPOSAL_CALLS).exponential()
    return gamma, torch.where(small, -level / torch.where(small, concentration, 1.0), 0.0)


def _propose(source: Noise, concentration: Tensor) -> tuple[Tensor, Tensor]:
    d = concentration - 1 / 3
    y = source.normal() / (3 * torch.sqrt(d))
    # Marsaglia and Tsang's test with v = (1 + y)^3, where x^2 / 2 = 4.5 d y^2 cancels against d (1 - v + log v) up
    # to the fourth order of y.
    accepted = (y > -1) & (-source.exponential() < 3 * d * _log1p_after_cubic(y.clamp(min=-0.999999)))
    return d * (1 + y) ** 3, accepted


def _log1p_after_cubic(y: Tensor) -> Tensor:
    """log(1 + y) - y + y^2 / 2 - y^3 / 3, by its series where that is small."""
    small = y.clamp(-0.25, 0.25)
    series = torch.zeros_like(y)
    for power in range(17, 3, -1):
        series = series * small + (-1) ** (power + 1) / power
    plain = torch.log1p(y) - y * (1 - y * (0.5 - y / 3))
    return torch.where(y.abs() < 0.25, series * small**4, plain)


def _slope(draw: Tensor, concentration: Tensor, value: Tensor) -> Tensor:
    return gamma_quantile_slope(concentration, value)


def _log_slope(log_draw: Tensor, concentration: Tensor, value: Tensor) -> Tensor:
    # Where x is far below 1, the cdf is x^a / Gamma(a + 1) up to a factor 1 + O(x).
    floor = -60.0
    x = value.clamp(min=floor).exp()
    small = (torch.digamma(concentration + 1) - value) / concentration
    return torch.where(value > floor, _slope(x, concentration, x) / x, small)


@elementwise(None, _slope)
def _with_gradient(draw: Tensor, concentration: Tensor) -> Tensor:
    return draw.clone()


@elementwise(None, _log_slope)
def _with_log_gradient(log_draw: Tensor, concentration: Tensor) -> Tensor:
    return log_draw.clone()
