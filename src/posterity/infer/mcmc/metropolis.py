"""The Metropolis rule, and what the kernels share that propose one point and take it or stay."""

from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from posterity.infer.mcmc.trajectory import where
from posterity.kernels import Key, uniform

_Chains = TypeVar("_Chains", bound=NamedTuple)


class MetropolisInfo(NamedTuple):
    """What is known of a transition that proposes one point, `[num_chains]` each.

    Attributes:
        accept_prob: The probability with which the proposal was to be taken.
        is_accepted: Whether it was.
        is_divergent: Whether it lay where the density cannot be computed; it is refused then.
        num_steps: How many times the density was evaluated.
    """

    accept_prob: Tensor
    is_accepted: Tensor
    is_divergent: Tensor
    num_steps: Tensor


def accept(log_ratio: Tensor, is_divergent: Tensor, keys: Key) -> MetropolisInfo:
    r"""Accept with the probability $\min(1, r)$: of all rules that keep detailed balance, the one that refuses least.

    Args:
        log_ratio: Of $r = \pi(y) q(y, x) / (\pi(x) q(x, y))$ for a proposal y at x, `[num_chains]`; it may be NaN where
            the proposal is divergent.
        is_divergent: Which proposals are refused in any case, `[num_chains]`.
        keys: One for each chain.

    Returns:
        What is known of the transition, after one evaluation of the density.

    Source: Hastings (1970), "Monte Carlo sampling methods using Markov chains and their applications", section 2.3;
    Peskun (1973), "Optimum Monte-Carlo sampling using Markov chains", theorem 2.2.1.

    Example:
        >>> ratio, keys = torch.tensor([0.0, torch.nan]), Key(0).fold_in(torch.arange(2))
        >>> accept(ratio, ratio.isnan(), keys).accept_prob
        tensor([1., 0.])
    """
    accept_prob = torch.where(is_divergent, 0.0, log_ratio.clamp(max=0.0).exp())
    chance = uniform((1,), source=keys, dtype=torch.float64, device=log_ratio.device).squeeze(-1)
    num_steps = torch.ones_like(is_divergent, dtype=torch.int64)
    return MetropolisInfo(accept_prob, chance < accept_prob, is_divergent, num_steps)


def either(is_accepted: Tensor, proposed: _Chains, current: _Chains) -> _Chains:
    """For each chain the one state or the other.

    Args:
        is_accepted: `[num_chains]`.
        proposed: The state where it is true.
        current: The state where it is not.

    Example:
        >>> class Place(NamedTuple):
        ...     position: Tensor
        >>> either(torch.tensor([True, False]), Place(torch.ones(2, 1)), Place(torch.zeros(2, 1))).position
        tensor([[1.],
                [0.]])
    """
    chosen = [where(is_accepted, new, old) for new, old in zip(proposed, current, strict=True)]
    return current._make(chosen)
