"""What Hamiltonian Monte Carlo is made of, whatever the length of its trajectories."""

from abc import abstractmethod
from collections.abc import Callable
from typing import cast

from torch import Tensor

from posterity.infer.initialization import Strategy, init_to_uniform
from posterity.infer.mcmc.kernel import Kernel, Tuning
from posterity.infer.mcmc.metric_estimation import MetricKind
from posterity.infer.mcmc.target import Target
from posterity.infer.mcmc.trajectory import HamiltonianInfo, HamiltonianState
from posterity.infer.mcmc.windowed_warmup import WindowedWarmup
from posterity.infer.simulation import Program
from posterity.kernels import Key


class HamiltonianKernel(Kernel[HamiltonianState, Tuning]):
    """A kernel that follows Hamiltonian trajectories by leapfrogs.

    Args:
        model: A program whose continuous latent variables are drawn.
        log_density: Instead of a model: a log density of one flat vector.
        step_size: The first step size, in whitened space; None: found by trial.
        target_accept: The mean acceptance probability that the step size is tuned for.
        metric: What is learnt of the target's shape: `"diagonal"`, `"dense"`, `"low_rank"`; None: nothing.
        adapt_step_size: Whether the step size is tuned.
        init: Where chains of a model start.
    """

    is_capturable = False
    is_nuts = False

    def __init__(
        self,
        model: Program | None = None,
        *,
        log_density: Callable[[Tensor], Tensor] | None = None,
        step_size: float | None = None,
        target_accept: float = 0.8,
        metric: str | None = "diagonal",
        adapt_step_size: bool = True,
        init: Strategy = init_to_uniform,
    ) -> None:
        super().__init__(model, log_density=log_density, init=init)
        name = type(self).__name__
        if step_size is not None and not (step_size > 0 and step_size < float("inf")):
            raise ValueError(f"{name}: step_size must be a positive number, not {step_size!r}")
        if not 0 < target_accept < 1:
            raise ValueError(f"{name}: target_accept must be between 0 and 1, not {target_accept!r}")
        if metric not in ("diagonal", "dense", "low_rank", None):
            raise ValueError(f"{name}: metric must be 'diagonal', 'dense', 'low_rank' or None, not {metric!r}")
        self.step_size, self.target_accept = step_size, target_accept
        self.metric, self.adapt_step_size = cast(MetricKind | None, metric), adapt_step_size

    def init(self, target: Target, position: Tensor) -> HamiltonianState:
        """The state at positions `[num_chains, dim]`."""
        return HamiltonianState.at(target, position)

    @abstractmethod
    def step(
        self, target: Target, state: HamiltonianState, tuning: Tuning, keys: Key
    ) -> tuple[HamiltonianState, HamiltonianInfo]:
        """Take a transition."""

    def adaptation(self, target: Target, position: Tensor, num_warmup: int, keys: Key) -> WindowedWarmup:
        """Dual averaging of the step size, and windows in which the metric is learnt."""
        return WindowedWarmup(
            target,
            position,
            num_warmup,
            keys,
            target_accept=self.target_accept if self.adapt_step_size else None,
            metric=self.metric,
            step_size=self._first_step_size(),
        )

    def _first_step_size(self) -> float | None:
        if self.step_size is None and not self.adapt_step_size:
            return 1.0
        return self.step_size
