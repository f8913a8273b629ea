"""Latent variables drawn through a trained flow, which makes the posterior's shape a normal's."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import Tensor

from posterity.distributions import Distribution, TransformedDistribution
from posterity.handlers.reparam import reparam
from posterity.handlers.reparametrization import Reparam
from posterity.ppl import Site, factor, sample
from posterity.ppl.plate import outside_plates


class FlowGuide(Protocol):
    """What neural transport asks of a guide: that of `posterity.infer.AutoIAF` and `AutoSpline`.

    Attributes:
        latents: The latent variables by site name, each with its `bijector` from unconstrained space onto its support;
            empty before the guide is set up.
    """

    latents: Mapping[str, Any]

    def get_posterior(self) -> Distribution:
        """The distribution of all latent variables as one vector on unconstrained space, a transformed one."""

    def unpack(self, vector: Tensor) -> dict[str, Tensor]:
        """From such vectors, `[*sample_shape, num_entries]`, to the variables on unconstrained space."""


class NeuTraReparam(Reparam):
    """Neural transport: draw all latent variables from one vector of noise, through the flow of a trained guide.

    Inference then works on the noise, the site `auto_shared_latent`, whose posterior is close to a standard normal
    where the guide is close to the posterior; it is exact for any guide. The density that each variable has in the
    model is the factor `name_log_density`; `auto_shared_latent_log_density` has the change of variables.

    Args:
        guide: A trained guide with a flow over all latent variables.

    Raises:
        TypeError: `guide` is not such a guide.
        ValueError: It has not been set up.

    Source: Hoffman et al. (2019), "NeuTra-lizing bad geometry in Hamiltonian Monte Carlo using neural transport".

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     return pt.sample("x", pt.distributions.Normal(0.0, 1.0))
        >>> guide = pt.infer.AutoIAF(model).setup()
        >>> list(pt.handlers.trace(NeuTraReparam(guide).reparam(model)).get_trace())
        ['auto_shared_latent', 'auto_shared_latent_log_density', 'x_log_density', 'x']
    """

    def __init__(self, guide: FlowGuide) -> None:
        for what in ("latents", "get_posterior", "unpack"):
            if not hasattr(guide, what):
                raise TypeError(
                    "NeuTraReparam: guide must be one with a flow over all latent variables, such as "
                    f"posterity.infer.AutoIAF, not {type(guide).__name__}"
                )
        if not guide.latents:
            raise ValueError("NeuTraReparam: the guide has not been set up: train it first")
        if not isinstance(guide.get_posterior(), TransformedDistribution):
            raise TypeError(
                f"NeuTraReparam: {type(guide).__name__} has no flow: its get_posterior() is no TransformedDistribution"
            )
        self.guide = guide

    def reparam(self, fn: Callable[..., Any]) -> reparam:
        """The program with all of the guide's latent variables drawn through the flow."""
        return reparam(fn, config=dict.fromkeys(self.guide.latents, self))

    def transform_sample(self, latent: Tensor) -> dict[str, Tensor]:
        """The latent variables that draws of the noise stand for.

        Args:
            latent: Draws of the site `auto_shared_latent`, `[*sample_shape, num_entries]`.

        Returns:
            By name `[*sample_shape, *batch_shape, *event_shape]`, in constrained space.
        """
        unconstrained = self.guide.unpack(self._flow(latent)[0])
        return {name: known.bijector.forward(unconstrained[name]) for name, known in self.guide.latents.items()}

    def apply(self, site: Site, run: dict[str, Any]) -> Tensor | None:
        """Take the value that the flow gives, and add the density that it has in the model."""
        if site.name not in self.guide.latents:
            return None
        values = run.setdefault(f"{_LATENT} {id(self)}", {})
        if not values:
            values.update(self._drawn())
        assert site.distribution is not None
        value: Tensor = values[site.name]
        factor(f"{site.name}_log_density", site.distribution.log_prob(value))
        return value

    def __repr__(self) -> str:
        return f"NeuTraReparam({type(self.guide).__name__})"

    def _drawn(self) -> dict[str, Tensor]:
        """All values of one run, from one draw outside of all plates."""
        base = _flow_of(self.guide).base_dist
        with outside_plates():
            noise = sample(_LATENT, base)
            vector, log_det = self._flow(noise)
            values, terms = {}, log_det - base.log_prob(noise)
            for name, unconstrained in self.guide.unpack(vector).items():
                values[name], own = self.guide.latents[name].bijector.forward_and_log_det(unconstrained)
                terms = terms + own.sum()
            factor(f"{_LATENT}_log_density", terms)
        return values

    def _flow(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The vector on unconstrained space, and the log determinant on the way to it."""
        total: Tensor = noise.new_zeros(noise.shape[:-1])
        for transform in _flow_of(self.guide).transforms:
            moved = transform(noise)
            log_det = transform.log_abs_det_jacobian(noise, moved)
            total = total + log_det.reshape((*noise.shape[:-1], -1)).sum(-1)
            noise = moved
        return noise, total


_LATENT = "auto_shared_latent"


def _flow_of(guide: FlowGuide) -> TransformedDistribution:
    posterior = guide.get_posterior()
    assert isinstance(posterior, TransformedDistribution)
    return posterior
