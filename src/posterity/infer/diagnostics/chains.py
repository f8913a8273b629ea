"""Draws of Markov chains, many scalars at a time, with what several diagnostics need of them computed once."""

import math
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from posterity.infer.diagnostics.ordering import sort_rows

_BLOCK = 2**18  # numbers at a time: what the diagnostics make of them stays in the cache


def per_scalar(caller: str, draws: Tensor, statistic: "Callable[[Chains], Tensor]") -> Tensor:
    """A statistic of the chains of each scalar, block by block, so that memory stays bounded.

    Args:
        caller: The function that was called, for its errors.
        draws: `[num_chains, num_draws, *event]`.
        statistic: Of `Chains` of n scalars, a tensor `[*lead, n]`.

    Returns:
        `[*lead, *event]`.

    Raises:
        TypeError: `draws` is no real tensor.
        ValueError: There are no two leading dimensions, no chain, or fewer than four draws per chain.

    Example:
        >>> per_scalar("mean", torch.ones(2, 5, 3), lambda chains: chains.values.mean((1, 2)))
        tensor([1., 1., 1.])
    """
    num_chains, num_draws, *event = check_draws(caller, draws)
    if draws.dtype not in (torch.float32, torch.float64):
        wide = torch.float32 if draws.is_floating_point() else torch.get_default_dtype()
        draws = draws.to(wide)
    count = math.prod(event)
    columns = draws.detach().reshape(num_chains, num_draws, count)
    if count == 0:  # Fourier's transform of nothing is refused
        columns = columns.new_zeros(num_chains, num_draws, 1)
    width = max(1, _BLOCK // (num_chains * num_draws))
    parts = [statistic(Chains(block.permute(2, 0, 1).contiguous())) for block in columns.split(width, dim=-1)]
    result = torch.cat(parts, dim=-1)[..., :count]
    return result.reshape([*result.shape[:-1], *event])


def check_draws(caller: str, draws: Tensor, what: str = "draws") -> torch.Size:
    """The shape of draws `[num_chains, num_draws, *event]`, once it is known to be one."""
    if not isinstance(draws, Tensor) or draws.is_complex():
        kind = str(draws.dtype) if isinstance(draws, Tensor) else type(draws).__name__
        raise TypeError(f"{caller}: {what} must be a real tensor [num_chains, num_draws, ...], not {kind}")
    if draws.dim() < 2 or len(draws) == 0:
        raise ValueError(
            f"{caller}: {what} must be [num_chains, num_draws, ...], not of shape {tuple(draws.shape)}; "
            "get_samples(group_by_chain=True) gives them so, and unsqueeze(0) makes one chain of a row of draws"
        )
    if draws.shape[1] < 4:
        raise ValueError(
            f"{caller}: {what} of shape {tuple(draws.shape)} have {draws.shape[1]} draws per chain, and each half of a "
            "chain needs two: run the chains for at least 4 draws (num_samples)"
        )
    return draws.shape


class Chains:
    """Draws of some scalars, and what the diagnostics share.

    Args:
        values: `[num_scalars, num_chains, num_draws]`, float32 or float64.

    Example:
        >>> chains = Chains(torch.arange(10.0).reshape(1, 2, 5))
        >>> chains.halves(chains.values)[0, :, 0]  # odd chains lose the draw in their middle
        tensor([0., 3., 5., 8.])
    """

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def only_finite(self, statistic: Tensor) -> Tensor:
        """The statistic `[*lead, num_scalars]`, NaN for scalars that have a draw which is NaN or infinite."""
        return statistic.masked_fill(~self._finite, torch.nan)

    def halves(self, x: Tensor) -> Tensor:
        """`[num_scalars, num_chains, num_draws]` as twice as many chains of half the length."""
        half = x.shape[-1] // 2
        if x.shape[-1] % 2:
            x = torch.cat([x[..., :half], x[..., half + 1 :]], dim=-1)
        return x.reshape(len(x), 2 * x.shape[1], half)

    @cached_property
    def _range(self) -> tuple[Tensor, Tensor]:
        low, high = self.values.flatten(1).aminmax(dim=-1)
        return low, high

    @cached_property
    def _finite(self) -> Tensor:
        low, high = self._range  # NaN if one draw is
        return low.isfinite() & high.isfinite()

    @cached_property
    def mean(self) -> Tensor:
        """`[num_scalars]`."""
        # Of draws that are all equal, exactly that number.
        return torch.clamp(self.values.mean((1, 2)), *self._range)

    @cached_property
    def spread(self) -> Tensor:
        """The largest distance of a draw from the mean, or 1 where that is 0, `[num_scalars]`."""
        low, high = self._range
        largest = torch.maximum(self.mean - low, high - self.mean)
        return torch.where(largest == 0, 1, largest)

    @cached_property
    def standardised(self) -> Tensor:
        """Distances from the mean in units of the spread: their powers neither overflow nor lose digits."""
        return (self.values - self.mean[:, None, None]) / self.spread[:, None, None]

    @cached_property
    def squares(self) -> Tensor:
        """The standardised draws, squared."""
        return self.standardised.square()

    @cached_property
    def sd(self) -> Tensor:
        """The standard deviation, `[num_scalars]`."""
        number = self.values.shape[1] * self.values.shape[2]
        variance = self.squares.mean((1, 2)) - self.standardised.mean((1, 2)).square()  # the mean of rounding errors
        return self.spread * (variance * (number / (number - 1))).sqrt()

    @cached_property
    def ordered(self) -> Tensor:
        """All draws of a scalar in ascending order, `[num_scalars, num_chains * num_draws]`."""
        return self._ordered_halves[0] if self.values.shape[-1] % 2 == 0 else sort_rows(self.values.flatten(1))[0]

    @cached_property
    def _ordered_halves(self) -> tuple[Tensor, Tensor]:
        return sort_rows(self.halves(self.values).flatten(1))

    @cached_property
    def rank_normal(self) -> Tensor:
        """The halves of the chains, each draw replaced by the normal quantile of its rank among all.

        Source: Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021), section 4.
        """
        ordered, order = self._ordered_halves
        return self._placed(order, _rank_scores(ordered))

    @cached_property
    def folded_rank_normal(self) -> Tensor:
        """As `rank_normal`, of the draws' distances from their median: sensitive to the chains' scales.

        Source: Vehtari et al. (2021), section 4.
        """
        ordered, order = self._ordered_halves
        number = ordered.shape[-1]
        median = (ordered[:, (number - 1) // 2] + ordered[:, number // 2]) / 2
        distances, again = sort_rows((ordered - median.unsqueeze(-1)).abs(), runs=True)
        return self._placed(order.gather(-1, again), _rank_scores(distances))

    def _placed(self, order: Tensor, scores: Tensor) -> Tensor:
        """Scores in ascending order, put back where the halves' draws stand."""
        _, num_chains, num_draws = self.values.shape
        placed = torch.empty_like(scores).scatter_(-1, order, scores)
        return placed.reshape(len(scores), 2 * num_chains, num_draws // 2)

    def at_most(self, prob: float) -> Tensor:
        """The halves' draws by whether they lie at or below the quantile of `prob`: 1 or 0."""
        # No draw lies between the quantile and the order statistic below it.
        limit = self.ordered[:, int(_position(self.ordered, prob))]
        return self.halves(self.values <= limit[:, None, None]).to(self.values.dtype)

    def quantile(self, prob: float) -> Tensor:
        """The quantile by linear interpolation between order statistics (R's type 7), `[num_scalars]`."""
        position = _position(self.ordered, prob)
        below = int(position)
        above = min(below + 1, self.ordered.shape[-1] - 1)
        return self.ordered[:, below].lerp(self.ordered[:, above], position - below)


def _position(ordered: Tensor, prob: float) -> float:
    """Where the quantile stands among order statistics; what is whole but for rounding is whole."""
    position = (ordered.shape[-1] - 1) * prob
    whole = round(position)
    return float(whole) if abs(position - whole) < 1e-9 else position


def _rank_scores(ordered: Tensor) -> Tensor:
    """The normal quantiles of the ranks of rows in ascending order; equal numbers share their mean rank."""
    number = ordered.shape[-1]
    places = torch.arange(number, device=ordered.device)
    new = ordered[:, 1:] != ordered[:, :-1]
    edge = new.new_ones(len(new), 1)
    first = torch.where(torch.cat([edge, new], -1), places, 0).cummax(-1).values
    last = torch.where(torch.cat([new, edge], -1), places, number - 1).flip(-1).cummin(-1).values.flip(-1)
    return _scores(number, ordered.dtype, ordered.device)[first + last]


def _scores(number: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Normal quantiles of the ranks 1, 1.5, 2 ... `number`, by Blom's rule (r - 3/8) / (number + 1/4)."""
    lower = torch.arange(number, dtype=dtype, device=device) / 2 + 1
    scores = torch.special.ndtri((lower - 0.375) / (number + 0.25))
    scores[-1] = 0  # the middle rank
    return torch.cat([scores, -scores[:-1].flip(0)])
