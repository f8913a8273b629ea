"""One update of every discrete element of a model, in turns of those that are independent given the rest."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from posterity.infer.mcmc.discrete_site import DiscreteSite
from posterity.infer.mcmc.element_updates import exact, integer_steps, metropolised, random_walk
from posterity.infer.mcmc.mixed_potential import MixedPotential
from posterity.kernels import Key, uniform

Method = Literal["exact", "metropolised"]
Scan = Literal["systematic", "random"]

# What the keys of a sweep are read for.
_VALUE, _ACCEPTANCE, _LENGTH, _SIGN, _ORDER = range(5)


class SweepNoise(NamedTuple):
    """Uniform numbers of a sweep: those of an element `[*batch, num_choices]`, as it is updated once.

    Attributes:
        value: For the choice of a value.
        acceptance: For the acceptance of a proposal.
        length: For the length of a step between whole numbers.
        sign: For its sign.
        order: For the order of the turns, `[*batch, num_turns]`.
    """

    value: Tensor
    acceptance: Tensor
    length: Tensor
    sign: Tensor
    order: Tensor


class Group(NamedTuple):
    """Sites whose elements are updated in one series of turns.

    Attributes:
        sites: The sites.
        turns: When the turn of each of their elements is, `[size of the sites]`.
        num_turns: How many turns there are.
    """

    sites: tuple[DiscreteSite, ...]
    turns: Tensor
    num_turns: int

    @property
    def names(self) -> list[str]:
        """The sites' names."""
        return [site.name for site in self.sites]


class Sweep:
    """Updates the elements of some sites, each given all else.

    Args:
        potential: The model.
        sites: The sites to update.
        method: How elements with a list of values are drawn; see `posterity.infer.mcmc.element_updates`.
        scan: `"systematic"`: site by site, turn by turn; `"random"`: the turns of all sites in an order of each chain's
            own.

    Attributes:
        groups: The sites, in series of turns.
    """

    def __init__(
        self,
        potential: MixedPotential,
        sites: Sequence[DiscreteSite],
        method: Method = "exact",
        scan: Scan = "systematic",
    ) -> None:
        self.potential, self.method, self.scan = potential, method, scan
        together = [[site] for site in sites] if scan == "systematic" else [list(sites)] if sites else []
        self.groups = [self._group(own) for own in together]

    def __call__(self, z: Tensor, choices: Tensor, keys: Key) -> Tensor:
        """Update each element once.

        Args:
            z: Points of the continuous variables, `[num_chains, dim]`.
            choices: `[num_chains, num_choices]`.
            keys: One for each chain.

        Returns:
            New choices.
        """
        noise = self.noise(keys)
        for group in self.groups:
            for takes in self.takes(group, noise).unbind(0):
                choices = self.turn(group, z, choices, takes.expand(len(choices), -1), noise)
        return choices

    def noise(self, keys: Key) -> SweepNoise:
        """The random numbers of a sweep; what no update needs is empty."""
        walks = any(site.table is None for group in self.groups for site in group.sites)
        draws = any(site.table is not None for group in self.groups for site in group.sites)
        sizes = {
            _VALUE: self.potential.num_choices if draws else 0,
            _ACCEPTANCE: self.potential.num_choices if walks or self.method == "metropolised" else 0,
            _LENGTH: self.potential.num_choices if walks else 0,
            _SIGN: self.potential.num_choices if walks else 0,
            _ORDER: self.groups[0].num_turns if self.scan == "random" and self.groups else 0,
        }
        exact_ones = _LENGTH, _SIGN, _ORDER
        dtype = self.potential.dtype
        return SweepNoise(
            *(
                uniform((n,), source=keys.at(use), dtype=torch.float64 if use in exact_ones else dtype)
                if n
                else torch.empty(0, dtype=dtype, device=self.potential.device)
                for use, n in sizes.items()
            )
        )

    def takes(self, group: Group, noise: SweepNoise) -> Tensor:
        """Whose turn it is, `[num_turns, *batch, size of the sites]`; the batch is left out where it is the same."""
        numbers = torch.arange(group.num_turns, device=group.turns.device)
        if self.scan == "systematic":
            return numbers.reshape(-1, 1, 1) == group.turns
        return group.turns == noise.order.argsort(-1).movedim(-1, 0).unsqueeze(-1)

    def turn(self, group: Group, z: Tensor, choices: Tensor, takes: Tensor, noise: SweepNoise) -> Tensor:
        """Update those elements of a group whose turn it is; what is computed has no gradient.

        Args:
            group: The sites.
            z: `[num_chains, dim]`.
            choices: `[num_chains, num_choices]`.
            takes: Whose turn it is, `[num_chains, size of the sites]`.
            noise: The random numbers of the sweep.
        """
        sites = group.sites
        value, acceptance, length, sign = (self._of(group, part) if part.numel() else part for part in noise[:4])
        present = self._of(group, choices)
        values, possible = _candidates(sites, present, length, sign)
        values = torch.where(takes, values, present)
        candidates = self._placed(group, choices, values)
        scores = self.potential.scores(z, candidates, sites).masked_fill(~possible, -torch.inf)
        is_count = _per_element(sites, [site.table is None for site in sites], present)
        current = torch.where(is_count, 0, present)
        drawn = current
        if any(site.table is not None for site in sites):
            is_exact = self.method == "exact"
            drawn = exact(scores, value) if is_exact else metropolised(scores, current, value, acceptance)
        if any(site.table is None for site in sites):
            drawn = torch.where(is_count, random_walk(scores[:2], acceptance), drawn)
        # Where nothing is possible, not even what is, there is nothing to choose from.
        drawn = torch.where(scores.amax(0) == -torch.inf, current, drawn)
        new = values.gather(0, drawn.unsqueeze(0)).squeeze(0)
        return self._placed(group, choices, torch.where(takes, new, present).unsqueeze(0)).squeeze(0)

    def _group(self, sites: Sequence[DiscreteSite]) -> Group:
        scores = self.potential.scores
        numbers, before = [], 0
        for site in sites:
            numbers.append(scores.turns[site.name].to(self.potential.device) + before)
            before += scores.num_turns[site.name]
        return Group(tuple(sites), torch.cat(numbers), before)

    def _of(self, group: Group, row: Tensor) -> Tensor:
        """What a row of all elements, `[*batch, num_choices]`, holds of a group's."""
        parts = zip(self.potential.sites, row.split([site.size for site in self.potential.sites], -1), strict=True)
        own = [part for site, part in parts if site.name in group.names]
        return own[0] if len(own) == 1 else torch.cat(own, -1)

    def _placed(self, group: Group, row: Tensor, values: Tensor) -> Tensor:
        """A row of all elements with others of a group's, `[*more, *batch, size]`."""
        parts = row.split([site.size for site in self.potential.sites], -1)
        own = iter(values.split([site.size for site in group.sites], -1))
        return torch.cat(
            [
                next(own) if site.name in group.names else part.expand(*values.shape[:-1], -1)
                for site, part in zip(self.potential.sites, parts, strict=True)
            ],
            -1,
        )


def _candidates(sites: Sequence[DiscreteSite], present: Tensor, length: Tensor, sign: Tensor) -> tuple[Tensor, Tensor]:
    """The values that elements are compared at, `[num_values, num_chains, size]`, and which of them there are."""
    number = max(site.num_values for site in sites)
    counts = _per_element(sites, [site.num_values for site in sites], present)
    place = torch.arange(number, device=present.device).reshape(-1, 1, 1)
    possible = (place < counts).expand(number, *present.shape)
    values = place.expand(number, *present.shape)
    if any(site.table is None for site in sites):
        reach, lower, upper = (
            _per_element(sites, numbers, present)
            for numbers in (
                [float(site.reach) for site in sites],
                [float(site.possible[0]) for site in sites],
                [float(site.possible[1]) for site in sites],
            )
        )
        walked = present + integer_steps(length, sign, reach.double())
        walked = torch.where((walked >= lower) & (walked <= upper), walked, present)
        is_count = _per_element(sites, [site.table is None for site in sites], present)
        values = torch.where(is_count, torch.where(place == 0, present, walked), values)
    return torch.where(possible, values, present), possible


def _per_element(sites: Sequence[DiscreteSite], numbers: Sequence[Any], like: Tensor) -> Tensor:
    """A number of each site for each of its elements, `[size of the sites]`."""
    parts = [torch.full((s.size,), n, device=like.device) for s, n in zip(sites, numbers, strict=True)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)
