"""R-hat: whether Markov chains, and the halves of each, have come to the same distribution."""

from typing import Literal

import torch
from torch import Tensor

from posterity.infer.diagnostics.chains import Chains, per_scalar


@torch.no_grad()
def split_rhat(draws: Tensor, *, method: Literal["rank", "split"] = "rank") -> Tensor:
    r"""The potential scale reduction factor $\hat R$ of chains split into halves: near 1 where they agree.

    `"rank"` is the larger one of two: of the draws' normalised ranks, which sees chains that differ in location, and
    of the ranks of their distances from the median, which sees chains that differ in scale. Neither needs a mean or
    a variance to exist. Above 1.01, do not use the draws.

    Args:
        draws: `[num_chains, num_draws, *event]`; integers and bools are numbers too. Of one chain the two halves are
            compared.
        method: `"rank"`, or `"split"` for the draws themselves in place of their ranks.

    Returns:
        `[*event]`. NaN where all draws are equal, or one is NaN or infinite; infinite where each half stands still,
        and not all at one place.

    Raises:
        TypeError: `draws` is no real tensor.
        ValueError: There are fewer than four draws per chain, or the method is unknown.

    Source: Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021), "Rank-normalization, folding, and localization: an
    improved R-hat for assessing convergence of MCMC", sections 3 and 4.

    Example:
        >>> draws = torch.randn(4, 1000, 2, generator=torch.Generator().manual_seed(0))
        >>> draws[0, :, 1] += 1  # one chain of the second scalar is elsewhere
        >>> split_rhat(draws)
        tensor([0.99..., 1.10...])
    """
    if method not in ("rank", "split"):
        raise ValueError(f"split_rhat: method must be 'rank' or 'split', not {method!r}")
    return per_scalar("split_rhat", draws, rank_rhat if method == "rank" else plain_rhat)


def rank_rhat(chains: Chains) -> Tensor:
    """The larger R-hat of normalised ranks and of folded ones, `[num_scalars]`."""
    # Where all distances from the median are equal, only the first is defined.
    return chains.only_finite(torch.fmax(_rhat(chains.rank_normal), _rhat(chains.folded_rank_normal)))


def plain_rhat(chains: Chains) -> Tensor:
    """The R-hat of the draws themselves, `[num_scalars]`."""
    return chains.only_finite(_rhat(chains.halves(chains.standardised)))


def _rhat(chains: Tensor) -> Tensor:
    num_draws = chains.shape[-1]
    # Seen from its first draw, a half that stands still has exactly no variance.
    first = chains[..., :1]
    steps = chains - first
    mean_step = steps.mean(-1, keepdim=True)
    within = (steps - mean_step).square().sum((1, 2)) / (chains.shape[1] * (num_draws - 1))
    between = (first + mean_step).squeeze(-1).var(1)
    return (between / within + (num_draws - 1) / num_draws).sqrt()
