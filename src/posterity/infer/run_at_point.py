"""One run of a model at a point of unconstrained space, and what such runs must not do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from posterity.bijectors import Bijector
from posterity.distributions import MaskedDistribution
from posterity.handlers import Trace
from posterity.infer.enumeration import enumerated_log_density
from posterity.infer.latent_sites import bijector_of, is_continuous, support_of
from posterity.infer.simulation import is_enumerated
from posterity.ppl import Handler, Site


class Call(NamedTuple):
    """What a model is run on.

    Attributes:
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        subsamples: The elements that its plates take, by the plate's name; a plate without an entry chooses itself.
        given: Values of discrete latent variables, by name.
    """

    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    subsamples: Mapping[str, Tensor]
    given: Mapping[str, Tensor] = MappingProxyType({})


@dataclass
class KnownModel:
    """What does not change from run to run.

    Attributes:
        params: The values of `param` statements.
        names: The sample sites.
        is_enumerated: Whether discrete variables are summed out.
        nesting: How many batch dimensions plates take; 0 where nothing is enumerated.
        bijectors: From unconstrained space, for sites whose supports are the same everywhere.
        real: The sites among them that are unconstrained.
    """

    params: dict[str, Tensor]
    names: frozenset[str]
    is_enumerated: bool
    nesting: int = 0
    bijectors: dict[str, Bijector] = field(default_factory=dict)
    real: frozenset[str] = frozenset()


class RunAtPoint(Handler):
    """Gives latent variables their values at a point, and keeps the sites, for one run of a model.

    Args:
        unconstrained: The point: values on unconstrained space by site name.
        known: What is known of the model from earlier runs.
        with_density: Whether the log-determinants of the Jacobians are wanted.
        subsamples: The elements that plates take, by name.
        given: Values of discrete latent variables, by name.

    Attributes:
        recorded: The sites, by name.
        log_dets: The log-determinants, scalars.
    """

    def __init__(
        self,
        unconstrained: Mapping[str, Tensor],
        known: "KnownModel",
        with_density: bool = True,
        subsamples: Mapping[str, Tensor] | None = None,
        given: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.unconstrained, self.known, self.with_density = unconstrained, known, with_density
        self.subsamples, self.given = subsamples or {}, given or {}
        self.recorded: dict[str, Site] = {}
        self.log_dets: list[Tensor] = []

    def process_message(self, site: Site) -> None:
        """Give the site its value."""
        if site.kind == "sample" and site.value is None and site.name in self.unconstrained:
            bijector = self.known.bijectors.get(site.name) or bijector_of(site)
            part = self.unconstrained[site.name]
            if site.name in self.known.real:
                site.value = part
            elif self.with_density:
                site.value, log_det = bijector.forward_and_log_det(part)
                self.log_dets.append(log_det.sum())
            else:
                site.value = bijector.forward(part)
        elif site.kind == "sample" and site.value is None:
            site.value = self.given.get(site.name)
        elif site.kind == "param" and site.value is None:
            site.value = self.known.params.get(site.name)
        elif site.kind == "plate" and site.value is None:
            site.value = self.subsamples.get(site.name)

    def postprocess_message(self, site: Site) -> None:
        """Keep the site."""
        self.recorded[site.name] = site

    def samples(self) -> list[Site]:
        """The sample sites."""
        return [site for site in self.recorded.values() if site.kind == "sample"]

    def terms(self) -> dict[str, Tensor]:
        """The log density of each sample site as it counts, of its batch's shape; nothing is summed out."""
        return {site.name: _log_prob(site) for site in self.samples()}

    def log_density(self) -> Tensor:
        """The log density at the point."""
        self._check_names()
        if self.known.is_enumerated:
            return _sum([enumerated_log_density(Trace(self.recorded)), *self.log_dets])
        return _sum([*(_log_prob(site).sum() for site in self.samples()), *self.log_dets])

    def _check_names(self) -> None:
        found = {site.name for site in self.samples()}
        if found != self.known.names:
            more, fewer = sorted(found - self.known.names), sorted(self.known.names - found)
            raise ValueError(
                f"the model's sample sites have changed since its first run (new: {more}, gone: {fewer}), so that its "
                "log density is not one function: which sites there are must depend on nothing but the arguments"
            )

    def parts(self) -> tuple[Tensor, Tensor]:
        """Its two parts; see `Potential.log_prior_and_likelihood`."""
        if self.known.is_enumerated:
            whole = enumerated_log_density(Trace(self.recorded))
            latent = {name: site for name, site in self.recorded.items() if not site.is_observed}
            own = enumerated_log_density(Trace(latent))
            return _sum([own, *self.log_dets]), whole - own
        prior, rest = [*self.log_dets], []
        for site in self.samples():
            if not site.is_latent:
                rest.append(site.weighted_log_prob().sum())
                continue
            density = _own_log_prob(site)
            prior.append(density.sum())
            if not _is_plain(site):
                rest.append((_log_prob(site) - density).sum())
        return _sum(prior), _sum(rest) if rest else torch.zeros_like(prior[0])


def _log_prob(site: Site) -> Tensor:
    """A site's log density as it counts; of a latent variable with a mask that came of data, the whole one."""
    if site.is_latent and site.name.endswith("_unobserved") and isinstance(site.distribution, MaskedDistribution):
        # `sample(..., obs_mask=...)`: entries that are data elsewhere are flat under their mask, which no chain bears.
        return site.weighted(site.distribution.base_dist.log_prob(site.value))
    return site.weighted_log_prob()


def _is_plain(site: Site) -> bool:
    """Whether nothing changes how much a site's density counts."""
    masked = site.mask is not None or isinstance(site.distribution, MaskedDistribution)
    return not masked and not isinstance(site.scale, Tensor) and site.scale == 1


def _own_log_prob(site: Site) -> Tensor:
    """The log density of a site's draw, whatever its mask and scale."""
    distribution = site.distribution
    if isinstance(distribution, MaskedDistribution):
        return distribution.base_dist.log_prob(site.value)
    return site.log_prob()


def _sum(terms: Sequence[Tensor]) -> Tensor:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def check_discrete(found: Trace) -> None:
    """Refuse a model with discrete latent variables that are not summed out.

    Raises:
        ValueError: Naming them.
    """
    discrete = [
        site
        for site in found.latents()
        if not is_continuous(site) and support_of(site).is_discrete and not is_enumerated(site)
    ]
    if discrete:
        listed = ", ".join(f"{site.name!r} ({type(site.distribution).__name__})" for site in discrete)
        raise ValueError(
            f"the model has discrete latent variables, which have no gradient: {listed}. Mark them "
            'infer={"enumerate": "parallel"} (or all by handlers.config_enumerate) to have them summed out; or, for '
            "Markov chains, draw them by Gibbs(NUTS(model))"
        )


def check_plates(found: Trace) -> None:
    """Refuse a model that sees other data at every run.

    Raises:
        ValueError: Naming the plate.
    """
    for site in found.samples():
        for frame in site.plates:
            plate = found.get(frame.name)
            if frame.size != frame.full_size and not (plate is not None and plate.infer.get("given")):
                raise ValueError(
                    f"plate {frame.name!r} takes a new random subsample of {frame.size} of its {frame.full_size} "
                    "elements at every run, so that the log density is not one function: leave subsample_size away, or "
                    "give the indices as subsample="
                )
