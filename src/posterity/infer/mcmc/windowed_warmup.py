"""The warm-up of kernels with a step size: windows in which the metric is learnt, and dual averaging throughout."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from posterity.infer.mcmc.adaptation import Adaptation
from posterity.infer.mcmc.dual_averaging import DualAveraging
from posterity.infer.mcmc.kernel import Tuning
from posterity.infer.mcmc.metric import Metric, Preconditioned
from posterity.infer.mcmc.metric_estimation import MetricKind, estimate, unit_metric
from posterity.infer.mcmc.step_size import find_step_size
from posterity.infer.mcmc.target import Target
from posterity.infer.mcmc.trajectory import HamiltonianState
from posterity.kernels import Key

# The first window's length, and the share of the warm-up that is left to the step size at its end.
_FIRST, _SHARE_OF_END = 10, 0.1
# Windows keep so many numbers at most, and leave draws out beyond.
_MOST_NUMBERS = 2**26


def windows(num_warmup: int) -> list[int]:
    """The lengths of the windows after which the metric is learnt anew; what is left tunes the step size alone.

    Each is one and a half times as long as the one before it, so that what a chain saw on its way to the bulk of the
    target is soon forgotten.

    Example:
        >>> windows(1000), windows(20)
        ([10, 15, 22, 33, 50, 75, 113, 170, 412], [10])
    """
    left = num_warmup - max(int(_SHARE_OF_END * num_warmup), min(10, num_warmup // 2))
    lengths, length = [], float(_FIRST)
    while left >= _FIRST:
        # A window that would leave too little for the next one takes it along.
        own = left if left < int(length) + int(1.5 * length) else int(length)
        lengths.append(own)
        left -= own
        length *= 1.5
    return lengths


class WindowedWarmup(Adaptation):
    """Tunes step sizes by dual averaging, and learns the metric from windows of growing length; each chain its own.

    Args:
        target: What is drawn from, on its own space.
        position: Where chains start, `[num_chains, dim]`.
        num_warmup: How many transitions there will be.
        keys: One key for each chain, for trials of step sizes.
        target_accept: The acceptance probability to tune for; None: the step size stays.
        metric: What is learnt of the target's shape; None: nothing.
        step_size: The first step size; None: found by trial where the kernel has gradients, else 2.38 / sqrt(dim).
        has_gradient: Whether the kernel's state holds gradients.
    """

    def __init__(
        self,
        target: Target,
        position: Tensor,
        num_warmup: int,
        keys: Key,
        *,
        target_accept: float | None,
        metric: MetricKind | None,
        step_size: float | None = None,
        has_gradient: bool = True,
    ) -> None:
        self.metric: Metric = unit_metric(metric or "diagonal", position)
        self._target, self._keys, self._target_accept = target, keys, target_accept
        self._has_gradient = has_gradient
        self.windows = windows(num_warmup) if metric is not None else []
        self._window = 0
        self._seen = 0
        self._draws: list[Tensor] = []
        self._gradients: list[Tensor] = []
        ones = torch.ones(position.shape[0], dtype=torch.float64, device=position.device)
        first = ones if step_size is None else ones * step_size
        if step_size is None and has_gradient and target_accept is not None:
            first = self._tried(position, first)
        elif step_size is None and not has_gradient:
            first = first * 2.38 / position.shape[1] ** 0.5
        self.averaging = DualAveraging.start(first)
        self.tuning = Tuning(first)

    def update(self, state: Any, info: Any) -> bool:
        """Learn from a transition; whether the metric has changed."""
        if self._target_accept is not None:
            self.retune(self.averaging.update(info.accept_prob, self._target_accept))
        gradient = state.gradient.unsqueeze(1) if self._has_gradient else None
        if not self.absorb(state.position.unsqueeze(1), gradient):
            return False
        self.close(state.position)
        return True

    def retune(self, averaging: DualAveraging) -> None:
        """Take over step sizes that were averaged elsewhere."""
        self.averaging = averaging
        self.tuning = Tuning(averaging.step_size)

    def transitions_left(self) -> int:
        """How many transitions the window still has, and how many may be absorbed at once."""
        if self._window >= len(self.windows):
            return 2**62
        return self.windows[self._window] - self._seen

    def absorb(self, draws: Tensor, gradients: Tensor | None) -> bool:
        """Keep what a part of a window has seen, `[num_chains, num_draws, dim]` in whitened space; whether it ends."""
        if self._window >= len(self.windows):
            return False
        self._seen += draws.shape[1]
        most = max(32, _MOST_NUMBERS // (draws.shape[0] * draws.shape[2]))
        every = -(-self.windows[self._window] // most)
        if every == 1 or self._seen % every == 0 or draws.shape[1] >= every:
            self._draws.append(draws[:, ::every].clone())
            if gradients is not None:
                self._gradients.append(gradients[:, ::every].clone())
        return self._seen == self.windows[self._window]

    def close(self, position: Tensor) -> None:
        """A window is over: learn the metric from it, and begin to tune the step size for it.

        Args:
            position: Where the chains are, in the old metric's whitened space.
        """
        gradients = torch.cat(self._gradients, 1) if self._gradients else None
        before = self.metric
        self.metric = estimate(before, torch.cat(self._draws, 1), gradients)
        self._draws, self._gradients, self._seen = [], [], 0
        self._window += 1
        if self._target_accept is not None:
            step_size = self.averaging.final()
            if self._has_gradient:
                step_size = self._tried(before.forward(position), step_size)
            self.retune(DualAveraging.start(step_size))

    def finish(self) -> bool:
        """Settle on the mean step size."""
        if self._target_accept is not None and int(self.averaging.num_updates.max()):
            self.tuning = Tuning(self.averaging.final())
        return False

    def state_dict(self) -> dict[str, Any]:
        """Everything that later updates depend on."""
        return {
            "metric": list(self.metric),  # type: ignore[call-overload]  # a metric is a tuple of tensors
            "averaging": list(self.averaging),
            "step_size": self.tuning.step_size,
            "window": self._window,
            "seen": self._seen,
            "draws": self._draws,
            "gradients": self._gradients,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.metric = type(self.metric)(*state["metric"])
        self.averaging = DualAveraging(*state["averaging"])
        self.tuning = Tuning(state["step_size"])
        self._window, self._seen = state["window"], state["seen"]
        self._draws, self._gradients = list(state["draws"]), list(state["gradients"])

    def _tried(self, position: Tensor, step_size: Tensor) -> Tensor:
        """Step sizes found by trial at positions on the target's own space."""
        whitened = Preconditioned(self._target, self.metric)
        state = HamiltonianState.at(whitened, self.metric.inverse(position))
        return find_step_size(whitened, state, self._keys.fold_in(-1 - self._window), step_size)
