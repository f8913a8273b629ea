"""By how much a likelihood may be annealed at once: until the weights of particles have become too unequal."""

import torch
from torch import Tensor


def effective_share(log_weights: Tensor) -> Tensor:
    """The effective sample size over the number of particles, a scalar.

    Args:
        log_weights: `[num_particles]`, not normalised.

    Example:
        >>> effective_share(torch.tensor([0.0, -torch.inf]))
        tensor(0.5000)
    """
    return (2 * log_weights.logsumexp(0) - (2 * log_weights).logsumexp(0)).exp() / len(log_weights)


def next_inverse_temperature(log_likelihood: Tensor, inverse_temperature: float, target_ess: float) -> float:
    """The inverse temperature at which the effective sample size of equally weighted particles falls to a target.

    Args:
        log_likelihood: Of the particles, `[num_particles]`; minus infinity for some.
        inverse_temperature: Where they are.
        target_ess: The share of the particles that is to be left, of those whose likelihood is not zero.

    Returns:
        A number above `inverse_temperature`, 1 at most.

    Raises:
        FloatingPointError: No particle has a likelihood, or no step is small enough.

    Source: Jasra, Stephens, Doucet and Tsagaris (2011), "Inference for Lévy-driven stochastic volatility models via
    adaptive sequential Monte Carlo", section 3.2.

    Example:
        >>> next_inverse_temperature(torch.zeros(10), 0.0, 0.5)
        1.0
    """
    energy = log_likelihood.double()
    possible = float((energy > -torch.inf).double().mean())
    if possible == 0:
        raise FloatingPointError("the log likelihood is not finite at any of the particles")

    def is_small_enough(step: float) -> bool:
        return float(effective_share(step * energy)) >= target_ess * possible

    low, high = 0.0, 1.0 - inverse_temperature
    if is_small_enough(high):
        return 1.0
    for _ in range(100):
        middle = (low + high) / 2 if low > 0 else high / 16
        low, high = (middle, high) if is_small_enough(middle) else (low, middle)
        if high - low < 1e-6 * high:
            break
    if not inverse_temperature + low > inverse_temperature:
        raise FloatingPointError(
            f"the log likelihood differs so much between particles, by up to {float(energy.max() - energy.min()):.3g}, "
            "that no step from the prior is small enough: check the model and its data"
        )
    return inverse_temperature + low
