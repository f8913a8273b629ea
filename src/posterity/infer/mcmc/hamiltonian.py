"""What Hamiltonian Monte Carlo is made of, whatever the length of its trajectories."""

from torch import Tensor

from posterity.infer.mcmc.target import Target
from posterity.infer.mcmc.trajectory import HamiltonianState
from posterity.infer.mcmc.tuned_kernel import TunedKernel


class HamiltonianKernel(TunedKernel[HamiltonianState]):
    """A kernel that follows Hamiltonian trajectories by leapfrogs; its options are those of `TunedKernel`."""

    is_capturable = False

    def init(self, target: Target, position: Tensor) -> HamiltonianState:
        """The state at positions `[num_chains, dim]`."""
        return HamiltonianState.at(target, position)
