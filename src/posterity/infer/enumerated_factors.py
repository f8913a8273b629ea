"""The sites of an enumerated trace as factors over variables and plates, by name."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from posterity.distributions import Categorical
from posterity.distributions.masked import MaskedDistribution
from posterity.handlers import Trace
from posterity.handlers.enumerate import Enumeration, dims_of_value, enumeration_of
from posterity.infer.sum_product import LogFactor, Plates
from posterity.ppl import Frame, Site


@dataclass(frozen=True)
class SiteFactor:
    """What a sample site contributes to the density.

    Attributes:
        site: The site.
        factor: Its masked log density over plates and variables. A variable's own factor is uniform where it is
            masked, so that what is left out adds nothing to a sum over it.
        weighted: Its log density under mask and scale, in the shape of its batch.
        scale: Its scale without what comes from subsampled plates.
    """

    site: Site
    factor: LogFactor
    weighted: Tensor
    scale: float | Tensor

    def cost(self) -> LogFactor:
        """The weighted log density over plates and variables."""
        return _named(self.site, self.weighted, _enumeration(self.site))


def site_factors(trace: Trace) -> list[SiteFactor]:
    """The factors of all sample sites.

    Raises:
        ValueError: A site depends on a variable that is out of its scope, or an enumerated site has a batch dimension
            without a plate; the errors of `Trace.log_probs`.
    """
    return [_site_factor(trace, site) for site in trace.samples()]


def variables_of(trace: Trace) -> dict[str, Plates]:
    """The enumerated variables, each with the plates that it is in."""
    found = {}
    for site in trace.samples():
        enumeration = enumeration_of(site)
        if enumeration is not None and enumeration.dim is not None:
            found[site.name] = frozenset(name for name, _ in _plates(site))
    return found


def plates_of(trace: Trace) -> dict[str, float]:
    """The plates, each with full size over size."""
    return {name: _ratio(frame) for site in trace.samples() for name, frame in _plates(site)}


def check_plates(factors: Sequence[SiteFactor], variables: Mapping[str, Plates]) -> None:
    """Refuse sites that depend on a variable inside a plate without being in it.

    Raises:
        ValueError: Naming site, variable and plate.
    """
    for site, factor in ((f.site, f.factor) for f in factors):
        for name in factor.dims:
            for plate in sorted(variables.get(name, Plates()) - set(factor.dims)):
                raise ValueError(
                    f"site {site.name!r} depends on {name!r}, which is inside plate {plate!r}, but stands outside of "
                    "it: put it into the plate, or move the variable out"
                )


def check_values(trace: Trace) -> None:
    """Refuse a latent value that differs between the values of an enumerated variable: it was drawn for each of them.

    Raises:
        ValueError: Naming the site.
    """
    for site in trace.latents():
        enumeration = enumeration_of(site)
        along = dims_of_value(site, enumeration).values() if enumeration is not None else ()
        if enumeration is not None and enumeration.dim is None and along:
            raise ValueError(
                f"site {site.name!r} is latent, has no value given, and was drawn once for each value of "
                f"{', '.join(map(repr, along))}: give it a value (pt.handlers.substitute or condition, inside of the "
                "enumeration)"
            )


def varies_along(site: Site) -> set[str]:
    """The enumerated variables, itself included, whose values a site's distribution or value differs between."""
    enumeration = enumeration_of(site)
    if enumeration is None:
        return set()
    batch = site.batch_shape
    given = {name for dim, name in enumeration.names.items() if len(batch) >= -dim and batch[dim] > 1}
    return given | set(dims_of_value(site, enumeration).values())


def in_batch_shape(factor: LogFactor, frames: Mapping[str, Frame]) -> Tensor:
    """A factor over plates alone, with each plate at its own dimension."""
    placed = sorted((frames[name].dim, name) for name in factor.dims if name in frames)
    rank = max((-(dim or 0) for dim, _ in placed), default=0)
    order = [factor.dims.index(name) for _, name in placed]
    loops = [axis for axis in range(len(factor.dims)) if axis not in order]  # turns of loops over plates, of size 1
    value = factor.value.permute([*loops, *order]).reshape([factor.value.shape[axis] for axis in order])
    dims = {dim for dim, _ in placed}
    return value[tuple(slice(None) if dim in dims else None for dim in range(-rank, 0))]


def _site_factor(trace: Trace, site: Site) -> SiteFactor:
    enumeration = _enumeration(site)
    masked = _of_support(site, enumeration)
    if masked is None:
        masked = trace.log_prob(replace(site, scale=1.0))
    normalised = masked
    if enumeration.dim is not None:
        normalised = _uniform_where_masked(site, masked, masked.shape[enumeration.dim])
    factor = _named(site, normalised, enumeration)
    ratio = math.prod(_ratio(frame) for frame in site.plates)
    weighted = masked if isinstance(site.scale, float) and site.scale == 1 else masked * site.scale
    return SiteFactor(site, factor, weighted, site.scale / ratio)


def _of_support(site: Site, enumeration: Enumeration) -> Tensor | None:
    """The log density of a categorical variable's whole support: its logits, which need not be looked up."""
    unmasked = site.mask is None or site.mask is True
    if enumeration.dim is None or type(site.distribution) is not Categorical or not unmasked:
        return None
    logits = site.distribution.logits
    rank = max(logits.dim() - 1, -enumeration.dim)
    padded = logits.reshape((1,) * (rank - logits.dim() + 1) + logits.shape)
    return padded.transpose(-1, enumeration.dim - 1).squeeze(-1)


def _named(site: Site, log_prob: Tensor, enumeration: Enumeration) -> LogFactor:
    """The log density with its dimensions named; batch dimensions that are nobody's are multiplied over."""
    plates = {frame.dim: (name, frame.size) for name, frame in _plates(site) if frame.dim is not None}
    rank = max([log_prob.dim(), *(-dim for dim in plates)])
    sizes = [log_prob.shape[dim] if log_prob.dim() >= -dim else 1 for dim in range(-rank, 0)]
    names: list[str | None] = []
    for dim in range(-rank, 0):
        size = sizes[rank + dim]
        if dim in plates:
            name, sizes[rank + dim] = plates[dim]
            names.append(name)
        elif dim == enumeration.dim or (dim <= enumeration.first and size > 1):
            if dim not in enumeration.names:
                raise ValueError(
                    f"site {site.name!r} has a log density with {size} elements in dim {dim}, which no enumerated "
                    "variable in its scope has: its value depends on one from further back, or from a chain that has "
                    "ended (pt.markov)"
                )
            names.append(enumeration.names[dim])
        else:
            names.append(None)
            if size > 1 and enumeration.dim is not None:
                raise ValueError(
                    f"the enumerated site {site.name!r} has {size} elements in dim {dim} of its batch, which is no "
                    "plate: declare them independent with pt.plate"
                )
    nobodys = [axis for axis, name in enumerate(names) if name is None and sizes[axis] > 1]
    value = log_prob.expand(sizes).sum(nobodys) if nobodys else log_prob.expand(sizes)
    dims = [(name, size) for name, size in zip(names, sizes, strict=True) if name is not None]
    loops = [name for name, frame in _plates(site) if frame.dim is None]
    return LogFactor(
        value.reshape([size for _, size in dims] + [1] * len(loops)), (*(name for name, _ in dims), *loops)
    )


def _uniform_where_masked(site: Site, log_prob: Tensor, num_values: int) -> Tensor:
    masks = [site.mask] if site.mask is not None and site.mask is not True else []
    if isinstance(site.distribution, MaskedDistribution):
        masks.append(site.distribution._mask)
    for mask in masks:
        seen = mask if isinstance(mask, Tensor) else log_prob.new_full((), mask, dtype=torch.bool)
        log_prob = torch.where(seen, log_prob, -math.log(num_values))
    return log_prob


def _enumeration(site: Site) -> Enumeration:
    return enumeration_of(site) or Enumeration(-(2**31), None, {})


def _plates(site: Site) -> list[tuple[str, Frame]]:
    """The plates that a sum must respect; a loop's turns count if they are a subsample, each as a plate of its own."""
    return [
        (frame.name if frame.vectorized else f"{frame.name}[{frame.counter}]", frame)
        for frame in site.plates
        if frame.vectorized or frame.size != frame.full_size
    ]


def _ratio(frame: Frame) -> float:
    return frame.full_size / frame.size
