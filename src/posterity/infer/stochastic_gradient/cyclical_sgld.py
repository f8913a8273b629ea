"""SGLD in cycles: large steps find a mode, small steps with noise draw from it, and the next cycle finds another."""

from posterity.infer.initialization import Strategy, init_to_uniform
from posterity.infer.simulation import Program
from posterity.infer.stochastic_gradient.kernel import check_share
from posterity.infer.stochastic_gradient.schedules import cyclical_cosine
from posterity.infer.stochastic_gradient.sgld import SGLD


class CyclicalSGLD(SGLD):
    r"""SGLD whose step size falls from a peak to almost 0 in each cycle.

    The first part of a cycle explores: its large steps are without noise, as in optimisation, and leave one mode for
    another. The rest of it draws: SGLD with noise at the small steps, whose positions alone are kept.

    Args:
        model: A program; None for a loop of one's own.
        step_size: The peak of the step size, on the scale of the gradient of the whole log posterior.
        cycle_length: How many steps a cycle has.
        exploration: Which share of a cycle explores, in [0, 1).
        temperature: The temperature of the rest.
        init: Where chains start; a strategy of `posterity.infer.initialization`.

    Raises:
        TypeError: The model is not callable, or an argument is no number.
        ValueError: A number is out of range, or all of a cycle explores.

    Source: Zhang, Li, Zhang, Chen, Wilson (2020), "Cyclical stochastic gradient MCMC for Bayesian deep learning",
    algorithm 1 and equation 1.

    Example:
        >>> kernel = CyclicalSGLD(step_size=0.1, cycle_length=4, exploration=0.5)
        >>> [(round(kernel.step_size(t), 3), kernel.temperature(t), kernel.keeps(t)) for t in range(4)]
        [(0.1, 0.0, False), (0.085, 0.0, False), (0.05, 1.0, True), (0.015, 1.0, True)]
    """

    def __init__(
        self,
        model: Program | None = None,
        *,
        step_size: float,
        cycle_length: int,
        exploration: float = 0.5,
        temperature: float = 1.0,
        init: Strategy = init_to_uniform,
    ) -> None:
        super().__init__(model, step_size=step_size, temperature=temperature, init=init)
        if isinstance(cycle_length, bool) or not isinstance(cycle_length, int) or cycle_length < 1:
            raise ValueError(f"CyclicalSGLD: cycle_length must be a whole number of at least 1, not {cycle_length!r}")
        if exploration != 0:
            check_share(self, "exploration", exploration, open_end=True)
        self.cycle_length, self.exploration = cycle_length, exploration
        if not self.keeps(cycle_length - 1):
            raise ValueError(
                f"CyclicalSGLD: all {cycle_length} steps of a cycle explore: make exploration={exploration} less"
            )
        self._step_size = cyclical_cosine(step_size, cycle_length)

    def temperature(self, step: int) -> float:
        """The temperature of a step, 0 where it explores."""
        return super().temperature(step) if self.keeps(step) else 0.0

    def keeps(self, step: int) -> bool:
        """Whether a step is one of those that draw."""
        return (step % self.cycle_length) / self.cycle_length >= self.exploration
