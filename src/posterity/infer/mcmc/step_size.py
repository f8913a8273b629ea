"""A first step size, found by trial."""

import torch
from torch import Tensor

from posterity.infer.mcmc.target import Target
from posterity.infer.mcmc.trajectory import Edge, HamiltonianState, draw_momentum, energy_of, leapfrog
from posterity.kernels import Key

# The acceptance probability of one leapfrog that is looked for; and how often a step may double or halve.
_ACCEPTANCE, _TRIALS = 0.8, 60


def find_step_size(target: Target, state: HamiltonianState, keys: Key, step_size: Tensor) -> Tensor:
    """Double or halve the steps of each chain until the acceptance of one leapfrog passes 0.8.

    Args:
        target: What to draw from, in whitened space.
        state: Where the chains are.
        keys: One key for each chain.
        step_size: Where to begin, `[num_chains]`.

    Returns:
        `[num_chains]`.

    Source: Hoffman and Gelman (2014), "The No-U-Turn Sampler", algorithm 4; the threshold is Stan's.
    """
    momentum = draw_momentum(keys, state.position)
    start = Edge(state.position, momentum, state.gradient)
    energy = energy_of(momentum, state.log_density)
    step_size = step_size.double()
    grows: Tensor | None = None
    going = torch.ones_like(step_size, dtype=torch.bool)
    for _ in range(_TRIALS):
        end, value = leapfrog(target, start, step_size)
        accept_prob = (energy - energy_of(end.momentum, value)).nan_to_num(nan=-torch.inf).exp()
        high = accept_prob > _ACCEPTANCE
        grows = high if grows is None else grows
        # The last step that was tried has passed the threshold.
        going = going & (high == grows)
        if not bool(going.any()):
            break
        step_size = torch.where(going, torch.where(grows, 2 * step_size, step_size / 2), step_size)
    return step_size
