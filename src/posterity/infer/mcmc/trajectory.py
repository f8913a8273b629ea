"""What the Hamiltonian kernels share: their state, and the random numbers of a transition."""

from typing import NamedTuple

import torch
from torch import Tensor

from posterity.infer.mcmc.integrators import velocity_verlet
from posterity.infer.mcmc.target import Target
from posterity.kernels import Key, normal, uniform
from posterity.kernels.threefry import FAST_ROUNDS, threefry2x32

# What each use of a transition's key reads; `native/hamiltonian.cpp` has the same numbers.
MOMENTUM, LEAF, DIRECTION, SUBTREE = range(4)

# By how much the energy may be too high before a trajectory is given up.
MAX_ENERGY_ERROR = 1000.0


class HamiltonianState(NamedTuple):
    """Where chains are, in whitened space.

    Attributes:
        position: `[num_chains, dim]`.
        log_density: `[num_chains]`.
        gradient: Of the log density, `[num_chains, dim]`.
    """

    position: Tensor
    log_density: Tensor
    gradient: Tensor

    @classmethod
    def at(cls, target: Target, position: Tensor) -> "HamiltonianState":
        """The state at positions."""
        return cls(position, *target.value_and_grad(position))


class HamiltonianInfo(NamedTuple):
    """What is known of a transition, `[num_chains]` each.

    Attributes:
        accept_prob: The acceptance probability; with NUTS the mean over the trajectory.
        is_divergent: Whether the energy error passed 1000.
        num_steps: How many leapfrogs were made.
        tree_depth: How often the trajectory was doubled.
        energy: The Hamiltonian in nats at the start of the trajectory.
    """

    accept_prob: Tensor
    is_divergent: Tensor
    num_steps: Tensor
    tree_depth: Tensor
    energy: Tensor


class Edge(NamedTuple):
    """A moving end of trajectories: position, momentum and gradient, `[num_chains, dim]` each."""

    position: Tensor
    momentum: Tensor
    gradient: Tensor


def draw_momentum(keys: Key, like: Tensor) -> Tensor:
    """Standard normal momenta `[num_chains, dim]`."""
    return normal((like.shape[-1],), source=keys.at(MOMENTUM), dtype=torch.float64, device=like.device).to(like.dtype)


def one_uniform(keys: Key, stream: int) -> Tensor:
    """A uniform number on (0, 1) for each chain, `[num_chains]`, float64: the first of a stream."""
    return uniform((), source=keys.at(stream), dtype=torch.float64)


def words(keys: Key, counter: Tensor, stream: int) -> tuple[Tensor, Tensor]:
    """Two random words for each chain, of a counter of its own `[num_chains]`."""
    number = counter.to(torch.int32)
    key = keys.data[..., 0], keys.data[..., 1]
    return threefry2x32(key, (number, torch.full_like(number, stream)), FAST_ROUNDS)


def counted_uniform(keys: Key, counter: Tensor, stream: int) -> Tensor:
    """A uniform number on (0, 1) for each chain, float64, of a counter of its own `[num_chains]`."""
    high, low = words(keys, counter, stream)
    return ((high & 0x3FFFFFF).double() * 2.0**26 + (low & 0x3FFFFFF).double() + 0.5) * 2.0**-52


def leapfrog(target: Target, edge: Edge, step: Tensor) -> tuple[Edge, Tensor]:
    """One step of each chain, `step` `[num_chains]` long; the new edge and its log density."""
    new = velocity_verlet(target.value_and_grad, edge.position, edge.momentum, edge.gradient, step)
    return Edge(new.position, new.momentum, new.gradient), new.log_density


def energy_of(momentum: Tensor, log_density: Tensor) -> Tensor:
    """The Hamiltonian in nats, float64."""
    return 0.5 * momentum.double().square().sum(-1) - log_density.double()


def where(condition: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Entries of chains by a condition on chains `[num_chains]`."""
    return torch.where(condition.reshape(condition.shape + (1,) * (new.dim() - 1)), new, old)
