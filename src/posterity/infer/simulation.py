"""One joint run of a guide and the model that it guides, and what is checked about the two."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from posterity.handlers import Trace, replay, seed, trace
from posterity.handlers.enumerate import nesting_of
from posterity.infer.arguments import kind_of
from posterity.kernels import NoiseTape, Source
from posterity.kernels.noise_tape import Pools
from posterity.ppl import Factor, Site

Program = Callable[..., Any]
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Pair:
    """A model and its guide, with the arguments that both are called with.

    Attributes:
        model: The model.
        guide: The guide.
        args: Their positional arguments.
        kwargs: Their keyword arguments.
    """

    model: Program
    guide: Program
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def kind(self) -> Hashable:
        """The key of what is found out once for such a call: the programs, and what decides the course of a run."""
        return self.model, self.guide, kind_of(self.args, self.kwargs)

    def simulate(self, source: Source) -> tuple[Trace, Trace]:
        """Run the guide, and the model with the guide's latent values; the traces of model and guide."""
        with seed(rng_seed=source):
            guide_trace = trace(self.guide).get_trace(*self.args, **self.kwargs)
            return self.replayed_model(guide_trace), guide_trace

    def replayed_model(self, recorded: Trace) -> Trace:
        """The trace of the model with the latent values of another trace."""
        return trace(replay(self.model, recorded)).get_trace(*self.args, **self.kwargs)

    def replayed_guide(self, recorded: Trace) -> Trace:
        """The trace of the guide with the latent values of another trace."""
        return trace(replay(self.guide, recorded)).get_trace(*self.args, **self.kwargs)


def check_sites(model_trace: Trace, guide_trace: Trace) -> None:
    """Refuse a guide and a model that are not about the same latent variables.

    Raises:
        ValueError: The model has no latent variable, a latent variable stands in one of the two alone, or its value
            has another shape in the guide than the model's distribution allows.
    """
    latents = {site.name: site for site in model_trace.latents() if not is_enumerated(site)}
    guided = {site.name: site for site in guide_trace.latents() if not is_auxiliary(site)}
    missing = [name for name in latents if name not in guided]
    extra = [name for name in guided if name not in model_trace]
    for names, here, there in ((missing, "model", "guide"), (extra, "guide", "model")):
        if names:
            listed = ", ".join(map(repr, names))
            observed = [name for name in names if name in model_trace and model_trace[name].is_observed]
            raise ValueError(
                f"the {here} has latent sites that the {there} lacks: {listed}"
                + (f" ({', '.join(map(repr, observed))} are observed in the model)" if observed else "")
                + ". The two must have sites of the same names; an auxiliary site of the guide is marked "
                f'infer={{"is_auxiliary": True}}\nthe model\'s sites:\n{model_trace.format_shapes()}\n'
                f"the guide's sites:\n{guide_trace.format_shapes()}"
            )
    for name, site in guided.items():
        if model_trace[name].is_observed:
            raise ValueError(f"site {name!r} is observed in the model, but the guide draws it")
        ours, theirs = (s.batch_shape + _event(s) for s in (site, latents[name])) if name in latents else ((), ())
        if ours != theirs:
            raise ValueError(
                f"site {name!r} has shape {tuple(ours)} in the guide and {tuple(theirs)} in the model: declare the "
                f"same plates around it, and the same events\nthe model's sites:\n{model_trace.format_shapes()}\n"
                f"the guide's sites:\n{guide_trace.format_shapes()}"
            )


def over_particles(
    particle: Callable[[NoiseTape], _Result], pools: Pools, num_particles: int, vectorized: bool
) -> _Result:
    """A function's results for several rows of noise, stacked on a new first dimension of every tensor.

    Args:
        particle: From a tape to tensors (a tensor, or tuples and dicts of them).
        pools: The noise, by kind, `[num_particles, ...]`.
        num_particles: How many.
        vectorized: Whether all go through the function at once, by `torch.vmap`.
    """
    if vectorized and num_particles > 1:
        result: _Result = torch.vmap(lambda rows, _: particle(NoiseTape(rows)), randomness="different")(
            dict(pools), torch.arange(num_particles)
        )
        return result
    runs = [particle(NoiseTape({kind: pool[i] for kind, pool in pools.items()})) for i in range(num_particles)]
    flat = [pytree.tree_flatten(run) for run in runs]
    stacked = [torch.stack(leaves) for leaves in zip(*(leaves for leaves, _ in flat), strict=True)]
    whole: _Result = pytree.tree_unflatten(stacked, flat[0][1])
    return whole


def detached(recorded: Trace) -> Trace:
    """The same trace with values through which no gradient goes."""
    return Trace({name: replace(site, value=_without_gradient(site.value)) for name, site in recorded.items()})


def is_auxiliary(site: Site) -> bool:
    """Whether a guide's site is there for others alone, and not a latent variable of the model."""
    return bool(site.infer.get("is_auxiliary"))


def is_enumerated(site: Site) -> bool:
    """Whether a discrete site is marked to be summed out."""
    return site.infer.get("enumerate") is not None


def nesting_of_marked(*traces: Trace) -> int | None:
    """How many batch dimensions the plates of some traces take; None where no site is marked to be summed out."""
    if not any(is_enumerated(site) for found in traces for site in found.latents()):
        return None
    return max(nesting_of(found) for found in traces)


def is_scored(site: Site) -> bool:
    """Whether no gradient goes through a latent site's draws, so that its score is needed."""
    assert site.distribution is not None
    return site.is_latent and not site.distribution.has_rsample and not is_enumerated(site)


def is_factor(site: Site) -> bool:
    """Whether a site is a term of the density and no variable."""
    return isinstance(site.distribution, Factor)


def _without_gradient(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value


def _event(site: Site) -> torch.Size:
    assert site.distribution is not None
    return site.distribution.event_shape


def total(terms: Sequence[Tensor]) -> Tensor:
    """The sum of all entries of all tensors, a scalar."""
    return torch.stack([term.sum() for term in terms]).sum() if terms else torch.zeros(())
