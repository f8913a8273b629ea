"""The normal distribution that a model's latent variables have before any data, found from the model."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from posterity.distributions import (
    Distribution,
    Independent,
    LowRankMultivariateNormal,
    MaskedDistribution,
    MultivariateNormal,
    Normal,
)
from posterity.handlers import substitute, trace
from posterity.infer.initialization import Strategy, init_to_uniform
from posterity.infer.potential import Potential
from posterity.infer.simulation import Program
from posterity.kernels import Key, Source, normal
from posterity.ppl import Site, provenance
from posterity.ppl.provenance import tensors_in
from posterity.runtime import without_validation

_NORMAL_VECTORS = (MultivariateNormal, LowRankMultivariateNormal)
# At how many standard deviations the prior that was found is compared with the model's.
_SPREADS = (0.1, 1.0, 10.0)


class GaussianPrior(NamedTuple):
    """A normal distribution of a flat vector.

    Attributes:
        loc: The mean, `[dim]`.
        scale: Standard deviations `[dim]`, or the lower Cholesky factor of the covariance, `[dim, dim]`.

    Example:
        >>> prior = GaussianPrior(torch.zeros(2), torch.tensor([1.0, 2.0]))
        >>> prior.spread(torch.ones(3, 2)).shape, prior.log_density(torch.zeros(2))
        (torch.Size([3, 2]), tensor(-2.5310))
    """

    loc: Tensor
    scale: Tensor

    def spread(self, noise: Tensor) -> Tensor:
        """Standard normal noise `[*batch, dim]` made the prior's, still around zero."""
        return noise @ self.scale.mT if self.scale.dim() == 2 else noise * self.scale

    def log_density(self, z: Tensor) -> Tensor:
        """In nats, at points `[*batch, dim]`."""
        if self.scale.dim() == 2:
            return MultivariateNormal(self.loc, scale_tril=self.scale, validate_args=False).log_prob(z)
        return Normal(self.loc, self.scale, validate_args=False).log_prob(z).sum(-1)


class GaussianPotential(Potential):
    """A model whose latent variables are normal before any data, as a target.

    Args:
        model: The model.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        init: How to find the first point; a strategy of `posterity.infer.initialization`.
        source: Where its random numbers come from.

    Attributes:
        prior: The latent variables' joint distribution.

    Raises:
        ValueError: A latent variable is not normal, or its parameters depend on other latent variables.

    Example:
        >>> import posterity as pt
        >>> def model(x):
        ...     loc = pt.sample("loc", pt.distributions.Normal(1.0, 2.0))
        ...     pt.sample("x", pt.distributions.Normal(loc, 1.0), obs=x)
        >>> potential = GaussianPotential(model, (0.5,))
        >>> potential.prior.loc, potential.prior.scale, potential.log_likelihood(torch.tensor([0.5]))
        (tensor([1.]), tensor([2.]), tensor(-0.9189))
    """

    def __init__(
        self,
        model: Program,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        init: Strategy = init_to_uniform,
        source: Source = None,
    ) -> None:
        super().__init__(model, args, kwargs, init=init, source=source)
        self.prior = self._found_prior()
        self._compare_prior()

    def log_likelihood(self, z: Tensor) -> Tensor:
        """What data, factors, masks and scales add to the prior's log density, `[*batch]`."""
        return self.log_prior_and_likelihood(z)[1]

    def _found_prior(self) -> GaussianPrior:
        """The normal distributions of a run of the model, side by side."""
        origin = self.constrain(torch.zeros(self.dim, dtype=self.dtype, device=self.device))
        values = {name: value.detach().requires_grad_() for name, value in origin.items()}
        given = substitute(self.model, {**self._known.params, **values})
        with torch.enable_grad(), self._around(), without_validation(), provenance() as followed:
            recorded = trace(given).get_trace(*self.args, **self.kwargs)
            for name in self.shapes:
                _check_independent(_checked_normal(recorded[name]), name, followed, values)
        blocks = [_entries(recorded[name], shape) for name, shape in self.shapes.items()]
        loc = torch.cat([block.loc.to(self.dtype) for block in blocks]).detach()
        if all(block.scale.dim() == 1 for block in blocks):
            return GaussianPrior(loc, torch.cat([block.scale.to(self.dtype) for block in blocks]).detach())
        factors = [block.scale.diag() if block.scale.dim() == 1 else block.scale for block in blocks]
        return GaussianPrior(loc, torch.block_diag(*(factor.to(self.dtype) for factor in factors)).detach())

    def _compare_prior(self) -> None:
        """Refuse a model that has another prior at another point, in a way that tensors do not show."""
        noise = normal((len(_SPREADS), self.dim), source=Key(0, device=self.device), dtype=self.dtype)
        away = self.prior.spread(noise * noise.new_tensor(_SPREADS).unsqueeze(-1))
        z = self.prior.loc + torch.cat([away, -away])
        with torch.no_grad():
            found, models = self.prior.log_density(z), self.log_prior_and_likelihood(z)[0]
        tolerance = torch.finfo(self.dtype).eps ** 0.5
        if not torch.allclose(found, models, rtol=tolerance, atol=tolerance * self.dim):
            raise ValueError(
                "EllipticalSlice: the latent variables are not one normal distribution: the model's own draws have the "
                f"log densities {models.tolist()} at points where the normal distribution of one run has "
                f"{found.tolist()}. The parameters of the latent variables must not depend on their values, nor their "
                "weights, where discrete variables are summed out; use NUTS"
            )


def _checked_normal(site: Site) -> Distribution:
    distribution = _inner(site)
    if type(distribution) is not Normal and type(distribution) not in _NORMAL_VECTORS:
        raise ValueError(
            f"EllipticalSlice: site {site.name!r} has the prior {type(distribution).__name__}, but every latent "
            "variable must be Normal or MultivariateNormal: write it as a function of a normal variable, or use NUTS"
        )
    return distribution


def _check_independent(
    distribution: Distribution, name: str, followed: provenance, values: Mapping[str, Tensor]
) -> None:
    """Refuse parameters that depend on latent variables by more than the shapes of continuous ones."""
    if not followed.depends_on_latents(distribution):
        return
    names = followed.ancestors_of(name) & followed.latents
    tensors = [tensor.sum() for tensor in tensors_in(distribution) if tensor.requires_grad]
    leaves = list(values.values())
    gradients = torch.autograd.grad(tensors, leaves, retain_graph=True, allow_unused=True) if tensors else ()
    moving = {own for own, gradient in zip(values, gradients, strict=False) if gradient is not None}
    real = sorted(own for own in names if own in moving or own not in values)
    if real:
        raise ValueError(
            f"EllipticalSlice: the prior of site {name!r} depends on {', '.join(map(repr, real))}, but the latent "
            "variables must be one normal distribution with known parameters: draw the site from Normal(0, 1) and move "
            "and scale it afterwards (handlers.reparam with LocScaleReparam(0.0)), or use NUTS"
        )


def _inner(site: Site) -> Distribution:
    """What is inside masks and events."""
    distribution = site.distribution
    while isinstance(distribution, MaskedDistribution | Independent):
        distribution = distribution.base_dist
    assert distribution is not None
    return distribution


def _entries(site: Site, shape: torch.Size) -> GaussianPrior:
    """A site's distribution, as one of a flat vector."""
    distribution: Any = _inner(site)
    if type(distribution) is Normal:
        return GaussianPrior(*(part.expand(shape).flatten() for part in (distribution.loc, distribution.scale)))
    factors = distribution.scale_tril.expand(*shape, shape[-1]).reshape(-1, shape[-1], shape[-1])
    return GaussianPrior(distribution.loc.expand(shape).flatten(), torch.block_diag(*factors))
