"""The Metropolis rule, and what the kernels share that propose one point and take it or stay."""

from abc import abstractmethod
from collections.abc import Callable
from typing import NamedTuple, TypeVar, cast

import torch
from torch import Tensor

from posterity.infer.initialization import Strategy, init_to_uniform
from posterity.infer.mcmc.kernel import Kernel, State, Tuning
from posterity.infer.mcmc.metric_estimation import MetricKind
from posterity.infer.mcmc.target import Target
from posterity.infer.mcmc.trajectory import where
from posterity.infer.mcmc.windowed_warmup import WindowedWarmup
from posterity.infer.simulation import Program
from posterity.kernels import Key, uniform

_Chains = TypeVar("_Chains", bound=NamedTuple)


class MetropolisInfo(NamedTuple):
    """What is known of a transition that proposes one point, `[num_chains]` each.

    Attributes:
        accept_prob: The probability with which the proposal was to be taken.
        is_accepted: Whether it was.
        is_divergent: Whether it lay where the density cannot be computed; it is refused then.
        num_steps: How many times the density was evaluated.
    """

    accept_prob: Tensor
    is_accepted: Tensor
    is_divergent: Tensor
    num_steps: Tensor


class MetropolisKernel(Kernel[State, Tuning]):
    """A kernel that proposes one point, as far away as a step size says.

    Args:
        model: A program whose continuous latent variables are drawn.
        log_density: Instead of a model: a log density of one flat vector.
        step_size: The first step size, in whitened space; None: a good one for a normal target.
        target_accept: The mean acceptance probability that the step size is tuned for.
        metric: What is learnt of the target's shape: `"diagonal"`, `"dense"`, `"low_rank"`; None: nothing.
        adapt_step_size: Whether the step size is tuned.
        init: Where chains of a model start.
    """

    # Whether the state holds gradients, so that the warm-up can find the first step size by trial.
    has_gradient = False

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

    @abstractmethod
    def initial_step_size(self, dim: int) -> float:
        """The step size that suits a target of independent normal coordinates of unit variance."""

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


def accept(log_ratio: Tensor, is_divergent: Tensor, keys: Key) -> MetropolisInfo:
    r"""Accept with the probability $\min(1, r)$: of all rules that keep detailed balance, the one that refuses least.

    Args:
        log_ratio: Of $r = \pi(y) q(y, x) / (\pi(x) q(x, y))$ for a proposal y at x, `[num_chains]`; it may be NaN where
            the proposal is divergent.
        is_divergent: Which proposals are refused in any case, `[num_chains]`.
        keys: One for each chain.

    Returns:
        What is known of the transition, after one evaluation of the density.

    Source: Hastings (1970), "Monte Carlo sampling methods using Markov chains and their applications", section 2.3;
    Peskun (1973), "Optimum Monte-Carlo sampling using Markov chains", theorem 2.2.1.

    Example:
        >>> ratio, keys = torch.tensor([0.0, torch.nan]), Key(0).fold_in(torch.arange(2))
        >>> accept(ratio, ratio.isnan(), keys).accept_prob
        tensor([1., 0.])
    """
    accept_prob = torch.where(is_divergent, 0.0, log_ratio.clamp(max=0.0).exp())
    chance = uniform((1,), source=keys, dtype=torch.float64, device=log_ratio.device).squeeze(-1)
    num_steps = torch.ones_like(is_divergent, dtype=torch.int64)
    return MetropolisInfo(accept_prob, chance < accept_prob, is_divergent, num_steps)


def either(is_accepted: Tensor, proposed: _Chains, current: _Chains) -> _Chains:
    """For each chain the one state or the other.

    Args:
        is_accepted: `[num_chains]`.
        proposed: The state where it is true.
        current: The state where it is not.

    Example:
        >>> class Place(NamedTuple):
        ...     position: Tensor
        >>> either(torch.tensor([True, False]), Place(torch.ones(2, 1)), Place(torch.zeros(2, 1))).position
        tensor([[1.],
                [0.]])
    """
    chosen = [where(is_accepted, new, old) for new, old in zip(proposed, current, strict=True)]
    return current._make(chosen)
