"""Updates of discrete elements, given the log density at each of their candidate values.

Each rule leaves the conditional distribution of an element unchanged. All elements that are updated together must be
independent given the rest.
"""

import torch
from torch import Tensor


def exact(scores: Tensor, chance: Tensor) -> Tensor:
    """Draw from the conditional distribution itself: the Gibbs sampler.

    Args:
        scores: The log density up to a constant, `[num_values, *batch]`; minus infinity for what cannot be.
        chance: Uniform numbers, `[*batch]`.

    Returns:
        The places of the new values, `[*batch]`.

    Source: Geman and Geman (1984), "Stochastic relaxation, Gibbs distributions, and the Bayesian restoration of
    images", section 9.

    Example:
        >>> exact(torch.tensor([0.0, -torch.inf]), torch.tensor(0.9))
        tensor(0)
    """
    passed = scores.softmax(0).cumsum(0)
    passed = passed / passed[-1:]
    # What is impossible adds nothing to the sum, and is never where it passes the level.
    return (passed <= chance).sum(0).clamp(max=len(scores) - 1)


def metropolised(scores: Tensor, current: Tensor, chance: Tensor, accept_chance: Tensor) -> Tensor:
    r"""Propose another value with its conditional probability, and accept with min(1, (1 - p(x)) / (1 - p(y))).

    It stays less often than the Gibbs sampler at every value, and so its estimates have no greater variance.

    Args:
        scores: As in `exact`, `[num_values, *batch]`.
        current: The places of the present values, `[*batch]`.
        chance: Uniform numbers for the proposals, `[*batch]`.
        accept_chance: Uniform numbers for the acceptance, `[*batch]`.

    Source: Liu (1996), "Peskun's theorem and a modified discrete-state Gibbs sampler", equation 1.

    Example:
        >>> metropolised(torch.zeros(2), torch.tensor(0), torch.tensor(0.5), torch.tensor(0.99))
        tensor(1)
    """
    places = torch.arange(len(scores), device=scores.device).reshape(-1, *(1,) * current.dim())
    others = scores.masked_fill(places == current, -torch.inf)
    nothing_else = others.max(0).values == -torch.inf
    proposed = exact(torch.where(nothing_else, 0.0, others), chance)
    # The logarithms of 1 - p, by the sum over the other values: p may round to 1.
    without_current = others.logsumexp(0)
    without_proposed = scores.masked_fill(places == proposed, -torch.inf).logsumexp(0)
    accepted = accept_chance.log() < without_current - without_proposed
    return torch.where(accepted & ~nothing_else, proposed, current)


def random_walk(scores: Tensor, accept_chance: Tensor) -> Tensor:
    """Accept a symmetric proposal, place 1, over the present value, place 0, by the Metropolis rule.

    Args:
        scores: `[2, *batch]`.
        accept_chance: Uniform numbers, `[*batch]`.

    Example:
        >>> random_walk(torch.tensor([0.0, 1.0]), torch.tensor(0.99))
        tensor(1)
    """
    return (accept_chance.log() < scores[1] - scores[0]).long()


def integer_steps(chance: Tensor, sign: Tensor, reach: Tensor) -> Tensor:
    """Symmetric whole steps, never zero, whose lengths have a uniform logarithm: small ones, and now and then large.

    Args:
        chance: Uniform numbers, `[*batch]`.
        sign: Uniform numbers, `[*batch]`.
        reach: The greatest length, `[*batch]`.

    Example:
        >>> integer_steps(torch.tensor([0.0, 0.99]), torch.tensor([0.2, 0.7]), torch.tensor(8.0))
        tensor([-1,  8])
    """
    length = (chance * (reach + 1).log()).exp().floor().long()
    return torch.where(sign < 0.5, -length, length)
