"""Log densities of discrete elements given everything else, for all elements of a plate from one run of the model.

Elements along a plate are independent given the rest if all terms of the density that depend on the variable stand in
the plate. That is what the program declares; runs at random values check it before it is relied upon.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from posterity.infer.dependencies import descendants
from posterity.infer.mcmc.discrete_site import DiscreteSite
from posterity.infer.run_at_point import Call, RunAtPoint
from posterity.kernels import Key, normal, uniform

if TYPE_CHECKING:
    from posterity.infer.mcmc.mixed_potential import MixedPotential

# The log-determinants of the bijectors, which may depend on a discrete variable as well as any site.
_JACOBIAN = ""
# A check looks at so many elements of a site, at so many random points.
_CHECKED_ELEMENTS, _CHECKED_POINTS = 16, 2
# How many numbers the candidates of all chains may hold together.
_NUMBERS_AT_ONCE = 2**24


class _Factors(NamedTuple):
    """What a site's elements are scored by.

    Attributes:
        terms: The terms of the density that depend on the site; None: all together, as one number.
        plates: The plates along which its elements are independent.
    """

    terms: frozenset[str] | None
    plates: tuple[str, ...]


class ConditionalScores:
    """Scores of candidate values.

    Args:
        potential: The model.
        key: For the points at which independence is checked.

    Attributes:
        turns: For each site, which elements are updated together, `[size]`: those of one number.
        num_turns: How many such numbers there are.
    """

    def __init__(self, potential: "MixedPotential", key: Key) -> None:
        self._potential, self._key = potential, key
        points = potential.initial_points(_CHECKED_POINTS, source=key)
        self._points = points + 0.1 * normal(points.shape, source=key.fold_in(0), dtype=points.dtype)
        self._choices = potential.first_choices(points)
        self._factors = self._declared()
        for site in potential.sites:
            found = self._factors[site.name]
            if found.plates and not self._holds(site):
                self._factors[site.name] = _Factors(found.terms, ())
        self.turns = {site.name: _turns(site, self._factors[site.name].plates) for site in potential.sites}
        self.num_turns = {name: int(turns.max()) + 1 for name, turns in self.turns.items()}

    def __call__(self, z: Tensor, candidates: Tensor, sites: Sequence[DiscreteSite]) -> Tensor:
        """The log density, up to a constant for each element, if the elements had their candidates' values.

        Of the elements of a site, only those of one turn may differ from the present ones.

        Args:
            z: `[num_chains, dim]`.
            candidates: All choices, `[num_candidates, num_chains, num_choices]`.
            sites: The sites whose elements are scored.

        Returns:
            `[num_candidates, num_chains, size of the sites]`; what cannot be computed is minus infinity.
        """

        def one(point: Tensor, choices: Tensor) -> Tensor:
            score: Tensor = self._potential.run(point, choices, lambda run: self._of_run(run, sites))
            return score

        at_once = max(1, _NUMBERS_AT_ONCE // max(1, z.shape[0] * (z.shape[1] + candidates.shape[-1])))
        found = [self._potential.mapped(one, z.expand(len(part), *z.shape), part) for part in candidates.split(at_once)]
        return torch.cat(found).nan_to_num(nan=-math.inf, posinf=math.inf, neginf=-math.inf)

    def _of_run(self, run: RunAtPoint, sites: Sequence[DiscreteSite]) -> Tensor:
        rows = []
        terms = None if self._potential.is_enumerated else _terms(run)
        for site in sites:
            needed, plates = self._factors[site.name]
            grid = torch.zeros(site.grid, dtype=self._potential.dtype, device=self._potential.device)
            if terms is None or needed is None:
                grid = grid + run.log_density()
            else:
                for name in sorted(needed):
                    grid = grid + _along(run, name, terms[name], site, plates)
            rows.append(grid.reshape(-1))
        return torch.cat(rows)

    def _declared(self) -> dict[str, _Factors]:
        """What the program says: which terms depend on a site, and which plates they are all in."""
        potential, point = self._potential, self._points[0]
        everything = {site.name: _Factors(None, ()) for site in potential.sites}
        if potential.is_enumerated or not potential.vectorized:
            return everything

        def run(values: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
            call = Call(potential.args, potential.kwargs, {}, values)
            return values, potential._run(point, _terms, call=call)

        reached = descendants(run, potential.values(self._choices[0]))  # type: ignore[arg-type]  # values, not noise
        if reached is None:
            return everything
        frames = potential.run(
            point,
            self._choices[0],
            lambda run: {s.name: {f.name for f in s.plates if f.vectorized} for s in run.samples()},
        )
        found = {}
        for site in potential.sites:
            around = [frames.get(name, set()) for name in reached[site.name]]
            plates = tuple(name for name in site.plates if all(name in own for own in around))
            found[site.name] = _Factors(reached[site.name], plates)
        return found

    def _holds(self, site: DiscreteSite) -> bool:
        """Whether elements along the declared plates are scored together as they are one by one."""
        start = sum(s.size for s in self._potential.sites[: self._potential.sites.index(site)])
        spread = torch.linspace(0, site.size - 1, min(site.size, _CHECKED_ELEMENTS), device=self._points.device)
        turns = _turns(site, self._factors[site.name].plates)
        alone = _Factors(self._factors[site.name].terms, ())
        for element in spread.long().tolist():
            here = torch.arange(site.size, device=turns.device) == element
            for point, choices in zip(self._points, self._choices, strict=True):
                both = []
                for changed in (turns == turns[element], here):
                    candidates = choices.repeat(2, 1, 1)
                    present = choices[start : start + site.size]
                    other = _others(site, present, self._key.fold_in(element + 1))
                    candidates[1, 0, start : start + site.size] = torch.where(changed, other, present)
                    together = changed is not here
                    declared = self._factors[site.name]
                    self._factors[site.name] = declared if together else alone
                    scores = self(point.unsqueeze(0), candidates, [site])[:, 0, element]
                    self._factors[site.name] = declared
                    both.append(scores)
                if not _agree(*both):
                    return False
        return True


def _terms(run: RunAtPoint) -> dict[str, Tensor]:
    terms = run.terms()
    if run.log_dets:
        terms[_JACOBIAN] = torch.stack(run.log_dets).sum()
    return terms


def _along(run: RunAtPoint, name: str, term: Tensor, site: DiscreteSite, plates: Sequence[str]) -> Tensor:
    """A term summed over everything but some plates, in the shape of a site's grid, with ones for the rest."""
    if not plates:
        return term.sum()
    frames = {frame.name: frame for frame in run.recorded[name].plates if frame.vectorized}
    dims = {frames[plate].dim or 0: frames[plate] for plate in plates}
    rank = max(term.dim(), *(-dim for dim in dims))
    sizes = [
        dims[dim].size if dim in dims else (term.shape[dim] if term.dim() >= -dim else 1) for dim in range(-rank, 0)
    ]
    summed = [dim for dim in range(-rank, 0) if dim not in dims]
    kept = term.expand(sizes)
    kept = kept.sum(summed) if summed else kept
    shape = [1] * len(site.grid)
    for plate in plates:
        shape[site.plates[plate]] = frames[plate].size
    return kept.reshape(shape)


def _turns(site: DiscreteSite, plates: Sequence[str]) -> Tensor:
    """A number for each element: those along the plates have the same one."""
    axes = {site.plates[plate] for plate in plates}
    loop = [1 if axis in axes else site.grid[axis] for axis in range(-len(site.grid), 0)]
    numbers = torch.arange(math.prod(loop)).reshape(loop).expand(site.grid).reshape(-1)
    return numbers if site.table is not None else numbers.repeat_interleave(site.size // max(1, len(numbers)))


def _others(site: DiscreteSite, present: Tensor, key: Key) -> Tensor:
    """Another choice for each element."""
    chance = uniform((len(present),), source=key, dtype=torch.float64, device=present.device)
    if site.table is None:
        return present + 1 + (chance * site.reach).long()
    return (present + 1 + (chance * (site.num_values - 1)).long()) % site.num_values


def _agree(together: Tensor, alone: Tensor) -> bool:
    """Whether two pairs of scores differ by the same; an infinite one tells nothing."""
    if not bool(together.isfinite().all() and alone.isfinite().all()):
        return bool((together.isfinite() == alone.isfinite()).all())
    difference = together[1] - together[0] - (alone[1] - alone[0])
    rounding = 100 * torch.finfo(alone.dtype).eps * (1 + alone.abs().max() + together.abs().max())
    return bool(difference.abs() <= rounding + 1e-4 * (alone[1] - alone[0]).abs())
