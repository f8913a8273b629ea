"""A discrete latent variable as numbers that a sampler can change: which of its values each element has."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from posterity.distributions import Distribution, Independent, MaskedDistribution
from posterity.ppl import Site
from posterity.runtime import validation_enabled


@dataclass(frozen=True)
class DiscreteSite:
    """A discrete latent variable, its elements in one row.

    An element is what has a value of its own: an entry, or a whole vector of a distribution such as
    `OneHotCategorical`. Its choice is the place of its value in the list of values; where there is no finite list, the
    value itself, a whole number.

    Attributes:
        name: The site's name.
        grid: The shape of the elements: the distribution's batch, events of independent entries included.
        event: The shape of an element's value.
        dtype: Of the values.
        table: The values, `[num_values, *grid, *event]`; None: whole numbers.
        possible: Where whole numbers may lie whatever the other variables are: from the one to the other.
        reach: Whole numbers: how far a step goes at most.
        plates: The axis of the grid, counted from the right, of each vectorised plate around the site, by name.
    """

    name: str
    grid: torch.Size
    event: torch.Size
    dtype: torch.dtype
    table: Tensor | None
    possible: tuple[float, float]
    reach: float
    plates: dict[str, int]

    @property
    def size(self) -> int:
        """How many elements there are."""
        return self.grid.numel() * (1 if self.table is not None else self.event.numel())

    @property
    def num_values(self) -> int:
        """How many values an element is compared at: of whole numbers two, the present one and another."""
        return 2 if self.table is None else self.table.shape[0]

    def values(self, choices: Tensor) -> Tensor:
        """The site's value of choices `[*batch, size]`, `[*batch, *grid, *event]`."""
        batch = choices.shape[:-1]
        if self.table is None:
            return choices.reshape((*batch, *self.grid, *self.event)).to(self.dtype)
        ones = (1,) * len(self.event)
        index = choices.reshape((*batch, *self.grid, *ones))
        if all(size == 1 for size in self.table.shape[1 : 1 + len(self.grid)]):
            # One list for all elements.
            return self.table.reshape(-1, *self.event)[choices.reshape((*batch, *self.grid))]
        table = self.table.expand(-1, *self.grid, *self.event)
        table = table.reshape((1,) * len(batch) + table.shape)
        where = index.expand((*batch, *self.grid, *self.event)).unsqueeze(len(batch))
        return torch.take_along_dim(table, where, len(batch)).squeeze(len(batch))

    def choices(self, values: Tensor) -> Tensor:
        """The choices of a value of the site, `[*batch, *grid, *event]`.

        Raises:
            ValueError: A value is not in the list of values.
        """
        batch = values.shape[: values.dim() - len(self.grid) - len(self.event)]
        if self.table is None:
            return values.round().long().reshape((*batch, self.size))
        same = values.unsqueeze(0) == self.table.reshape(
            self.table.shape[:1] + (1,) * len(batch) + self.table.shape[1:]
        ).to(values.dtype)
        if self.event:
            same = same.flatten(-len(self.event)).all(-1)
        if validation_enabled() and not torch._is_all_true(same.any(0)):
            raise ValueError(f"site {self.name!r} is given a value that is none of its {self.num_values} values")
        return same.int().argmax(0).reshape((*batch, self.size))


def discrete_site(site: Site, *, support_moves: bool, is_updated_by_user: bool = False) -> DiscreteSite:
    """What there is to know of a discrete latent variable.

    Args:
        site: A site with a value.
        support_moves: Whether its support depends on other latent variables.
        is_updated_by_user: Whether its values are changed by a function of the user's.

    Raises:
        ValueError: Its values can neither be listed nor are they whole numbers.
    """
    base, inner = _without_wrappers(site)
    frames = [frame for frame in site.plates if frame.vectorized]
    plates = {frame.name: cast(int, frame.dim) - inner for frame in frames}
    grid, event, dtype = base.batch_shape, base.event_shape, site.value.dtype
    if base.has_enumerate_support and not support_moves:
        table = base.enumerate_support(expand=False)
        padded = table.reshape(table.shape[0], *(1,) * (1 + len(grid) + len(event) - table.dim()), *table.shape[1:])
        return DiscreteSite(site.name, grid, event, dtype, padded.to(dtype), (0, 0), 0.0, plates)
    if event and not is_updated_by_user:
        raise ValueError(
            f"site {site.name!r}: the values of its {type(base).__name__} are vectors that cannot be listed, so that "
            f"Gibbs cannot update it by itself: give a function, updates={{{site.name!r}: ...}}"
        )
    possible = (-torch.inf, torch.inf) if support_moves or event else _bounds(base)
    reach = 1.0 if event else float(4 * base.stddev.detach().double().nan_to_num(1.0, 2.0**20).max())
    return DiscreteSite(site.name, grid, event, dtype, None, possible, min(max(reach, 1.0), 2.0**20), plates)


def _without_wrappers(site: Site) -> tuple[Distribution, int]:
    """The distribution of the elements, and how many axes of its batch are events of the site's own."""
    distribution, inner = site.distribution, 0
    assert distribution is not None
    while isinstance(distribution, Independent | MaskedDistribution):
        if isinstance(distribution, Independent):
            inner += distribution.reinterpreted_batch_ndims
        distribution = distribution.base_dist
    return distribution, inner


def _bounds(distribution: Distribution) -> tuple[float, float]:
    """The least and the greatest whole number in a support, over the whole batch."""
    support = distribution.support
    lower = getattr(support, "lower_bound", -torch.inf)
    upper = getattr(support, "upper_bound", torch.inf)
    return float(torch.as_tensor(lower).min()), float(torch.as_tensor(upper).max())
