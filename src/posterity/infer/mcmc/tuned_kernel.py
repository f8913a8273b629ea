"""What kernels with a step size share: their options, and the warm-up that tunes them."""

from collections.abc import Callable
from typing import cast

from torch import Tensor

from posterity.infer.initialization import Strategy, init_to_uniform
from posterity.infer.mcmc.kernel import Kernel, State, Tuning
from posterity.infer.mcmc.metric_estimation import MetricKind
from posterity.infer.mcmc.target import Target
from posterity.infer.mcmc.windowed_warmup import WindowedWarmup
from posterity.infer.simulation import Program
from posterity.kernels import Key


class TunedKernel(Kernel[State, Tuning]):
    """A kernel whose warm-up tunes a step size towards an acceptance probability, and learns a metric.

    Args:
        model: A program whose continuous latent variables are drawn.
        log_density: Instead of a model: a log density of one flat vector.
        step_size: The first step size, in whitened space; None: found by trial, or a good one for a normal target.
        target_accept: The mean acceptance probability that the step size is tuned for.
        metric: What is learnt of the target's shape: `"diagonal"`, `"dense"`, `"low_rank"`; None: nothing.
        adapt_step_size: Whether the step size is tuned.
        init: Where chains of a model start.
    """

    # Whether the state holds gradients, so that the warm-up can find the first step size by trial.
    has_gradient = True

    def __init__(
        self,
        model: Program | None = None,
        *,
        log_density: Callable[[Tensor], Tensor] | None = None,
        step_size: float | None = None,
        target_accept: float,
        metric: str | None = "diagonal",
        adapt_step_size: bool = True,
        init: Strategy = init_to_uniform,
    ) -> None:
        super().__init__(model, log_density=log_density, init=init)
        name = type(self).__name__
        if step_size is not None and not 0 < step_size < float("inf"):
            raise ValueError(f"{name}: step_size must be a positive number, not {step_size!r}")
        if not 0 < target_accept < 1:
            raise ValueError(f"{name}: target_accept must be between 0 and 1, not {target_accept!r}")
        if metric not in ("diagonal", "dense", "low_rank", None):
            raise ValueError(f"{name}: metric must be 'diagonal', 'dense', 'low_rank' or None, not {metric!r}")
        self.step_size, self.target_accept = step_size, target_accept
        self.metric, self.adapt_step_size = cast(MetricKind | None, metric), adapt_step_size

    def initial_step_size(self, dim: int) -> float:
        """The step size that suits a target of independent normal coordinates of unit variance."""
        return 1.0

    def adaptation(self, target: Target, position: Tensor, num_warmup: int, keys: Key) -> WindowedWarmup:
        """Dual averaging of the step size, and windows in which the metric is learnt."""
        step_size = self.step_size
        if step_size is None and not (self.has_gradient and self.adapt_step_size):
            step_size = self.initial_step_size(position.shape[-1])
        return WindowedWarmup(
            target,
            position,
            num_warmup,
            keys,
            target_accept=self.target_accept if self.adapt_step_size else None,
            metric=self.metric,
            step_size=step_size,
            has_gradient=self.has_gradient,
        )
