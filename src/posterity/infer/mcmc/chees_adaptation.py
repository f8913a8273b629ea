"""The warm-up of `ChEES`: one step size, one trajectory length and one metric for all chains."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from posterity.infer.mcmc.adaptation import Adaptation
from posterity.infer.mcmc.dual_averaging import DualAveraging
from posterity.infer.mcmc.metric import Metric, Preconditioned
from posterity.infer.mcmc.metric_estimation import MetricKind, estimate, unit_metric
from posterity.infer.mcmc.step_size import find_step_size
from posterity.infer.mcmc.target import Target
from posterity.infer.mcmc.trajectory import HamiltonianState
from posterity.infer.mcmc.windowed_warmup import windows
from posterity.kernels import Key

# Adam's constants as Hoffman, Radul and Sountsov chose them; no update is larger than about half an octave.
_RATE, _DECAY, _LARGEST_UPDATE = 0.025, 0.95, 0.35
# One chain that refuses everything counts no more than this in the harmonic mean.
_LEAST_ACCEPTANCE = 0.01
# Windows keep so many numbers at most, and leave transitions out beyond.
_MOST_NUMBERS = 2**24


class ChEESTuning(NamedTuple):
    """What is tuned while `ChEES` warms up, `[num_chains]` each, the same for all chains, in whitened space.

    Attributes:
        step_size: The leapfrog's.
        trajectory_length: The longest trajectory, in time.
    """

    step_size: Tensor
    trajectory_length: Tensor


class LengthAscent(NamedTuple):
    r"""Adam's ascent of the logarithm of the trajectory length, with no momentum; scalars, float64.

    Attributes:
        log_length: Of the length to take next.
        log_length_average: The mean of the logarithms, whose exponential is the length to keep.
        square: The weighted mean of the gradient's square.
        num_updates: How many updates there were, int64.

    Source: Hoffman, Radul and Sountsov (2021), algorithm 1; the mean gives the n-th logarithm the weight $n^{-1/2}$.
    """

    log_length: Tensor
    log_length_average: Tensor
    square: Tensor
    num_updates: Tensor

    @classmethod
    def start(cls, length: Tensor) -> "LengthAscent":
        """Begin at a length."""
        log_length = length.double().log()
        return cls(log_length, log_length, torch.zeros_like(log_length), torch.zeros_like(log_length).to(torch.int64))

    def update(self, gradient: Tensor) -> "LengthAscent":
        """Go uphill by the gradient with respect to the logarithm; one that is not finite counts as 0."""
        gradient = torch.where(gradient.isfinite(), gradient, 0.0)
        count = self.num_updates + 1
        square = _DECAY * self.square + (1 - _DECAY) * gradient.square()
        rate = _RATE * gradient / (square / (1 - _DECAY ** count.double())).sqrt().clamp(min=1e-30)
        log_length = self.log_length + rate.clamp(-_LARGEST_UPDATE, _LARGEST_UPDATE)
        weight = count.double() ** -0.5
        average = (1 - weight) * self.log_length_average + weight * log_length
        return LengthAscent(log_length, average, square, count)


class ChEESAdaptation(Adaptation):
    """Tunes step size, trajectory length and metric, one of each for all chains.

    The step size is tuned by dual averaging on the harmonic mean of the acceptance probabilities, the length by ascent
    of the criterion, the metric from what all chains saw in windows of growing length.

    Args:
        target: What is drawn from, on its own space.
        position: Where chains start, `[num_chains, dim]`.
        num_warmup: How many transitions there will be.
        keys: One key for each chain, for trials of step sizes.
        target_accept: The harmonic mean to tune for.
        metric: What is learnt of the target's shape; None: nothing.
        max_num_steps: How many leapfrogs a trajectory may have.
        step_size: The first step size; None: found by trial.

    Raises:
        ValueError: There is only one chain.
    """

    def __init__(
        self,
        target: Target,
        position: Tensor,
        num_warmup: int,
        keys: Key,
        *,
        target_accept: float = 0.651,
        metric: MetricKind | None = "diagonal",
        max_num_steps: int = 1000,
        step_size: float | None = None,
    ) -> None:
        self._num_chains = position.shape[0]
        if self._num_chains < 2:
            raise ValueError(
                "ChEES tunes its trajectories by comparing chains, but there is 1; give num_chains of at least 2, "
                "better 16 or more, or use NUTS"
            )
        self._target, self._keys = target, keys
        self._target_accept, self._max_num_steps = target_accept, max_num_steps
        self.metric: Metric = unit_metric(metric or "diagonal", position)
        self.windows = windows(num_warmup) if metric is not None else []
        self._window = self._seen = 0
        self._draws: list[Tensor] = []
        self._gradients: list[Tensor] = []
        first = torch.ones(1, dtype=torch.float64, device=position.device)
        first = self._tried(position, first) if step_size is None else first * step_size
        self.averaging = DualAveraging.start(first)
        self.ascent = LengthAscent.start(first.squeeze(0))
        self._tune(first, first)

    def update(self, state: Any, info: Any) -> bool:
        """Learn from a transition of all chains; whether the metric has changed."""
        accept_prob = info.accept_prob.double().nan_to_num(nan=0.0)
        harmonic = 1 / (1 / accept_prob.clamp(min=_LEAST_ACCEPTANCE)).mean(0, keepdim=True)
        self.averaging = self.averaging.update(harmonic, self._target_accept)
        slope = (accept_prob * info.criterion_gradient).sum() / accept_prob.sum().clamp(min=1e-30)
        self.ascent = self.ascent.update(slope)
        self._tune(self.averaging.step_size, self.ascent.log_length.exp())
        if self._window >= len(self.windows):
            return False
        size = self.windows[self._window]
        if self._seen % -(-size * state.position.numel() // _MOST_NUMBERS) == 0:
            self._draws.append(state.position.clone())
            self._gradients.append(state.gradient.clone())
        self._seen += 1
        return self._seen == size and self._close(state)

    def finish(self) -> bool:
        """Settle on the means of step size and length."""
        if int(self.ascent.num_updates):
            step_size = self.averaging.final()
            longest = self._max_num_steps * step_size
            self._tune(step_size, self.ascent.log_length_average.exp().minimum(longest))
        return False

    def state_dict(self) -> dict[str, Any]:
        """Everything that later updates depend on."""
        return {
            "metric": list(self.metric),  # type: ignore[call-overload]  # a metric is a tuple of tensors
            "averaging": list(self.averaging),
            "ascent": list(self.ascent),
            "tuning": list(self.tuning),
            "window": self._window,
            "seen": self._seen,
            "draws": list(self._draws),
            "gradients": list(self._gradients),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.metric = type(self.metric)(*state["metric"])
        self.averaging, self.ascent = DualAveraging(*state["averaging"]), LengthAscent(*state["ascent"])
        self.tuning = ChEESTuning(*state["tuning"])
        self._window, self._seen = state["window"], state["seen"]
        self._draws, self._gradients = list(state["draws"]), list(state["gradients"])

    def _close(self, state: Any) -> bool:
        """The window is over: learn the metric, and begin to tune for it."""
        draws, gradients = torch.cat(self._draws).unsqueeze(0), torch.cat(self._gradients).unsqueeze(0)
        before, one = self.metric, self._of_chain(self.metric, 1)
        learnt = estimate(one, draws, gradients)
        self.metric = self._of_chain(learnt, self._num_chains)
        # The length that goes as far as before; in a space of unit scales 1 is a good start.
        points = one.forward(draws.transpose(0, 1))
        spread = [m.inverse(points).double().var(0).sum().sqrt() for m in (one, learnt)]
        length = (self.ascent.log_length.exp() * spread[1] / spread[0]).nan_to_num(nan=1.0).clamp(min=1.0)
        self._draws, self._gradients, self._seen = [], [], 0
        self._window += 1
        step_size = self._tried(before.forward(state.position), self.averaging.final())
        self.averaging = DualAveraging.start(step_size)
        self.ascent = LengthAscent.start(length)
        self._tune(step_size, length)
        return True

    def _tune(self, step_size: Tensor, length: Tensor) -> None:
        self.tuning = ChEESTuning(step_size.expand(self._num_chains), length.expand(self._num_chains))

    def _tried(self, position: Tensor, step_size: Tensor) -> Tensor:
        """The median of the step sizes that are found by trial at positions on the target's own space, `[1]`."""
        whitened = Preconditioned(self._target, self.metric)
        state = HamiltonianState.at(whitened, self.metric.inverse(position))
        keys = self._keys.fold_in(-1 - self._window)
        return find_step_size(whitened, state, keys, step_size.expand(self._num_chains)).median().reshape(1)

    def _of_chain(self, metric: Metric, number: int) -> Metric:
        """The one metric that all chains share, for a number of chains."""
        parts: list[Tensor] = [part[:1].expand(number, *part.shape[1:]) for part in metric]  # type: ignore[attr-defined]
        return type(metric)(*(part.contiguous() for part in parts))
