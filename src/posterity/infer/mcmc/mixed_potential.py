"""A model with discrete latent variables as a target of its continuous ones, given the discrete ones."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from posterity.distributions.supports import tensors_of
from posterity.handlers import Trace, seed
from posterity.infer.initialization import Strategy, init_to_uniform
from posterity.infer.latent_sites import is_continuous, support_of
from posterity.infer.mcmc.conditional_scores import ConditionalScores
from posterity.infer.mcmc.discrete_site import discrete_site
from posterity.infer.potential import Potential
from posterity.infer.run_at_point import Call, RunAtPoint
from posterity.infer.simulation import Program, is_enumerated
from posterity.kernels import Key, Source
from posterity.ppl import Handler, Site
from posterity.ppl.provenance import provenance
from posterity.ppl.stack import only_handlers
from posterity.runtime import without_validation

# How many draws from the prior are tried where a chain's point has no density with the first.
_TRIES = 100
# How many numbers the points of runs that are vectorised together may hold.
_NUMBERS_AT_ONCE = 2**22


class MixedPotential(Potential):
    """A model's log density as a function of a point, for its continuous latent variables, and of choices.

    The elements of all discrete latent variables that are not marked to be summed out stand in one row, each as the
    place of its value in the list of values; see `DiscreteSite`. Called as an ordinary potential, it is that of the
    continuous variables given the discrete values of the first run.

    Args:
        model: The model.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        init: How to find the first point.
        source: Where random numbers come from.
        updated_by_user: The sites whose values functions of the user's change.

    Attributes:
        sites: The discrete latent variables, in order.
        num_choices: How many elements they have together.

    Raises:
        ValueError: There is no discrete latent variable, or one whose values cannot be listed; or as `Potential`.

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     z = pt.sample("z", pt.distributions.Bernoulli(0.3))
        ...     pt.sample("x", pt.distributions.Normal(z, 1.0))
        >>> potential = MixedPotential(model, source=Key(0))
        >>> target = potential.given(torch.tensor([[0], [1]]))
        >>> target.log_density(torch.ones(2, 1)) - target.log_density(torch.zeros(2, 1))
        tensor([-0.5000,  0.5000])
    """

    def __init__(
        self,
        model: Program,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        init: Strategy = init_to_uniform,
        source: Source = None,
        updated_by_user: Sequence[str] = (),
    ) -> None:
        self._source = source if isinstance(source, Key) else Key.draw(torch.device("cpu"))
        super().__init__(model, args, kwargs, init=init, source=source)
        recorded, moving = self._moving_supports()
        for name in moving & self._known.bijectors.keys():
            del self._known.bijectors[name]
        self._known.real &= self._known.bijectors.keys()
        self.sites = [
            discrete_site(recorded[name], support_moves=name in moving, is_updated_by_user=name in updated_by_user)
            for name in self._given
        ]
        self.num_choices = sum(site.size for site in self.sites)

    def given(self, choices: Tensor) -> "Given":
        """The target of the continuous variables, for each chain given its choices `[num_chains, num_choices]`."""
        return Given(self, choices)

    def run(self, z: Tensor, choices: Tensor, result: Callable[[RunAtPoint], Any]) -> Any:
        """Run the model at one point with one row of choices, and take a result from the run."""
        return self._run(z, result, call=Call(self.args, self.kwargs, self._subsamples, self.values(choices)))

    def mapped(self, function: Callable[..., Any], z: Tensor, *beside: Tensor) -> Any:
        """A function of one point and its row of what stands beside, for a batch of points `[*batch, dim]`."""
        return self._mapped(function, z, *beside)

    def values(self, choices: Tensor) -> dict[str, Tensor]:
        """The discrete variables, by name, of choices `[*batch, num_choices]`."""
        parts = choices.split([site.size for site in self.sites], -1)
        return {site.name: site.values(part) for site, part in zip(self.sites, parts, strict=True)}

    def choices(self, values: Mapping[str, Tensor]) -> Tensor:
        """The choices `[*batch, num_choices]` of the discrete variables' values, by name `[*batch, *shape]`.

        Raises:
            ValueError: A site is missing, or given a value that it cannot have, or one of another shape.
        """
        rows = []
        for site in self.sites:
            value = values.get(site.name)
            shape = site.grid + site.event
            if value is None or value.shape[value.dim() - len(shape) :] != shape:
                found = "is missing" if value is None else f"has shape {tuple(value.shape)}"
                raise ValueError(f"the value of discrete site {site.name!r} {found}, but must end with {tuple(shape)}")
            rows.append(site.choices(value))
        return torch.cat(rows, -1)

    def draws(self, z: Tensor, choices: Tensor, *, deterministic: bool = False) -> dict[str, Tensor]:
        """All latent variables at points `[*batch, dim]` with choices `[*batch, num_choices]`, by name."""
        discrete = self.values(choices)
        if self._known.bijectors.keys() == self._layout.keys() and not deterministic:
            return {**self.constrain(z), **discrete}

        def others(point: Tensor, own: Tensor) -> dict[str, Tensor]:
            recorded = self.run(point, own, lambda run: run.recorded)
            shown = [s for s in recorded.values() if s.kind == "deterministic" and deterministic]
            found = {site.name: site.value for site in [*(recorded[name] for name in self._layout), *shown]}
            return {name: value for name, value in found.items() if isinstance(value, Tensor)}

        batch = z.shape[:-1]
        points, rows = z.reshape(batch.numel(), self.dim), choices.reshape(batch.numel(), self.num_choices)
        at_once = max(1, _NUMBERS_AT_ONCE // (self.dim + self.num_choices))
        parts = [self._mapped(others, *part) for part in zip(points.split(at_once), rows.split(at_once), strict=True)]
        whole = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        return {**{name: value.reshape(batch + value.shape[1:]) for name, value in whole.items()}, **discrete}

    def replaced(self, z: Tensor, name: str, value: Tensor) -> Tensor:
        """Points `[*batch, dim]` at which one continuous variable has another value, `[*batch, *shape]`.

        Raises:
            ValueError: The variable's support depends on other variables.
        """
        bijector = self._known.bijectors.get(name)
        if bijector is None:
            raise ValueError(
                f"Gibbs: the support of site {name!r} depends on other variables: no update can change it alone"
            )
        return self.flatten({**self.unflatten(z), name: bijector.inverse(value)})

    def first_choices(self, z: Tensor) -> Tensor:
        """Draws of the discrete variables from their priors, for each of `[num_chains, dim]` points.

        Raises:
            ValueError: At a point no draw has a finite log density.
        """
        keys = self._source.fold_in(torch.arange(len(z), device=self._source.data.device))
        choices = torch.zeros(len(z), self.num_choices, dtype=torch.int64, device=self.device)
        waiting = torch.arange(len(z), device=self.device)
        for attempt in range(_TRIES):
            found, density = self._mapped(self._drawn_at, z[waiting], keys.fold_in(attempt).data[waiting])
            possible = density.isfinite()
            choices[waiting[possible]] = found[possible]
            waiting = waiting[~possible]
            if not len(waiting):
                return choices
        raise ValueError(
            f"Gibbs: no discrete values with a finite log density were found in {_TRIES} draws from their priors: "
            "start at values that are possible, Gibbs.init(..., values={...})"
        )

    def initial_points(self, num_chains: int = 1, *, init: Strategy = init_to_uniform, source: Source = None) -> Tensor:
        """Points of finite log density, `[num_chains, dim]`; of a model without continuous variables, empty ones."""
        if self.dim == 0:
            return torch.zeros(num_chains, 0, dtype=self.dtype, device=self.device)
        return super().initial_points(num_chains, init=init, source=source)

    @property
    def held_choices(self) -> Tensor:
        """The choices of the first run, `[num_choices]`: what an ordinary potential goes by."""
        return self.choices(self._given)

    @cached_property
    def scores(self) -> ConditionalScores:
        """The log densities of discrete elements given all else."""
        return ConditionalScores(self, self._source.fold_in(-1))

    @property
    def is_enumerated(self) -> bool:
        """Whether other discrete variables are summed out."""
        return self._known.is_enumerated

    def _held(self, found: Trace) -> dict[str, Tensor]:
        given = {site.name: site.value for site in found.latents() if _is_held(site)}
        if not given:
            raise ValueError(
                "Gibbs: the model has no discrete latent variable to update (those marked for enumeration are summed "
                f"out): use the inner kernel alone\n{found.format_shapes()}"
            )
        return given

    def _drawn_at(self, z: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """Choices from the priors at a point, and the log density with them."""
        run = RunAtPoint(self.unflatten(z), self._known, True, self._subsamples)
        with without_validation(), self._around(), seed(rng_seed=Key(key)), run:
            self.model(*self.args, **self.kwargs)
            choices = self.choices({name: run.recorded[name].value for name in self._given})
        return choices, self.run(z, choices, RunAtPoint.log_density)

    def _moving_supports(self) -> tuple[dict[str, Site], set[str]]:
        """The sites of a run, and the latent variables whose supports depend on others."""
        start = super().initial_points(1, source=self._source)[0] if self.dim else self.flatten({})
        run, moving = RunAtPoint(self.unflatten(start), self._known, True, self._subsamples, self._given), set()
        followed = provenance()
        with (
            without_validation(),
            only_handlers(lambda handler: False),
            self._around(),
            followed,
            _WithSupport() as seen,
        ):
            with run:
                self.model(*self.args, **self.kwargs)
            for site in seen.latents:
                if followed.depends_on_latents(*tensors_of(support_of(site))):
                    moving.add(site.name)
        return run.recorded, moving


class Given:
    """The target of the continuous variables of a `MixedPotential`, given choices, one row for each chain.

    Args:
        potential: The model.
        choices: `[num_chains, num_choices]`.
    """

    def __init__(self, potential: MixedPotential, choices: Tensor) -> None:
        self._potential, self._choices = potential, choices

    @property
    def dim(self) -> int:
        """How many numbers a point has."""
        return self._potential.dim

    def log_density(self, z: Tensor) -> Tensor:
        """The log joint density of everything at points `[*batch, num_chains, dim]`, `[*batch, num_chains]`."""
        density: Tensor = self._mapped(RunAtPoint.log_density, z)
        return density

    def log_prior_and_likelihood(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The two parts of the log density."""
        parts: tuple[Tensor, Tensor] = self._mapped(RunAtPoint.parts, z)
        return parts

    def value_and_grad(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The log density and its gradient, neither with a graph."""
        with torch.enable_grad():
            point = z.detach().requires_grad_()
            value = self.log_density(point)
            (gradient,) = torch.autograd.grad(value.sum(), point)
        return value.detach(), gradient

    def _mapped(self, result: Callable[[RunAtPoint], Any], z: Tensor) -> Any:
        rows = self._choices.expand(*z.shape[:-1], -1)
        return self._potential.mapped(lambda point, own: self._potential.run(point, own, result), z, rows)


class _WithSupport(Handler):
    """Collects the latent sites of a run."""

    def __init__(self) -> None:
        super().__init__()
        self.latents: list[Site] = []

    def postprocess_message(self, site: Site) -> None:
        if site.is_latent and not is_enumerated(site):
            self.latents.append(site)


def _is_held(site: Site) -> bool:
    return not is_continuous(site) and bool(support_of(site).is_discrete) and not is_enumerated(site)
