"""The warm-up of `MCLMC`: step size, metric, and the length over which a direction is forgotten."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from posterity.infer.diagnostics.geyer import effective_size
from posterity.infer.mcmc.adaptation import Adaptation
from posterity.infer.mcmc.dual_averaging import DualAveraging
from posterity.infer.mcmc.energy_variance import EnergyVariance
from posterity.infer.mcmc.metric import Metric
from posterity.infer.mcmc.metric_estimation import MetricKind, estimate, unit_metric
from posterity.infer.mcmc.windowed_warmup import windows

# The shares of the warm-up in which the metric is learnt, and after which the length is.
_METRIC_ENDS, _LENGTH_ENDS = 0.6, 0.85
# The length as a multiple of the autocorrelation length: of unadjusted chains, and of adjusted ones.
_UNADJUSTED, _ADJUSTED = 0.4, 0.6
# By how much that may change it; and how many draws tell an autocorrelation.
_LARGEST_CHANGE, _FEWEST_DRAWS = 4.0, 20
# The first step size by the root of the number of dimensions, where scales are near 1; and how many steps long an
# adjusted trajectory is as long as nothing is known of the scales.
_FIRST_STEP, _FIRST_STEPS = 0.2, 5.0
# Windows keep so many numbers at most, and leave draws out beyond.
_MOST_NUMBERS = 2**26


class MCLMCTuning(NamedTuple):
    """What is tuned while `MCLMC` warms up, `[num_chains]` each, in whitened space.

    Attributes:
        step_size: The integrator's.
        length: Unadjusted: the length over which the direction is forgotten. Adjusted: the mean length of trajectories.
    """

    step_size: Tensor
    length: Tensor


class MCLMCAdaptation(Adaptation):
    """Tunes step size, metric and length; each chain its own.

    The metric is learnt from windows of growing length. Until then the length is the root of the sum of the variances;
    then it follows from the autocorrelation of the chain. The step size is tuned all the while: unadjusted chains'
    for a variance of the energy, adjusted ones' for an acceptance probability, by dual averaging.

    Args:
        position: Where chains start, `[num_chains, dim]`.
        num_warmup: How many transitions there will be.
        metric: What is learnt of the target's shape; None: nothing.
        target_accept: The acceptance probability to tune for; None: the chains are not adjusted.
        energy_variance: The variance of the energy change, by dimension, to tune unadjusted chains for.

    Source: Robnik, De Luca, Silverstein and Seljak (2023), section 5; Robnik, Cohn-Gordon and Seljak (2025), section on
    automatic tuning.
    """

    def __init__(
        self,
        position: Tensor,
        num_warmup: int,
        *,
        metric: MetricKind | None = "diagonal",
        target_accept: float | None = None,
        energy_variance: float = 5e-4,
    ) -> None:
        num_chains, self._dim = position.shape
        self._target_accept, self._energy_variance = target_accept, energy_variance
        self._learns_metric = metric is not None
        self.metric: Metric = unit_metric(metric or "diagonal", position)
        metric_ends, length_ends = int(_METRIC_ENDS * num_warmup), int(_LENGTH_ENDS * num_warmup)
        self.windows = windows(metric_ends)
        self._first = _FIRST_STEP * self._dim**0.5
        # What is seen after the last window, and before the draws that tell the length, tunes the step size alone.
        self._begins, self._ends = metric_ends, length_ends
        self._count = self._window = self._seen = 0
        self._draws: list[Tensor] = []
        self._gradients: list[Tensor] = []
        ones = torch.ones(num_chains, dtype=torch.float64, device=position.device)
        self.length = ones * self._dim**0.5
        self.tuner = self._fresh(ones * self._first)
        self.tuning = self._current()

    def update(self, state: Any, info: Any) -> bool:
        """Learn from a transition; whether the metric has changed."""
        if isinstance(self.tuner, DualAveraging):
            assert self._target_accept is not None
            self.tuner = self.tuner.update(info.accept_prob, self._target_accept)
        else:
            self.tuner = self.tuner.update(info.energy_change, info.is_divergent, self._dim, self._energy_variance)
        self._count += 1
        changed = False
        if self._window < len(self.windows):
            self._keep(state, self.windows[self._window])
            changed = self._seen == self.windows[self._window] and self._close()
        elif self._begins < self._count <= self._ends:
            self._keep(state, self._ends - self._begins)
            if self._count == self._ends:
                self._set_length()
        self.tuning = self._current()
        return changed

    def finish(self) -> bool:
        """Settle on the mean step size."""
        if self._count:
            self.tuning = MCLMCTuning(self.tuner.final(), self.length)
        return False

    def state_dict(self) -> dict[str, Any]:
        """Everything that later updates depend on."""
        return {
            "metric": list(self.metric),  # type: ignore[call-overload]  # a metric is a tuple of tensors
            "tuner": list(self.tuner),
            "tuning": list(self.tuning),
            "length": self.length,
            "count": self._count,
            "window": self._window,
            "seen": self._seen,
            "draws": list(self._draws),
            "gradients": list(self._gradients),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.metric = type(self.metric)(*state["metric"])
        self.tuner = type(self.tuner)(*state["tuner"])
        self.tuning = MCLMCTuning(*state["tuning"])
        self.length = state["length"]
        self._count, self._window, self._seen = state["count"], state["window"], state["seen"]
        self._draws, self._gradients = list(state["draws"]), list(state["gradients"])

    def _fresh(self, step_size: Tensor) -> EnergyVariance | DualAveraging:
        if self._target_accept is None:
            return EnergyVariance.start(step_size)
        # Its first trials are ten times as long as its start; steps that are too long would be punished for long.
        return DualAveraging.start(step_size / 10)._replace(step_size=step_size.double())

    def _current(self) -> MCLMCTuning:
        step_size, length = self.tuner.step_size, self.length
        knows_scales = self._window > 0 or not self.windows
        return MCLMCTuning(step_size, length if knows_scales else length.minimum(_FIRST_STEPS * step_size))

    def _keep(self, state: Any, size: int) -> None:
        if self._seen % -(-size * state.position.numel() // _MOST_NUMBERS) == 0:
            self._draws.append(state.position.clone())
            self._gradients.append(state.gradient.clone())
        self._seen += 1

    def _kept(self) -> tuple[Tensor, Tensor]:
        """The draws and gradients that were kept, `[num_chains, num_draws, dim]`, which are then forgotten."""
        draws, gradients = torch.stack(self._draws, 1), torch.stack(self._gradients, 1)
        self._draws, self._gradients, self._seen = [], [], 0
        return draws, gradients

    def _close(self) -> bool:
        """The window is over: learn the metric and the length, and begin to tune the step size anew."""
        draws, gradients = self._kept()
        before, step_size = self.metric, self.tuner.final()
        if self._learns_metric:
            self.metric = estimate(before, draws, gradients)
            draws = self.metric.inverse(before.forward(draws.transpose(0, 1))).transpose(0, 1)
            step_size = torch.full_like(step_size, self._first)
        length = draws.double().var(1).sum(-1).sqrt()
        if self._learns_metric and self._window < len(self.windows) - 1:
            # What early windows saw was mostly the way to the bulk of the target.
            length = torch.full_like(length, self._dim**0.5)
        self.length = torch.where(length.isfinite() & (length > 0), length, self.length)
        self.tuner = self._fresh(step_size)
        self._window += 1
        return self._learns_metric

    def _set_length(self) -> None:
        """The length from the chains' autocorrelations, and the step size for it."""
        draws = self._kept()[0].double()
        num_chains, number, _ = draws.shape
        if number < _FEWEST_DRAWS:
            return
        scalars = draws.transpose(1, 2).reshape(-1, 1, number)
        time = (1 / effective_size(scalars)).reshape(num_chains, -1).mean(-1)
        step_size = self.tuner.final()
        every = -(-(self._ends - self._begins) // number)
        if self._target_accept is None:
            length = _UNADJUSTED * step_size * every * time
        else:
            length = _ADJUSTED * self.length * every * time
        change = (length / self.length).nan_to_num(nan=1.0).clamp(1 / _LARGEST_CHANGE, _LARGEST_CHANGE)
        self.length = self.length * change
        if self._target_accept is not None:
            self.tuner = self._fresh(step_size)
