"""The Monte Carlo standard error of what is estimated from Markov chains."""

from typing import Literal

import torch
from torch import Tensor

from posterity.infer.diagnostics.chains import Chains, per_scalar
from posterity.infer.diagnostics.effective_sample_size import check_prob, mean_size, quantile_size, sd_size
from posterity.kernels import betaincinv

# What a normal variable stays below with one standard deviation either side of its mean.
_LEVELS = (0.158655253931457, 0.841344746068543)


@torch.no_grad()
def standard_error(
    draws: Tensor, *, method: Literal["mean", "sd", "median", "quantile"] = "mean", prob: float | None = None
) -> Tensor:
    """How far an estimate from these draws may be from what infinitely long chains would give, as a standard error.

    Args:
        draws: `[num_chains, num_draws, *event]`; integers and bools are numbers too.
        method: What is estimated.
        prob: The quantile's probability.

    Returns:
        `[*event]`, in the units of the draws. NaN where one draw is NaN or infinite; of the standard deviation also
        where all draws are equal.

    Raises:
        TypeError: `draws` is no real tensor.
        ValueError: There are fewer than four draws per chain, the method is unknown, or `prob` is missing, out of
            range, or not what the method takes.

    Source: Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021), section 4.4; for the standard deviation, Kenney and
    Keeping (1951), "Mathematics of Statistics", part 2, with the effective sample size.

    Example:
        >>> draws = torch.randn(4, 1000, generator=torch.Generator().manual_seed(0))
        >>> standard_error(draws), standard_error(draws, method="quantile", prob=0.95)
        (tensor(0.015...), tensor(0.03...))
    """
    methods = ("mean", "sd", "median", "quantile")
    if method not in methods:
        raise ValueError(f"standard_error: method must be one of {', '.join(methods)}, not {method!r}")
    level = check_prob("standard_error", method, prob)
    if method == "mean":
        return per_scalar("standard_error", draws, mean_error)
    if method == "sd":
        return per_scalar("standard_error", draws, sd_error)
    return per_scalar("standard_error", draws, lambda chains: quantile_error(chains, level))


def mean_error(chains: Chains) -> Tensor:
    """The standard error of the mean, `[num_scalars]`."""
    return chains.sd / mean_size(chains).sqrt()


def sd_error(chains: Chains) -> Tensor:
    """The standard error of the standard deviation, `[num_scalars]`, by the delta method from that of the variance."""
    variance = chains.squares.mean((1, 2), keepdim=True)
    variance_of_squares = (chains.squares - variance).square().mean((1, 2))
    return chains.spread * (variance_of_squares / sd_size(chains) / variance[:, 0, 0]).sqrt() / 2


def quantile_error(chains: Chains, prob: float) -> Tensor:
    """The standard error of a quantile, `[num_scalars]`: half the way between two order statistics.

    Of as many independent draws, those that lie below the quantile are binomial; the two are the quantiles at the
    ends of their share's central interval, of one standard deviation to either side.
    """
    size, number = quantile_size(chains, prob), chains.ordered.shape[-1]
    # NaN has no place among the order statistics; it comes back with the spread of the draws.
    known = size.nan_to_num(1.0)
    low, high = (betaincinv(known * prob + 1, known * (1 - prob) + 1, level) * number - 1 for level in _LEVELS)
    below = chains.ordered.gather(-1, low.floor().clamp(min=0).long().unsqueeze(-1))
    above = chains.ordered.gather(-1, high.ceil().clamp(max=number - 1).long().unsqueeze(-1))
    return chains.only_finite(((above - below) / 2).squeeze(-1))
