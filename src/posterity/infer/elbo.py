"""The evidence lower bound, with the gradient estimator that each site allows."""

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from posterity.distributions.kl import has_closed_form, kl_divergence
from posterity.handlers import Trace
from posterity.infer.dependencies import descendants
from posterity.infer.enumerated_factors import varies_along
from posterity.infer.enumeration import enumerated_terms
from posterity.infer.objective import Estimate, Objective
from posterity.infer.simulation import Pair, detached, is_auxiliary, is_enumerated, is_scored, over_particles, total
from posterity.kernels import NoiseTape
from posterity.kernels.noise_tape import Pools
from posterity.ppl import Frame, Site

# How slowly the running average that serves as a baseline forgets.
_MEMORY = 0.9


class ELBO(Objective):
    r"""The evidence lower bound $E_q[\log p(x, z) - \log q(z)]$, in nats.

    Gradients go through the draws of sites that allow it. For the others, discrete ones above all, the score function
    is used: each such site is weighted by the terms that depend on it and no others, plate by plate, less a baseline,
    which is the mean over the other particles, or a running average if there is but one. Where the guide's
    distribution has a closed-form KL divergence from the model's, that takes the place of the draw's terms. Discrete
    sites marked `infer={"enumerate": "parallel"}` are summed out exactly, in the model or in the guide.

    Args:
        num_particles: How many independent draws from the guide one estimate takes.
        vectorized: Whether they are computed at once by `torch.vmap`, rather than one after the other.
        closed_form_kl: Whether to use closed forms of the KL divergence.
        sticking_the_landing: Whether to leave out of the gradient the part of expectation zero, which is noise near
            the optimum; closed forms of the KL are then not used. For guides whose draws gradients go through.
        kl_weight: What the latent variables' terms, log p(z) - log q(z), are multiplied by: 1 is the bound; less is a
            tempered objective. A tensor may be changed between steps.

    Raises:
        ValueError: A number is out of range; at the first estimate, a model that has no latent variable or that does
            not fit its guide.

    Source: Kingma and Welling (2014), "Auto-encoding variational Bayes"; Ranganath, Gerrish and Blei (2014), "Black
    box variational inference"; Schulman et al. (2015), "Gradient estimation using stochastic computation graphs";
    Roeder, Wu and Duvenaud (2017), "Sticking the landing".

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     z = pt.sample("z", pt.distributions.Normal(0.0, 1.0))
        ...     pt.sample("x", pt.distributions.Normal(z, 1.0), obs=2.0)
        >>> def exact_posterior():
        ...     pt.sample("z", pt.distributions.Normal(1.0, 0.5**0.5))
        >>> bound = -pt.infer.ELBO(1000).loss(model, exact_posterior)
        >>> evidence = pt.distributions.Normal(0.0, 2.0**0.5).log_prob(torch.tensor(2.0))
        >>> bool((bound - evidence).abs() < 0.2)
        True
    """

    def __init__(
        self,
        num_particles: int = 1,
        *,
        vectorized: bool = True,
        closed_form_kl: bool = True,
        sticking_the_landing: bool = False,
        kl_weight: float | Tensor = 1.0,
    ) -> None:
        super().__init__(num_particles, vectorized=vectorized)
        if not isinstance(kl_weight, Tensor) and not kl_weight >= 0:
            raise ValueError(f"kl_weight of ELBO must not be negative, but it is {kl_weight}")
        self.closed_form_kl = closed_form_kl and not sticking_the_landing
        self.sticking_the_landing = sticking_the_landing
        self.kl_weight = kl_weight
        # By model, guide and arguments; None where nothing is known.
        self._descendants: dict[Hashable, dict[str, frozenset[str]] | None] = {}

    def estimate(
        self,
        pair: Pair,
        pools: Pools,
        state: Mapping[str, Tensor],
    ) -> Estimate:
        """One estimate; see `Objective.estimate`."""
        descendants_of = self._dependencies(pair, pools)

        def particle(tape: NoiseTape) -> tuple[Tensor, Tensor, dict[str, tuple[Tensor, Tensor]]]:
            model_trace, guide_trace = self.traces(pair, tape)
            terms = self._terms(model_trace, guide_trace)
            bound = total([term.value for term in terms])
            pathwise = total([term.pathwise for term in terms])
            if self.sticking_the_landing:
                pathwise = pathwise + self._cancelled_score(pair, guide_trace)
            scored = [site for site in guide_trace.samples() if is_scored(site)]
            for site in scored:
                if varies_along(site):
                    raise NotImplementedError(
                        f"ELBO: site {site.name!r} of the guide lets no gradient through its draws and depends on a "
                        "variable that the guide enumerates: enumerate it too"
                    )
            return bound, pathwise, {site.name: _score_and_cost(site, terms, descendants_of) for site in scored}

        bounds, pathwise, scores = over_particles(particle, pools, self.num_particles, self.vectorized)
        surrogate = -pathwise.mean()
        averages = {}
        for name, (score, cost) in scores.items():
            baseline, averages[name] = _baseline(cost.detach(), state.get(name))
            surrogate = surrogate - (score * (cost.detach() - baseline)).sum() / self.num_particles
        return Estimate(-bounds.mean().detach(), surrogate, averages)

    def prepare(self, pair: Pair, pools: Pools) -> None:
        """Find out which terms depend on which draws; see `Objective.prepare`."""
        self._dependencies(pair, pools)

    def _terms(self, model_trace: Trace, guide_trace: Trace) -> list["_Term"]:
        """The bound's terms, whose sum over all entries is log p - log q or a lower-variance estimate of it."""
        in_closed_form = set()
        terms = []
        for site in guide_trace.samples():
            prior = model_trace.get(site.name)
            if self.closed_form_kl and prior is not None and _comparable(site, prior):
                in_closed_form.add(site.name)
                value = -site.weighted(kl_divergence(_distribution(site), _distribution(prior))) * self.kl_weight
                terms.append(_Term(f"KL {site.name}", value, value, site.plates))
        rest = [Trace({n: s for n, s in t.items() if n not in in_closed_form}) for t in (model_trace, guide_trace)]
        for found in enumerated_terms(*rest):
            sites = [(guide_trace if found.from_guide else model_trace)[name] for name in found.sites]
            value = found.value
            if all(site.is_latent for site in sites):
                value = value * self.kl_weight
            # In expectation zero is what the score of a site says of its own parameters.
            held = found.from_guide and is_scored(sites[0])
            name = f"{'q' if found.from_guide else 'p'} {' '.join(found.sites)}"
            terms.append(_Term(name, value, value.detach() if held else value, found.plates))
        return terms

    def _cancelled_score(self, pair: Pair, guide_trace: Trace) -> Tensor:
        """Zero, with the gradient of log q in the guide's parameters at fixed draws."""
        score = pair.replayed_guide(detached(guide_trace)).log_prob_sum() * self.kl_weight
        return score - score.detach()

    def _dependencies(self, pair: Pair, pools: Pools) -> dict[str, frozenset[str]] | None:
        """The terms that depend on each site whose score is needed, found once for arguments of a kind."""

        def run(row: Pools) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
            traces = self.traces(pair, NoiseTape(row))
            choices = {site.name: site.value for site in traces[1].samples() if is_scored(site)}
            return choices, {term.name: term.value for term in self._terms(*traces)}

        key = pair.kind
        if key not in self._descendants:
            row = {kind: pool[0] for kind, pool in pools.items()}
            with torch.no_grad():
                choices, _ = run(row)
            self._descendants[key] = descendants(run, row) if choices else {}
        return self._descendants[key]


class _Term(NamedTuple):
    """A term of the bound, with one entry for each element of its site's batch."""

    name: str
    value: Tensor
    pathwise: Tensor
    plates: tuple[Frame, ...]


def _comparable(site: Site, prior: Site) -> bool:
    """Whether a closed-form KL may stand for both sites' terms."""
    return (
        site.is_latent
        and prior.is_latent
        and not is_auxiliary(site)
        and not is_enumerated(site)
        and not is_enumerated(prior)
        and not varies_along(site)  # by an enumerated variable: its value has a weight
        and not varies_along(prior)
        and site.plates == prior.plates
        and site.mask is prior.mask
        and (site.scale is prior.scale or (not isinstance(site.scale, Tensor) and site.scale == prior.scale))
        and site.batch_shape == prior.batch_shape
        and has_closed_form(_distribution(site), _distribution(prior))
    )


def _score_and_cost(
    site: Site, terms: Sequence[_Term], descendants: dict[str, frozenset[str]] | None
) -> tuple[Tensor, Tensor]:
    """A site's log density, and what depends on its draws, both summed down to the plates around it."""
    score = _summed_to(site.log_prob(), site.plates, site.plates)
    cost = torch.zeros_like(score)
    for term in terms:
        if descendants is None or term.name in descendants.get(site.name, (term.name,)):
            cost = cost + _summed_to(term.value.detach(), term.plates, site.plates)
    return score, cost


def _summed_to(value: Tensor, own: Sequence[Frame], kept: Sequence[Frame]) -> Tensor:
    """Sum over every batch dimension but those of the plates that both have."""
    shared = {frame.dim for frame in own if frame.vectorized and frame in kept}
    gone = [dim for dim in range(-value.dim(), 0) if dim not in shared]
    value = value.sum(gone, keepdim=True) if gone else value
    while value.dim() > 0 and -value.dim() not in shared:
        value = value.squeeze(0)
    return value


def _baseline(costs: Tensor, average: Tensor | None) -> tuple[Tensor, Tensor]:
    """What to subtract from each particle's cost, `[num_particles, ...]`, and the running average."""
    mean = costs.mean()
    updated = mean if average is None else _MEMORY * average + (1 - _MEMORY) * mean
    if len(costs) > 1:
        return (costs.sum(0) - costs) / (len(costs) - 1), updated
    return (torch.zeros_like(mean) if average is None else average), updated


def _distribution(site: Site) -> torch.distributions.Distribution:
    assert site.distribution is not None
    return site.distribution
