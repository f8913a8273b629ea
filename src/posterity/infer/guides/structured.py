"""The guide whose sites depend on those before them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, cast

import torch
from torch import Tensor

from posterity.bijectors.softplus import softplus
from posterity.distributions import Delta, Distribution, MultivariateNormal, Normal
from posterity.infer.guides.guide import AutoGuide, Plates
from posterity.infer.guides.latent import Latent
from posterity.infer.guides.parameters import SiteParameters
from posterity.infer.guides.plates import ModelPlates
from posterity.infer.guides.scales import check_scale, raw_scale
from posterity.infer.initialization import Strategy, init_to_median
from posterity.kernels import ndtri
from posterity.ppl import sample, subsample

Conditional = Literal["normal", "mvn", "delta"]
Dependencies = Mapping[str, Iterable[str]]


class AutoStructured(AutoGuide):
    r"""A normal distribution for each latent variable given those before it, on unconstrained space.

    With $u_j$ the variables before $u_i$ on which it depends, the mean of $u_i$ is
    $loc_i + \sum_j W_{ij} (u_j - loc_j)$: the guide is one normal distribution whose covariance has the structure of
    the model, and costs as much as its dependencies. An element of a plate depends on the same element of what stands
    in the same plate, and on all of what stands outside of the plate; weights differ between elements. So variables
    in subsampled plates are welcome.

    Args:
        model: The model.
        conditionals: What a variable is given those before it: `"normal"` (independent entries), `"mvn"` (any
            covariance within an element of the plates) or `"delta"` (a function of them); for all, or by site name
            (others are `"normal"`).
        dependencies: Which earlier sites a site depends on, by name; `"linear"` is on all that it can. Weights start
            at zero.
        init: Where the means start; a strategy of `posterity.infer.initialization`.
        init_scale: Where the conditional standard deviations start.
        create_plates: From the model's arguments to the plates to use in place of its own; see `AutoGuide`.

    Attributes:
        loc: Means on unconstrained space by site name, flattened to `[*plates, num_entries]`.
        raw_scale: Inverse softplus of the conditional scales.
        raw_tril: Of `"mvn"` sites: what lies below the diagonal of the Cholesky factor, in units of its rows' scales.
        weight: $W_{ij}$ under the name `site<upstream`, `[*plates, num_entries, num_entries_upstream]`.

    Raises:
        TypeError: `model` or `init` is not callable.
        ValueError: `init_scale` is not positive, a conditional is unknown; at the set-up, a site is unknown, or cannot
            depend on another one because that stands later, or in a subsampled plate that is not around it.

    Source: Ambrogioni et al. (2021), "Automatic structured variational inference".

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     loc = pt.sample("loc", pt.distributions.Normal(0.0, 1.0))
        ...     with pt.plate("groups", 5):
        ...         pt.sample("x", pt.distributions.Normal(loc, 1.0))
        >>> guide = AutoStructured(model).setup()
        >>> guide.weight["x<loc"].shape
        torch.Size([5, 1, 1])
    """

    loc: SiteParameters
    raw_scale: SiteParameters
    raw_tril: SiteParameters
    weight: SiteParameters

    def __init__(
        self,
        model: Callable[..., Any],
        *,
        conditionals: Conditional | Mapping[str, Conditional] = "normal",
        dependencies: Literal["linear"] | Dependencies = "linear",
        init: Strategy = init_to_median,
        init_scale: float = 0.1,
        create_plates: Callable[..., Plates] | None = None,
    ) -> None:
        super().__init__(model, init=init, create_plates=create_plates)
        for kind in conditionals.values() if isinstance(conditionals, Mapping) else [conditionals]:
            if kind not in ("normal", "mvn", "delta"):
                raise ValueError(f"conditionals of AutoStructured must be 'normal', 'mvn' or 'delta', not {kind!r}")
        if not isinstance(dependencies, Mapping) and dependencies != "linear":
            raise ValueError(
                f"dependencies of AutoStructured must be 'linear' or a mapping from sites to those before them, not "
                f"{dependencies!r}"
            )
        self.init_scale = check_scale("AutoStructured", init_scale)
        self._conditionals, self._dependencies = conditionals, dependencies
        self.conditionals: dict[str, Conditional] = {}
        self.upstream: dict[str, list[str]] = {}

    def _require_fit(self, latents: dict[str, Latent]) -> None:
        options: dict[str, Any] = {"conditionals": self._conditionals, "dependencies": self._dependencies}
        for what, given in options.items():
            for name in given if isinstance(given, Mapping) else ():
                if name not in latents:
                    raise ValueError(
                        f"{what} of AutoStructured name site {name!r}, but the latent sites are {', '.join(latents)}"
                    )
        for latent in latents.values():
            if latent.mask is not None and _outside_of_plates(latent):
                raise ValueError(
                    f"site {latent.name!r} is masked, as a partly observed variable is, along a batch dimension that "
                    "is no plate: declare the plate, or use AutoNormal"
                )
        before: list[str] = []
        for name in latents:
            possible = [other for other in before if not _is_cut_off(latents[other], latents[name])]
            if isinstance(self._dependencies, Mapping):
                asked = list(self._dependencies.get(name, ()))
                for other in asked:
                    if other not in possible:
                        why = (
                            "stands in a subsampled plate that is not around it"
                            if other in before
                            else "does not come before it"
                        )
                        raise ValueError(f"site {name!r} cannot depend on {other!r}, which {why}")
                possible = asked
            self.upstream[name] = possible
            kinds = self._conditionals
            self.conditionals[name] = kinds.get(name, "normal") if isinstance(kinds, Mapping) else kinds
            before.append(name)

    def _set_up(self, latents: dict[str, Latent], start: dict[str, Tensor]) -> None:
        loc, scale, tril, weight = {}, {}, {}, {}
        for name, latent in latents.items():
            own = loc[name] = _flattened(latent, start[name])
            if self.conditionals[name] != "delta":
                scale[name] = raw_scale(self.init_scale, own)
            if self.conditionals[name] == "mvn":
                tril[name] = own.new_zeros((*own.shape, own.shape[-1]))
            for other in self.upstream[name]:
                size = _seen_from(latent, latents[other], loc[other]).shape[-1]
                weight[_pair(name, other)] = own.new_zeros((*own.shape, size))
        self.loc, self.raw_scale = SiteParameters(loc), SiteParameters(scale)
        self.raw_tril, self.weight = SiteParameters(tril), SiteParameters(weight)

    def _draw(self, plates: ModelPlates) -> dict[str, Tensor]:
        values: dict[str, Tensor] = {}
        deviations: dict[str, Tensor] = {}
        for name, latent in self.latents.items():
            with plates.around(latent):
                loc = subsample(self.loc[name], 1)
                noise = sample(f"{name}_unconstrained", self._conditional(name, loc, deviations), infer=_AUXILIARY)
                deviations[name] = noise - loc
                values[name] = self._site_from_unconstrained(latent, _unflattened(latent, noise))
        return values

    def _conditional(self, name: str, loc: Tensor, deviations: dict[str, Tensor]) -> Distribution:
        """The distribution of a site given the deviations of those before it from their means."""
        mean = loc + self._shift(name, deviations) if self.upstream[name] else loc
        kind = self.conditionals[name]
        if kind == "delta":
            return Delta(mean, event_dim=1, validate_args=False)
        scale = softplus(subsample(self.raw_scale[name], 1))
        if kind == "normal":
            return Normal(mean, scale, validate_args=False).to_event(1)
        return MultivariateNormal(mean, scale_tril=self._factor(name, scale), validate_args=False)

    def _factor(self, name: str, scale: Tensor) -> Tensor:
        return scale.unsqueeze(-1) * subsample(self.raw_tril[name], 2).tril(-1) + scale.diag_embed()

    def _shift(self, name: str, deviations: dict[str, Tensor]) -> Tensor:
        shifts = []
        for other in self.upstream[name]:
            seen = _seen_from(self.latents[name], self.latents[other], deviations[other])
            shifts.append((subsample(self.weight[_pair(name, other)], 2) @ seen.unsqueeze(-1)).squeeze(-1))
        return cast(Tensor, sum(shifts))

    def _unconstrained_quantiles(self, levels: Tensor) -> dict[str, Tensor] | None:
        # Deviations are linear in standard normal noise: what each number of noise does to them, stacked in front.
        number = sum(self.loc[name].numel() for name in self.latents if name in self.raw_scale)
        rank = max(self.loc[name].dim() for name in self.latents)
        first = 0
        responses: dict[str, Tensor] = {}
        found = {}
        for name, latent in self.latents.items():
            loc = self.loc[name]
            shape = (*(1,) * (rank - loc.dim()), *loc.shape)
            response = loc.new_zeros(number, *shape)
            if name in self.raw_scale:
                noise = torch.eye(loc.numel(), dtype=loc.dtype, device=loc.device).reshape(-1, *shape)
                scale = softplus(self.raw_scale[name])
                if self.conditionals[name] == "mvn":
                    noise = (self._factor(name, scale) @ noise.unsqueeze(-1)).squeeze(-1)
                else:
                    noise = scale * noise
                response[first : first + len(noise)] = noise
                first += len(noise)
            responses[name] = response + self._shift(name, responses) if self.upstream[name] else response
            spread = responses[name].square().sum(0).sqrt().reshape(loc.shape)
            column = ndtri(levels).to(loc).reshape((-1,) + (1,) * loc.dim())
            found[name] = _unflattened(latent, loc + spread * column)
        return found


_AUXILIARY = {"is_auxiliary": True}


def _pair(name: str, upstream: str) -> str:
    return f"{name}<{upstream}"


def _is_cut_off(upstream: Latent, latent: Latent) -> bool:
    """Whether a run sees only some of what a variable would have to depend on."""
    around = {frame.name for frame in latent.frames}
    return any(frame.name not in around and frame.size != frame.full_size for frame in upstream.frames)


def _plate_dims(latent: Latent) -> dict[str, int]:
    return {frame.name: cast(int, frame.dim) for frame in latent.frames}


def _flattened(latent: Latent, unconstrained: Tensor) -> Tensor:
    """Plates in their dimensions, 1 in other batch dimensions, and all that is in no plate in the last one."""
    value = unconstrained.reshape(*latent.batch_shape, -1)
    return _moved_last(value, _outside_of_plates(latent))


def _unflattened(latent: Latent, value: Tensor) -> Tensor:
    """The inverse of `_flattened`, of a value whose plates may be subsampled and with further dimensions in front."""
    others = _outside_of_plates(latent)
    events = latent.unconstrained_shape[len(latent.batch_shape) :]
    value = value.unflatten(-1, (events.numel(), *(latent.batch_shape[dim] for dim in others)))
    for place, dim in reversed(list(enumerate(others, 1))):
        value = value.transpose(dim - 1 - place, -1).squeeze(-1)
    return value.unflatten(-1, events) if events else value.squeeze(-1)


def _outside_of_plates(latent: Latent) -> list[int]:
    plates = set(_plate_dims(latent).values())
    return [dim for dim in range(-len(latent.batch_shape), 0) if dim not in plates]


def _seen_from(latent: Latent, upstream: Latent, value: Tensor) -> Tensor:
    """A flattened value of an upstream variable, with those of its plates that are not around `latent` in the last."""
    around = _plate_dims(latent)
    return _moved_last(value, [dim for name, dim in _plate_dims(upstream).items() if name not in around])


def _moved_last(value: Tensor, dims: Iterable[int]) -> Tensor:
    """Batch dimensions moved into the last dimension, the event's; 1 remains in their places."""
    for dim in dims:
        value = value.unsqueeze(-1).transpose(dim - 2, -1).flatten(-2)
    return value
