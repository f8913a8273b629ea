"""Quantiles and a central point of latent variables, from what a guide knows on unconstrained space or from draws."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from posterity.infer.guides.latent import Latent

Values = dict[str, Tensor]

# How many draws, as memory allows.
_MOST_DRAWS, _FEWEST_DRAWS, _NUMBERS_AT_ONCE = 4096, 256, 2**26


def marginal_quantiles(
    latents: Mapping[str, Latent],
    levels: Tensor,
    unconstrained: Callable[[Tensor], Values | None],
    draws: Callable[[int], Values],
) -> Values:
    """Quantiles of each entry in constrained space, by name `[len(levels), *shape]`.

    Args:
        latents: The latent variables.
        levels: Probabilities.
        unconstrained: From probabilities to quantiles on unconstrained space; None where they are not known.
        draws: From a number to draws in constrained space, along a first dimension.
    """
    found: Values = {}
    rising = unconstrained(levels)
    falling: Values | None = None
    for name, latent in latents.items() if rising is not None else ():
        if not latent.acts_on_entries:
            continue
        assert rising is not None
        sign, at = 1 if latent.is_real else latent.bijector.sign, rising[name]
        if isinstance(sign, Tensor) or sign < 0:
            falling = falling or unconstrained(1 - levels)
            assert falling is not None
            at = torch.where(torch.as_tensor(sign, device=at.device) > 0, at, falling[name])
        found[name] = latent.bijector.forward(at)
    if len(found) < len(latents):
        for name, drawn in draws(_how_many(latents)).items():
            if name not in found:
                found[name] = _empirical(drawn, levels)
    return {name: found[name] for name in latents}


def central_point(
    latents: Mapping[str, Latent],
    unconstrained: Callable[[Tensor], Values | None],
    draws: Callable[[int], Values],
) -> Values:
    """The images of the medians of each entry on unconstrained space; arguments are those of `marginal_quantiles`."""
    half = torch.tensor([0.5], dtype=torch.float64)
    known = unconstrained(half)
    if known is None:
        drawn = draws(_how_many(latents))
        known = {name: _empirical(latent.bijector.inverse(drawn[name]), half) for name, latent in latents.items()}
    return {name: latent.bijector.forward(known[name])[0] for name, latent in latents.items()}


def _how_many(latents: Mapping[str, Latent]) -> int:
    size = sum(latent.shape.numel() for latent in latents.values())
    return max(_FEWEST_DRAWS, min(_MOST_DRAWS, _NUMBERS_AT_ONCE // size))


def _empirical(draws: Tensor, levels: Tensor) -> Tensor:
    """Quantiles along dimension 0, between neighbours by a straight line; torch's own refuses large tensors."""
    ordered = draws.sort(0).values
    at = levels * (len(draws) - 1)
    below = at.long().clamp(max=len(draws) - 2)
    share = (at - below).to(draws).reshape((-1,) + (1,) * (draws.dim() - 1))
    below = below.to(draws.device)
    return torch.lerp(ordered[below], ordered[below + 1], share)
