"""A model's log density at a point, estimated from a minibatch: the target of stochastic-gradient kernels."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from posterity.handlers import Trace
from posterity.infer.arguments import kind_of
from posterity.infer.latent_sites import is_continuous
from posterity.infer.potential import Potential
from posterity.infer.run_at_point import Call, RunAtPoint
from posterity.infer.sources import seeded_generator
from posterity.infer.stochastic_gradient.subsamples import random_subsets
from posterity.kernels import Key
from posterity.ppl import Site


class Subsampled(NamedTuple):
    """A plate that chooses its elements at random.

    Attributes:
        name: Its name.
        size: How many elements it has.
        taken: How many of them it takes.
    """

    name: str
    size: int
    taken: int


class StochasticPotential(Potential):
    """The log joint density of a model on unconstrained space, estimated from minibatches.

    Minibatches come in two ways. Plates with a `subsample_size` choose their elements at random; each chain has a
    subsample of its own. Or the caller gives another batch at each call, of which the model declares what it stands
    for: `pt.plate("data", num_data, subsample_size=len(batch))`. In both the plate scales the likelihood up, so that
    the gradient's expectation is the gradient of the whole log density.

    Args:
        model: The model.
        args: Its positional arguments: the first batch.
        kwargs: Its keyword arguments.
        **options: As for `posterity.infer.Potential`, and its attributes.

    Raises:
        ValueError: As `posterity.infer.Potential`; or a latent variable stands inside a plate that takes a random
            subsample, so that it would belong to other elements at each step.

    Example:
        >>> import posterity as pt
        >>> def model(x):
        ...     loc = pt.sample("loc", pt.distributions.Normal(0.0, 1.0))
        ...     with pt.plate("data", len(x), subsample_size=2) as indices:
        ...         pt.sample("x", pt.distributions.Normal(loc, 1.0), obs=x[indices])
        >>> x = torch.tensor([1.0, 2.0, 3.0])
        >>> potential = StochasticPotential(model, (x,))
        >>> call = Call((x,), {}, {"data": torch.tensor([[0, 1]])})
        >>> potential.gradient(torch.zeros(1, 1), call)  # 3 / 2 of (1 + 2)
        tensor([[4.5000]])
    """

    def __init__(
        self, model: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> None:
        super().__init__(model, args, kwargs, **options)
        self._plates: dict[Any, tuple[Subsampled, ...]] = {}

    @property
    def num_indices(self) -> int:
        """How many elements plates take at random for one chain, at the first call."""
        return sum(len(indices) for indices in self._subsamples.values())

    def gradient(self, z: Tensor, call: Call) -> Tensor:
        """An estimate of the gradient of the log density.

        Args:
            z: `[num_chains, dim]`.
            call: The model's arguments, and for each plate that takes a random subsample the elements that it takes
                for each chain, `[num_chains, taken]`.

        Returns:
            `[num_chains, dim]`, without a graph.
        """
        with torch.enable_grad():
            point = z.detach().requires_grad_()
            value = self.estimate(point, call)
            (gradient,) = torch.autograd.grad(value.sum(), point)
        return gradient

    def estimate(self, z: Tensor, call: Call) -> Tensor:
        """An estimate of the log density, `[num_chains]`; arguments are those of `gradient`."""
        names, indices = list(call.subsamples), list(call.subsamples.values())

        def at(point: Tensor, *rows: Tensor) -> Tensor:
            own = call._replace(subsamples=dict(zip(names, rows, strict=True)))
            return self._run(point, RunAtPoint.log_density, call=own)

        if len(z) == 1:  # without the price of vectorising
            return at(z[0], *(rows[0] for rows in indices)).unsqueeze(0)
        return self._mapped(at, z, *indices)

    def complaint(self, z: Tensor, call: Call) -> str | None:
        """Which site's log density, or whose slope, is not finite at a point `[dim]`; None where all are."""
        with torch.enable_grad():
            point = z.detach().requires_grad_()
            run = RunAtPoint(self.unflatten(point), self._known, subsamples=call.subsamples)
            try:
                with self._around(), run:
                    self.model(*call.args, **call.kwargs)
                for site in run.samples():
                    value = site.weighted_log_prob()
                    kind = "observed site" if site.is_observed else "site"
                    if not bool(value.isfinite().all()):
                        worst = value[~value.isfinite()][0].item()
                        return f"The log density of {kind} {site.name!r} is {worst} there"
                    if value.requires_grad:
                        (slope,) = torch.autograd.grad(value.sum(), point, retain_graph=True, allow_unused=True)
                        if slope is not None and not bool(slope.isfinite().all()):
                            return f"The slope of the log density of {kind} {site.name!r} is not finite there"
            except (ValueError, RuntimeError) as error:
                return "\n".join([str(error), *getattr(error, "__notes__", [])])
        return None

    def plates(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Subsampled, ...]:
        """The plates that take random subsamples when the model is called with such arguments.

        Raises:
            ValueError: The model has other latent variables with these arguments than with the first ones.
        """
        kind = kind_of(args, kwargs)
        if kind not in self._plates:
            recorded = self._recorded(args, kwargs)
            self._check_latents(recorded)
            self._plates[kind] = _random_plates(recorded)
        return self._plates[kind]

    def scales_likelihood(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Whether anything makes observed sites count more often than once when the model is called so."""
        sites = self._recorded(args, kwargs).values()
        observed = [site for site in sites if site.kind == "sample" and site.is_observed]
        return any(isinstance(site.scale, Tensor) or site.scale != 1 for site in observed)

    def _recorded(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Site]:
        """The sites of a run at the image of zero, plates choosing for themselves."""
        point = torch.zeros(self.dim, dtype=self.dtype, device=self.device)
        call = Call(args, kwargs, {})
        with torch.no_grad(), seeded_generator(Key(0)):
            return self._run(point, lambda run: run.recorded, with_density=False, call=call)

    def _check_latents(self, recorded: Mapping[str, Site]) -> None:
        latents = {name: site for name, site in recorded.items() if is_continuous(site)}
        for name, site in latents.items():
            assert site.distribution is not None
            shape = site.batch_shape + site.distribution.event_shape
            if name in self.shapes and site.value.shape != shape:
                raise ValueError(
                    f"latent site {name!r} has shape {tuple(shape)} with this batch, but {tuple(site.value.shape)} "
                    "with the first one: what is drawn must not depend on the batch's size"
                )
        if latents.keys() != self.shapes.keys():
            raise ValueError(
                f"the model has the latent sites {', '.join(map(repr, latents)) or 'none'} with this batch, but "
                f"{', '.join(map(repr, self.shapes))} with the first one: they must be the same at every step"
            )

    def _taken_by_plates(self, found: Trace) -> dict[str, Tensor]:
        plates = _random_plates(found)
        for site in found.latents():
            inside = {frame.name for frame in site.plates} & {plate.name for plate in plates}
            if inside and "_enumeration" not in site.infer and site.infer.get("enumerate") is None:
                raise ValueError(
                    f"latent site {site.name!r} stands inside plate {inside.pop()!r}, which takes a random subsample: "
                    "its values would belong to other elements at each step. Take the plate whole, or sum the variable "
                    "out"
                )
        return {plate.name: found[plate.name].value for plate in plates}


def subsamples_of(plates: Sequence[Subsampled], keys: Key) -> dict[str, Tensor]:
    """The elements that plates take, by name `[*batch, taken]`, for keys `[*batch, 2]`."""
    # Stream 0 is the kernel's own noise.
    return {plate.name: random_subsets(plate.size, plate.taken, keys.at(i + 1)) for i, plate in enumerate(plates)}


def _random_plates(sites: Mapping[str, Any]) -> tuple[Subsampled, ...]:
    plates = [site for site in sites.values() if site.kind == "plate" and not site.infer["given"]]
    return tuple(
        Subsampled(plate.name, plate.infer["size"], len(plate.value))
        for plate in plates
        if len(plate.value) != plate.infer["size"]
    )
