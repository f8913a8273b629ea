"""Gibbs sampling: discrete variables from their conditional distributions, continuous ones by a kernel inside."""

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from posterity.infer.initialization import Strategy, init_to_uniform
from posterity.infer.mcmc.adaptation import Adaptation, FixedTuning
from posterity.infer.mcmc.discrete_sweep import Method, Scan, Sweep
from posterity.infer.mcmc.kernel import Kernel, Tuning
from posterity.infer.mcmc.metric import Metric, Preconditioned
from posterity.infer.mcmc.mixed_potential import MixedPotential
from posterity.infer.mcmc.target import Target
from posterity.infer.potential import Potential
from posterity.infer.simulation import Program
from posterity.kernels import Key, Source

Update = Callable[[Key, dict[str, Tensor]], Tensor]

# What the keys of a transition are for; functions of the user's take negative numbers.
INSIDE, SWEEP = 0, 1


class PointState(NamedTuple):
    """Where continuous variables are that no kernel moves.

    Attributes:
        position: `[num_chains, dim]`.
        log_density: `[num_chains]`.
    """

    position: Tensor
    log_density: Tensor


class Gibbs(Kernel[Any, Any]):
    """Update every discrete latent variable given all else, then the continuous ones by a transition of a kernel.

    The log density of every value of an element is computed, for all chains at once. Elements along a plate are updated
    together where all that depends on them is in the plate too (runs at random points check what the program declares);
    others one after the other. Variables without a finite list of values, such as counts, take a random walk's step.
    Variables marked for enumeration stay summed out.

    A state is that of the kernel inside, given the discrete values, with the field `choices` more, `[num_chains,
    num_choices]` (see `MixedPotential`). What is known of a transition is what the kernel inside says, with the field
    `num_changed` more: how many elements have another value, `[num_chains]`.

    Args:
        inner: The kernel for the continuous variables; it says what the model is. None: the model has none, or
            `updates` move them.
        model: The model, where there is no inner kernel.
        method: How an element is drawn: `"exact"` from its conditional distribution, or `"metropolised"`, which
            proposes another value and so moves more often.
        scan: In which order elements are updated that are not independent: `"systematic"`, as in the program, or
            `"random"`, in an order that each chain draws anew at each transition.
        updates: By site name, functions of a key and of the values of all latent variables of one chain, by name, that
            return the site's new value: a draw from its conditional distribution, or another move that keeps it. They
            replace this kernel's own update of a discrete variable; a continuous one is moved by the inner kernel too.
        init: Where chains start, if there is no inner kernel.

    Raises:
        TypeError: There is neither a kernel nor a model, or a kernel without a model, or one whose state is more than
            a position.
        ValueError: `method` or `scan` is none that there is.

    Source: Geman and Geman (1984), "Stochastic relaxation, Gibbs distributions, and the Bayesian restoration of
    images"; Liu (1996), "Peskun's theorem and a modified discrete-state Gibbs sampler".

    Example:
        >>> import posterity as pt
        >>> from posterity.infer.mcmc.hmc import HMC
        >>> def mixture(x):
        ...     loc = pt.sample("loc", pt.distributions.Normal(0.0, 3.0))
        ...     with pt.plate("data", len(x)):
        ...         z = pt.sample("z", pt.distributions.Bernoulli(0.5))
        ...         pt.sample("x", pt.distributions.Normal(loc + 4 * z, 1.0), obs=x)
        >>> kernel = Gibbs(HMC(mixture, num_steps=5))
        >>> target = kernel.potential((torch.tensor([0.0, 4.0, 4.5]),), {}, Key(0))
        >>> keys = Key(1).fold_in(torch.arange(2))
        >>> tuning = kernel.adaptation(target, torch.zeros(2, 1), 0, keys).tuning
        >>> state, info = kernel.step(target, kernel.init(target, torch.zeros(2, 1)), tuning, keys)
        >>> {name: value.shape for name, value in kernel.draw(target, state).items()}
        {'loc': torch.Size([2]), 'z': torch.Size([2, 3])}
    """

    # What a transition needs beside a position, the discrete values, cannot be made from it.
    is_stateless = False

    def __init__(
        self,
        inner: Kernel[Any, Any] | None = None,
        *,
        model: Program | None = None,
        method: Method = "exact",
        scan: Scan = "systematic",
        updates: Mapping[str, Update] | None = None,
        init: Strategy = init_to_uniform,
    ) -> None:
        if inner is not None and not isinstance(inner, Kernel):
            raise TypeError(f"Gibbs: inner must be a kernel, such as HMC(model), not {inner!r}")
        if inner is not None and (model is not None or inner.model is None):
            raise TypeError(
                "Gibbs: the model is the inner kernel's: Gibbs(HMC(model)), without model= and log_density="
            )
        if not getattr(inner, "is_stateless", True):
            raise TypeError(
                f"Gibbs: {type(inner).__name__} keeps more than a position between transitions, which new discrete "
                "values would tear apart: put a kernel such as NUTS or HMC inside"
            )
        super().__init__(model if inner is None else inner.model, init=init if inner is None else inner.start)
        if method not in ("exact", "metropolised"):
            raise ValueError(f"Gibbs: method must be 'exact' or 'metropolised', not {method!r}")
        if scan not in ("systematic", "random"):
            raise ValueError(f"Gibbs: scan must be 'systematic' or 'random', not {scan!r}")
        for name, update in (updates or {}).items():
            if not callable(update):
                raise TypeError(f"Gibbs: updates[{name!r}] must be callable, not a {type(update).__name__}")
        self.inner, self.method, self.scan = inner, method, scan
        self.updates = dict(updates or {})

    @property
    def is_capturable(self) -> bool:  # type: ignore[override]  # it is the inner kernel's
        """Whether a step is one graph: that of the kernel inside, and there are no functions of the user's."""
        return (self.inner is None or self.inner.is_capturable) and not self.updates

    def potential(self, args: Sequence[Any], kwargs: Mapping[str, Any], source: Source) -> MixedPotential:
        """The model with given data: a target of its continuous variables, given the discrete ones.

        Raises:
            ValueError: There is nothing to update, or an update is for a site that is no latent variable.
        """
        assert self.model is not None
        found = MixedPotential(
            self.model, args, kwargs, init=self.start, source=source, updated_by_user=tuple(self.updates)
        )
        known = [*found.shapes, *(site.name for site in found.sites)]
        for name in self.updates:
            if name not in known:
                raise ValueError(
                    f"Gibbs: updates has {name!r}, which is no latent variable; these are {', '.join(map(repr, known))}"
                )
        if self.inner is None and found.dim and not self.updates.keys() >= found.shapes.keys():
            left = [name for name in found.shapes if name not in self.updates]
            raise ValueError(
                f"Gibbs: nothing moves {', '.join(map(repr, left))}: put a kernel inside, Gibbs(HMC(model)), or give "
                "updates"
            )
        _ = found.scores  # checked here, rather than in a transition
        return found

    def init(self, target: Target, position: Tensor, values: Mapping[str, Tensor] | None = None) -> Any:
        """The state at positions.

        Args:
            target: The model, from `potential`.
            position: `[num_chains, dim]`.
            values: Of the discrete variables, by name `[num_chains, *shape]`; None: draws from their priors.
        """
        potential, metric = _apart(target)
        with torch.no_grad():
            z = position if metric is None else metric.forward(position)
            choices = potential.first_choices(z) if values is None else potential.choices(values)
        return self._at(target, position, choices)

    def moved(self, target: Target, state: Any, position: Tensor) -> Any:
        """The state at other positions, such as the same ones in another metric, with the same discrete values."""
        return self._at(target, position, state.choices)

    def step(self, target: Target, state: Any, tuning: Any, keys: Key) -> tuple[Any, Any]:
        """Update the discrete variables, then take a transition of the kernel inside."""
        potential, metric = _apart(target)
        position, choices = state.position, state.choices
        with torch.no_grad():
            z = position if metric is None else metric.forward(position)
            choices = self.sweep(potential)(z, choices, keys.fold_in(SWEEP))
            if self.updates:
                z, choices = self.updated(potential, z, choices, keys)
                position = z if metric is None else metric.inverse(z)
        num_changed = (choices != state.choices).sum(-1)
        inner = self._inside(target, position, choices)
        if self.inner is None:
            return self.with_choices(inner, choices), _with((), "GibbsInfo", num_changed=num_changed)
        inner, info = self.inner.step(_given(target, choices), inner, tuning, keys.fold_in(INSIDE))
        return self.with_choices(inner, choices), _with(info, "GibbsInfo", num_changed=num_changed)

    def adaptation(self, target: Target, position: Tensor, num_warmup: int, keys: Key) -> Adaptation:
        """That of the kernel inside."""
        if self.inner is None:
            return FixedTuning(Tuning(position.new_ones(len(position))))
        return self.inner.adaptation(target, position, num_warmup, keys)

    def draw(self, target: Target, state: Any) -> dict[str, Tensor]:
        """All latent variables, the discrete ones too, by name `[num_chains, *shape]`."""
        potential, metric = _apart(target)
        with torch.no_grad():
            z = state.position if metric is None else metric.forward(state.position)
            return potential.draws(z, state.choices)

    def extra_draws(self, state: Any) -> dict[str, Tensor]:
        """The choices of the discrete variables' elements."""
        return {"choices": state.choices}

    def values(self, potential: Potential, position: Tensor, extra: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Draws of all variables, the discrete ones too, by site name."""
        whole, _ = _apart(potential)
        return whole.draws(position, extra["choices"], deterministic=potential.has_deterministic)

    def with_choices(self, inner: Any, choices: Tensor) -> Any:
        """The state of this kernel, from that of the kernel inside and `[num_chains, num_choices]`."""
        return _with(inner, "GibbsState", choices=choices)

    def sweep(self, potential: MixedPotential) -> Sweep:
        """What updates the discrete variables."""
        sites = [site for site in potential.sites if site.name not in self.updates]
        return Sweep(potential, sites, self.method, self.scan)

    def updated(self, potential: MixedPotential, z: Tensor, choices: Tensor, keys: Key) -> tuple[Tensor, Tensor]:
        """Run the functions of the user's, one after the other; new points and choices."""
        discrete = {site.name: site for site in potential.sites}
        for number, (name, update) in enumerate(self.updates.items()):
            values = potential.draws(z, choices)
            new = _for_each_chain(name, update, keys.fold_in(-1 - number), values)
            if new.shape != values[name].shape:
                raise ValueError(
                    f"Gibbs: updates[{name!r}] returned a value of shape {tuple(new.shape[1:])}, but the site's is "
                    f"{tuple(values[name].shape[1:])}"
                )
            if name in discrete:
                choices = potential.choices({**potential.values(choices), name: new})
            else:
                z = potential.replaced(z, name, new)
        return z, choices

    def _at(self, target: Target, position: Tensor, choices: Tensor) -> Any:
        return self.with_choices(self._inside(target, position, choices), choices)

    def _inside(self, target: Target, position: Tensor, choices: Tensor) -> Any:
        """The state of the kernel inside."""
        given = _given(target, choices)
        if self.inner is not None:
            return self.inner.init(given, position)
        with torch.no_grad():
            return PointState(position, given.log_density(position))


def _apart(target: Target) -> tuple[MixedPotential, Metric | None]:
    metric = target.metric if isinstance(target, Preconditioned) else None
    potential = target.target if isinstance(target, Preconditioned) else target
    if not isinstance(potential, MixedPotential):
        raise TypeError(
            f"Gibbs: the target must be the model itself, as Gibbs.potential makes it, not a {type(potential).__name__}"
        )
    return potential, metric


def _given(target: Target, choices: Tensor) -> Target:
    potential, metric = _apart(target)
    given = potential.given(choices)
    return given if metric is None else Preconditioned(given, metric)


def _for_each_chain(name: str, update: Update, keys: Key, values: dict[str, Tensor]) -> Tensor:
    def one(data: Tensor, own: dict[str, Tensor]) -> Tensor:
        value = update(Key(data), own)
        if not isinstance(value, Tensor):
            raise TypeError(f"Gibbs: updates[{name!r}] must return a tensor, not a {type(value).__name__}")
        return value

    try:
        return torch.vmap(one)(keys.data, values)
    except RuntimeError:
        # Its course depends on values, or the error is its own and comes back.
        rows = [one(data, {n: v[i] for n, v in values.items()}) for i, data in enumerate(keys.data)]
        return torch.stack(rows)


def _with(record: Any, name: str, **more: Tensor) -> Any:
    """A NamedTuple with further fields."""
    return _type(name, (*getattr(record, "_fields", ()), *more))(*record, *more.values())


@cache
def _type(name: str, fields: tuple[str, ...]) -> Any:
    return namedtuple(name, fields)
