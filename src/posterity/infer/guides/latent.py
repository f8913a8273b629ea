"""What a guide knows of a latent variable: its shape, where it lives, and the plates around it."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.distributions import constraints

from posterity.bijectors import Bijector, bijector_to
from posterity.bijectors.constraints import Constraint
from posterity.distributions import MaskedDistribution
from posterity.handlers import Trace
from posterity.infer.latent_sites import is_continuous, support_of
from posterity.ppl import Frame, Site


@dataclass(frozen=True)
class Latent:
    """A continuous latent variable of a model.

    Attributes:
        name: The site's name.
        support: Where its values lie.
        batch_shape: The batch shape, with each plate at its full size.
        event_shape: The shape of one event.
        frames: The vectorised plates around it, innermost last.
        mask: Where in the batch its density counts; None: everywhere.
    """

    name: str
    support: Constraint
    batch_shape: torch.Size
    event_shape: torch.Size
    frames: tuple[Frame, ...]
    mask: Tensor | None = None

    @property
    def bijector(self) -> Bijector:
        """From unconstrained space onto the support."""
        return bijector_to(self.support)

    @property
    def shape(self) -> torch.Size:
        """The shape of its value in constrained space, all plates in full."""
        return self.batch_shape + self.event_shape

    @property
    def unconstrained_shape(self) -> torch.Size:
        """The shape of its value on unconstrained space, all plates in full."""
        return self.bijector.inverse_shape(self.shape)

    @property
    def unconstrained_event_dim(self) -> int:
        """How many of the last dimensions on unconstrained space make one event."""
        return len(self.unconstrained_shape) - len(self.batch_shape)

    @property
    def is_real(self) -> bool:
        """Whether constrained and unconstrained space are one."""
        support = self.support
        while isinstance(support, constraints.independent):
            support = support.base_constraint
        return isinstance(support, type(constraints.real))

    @property
    def acts_on_entries(self) -> bool:
        """Whether the bijector maps each entry on its own."""
        support = self.support
        while isinstance(support, constraints.independent):
            support = support.base_constraint
        return bijector_to(support).domain.event_dim == bijector_to(support).codomain.event_dim == 0

    @property
    def is_subsampled(self) -> bool:
        """Whether a run sees only some of its elements."""
        return any(frame.size != frame.full_size for frame in self.frames)

    def moved(self, move: Callable[[Tensor], Tensor]) -> "Latent":
        """The same, with its tensors moved."""
        mask = None if self.mask is None else move(self.mask)
        return replace(self, support=_mapped(self.support, move, (Constraint, Bijector)), mask=mask)


def latents_of(found: Trace) -> dict[str, Latent]:
    """The continuous latent variables of a model's run, by name and in order.

    Sites marked for enumeration, and point masses, are left out.

    Raises:
        ValueError: There is none, a discrete one is not marked for enumeration, one stands in a loop over a
            subsample, or the bounds of one's support depend on other variables, or differ between the elements of a
            subsampled plate.
    """
    latents = {}
    for site in found.latents():
        if is_continuous(site):
            latents[site.name] = _latent(site)
        elif support_of(site).is_discrete and site.infer.get("enumerate") is None:
            raise ValueError(
                f"site {site.name!r} is discrete ({type(site.distribution).__name__}), and an automatic guide is a "
                'density: mark the site with infer={"enumerate": "parallel"} to have it summed out, or hide it from '
                "this guide by handlers.block and add a guide of its own through AutoGuideList"
            )
    if not latents:
        raise ValueError(f"the model has no latent variable that a guide could have\n{found.format_shapes()}")
    return latents


def full_size(latent: Latent, value: Tensor) -> Tensor:
    """A value of a subsample, repeated along each plate until it fills it."""
    events = value.dim() - len(latent.batch_shape)
    for frame in latent.frames:
        if frame.size != frame.full_size:
            assert frame.dim is not None
            indices = torch.arange(frame.full_size, device=value.device) % frame.size
            value = value.index_select(frame.dim - events, indices)
    return value


def _latent(site: Site) -> Latent:
    assert site.distribution is not None
    shape = list(site.batch_shape)
    frames = []
    for frame in site.plates:
        if frame.dim is not None:
            shape[frame.dim] = frame.full_size
            frames.append(frame)
        elif frame.size != frame.full_size:
            raise ValueError(
                f"site {site.name!r} stands in a loop over a subsample of plate {frame.name!r}, so that its name "
                "differs from run to run: use the plate in a `with` block"
            )
    if any(bound.requires_grad for bound in _tensors(support_of(site))):
        raise ValueError(
            f"the support of site {site.name!r}, {support_of(site)!r}, depends on other variables or on parameters, "
            "and that of a guide is fixed: transform a variable of fixed support in the model instead"
        )
    latent = Latent(
        site.name,
        _mapped(support_of(site), _as_number),
        torch.Size(shape),
        site.distribution.event_shape,
        tuple(frames),
        _mask_of(site),
    )
    if latent.is_subsampled and latent.mask is not None:
        raise ValueError(
            f"site {site.name!r} stands in a subsampled plate and is masked, as a partly observed variable is: a guide "
            "does not know the mask of other subsamples. Write a guide for it, and add that through AutoGuideList"
        )
    if latent.is_subsampled and latent.bijector.batch_shape:
        raise ValueError(
            f"site {site.name!r} stands in a subsampled plate, and the bounds of its support, {latent.support!r}, "
            "differ between elements: transform a variable of fixed support instead"
        )
    return latent


def _mask_of(site: Site) -> Tensor | None:
    assert site.distribution is not None
    masks = [site.mask]
    if isinstance(site.distribution, MaskedDistribution):
        masks.append(site.distribution._mask)
    found = None
    for mask in masks:
        if isinstance(mask, bool):
            mask = None if mask else torch.zeros((), dtype=torch.bool, device=cast(Tensor, site.value).device)
        if mask is not None:
            found = mask if found is None else found & mask
    return None if found is None else found.detach().expand(site.batch_shape)


def _as_number(bound: Tensor) -> Any:
    """A bound that is everywhere the same as a number: it then fits every shape, subsample and device."""
    if bound.numel() and bool((bound == bound.flatten()[0]).all()):
        return bound.flatten()[0].item()
    return bound.detach()


def _tensors(support: Constraint) -> list[Tensor]:
    found: list[Tensor] = []

    def note(bound: Tensor) -> Tensor:
        found.append(bound)
        return bound

    _mapped(support, note)
    return found


_Holder = TypeVar("_Holder")


def _mapped(holder: _Holder, function: Callable[[Tensor], Any], inside: tuple[type, ...] = (Constraint,)) -> _Holder:
    """A constraint with a function applied to the tensors inside; itself, where nothing changes."""

    def mapped(value: Any) -> Any:
        if isinstance(value, Tensor):
            return function(value)
        if isinstance(value, inside):
            return _mapped(value, function, inside)
        if isinstance(value, list | tuple) and any(isinstance(part, inside) for part in value):
            return type(value)(mapped(part) for part in value)
        return value

    changed = {name: mapped(value) for name, value in vars(holder).items()}
    if all(value is vars(holder)[name] for name, value in changed.items()):
        return holder
    new = copy.copy(holder)
    new.__dict__.update(changed)
    return new
