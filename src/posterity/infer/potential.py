"""A model as a function of one flat vector on unconstrained space: what Markov chains and optimisers work on."""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode
from torch.linalg import LinAlgError  # type: ignore[attr-defined]  # torch does not list it
from torch.utils import _pytree as pytree

from posterity.bijectors import Bijector, Identity, Independent
from posterity.distributions.supports import tensors_of
from posterity.handlers import Trace, enumerate_sites, substitute
from posterity.handlers.enumerate import max_plate_nesting
from posterity.infer.capture import capture
from posterity.infer.initialization import Strategy, init_to_uniform
from posterity.infer.latent_sites import bijector_of, support_of
from posterity.infer.run_at_point import Call, KnownModel, RunAtPoint, check_discrete, check_plates
from posterity.infer.simulation import Program, is_enumerated
from posterity.infer.singular_matrices import nan_where_singular
from posterity.infer.start import find_start, initial_values
from posterity.kernels import Source
from posterity.ppl import Site
from posterity.ppl.stack import only_handlers
from posterity.runtime import without_validation

# How many numbers the sites of runs that are vectorised together may hold.
_NUMBERS_AT_ONCE = 2**25
_Result = TypeVar("_Result")


class Potential:
    r"""The log joint density of a model's continuous latent variables on unconstrained space.

    The model runs a few times here, with every check; later runs check nothing and cost little more than the model's
    own operations. The model's arguments and its `param` values stay as they are now. Marked discrete variables are
    summed out.

    Args:
        model: The model.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        init: How to find the first point; a strategy of `posterity.infer.initialization`.
        source: Where its random numbers come from; None: the `posterity.handlers.seed` around, or torch's generator.

    Attributes:
        dim: How many numbers a point has.
        shapes: The shape of each latent variable on unconstrained space, by name, in the order of the vector.
        dtype: The vector's dtype.
        device: Where it lives.
        has_deterministic: Whether the model has `deterministic` sites.
        vectorized: Whether batches of points go through the model at once, by `torch.vmap`; False once a batch has
            shown that the model's course depends on values.

    Raises:
        ValueError: The model has no continuous latent variable, a discrete one that is not marked for enumeration, or
            a random subsample; no point with a finite log density was found, or the density is not the same at a
            second run.

    Example:
        >>> import posterity as pt
        >>> def model(x):
        ...     scale = pt.sample("scale", pt.distributions.HalfNormal(1.0))
        ...     pt.sample("x", pt.distributions.Normal(0.0, scale), obs=x)
        >>> potential = Potential(model, (0.5,))
        >>> z = potential.unconstrain({"scale": torch.tensor(1.0)})
        >>> potential.log_density(z), potential.constrain(z)
        (tensor(-1.7697), {'scale': tensor(1.)})
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
        if not callable(model):
            raise TypeError(f"model of Potential must be a program to call, not a {type(model).__name__}")
        self.model, self.args, self.kwargs = model, tuple(args), dict(kwargs or {})
        self.vectorized = True
        # Why points go through the model one by one, as long as nobody has been told.
        self._untold = ""
        start = find_start(model, self.args, self.kwargs, init=init, source=source)
        self._given = self._held(start.trace)
        self._subsamples = self._taken_by_plates(start.trace)
        if not start.unconstrained and not self._given:
            raise ValueError(f"the model has no continuous latent variable\n{start.trace.format_shapes()}")
        params = {name: site.value.detach() for name, site in start.trace.items() if site.kind == "param"}
        names = frozenset(site.name for site in start.trace.samples())
        self._known = KnownModel(params, names, any(is_enumerated(site) for site in start.trace.latents()))
        if self._known.is_enumerated:
            values = {name: start.trace[name].value for name in start.unconstrained}
            given = substitute(model, {**params, **values})
            self._known.nesting = max_plate_nesting(given, *self.args, **self.kwargs)
        self._layout = _layout(start.unconstrained, start.trace)
        self.shapes = {name: part.shape for name, part in self._layout.items()}
        self.dim = sum(part.size for part in self._layout.values())
        self.has_deterministic = any(site.kind == "deterministic" for site in start.trace.values())
        leaves = list(start.unconstrained.values()) or [next(start.trace.samples()).log_prob()]
        self.device = leaves[0].device
        self.dtype = leaves[0].dtype
        for leaf in leaves:
            self.dtype = torch.promote_types(self.dtype, leaf.dtype)
        self._known.bijectors = self._fixed_bijectors(self.flatten(start.unconstrained))
        self._known.real = frozenset(name for name, bijector in self._known.bijectors.items() if _is_identity(bijector))

    def log_density(self, z: Tensor) -> Tensor:
        """Log joint density in nats of data and latent variables, with the log-determinants of the Jacobians.

        Args:
            z: `[*batch, dim]`.

        Returns:
            `[*batch]`.
        """
        return self._mapped(lambda point: self._run(point, RunAtPoint.log_density), z)

    def log_prior_and_likelihood(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The two parts of the log density: of latent variables with Jacobians, and what comes to it through data.

        Masks and scales of latent variables, and `factor` terms, count to the second part: the first one is the
        density of the model's own draws. Where discrete variables are summed out they count to the first.

        Args:
            z: `[*batch, dim]`.

        Returns:
            Two tensors `[*batch]`.
        """
        return self._mapped(lambda point: self._run(point, RunAtPoint.parts), z)

    def value_and_grad(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The log density and its gradient, neither with a graph.

        Args:
            z: `[*batch, dim]`.

        Returns:
            `[*batch]` and `[*batch, dim]`.
        """
        with torch.enable_grad():
            point = z.detach().requires_grad_()
            value = self.log_density(point)
            (gradient,) = torch.autograd.grad(value.sum(), point)
        return value.detach(), gradient

    def failure(self, z: Tensor) -> str | None:
        """What has no factor or inverse at a point `[dim]`, in torch's words; None where all has."""
        try:
            self._run(z, RunAtPoint.log_density)
        except LinAlgError as error:
            return str(error)
        return None

    def capture(self, example: Tensor) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """`value_and_grad` as one compiled graph, for points of the example's shape.

        Args:
            example: `[*batch, dim]`; its values do not matter.

        Raises:
            RuntimeError: The model branches on values.
        """
        # make_fx counts the arguments of a function
        return capture(lambda z: self.value_and_grad(z), [example], is_settled=True)

    def constrain(self, z: Tensor, *, deterministic: bool = False) -> dict[str, Tensor]:
        """The latent variables at points.

        Args:
            z: `[*batch, dim]`.
            deterministic: Whether to return the model's `deterministic` sites too, for which it has to run.

        Returns:
            By site name `[*batch, *shape]`.
        """
        if self._known.bijectors.keys() == self._layout.keys() and not deterministic:
            with without_validation():
                return {name: self._known.bijectors[name].forward(part) for name, part in self.unflatten(z).items()}

        def values(point: Tensor) -> dict[str, Tensor]:
            recorded = self._run(point, lambda run: run.recorded, with_density=False)
            shown = {s.name: s.value for s in recorded.values() if s.kind == "deterministic" and deterministic}
            tensors = {name: value for name, value in shown.items() if isinstance(value, Tensor)}
            return {**{name: recorded[name].value for name in self._layout}, **tensors}

        flat = z.reshape(-1, self.dim)
        size = sum(math.prod(shape) for shape in self.shapes.values()) + sum(
            v.numel() for v in values(flat[0]).values()
        )
        found = [self._mapped(values, part) for part in flat.split(max(1, _NUMBERS_AT_ONCE // max(size, 1)))]
        whole = {name: torch.cat([part[name] for part in found]) for name in found[0]}
        return {name: value.reshape(z.shape[:-1] + value.shape[1:]) for name, value in whole.items()}

    def unconstrain(self, values: Mapping[str, Tensor]) -> Tensor:
        """The point at which latent variables have given values.

        Args:
            values: By site name `[*batch, *shape]`.

        Returns:
            `[*batch, dim]`.

        Raises:
            ValueError: A site is missing, or unknown, or a value has the wrong shape or is outside of its support.
        """
        missing, extra = self.shapes.keys() - values.keys(), values.keys() - self.shapes.keys()
        if missing or extra:
            raise ValueError(
                f"unconstrain: the values are of {', '.join(map(repr, values)) or 'nothing'}, but the latent variables "
                f"are {', '.join(map(repr, self.shapes))}"
            )
        if self._known.bijectors.keys() == self._layout.keys():
            return self.flatten({name: self._inverse(name, value) for name, value in values.items()})
        name = next(iter(self._layout))
        rank = values[name].dim() - len(self._layout[name].value_shape)
        batch = values[name].shape[:rank]
        flat = [
            {name: value.reshape(-1, *value.shape[rank:])[i] for name, value in values.items()}
            for i in range(math.prod(batch))
        ]
        return torch.stack([self._inverted(point) for point in flat]).reshape(*batch, self.dim)

    def initial_points(self, num_chains: int = 1, *, init: Strategy = init_to_uniform, source: Source = None) -> Tensor:
        """Points of finite log density, `[num_chains, dim]`; see `posterity.infer.start.initial_values`."""
        program = substitute(self.model, self._known.params)
        points = initial_values(program, self.args, self.kwargs, init=init, num_chains=num_chains, source=source)
        return self.flatten(points)

    def flatten(self, unconstrained: Mapping[str, Tensor]) -> Tensor:
        """The vector `[*batch, dim]` of values on unconstrained space, by name `[*batch, *shapes[name]]`."""
        parts = []
        for name, part in self._layout.items():
            value = unconstrained[name]
            rank = value.dim() - len(part.shape)
            if rank < 0 or value.shape[rank:] != part.shape:
                raise ValueError(
                    f"the value of site {name!r} on unconstrained space has shape {tuple(value.shape)}, which does not "
                    f"end with {tuple(part.shape)}"
                )
            parts.append(value.reshape(*value.shape[:rank], part.size).to(self.dtype))
        return torch.cat(parts, -1) if parts else torch.empty(0, dtype=self.dtype, device=self.device)

    def unflatten(self, z: Tensor) -> dict[str, Tensor]:
        """The values on unconstrained space that a vector holds."""
        if z.shape[-1:] != (self.dim,):
            raise ValueError(
                f"a point of this model has {self.dim} numbers, but the tensor's shape is {tuple(z.shape)}"
            )
        pieces = z.split([part.size for part in self._layout.values()], -1)
        return {
            name: piece.reshape(z.shape[:-1] + part.shape).to(part.dtype)
            for (name, part), piece in zip(self._layout.items(), pieces, strict=True)
        }

    def _held(self, found: Trace) -> dict[str, Tensor]:
        """Values of discrete latent variables that runs are given, by name: here there may be no such variables."""
        check_discrete(found)
        return {}

    def _taken_by_plates(self, found: Trace) -> dict[str, Tensor]:
        """Which elements plates take that choose them at random, by the plate's name: here none may."""
        check_plates(found)
        return {}

    def _run(
        self,
        z: Tensor,
        result: Callable[[RunAtPoint], _Result],
        *,
        with_density: bool = True,
        call: Call | None = None,
    ) -> _Result:
        """Run the model at one point, without checks, and take a result from the run."""
        call = Call(self.args, self.kwargs, self._subsamples, self._given) if call is None else call
        run = RunAtPoint(self.unflatten(z), self._known, with_density, call.subsamples, call.given)
        with without_validation():
            with self._around(), run:
                self.model(*call.args, **call.kwargs)
            return result(run)

    @contextmanager
    def _around(self) -> Iterator[None]:
        """Nothing of the stack of handlers here, and enumeration where it is asked for."""
        with only_handlers(lambda handler: False):
            if self._known.is_enumerated:
                with enumerate_sites(first_available_dim=-1 - self._known.nesting):
                    yield
            else:
                yield

    def _mapped(self, function: Callable[..., _Result], z: Tensor, *beside: Tensor) -> _Result:
        """A function of one point, for all points of a batch: by `torch.vmap` where the model allows it.

        Args:
            function: Takes a point, and its row of what stands beside the points.
            z: The points, `[*batch, dim]`.
            beside: `[*batch, ...]`.
        """
        if z.dim() == 1:
            return nan_where_singular(lambda: function(z, *beside))
        batch = z.shape[:-1]
        flat = z.reshape(batch.numel(), self.dim)
        rows = [tensor.reshape(batch.numel(), *tensor.shape[len(batch) :]) for tensor in beside]
        results: _Result | None = None

        def at(*own: Tensor) -> _Result:
            return nan_where_singular(lambda: function(*own))

        if self.vectorized:
            try:
                results = nan_where_singular(lambda: torch.vmap(function)(flat, *rows))
            except LinAlgError:
                raise
            except RuntimeError as error:
                # The model's course depends on values, or the error is its own and comes back below.
                at(flat[0], *(row[0] for row in rows))
                self.vectorized = False
                self._untold = _one_by_one(error)
        if results is None:
            if self._untold and len(flat) > 1 and get_proxy_mode() is None:
                warnings.warn(self._untold, stacklevel=4)
                self._untold = ""
            singles = [pytree.tree_flatten(at(*own)) for own in zip(flat, *rows, strict=True)]
            leaves = [torch.stack(together) for together in zip(*(s[0] for s in singles), strict=True)]
            results = pytree.tree_unflatten(leaves, singles[0][1])
        shaped: _Result = pytree.tree_map(lambda leaf: leaf.reshape(batch + leaf.shape[1:]), results)
        return shaped

    def _fixed_bijectors(self, z: Tensor) -> dict[str, Bijector]:
        """Check the density at the start; the bijectors of those sites whose supports are the same everywhere."""
        with torch.enable_grad():
            leaf = z.detach().requires_grad_()
            recorded, density = self._run(leaf, lambda run: (run.recorded, run.log_density()))
        again = self.log_density(z.detach())
        if not bool(density.isfinite()):
            raise ValueError(f"the log density at the start is {density.item()}, discrete variables summed out")
        if not torch.allclose(density.detach(), again, rtol=1e-4, atol=1e-4):
            raise ValueError(
                f"the log density is {density.item():.6g} at one run of the model and {again.item():.6g} at another "
                "one, at the same point: the model must draw random numbers by sample statements alone, and no network "
                "in it may drop units at random (network.eval())"
            )
        fixed = {}
        for name in self._layout:
            site = recorded[name]
            tensors = [t for t in tensors_of(support_of(site)) if t.requires_grad]
            moving = (
                tensors
                and torch.autograd.grad(
                    [t.sum() for t in tensors], leaf, retain_graph=True, allow_unused=True, materialize_grads=False
                )[0]
            )
            if not isinstance(moving, Tensor):
                fixed[name] = bijector_of(site)
        return fixed

    def _inverse(self, name: str, value: Tensor, bijector: Bijector | None = None) -> Tensor:
        shape = self._layout[name].value_shape
        if value.shape[value.dim() - len(shape) :] != shape or value.dim() < len(shape):
            raise ValueError(
                f"unconstrain: the value of site {name!r} has shape {tuple(value.shape)}, which does not end with the "
                f"site's, {tuple(shape)}"
            )
        try:
            return (bijector or self._known.bijectors[name]).inverse(value)
        except ValueError as error:
            raise ValueError(f"unconstrain: site {name!r}: {error}") from error

    def _inverted(self, values: Mapping[str, Tensor]) -> Tensor:
        found = {}

        def value(site: Site) -> Tensor | None:
            if site.name in self._layout:
                found[site.name] = self._inverse(site.name, values[site.name], bijector_of(site))
                return values[site.name]
            return self._known.params.get(site.name)

        with self._around():
            substitute(self.model, value)(*self.args, **self.kwargs)
        return self.flatten(found)


def _one_by_one(error: RuntimeError) -> str:
    first = (str(error).splitlines() or [""])[0]
    return (
        "points are evaluated one after the other, which is slow, since torch.vmap cannot run the model over several: "
        "it branches on values (an `if` on a tensor, a `.item()`, an indexing by a mask), which torch.where does "
        f"without, or does what vmap does not know: {first}"
    )


class _Part(NamedTuple):
    """A latent variable's place in the vector."""

    shape: torch.Size
    size: int
    dtype: torch.dtype
    value_shape: torch.Size


def _layout(unconstrained: Mapping[str, Tensor], found: Trace) -> dict[str, _Part]:
    return {
        name: _Part(value.shape, value.numel(), value.dtype, found[name].value.shape)
        for name, value in unconstrained.items()
    }


def _is_identity(bijector: Bijector) -> bool:
    return isinstance(bijector.bijector if isinstance(bijector, Independent) else bijector, Identity)
