"""The effective sample size of Markov chains, for the statistic that is to be estimated from them."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from posterity.infer.diagnostics.chains import Chains, per_scalar
from posterity.infer.diagnostics.geyer import effective_size

Method = Literal["bulk", "tail", "mean", "sd", "median", "quantile"]
METHODS = ("bulk", "tail", "mean", "sd", "median", "quantile")


@torch.no_grad()
def effective_sample_size(
    draws: Tensor, *, method: Method = "bulk", prob: float | None = None, relative: bool = False
) -> Tensor:
    """How many independent draws would tell as much about a statistic as those of these Markov chains.

    Each chain is split into halves, so that a drift shows. `"bulk"` looks at the ranks of the draws, and is defined
    where the distribution has no variance; `"tail"` is the smaller one of the two outer quantiles.

    Args:
        draws: `[num_chains, num_draws, *event]`; integers and bools are numbers too.
        method: `"bulk"` and `"tail"` to judge a sampler; `"mean"`, `"sd"`, `"median"` and `"quantile"` for the
            precision of one estimate.
        prob: The quantile's probability; with `"tail"`, that of the lower tail and of the upper one (0.05).
        relative: Whether to divide by the number of draws in the halves.

    Returns:
        `[*event]`. At most the number of draws times its common logarithm; the number of draws where all are equal;
        NaN where one is NaN or infinite.

    Raises:
        TypeError: `draws` is no real tensor.
        ValueError: There are fewer than four draws per chain, the method is unknown, or `prob` is missing, out of
            range, or not what the method takes.

    Source: Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021), "Rank-normalization, folding, and localization: an
    improved R-hat for assessing convergence of MCMC", sections 3.2 and 4.

    Example:
        >>> draws = torch.randn(4, 1000, generator=torch.Generator().manual_seed(0))
        >>> effective_sample_size(draws), effective_sample_size(draws.cumsum(1))
        (tensor(3959...), tensor(5.2...))
    """
    if method not in METHODS:
        raise ValueError(f"effective_sample_size: method must be one of {', '.join(METHODS)}, not {method!r}")
    level = check_prob("effective_sample_size", method, prob)

    sizes: dict[str, Callable[[Chains], Tensor]] = {"bulk": bulk_size, "mean": mean_size, "sd": sd_size}
    sizes["tail"] = lambda chains: tail_size(chains, level)
    size = sizes.get(method, lambda chains: quantile_size(chains, level))
    total = per_scalar("effective_sample_size", draws, size)
    return total / (len(draws) * (draws.shape[1] // 2 * 2)) if relative else total


def check_prob(caller: str, method: str, prob: float | None) -> float:
    """The probability that a method takes: the quantile's, or its own where none is to be given."""
    takes = {"median": 0.5, "tail": 0.05}
    if prob is None:
        if method == "quantile":
            raise ValueError(f"{caller}: method='quantile' needs prob=, the quantile's probability")
        return takes.get(method, 0.5)
    if method not in ("quantile", "tail"):
        raise ValueError(f"{caller}: prob= belongs to method='quantile' or 'tail', not to {method!r}")
    if not 0 < prob < 1:
        raise ValueError(f"{caller}: prob must lie between 0 and 1, not {prob!r}")
    return float(prob)


def bulk_size(chains: Chains) -> Tensor:
    """The effective sample size of the draws' normalised ranks, `[num_scalars]`."""
    return _size(chains, chains.rank_normal)


def tail_size(chains: Chains, prob: float = 0.05) -> Tensor:
    """The smaller effective sample size of the quantiles of `prob` and `1 - prob`, `[num_scalars]`."""
    return torch.minimum(quantile_size(chains, prob), quantile_size(chains, 1 - prob))


def mean_size(chains: Chains) -> Tensor:
    """The effective sample size of the mean, `[num_scalars]`."""
    return _size(chains, chains.halves(chains.standardised))


def sd_size(chains: Chains) -> Tensor:
    """The effective sample size of the standard deviation: that of the mean square, `[num_scalars]`."""
    return _size(chains, chains.halves(chains.squares))


def quantile_size(chains: Chains, prob: float) -> Tensor:
    """The effective sample size of a quantile: that of the share of draws below it, `[num_scalars]`."""
    return _size(chains, chains.at_most(prob))


def _size(chains: Chains, halves: Tensor) -> Tensor:
    return chains.only_finite(effective_size(halves) * (halves.shape[1] * halves.shape[2]))
