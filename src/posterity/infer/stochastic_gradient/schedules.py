"""How a step size, or a temperature, changes from step to step: functions from a step's number to a number."""

import math
from collections.abc import Callable

Schedule = Callable[[int], float]


def constant(value: float) -> Schedule:
    """The same number at every step.

    Args:
        value: The number.

    Example:
        >>> constant(0.1)(1000)
        0.1
    """

    def schedule(step: int) -> float:
        return value

    return schedule


def polynomial_decay(a: float, b: float = 1.0, gamma: float = 0.55) -> Schedule:
    r"""Step sizes $a (b + t)^{-\gamma}$ at step t.

    With $\frac{1}{2} < \gamma \le 1$ the step sizes sum to infinity and their squares do not, so that averages of
    draws, each weighted by its step size (`get_extra_fields()["step_size"]` of `SGMCMC`), converge to the posterior's.
    Constant steps have a bias, but take less time.

    Args:
        a: The scale.
        b: How many steps the decay is ahead.
        gamma: The power.

    Raises:
        ValueError: A number is out of range.

    Source: Welling and Teh (2011), "Bayesian learning via stochastic gradient Langevin dynamics", equations 2 and 3.

    Example:
        >>> schedule = polynomial_decay(1.0, b=4.0, gamma=0.5)
        >>> schedule(0), schedule(5)
        (0.5, 0.3333333333333333)
    """
    for name, number in (("a", a), ("b", b)):
        if not number > 0:
            raise ValueError(f"polynomial_decay: {name} must be positive, not {number}")
    if not 0 < gamma <= 1:
        raise ValueError(f"polynomial_decay: gamma must lie between 0 and 1, not {gamma}")

    def schedule(step: int) -> float:
        return float(a * (b + step) ** -gamma)

    return schedule


def cyclical_cosine(step_size: float, cycle_length: int) -> Schedule:
    r"""Step sizes that fall from a peak to almost 0 along half a cosine, again and again.

    At step t of a cycle of length L it is $\frac{1}{2} s (\cos(\pi t / L) + 1)$.

    Args:
        step_size: The peak s.
        cycle_length: How many steps a cycle has.

    Raises:
        ValueError: A number is out of range.

    Source: Zhang, Li, Zhang, Chen, Wilson (2020), "Cyclical stochastic gradient MCMC for Bayesian deep learning",
    equation 1.

    Example:
        >>> schedule = cyclical_cosine(0.1, cycle_length=4)
        >>> schedule(0), schedule(2), schedule(4)
        (0.1, 0.05, 0.1)
    """
    if not step_size > 0:
        raise ValueError(f"cyclical_cosine: step_size must be positive, not {step_size}")
    if isinstance(cycle_length, bool) or not isinstance(cycle_length, int) or cycle_length < 1:
        raise ValueError(f"cyclical_cosine: cycle_length must be a whole number of at least 1, not {cycle_length!r}")

    def schedule(step: int) -> float:
        return 0.5 * step_size * (math.cos(math.pi * (step % cycle_length) / cycle_length) + 1)

    return schedule
