"""Step sizes by dual averaging: towards the acceptance probability that is asked for."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

# Nesterov's constants as Hoffman and Gelman chose them.
_GAMMA, _OFFSET, _KAPPA = 0.05, 10.0, 0.75


class DualAveraging(NamedTuple):
    r"""The state of the averaging, `[num_chains]` each, float64.

    Attributes:
        step_size: The step size to take next.
        error_sum: The weighted mean of target minus acceptance.
        log_step_average: The weighted mean of the logarithms, whose exponential is the step size to keep.
        shrinkage_point: Where the logarithms are drawn to.
        num_updates: How many updates there were, int64.

    Source: Hoffman and Gelman (2014), "The No-U-Turn Sampler", section 3.2, equations 6 to 8.

    Example:
        >>> averaging = DualAveraging.start(torch.ones(1))
        >>> for _ in range(50):
        ...     averaging = averaging.update(torch.tensor([0.1]), 0.8)  # accepted too seldom: smaller steps
        >>> bool(averaging.final() < 1)
        True
    """

    step_size: Tensor
    error_sum: Tensor
    log_step_average: Tensor
    shrinkage_point: Tensor
    num_updates: Tensor

    @classmethod
    def start(cls, step_size: Tensor) -> "DualAveraging":
        """Begin at a step size, and try ones ten times as large first: small ones cost more."""
        step_size = step_size.double()
        zero = torch.zeros_like(step_size)
        point = step_size.log() + math.log(10)
        return cls(step_size.clone(), zero, step_size.log(), point, torch.zeros_like(step_size, dtype=torch.int64))

    def update(self, accept_prob: Tensor, target: float) -> "DualAveraging":
        """After a transition that was accepted with these probabilities; NaN counts as 0."""
        num_updates = self.num_updates + 1
        t = num_updates.double()
        weight = 1 / (t + _OFFSET)
        error_sum = (1 - weight) * self.error_sum + weight * (target - accept_prob.double().nan_to_num(nan=0.0))
        log_step = self.shrinkage_point - t.sqrt() / _GAMMA * error_sum
        eta = t**-_KAPPA
        average = eta * log_step + (1 - eta) * self.log_step_average
        return DualAveraging(log_step.exp(), error_sum, average, self.shrinkage_point, num_updates)

    def final(self) -> Tensor:
        """The step sizes to keep."""
        return self.log_step_average.exp()
