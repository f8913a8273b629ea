"""Draws from a model's prior, as points of unconstrained space."""

import torch
from torch import Tensor

from posterity.infer.potential import Potential
from posterity.infer.predictive import Predictive


def prior_draws(potential: Potential, number: int, seed: int) -> Tensor:
    """Draw a model's continuous latent variables from their priors.

    Args:
        potential: The model's potential.
        number: How many draws.
        seed: A whole number.

    Returns:
        Points, `[number, dim]`.

    Raises:
        FloatingPointError: A draw is at the edge of its support.

    Example:
        >>> import posterity as pt
        >>> potential = Potential(lambda: pt.sample("scale", pt.distributions.HalfNormal(1.0)))
        >>> prior_draws(potential, 4, seed=0).shape
        torch.Size([4, 1])
    """
    program = Predictive(potential.model, num_samples=number, return_sites=list(potential.shapes), seed=seed)
    with torch.no_grad():
        points = potential.unconstrain(program(*potential.args, **potential.kwargs))
    if not bool(points.isfinite().all()):
        raise FloatingPointError("a draw from the prior is at the edge of its support, at infinity when unconstrained")
    return points
