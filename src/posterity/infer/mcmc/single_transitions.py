"""Native transitions of a Hamiltonian kernel one by one, for what happens between them."""

import ctypes
from collections.abc import Mapping

import torch
from torch import Tensor

from posterity.infer.mcmc.dual_averaging import DualAveraging
from posterity.infer.mcmc.metric import Metric
from posterity.infer.mcmc.native_trajectories import NativeTrajectories, empty_info
from posterity.infer.mcmc.trajectory import HamiltonianState
from posterity.kernels import Key

# Evaluations of the target between two looks at Ctrl-C.
_AT_ONCE = 1024


class SingleTransitions:
    """Makes transitions of all chains, one at a time, in place.

    Args:
        trajectories: The kernel with its target.
        state: Where the chains are, each part contiguous; it moves.
        metric: The map from whitened space.
        step_size: `[num_chains]`; where it is averaged, it moves.
        averaging: Of the step size; it moves. None: the step size stays.
        number: How many transitions there is room for.

    Attributes:
        draws: The positions after each, `[number, num_chains, dim]`, in whitened space.
        gradients: The gradients there.
        info: What is known of each, by name `[number, num_chains]`.
    """

    def __init__(
        self,
        trajectories: NativeTrajectories,
        state: HamiltonianState,
        metric: Metric,
        step_size: Tensor,
        averaging: DualAveraging | None,
        number: int,
    ) -> None:
        chains, dim = state.position.shape
        self.draws, self.gradients = (state.position.new_empty(number, chains, dim) for _ in range(2))
        self.info = empty_info(number, chains)
        self._done = torch.zeros(chains, dtype=torch.int64)
        self._is_double = int(state.position.dtype == torch.float64)
        self._library, self._check = trajectories.library, trajectories.target.evaluation.check
        first = {name: rows[0].unsqueeze(1) for name, rows in self.info.items()}
        draw, gradient = self.draws[0].unsqueeze(1), self.gradients[0].unsqueeze(1)
        self._job, self._kept = trajectories.job(
            state, metric, step_size, 0, averaging, draw, gradient, first, self._done
        )
        fields: Mapping[str, Tensor] = {"draws": self.draws, "gradients": self.gradients, **self.info}
        names = {"log_density": "log_densities"}
        self._rows = [
            (names.get(name, name), rows.data_ptr(), rows.stride(0) * rows.element_size())
            for name, rows in fields.items()
        ]

    def __call__(self, row: int, keys: Key) -> None:
        """Make a transition of each chain from where it is, and keep what it gave.

        Args:
            row: Where to keep it.
            keys: One for each chain; the transition takes that of `fold_in(0)`.
        """
        for name, address, stride in self._rows:
            setattr(self._job, name, address + row * stride)
        own = keys.data.contiguous()
        self._job.keys = own.data_ptr()
        self._done.zero_()
        run = self._library.hamiltonian_new(ctypes.byref(self._job), self._is_double)
        try:
            going = 1
            while going > 0:
                going = self._library.hamiltonian_advance(run, self._is_double, _AT_ONCE)
            if going < 0:
                self._check()
        finally:
            self._library.hamiltonian_delete(run, self._is_double)
