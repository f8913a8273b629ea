"""One update of every discrete element of a model, in turns of those that are independent given the rest."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from posterity.infer.mcmc.discrete_site import DiscreteSite
from posterity.infer.mcmc.element_updates import exact, integer_steps, metropolised, random_walk
from posterity.infer.mcmc.mixed_potential import MixedPotential
from posterity.kernels import Key, uniform

Method = Literal["exact", "metropolised"]
Scan = Literal["systematic", "random"]

# What the key of a sweep is folded with; the turns come after.
_ORDER, _TURNS = 0, 1
# What the key of a turn is read for.
_VALUE, _ACCEPTANCE, _LENGTH, _SIGN = range(4)


def sweep(
    potential: MixedPotential,
    z: Tensor,
    choices: Tensor,
    sites: Sequence[DiscreteSite],
    keys: Key,
    *,
    method: Method = "exact",
    scan: Scan = "systematic",
) -> Tensor:
    """Update the elements of some sites, each given all else.

    Args:
        potential: The model.
        z: Points of its continuous variables, `[num_chains, dim]`.
        choices: `[num_chains, num_choices]`.
        sites: The sites to update.
        keys: One for each chain.
        method: How elements with a list of values are drawn; see `posterity.infer.mcmc.element_updates`.
        scan: `"systematic"`: site by site, turn by turn; `"random"`: the turns of all sites in an order of each chain's
            own.

    Returns:
        New choices.
    """
    if not sites:
        return choices
    scores = potential.scores
    places = places_of(potential)
    numbers = {site.name: scores.turns[site.name].to(choices.device) for site in sites}
    counts = [scores.num_turns[site.name] for site in sites]
    if scan == "systematic":
        turn = _TURNS
        for site, count in zip(sites, counts, strict=True):
            for i in range(count):
                takes = (numbers[site.name] == i).expand(len(choices), -1)
                choices = _turn(potential, z, choices, [site], places[site.name], takes, keys.fold_in(turn), method)
                turn += 1
        return choices
    starts = [sum(counts[:i]) for i in range(len(sites))]
    whole = torch.cat([numbers[site.name] + start for site, start in zip(sites, starts, strict=True)])
    where = torch.cat([places[site.name] for site in sites])
    order = uniform((sum(counts),), source=keys.fold_in(_ORDER), dtype=torch.float64).argsort(-1)
    for turn in range(sum(counts)):
        takes = whole == order[:, turn : turn + 1]
        choices = _turn(potential, z, choices, sites, where, takes, keys.fold_in(_TURNS + turn), method)
    return choices


def places_of(potential: MixedPotential) -> dict[str, Tensor]:
    """The places of each site's elements among all choices."""
    sizes = [site.size for site in potential.sites]
    parts = torch.arange(sum(sizes), device=potential.device).split(sizes)
    return {site.name: part for site, part in zip(potential.sites, parts, strict=True)}


def _turn(
    potential: MixedPotential,
    z: Tensor,
    choices: Tensor,
    sites: Sequence[DiscreteSite],
    where: Tensor,
    takes: Tensor,
    keys: Key,
    method: Method,
) -> Tensor:
    """Update those elements of some sites, at `where`, whose turn it is, `takes`, `[num_chains, size of the sites]`."""
    present = choices[:, where]
    size = (len(where),)
    values, possible = _candidates(sites, present, keys)
    values = torch.where(takes, values, present)
    candidates = choices.expand(len(values), *choices.shape).clone()
    candidates[..., where] = values
    scores = potential.scores(z, candidates, sites).masked_fill(~possible, -torch.inf)
    chance, accept_chance = (uniform(size, source=keys.at(use), dtype=scores.dtype) for use in (_VALUE, _ACCEPTANCE))
    is_count = _per_element(sites, [site.table is None for site in sites], present)
    current = torch.where(is_count, 0, present)
    drawn = exact(scores, chance) if method == "exact" else metropolised(scores, current, chance, accept_chance)
    if any(site.table is None for site in sites):
        drawn = torch.where(is_count, random_walk(scores[:2], accept_chance), drawn)
    # Where nothing is possible, not even what is, there is nothing to choose from.
    drawn = torch.where(scores.max(0).values == -torch.inf, current, drawn)
    new = values.gather(0, drawn.unsqueeze(0)).squeeze(0)
    result = choices.clone()
    result[:, where] = torch.where(takes, new, present)
    return result


def _candidates(sites: Sequence[DiscreteSite], present: Tensor, keys: Key) -> tuple[Tensor, Tensor]:
    """The values that elements are compared at, `[num_values, num_chains, size]`, and which of them there are."""
    number = max(site.num_values for site in sites)
    counts = _per_element(sites, [site.num_values for site in sites], present)
    place = torch.arange(number, device=present.device).reshape(-1, 1, 1)
    possible = (place < counts).expand(number, *present.shape)
    values = place.expand(number, *present.shape)
    if any(site.table is None for site in sites):
        size = (present.shape[1],)
        reach, lower, upper = (
            _per_element(sites, numbers, present)
            for numbers in (
                [float(site.reach) for site in sites],
                [float(site.possible[0]) for site in sites],
                [float(site.possible[1]) for site in sites],
            )
        )
        chance, sign = (uniform(size, source=keys.at(use), dtype=torch.float64) for use in (_LENGTH, _SIGN))
        walked = present + integer_steps(chance, sign, reach.double())
        walked = torch.where((walked >= lower) & (walked <= upper), walked, present)
        is_count = _per_element(sites, [site.table is None for site in sites], present)
        values = torch.where(is_count, torch.where(place == 0, present, walked), values)
    return torch.where(possible, values, present), possible


def _per_element(sites: Sequence[DiscreteSite], numbers: Sequence[Any], like: Tensor) -> Tensor:
    """A number of each site for each of its elements, `[size of the sites]`."""
    return torch.cat([torch.full((s.size,), n, device=like.device) for s, n in zip(sites, numbers, strict=True)])
