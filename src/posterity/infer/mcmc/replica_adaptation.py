"""The warm-up of replica exchange: step sizes and scales of each replica, and temperatures that all reject alike."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from posterity.infer.mcmc.adaptation import Adaptation
from posterity.infer.mcmc.dual_averaging import DualAveraging
from posterity.infer.mcmc.first_tuning import is_tuned, target_accept
from posterity.infer.mcmc.kernel import Kernel
from posterity.infer.mcmc.windowed_warmup import windows


class ReplicaTuning(NamedTuple):
    """What is tuned of `ReplicaExchange`.

    Attributes:
        inverse_temperatures: Decreasing from 1, `[num_chains, num_replicas]`.
        scale: About each replica's standard deviations, `[num_chains, num_replicas, dim]`.
        inner: The tuning of the kernel inside, tensors `[num_chains, num_replicas, ...]`.
    """

    inverse_temperatures: Tensor
    scale: Tensor
    inner: Any


class ReplicaAdaptation(Adaptation):
    """Tunes step sizes by dual averaging, and learns scales and ladder from windows of growing length.

    Args:
        kernel: The kernel inside.
        tuning: What to begin with.
        num_warmup: How many transitions there will be.
        moves_ladder: Whether the temperatures are adapted.
    """

    def __init__(self, kernel: Kernel[Any, Any], tuning: ReplicaTuning, num_warmup: int, *, moves_ladder: bool) -> None:
        self.tuning, self.metric = tuning, None
        self._target = target_accept(kernel) if is_tuned(kernel, tuning.inner) else None
        self._moves_ladder = moves_ladder
        self.windows = windows(num_warmup)
        self._window, self._seen = 0, 0
        self._averaging = None if self._target is None else DualAveraging.start(tuning.inner.step_size)
        self._sums = [torch.zeros_like(tuning.scale, dtype=torch.float64) for _ in range(2)]
        self._rejections = torch.zeros_like(tuning.inverse_temperatures[:, 1:], dtype=torch.float64)

    def update(self, state: Any, info: Any) -> bool:
        """Learn from a transition; there is no metric that could change."""
        if self._averaging is not None and self._target is not None:
            self._averaging = self._averaging.update(info.replica_accept_prob, self._target)
            self._take_step_size(self._averaging.step_size)
        points = state.replicas.double()
        self._sums[0] += points
        self._sums[1] += points.square()
        self._rejections += 1 - info.swap_accept_prob.double()
        self._seen += 1
        if self._window < len(self.windows) and self._seen == self.windows[self._window]:
            self._close()
        return False

    def finish(self) -> bool:
        """Settle on the mean step sizes."""
        if self._averaging is not None:
            self._take_step_size(self._averaging.final())
        return False

    def state_dict(self) -> dict[str, Any]:
        """Everything that later updates depend on."""
        return {
            "inverse_temperatures": self.tuning.inverse_temperatures,
            "scale": self.tuning.scale,
            "inner": list(self.tuning.inner),
            "averaging": None if self._averaging is None else list(self._averaging),
            "window": self._window,
            "seen": self._seen,
            "sums": list(self._sums),
            "rejections": self._rejections,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        inner = type(self.tuning.inner)(*state["inner"])
        self.tuning = ReplicaTuning(state["inverse_temperatures"], state["scale"], inner)
        self._averaging = None if state["averaging"] is None else DualAveraging(*state["averaging"])
        self._window, self._seen = state["window"], state["seen"]
        self._sums = [total.clone() for total in state["sums"]]
        self._rejections = state["rejections"].clone()

    def _close(self) -> None:
        """The window is over: learn scales and ladder, and begin to tune the step sizes for them."""
        number = self._seen
        mean, square = (total / number for total in self._sums)
        variance = (square - mean.square()).clamp(min=0) * number / (number - 1)
        # With few draws a variance is uncertain by so much; shrink it towards what is.
        before = self.tuning.scale.double()
        scale = ((number * variance + 5 * before.square()) / (number + 5)).sqrt()
        scale = torch.where(scale.isfinite() & (scale > 0), scale, before)
        betas = self.tuning.inverse_temperatures
        if self._moves_ladder:
            betas = equalised(betas.double(), self._rejections / number).to(betas.dtype)
        self.tuning = ReplicaTuning(betas, scale.to(self.tuning.scale.dtype), self.tuning.inner)
        if self._averaging is not None:
            # Scales of the old window and the new one are about alike: there is no need to look far away again.
            final = self._averaging.final()
            self._averaging = DualAveraging.start(final)._replace(shrinkage_point=final.log())
            self._take_step_size(self._averaging.step_size)
        self._window, self._seen = self._window + 1, 0
        for total in (*self._sums, self._rejections):
            total.zero_()

    def _take_step_size(self, step_size: Tensor) -> None:
        own = step_size.to(self.tuning.inner.step_size.dtype)
        self.tuning = self.tuning._replace(inner=self.tuning.inner._replace(step_size=own))


def equalised(inverse_temperatures: Tensor, rejection: Tensor) -> Tensor:
    """The ladder on which all pairs reject alike, by straight lines through the rejection rates summed up so far.

    The lines run over the fourth root of the inverse temperature: near the prior most of the likelihood's change comes
    about within a small part of the way.

    Args:
        inverse_temperatures: Decreasing from 1, `[num_chains, num_replicas]`.
        rejection: The rate of each pair of neighbours, `[num_chains, num_replicas - 1]`.

    Source: Syed et al. (2022), "Non-reversible parallel tempering", section 5.2 and algorithm 2.

    Example:
        >>> ladder = torch.tensor([[1.0, 0.5, 0.0]])
        >>> equalised(ladder, torch.tensor([[0.1, 0.3]])).round(decimals=1)
        tensor([[1.0000, 0.1000, 0.0000]])
    """
    # A pair that never rejects keeps a little of the way, so that no two temperatures meet.
    barrier = torch.nn.functional.pad((rejection + 1e-3).cumsum(-1), (1, 0))
    barrier = barrier / barrier[:, -1:]
    number = inverse_temperatures.shape[-1]
    wanted = torch.linspace(0, 1, number, dtype=barrier.dtype, device=barrier.device).expand_as(barrier).contiguous()
    above = torch.searchsorted(barrier, wanted).clamp(1, number - 1)
    low, high = barrier.gather(-1, above - 1), barrier.gather(-1, above)
    share = ((wanted - low) / (high - low)).clamp(0, 1)
    root = inverse_temperatures**0.25
    ladder = root.gather(-1, above - 1).lerp(root.gather(-1, above), share) ** 4
    return torch.cat([inverse_temperatures[:, :1], ladder[:, 1:-1], inverse_temperatures[:, -1:]], -1)
