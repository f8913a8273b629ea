"""The stochastic-gradient Nose-Hoover thermostat: friction that finds out by itself how noisy gradients are."""

from typing import NamedTuple

import torch
from torch import Tensor

from posterity.infer.initialization import Strategy, init_to_uniform
from posterity.infer.simulation import Program
from posterity.infer.stochastic_gradient.kernel import Gradient, StochasticGradientKernel, check_share
from posterity.infer.stochastic_gradient.schedules import Schedule
from posterity.infer.stochastic_gradient.sgld import as_scalars


class SGNHTState(NamedTuple):
    """Where the chains are.

    Attributes:
        position: `[num_chains, dim]`.
        momentum: In units in which its variance is the temperature, `[num_chains, dim]`.
        friction: The share of the momentum that a step takes away, `[num_chains, dim]`, or `[num_chains, 1]` with one
            thermostat for all coordinates.
    """

    position: Tensor
    momentum: Tensor
    friction: Tensor


class SGNHTInfo(NamedTuple):
    """What is known of a transition.

    Attributes:
        step_size: The step size, a scalar.
        temperature: The temperature, a scalar.
        gradient_norm: The norm of the gradient's estimate, `[num_chains]`.
        kinetic_temperature: The mean of the squared momentum over coordinates, `[num_chains]`: on average the
            temperature.
        friction: The mean friction over coordinates, `[num_chains]`.
    """

    step_size: Tensor
    temperature: Tensor
    gradient_norm: Tensor
    kinetic_temperature: Tensor
    friction: Tensor


class SGNHT(StochasticGradientKernel[SGNHTState]):
    r"""The stochastic-gradient Nose-Hoover thermostat.

    As in `SGHMC`, a momentum r moves the position, but the friction is a variable of its own. It grows while the
    momentum is hotter than the temperature T, and falls while it is colder: $a' = a + \rho (r^2 - T)$. So it comes to
    take out of the chain the heat that the gradient's noise brings, as well as that of the noise of variance
    $2 a_0 T$ which the kernel injects; the variance V of the gradients need not be known. The friction settles at
    about $a_0 + h V / 2 T$, which should stay below 1.

    The integrator is symmetric: half a step of position and friction, half of the friction's work, the whole kick by
    gradient and noise, and the two halves back.

    Args:
        model: A program; None for a loop of one's own.
        step_size: h, on the scale of the gradient of the whole log posterior: a number, or a schedule.
        friction: $a_0$, the friction at first, and the size of the noise that is injected, in (0, 1].
        thermostat_rate: $\rho$, how fast the friction changes. Ding et al. have h here, whose effect depends on the
            scale of the parameters; $\rho$ does not. The friction's own variance is about $\rho$, over the number of
            coordinates that share it.
        per_coordinate: Whether each coordinate has a thermostat of its own, for noise that differs between them;
            otherwise one holds the mean of $r^2$ over all coordinates.
        temperature: T, a number or a schedule.
        init: Where chains start; a strategy of `posterity.infer.initialization`.

    Raises:
        TypeError: The model is not callable, or an argument is neither a number nor a function.
        ValueError: A number is out of range.

    Source: Ding, Fang, Babbush, Chen, Skeel, Neven (2014), "Bayesian sampling using stochastic gradient thermostats",
    algorithm 2; one thermostat for each coordinate and the symmetric integrator after Chen, Ding, Carin (2015), "On the
    convergence of stochastic gradient MCMC algorithms with high-order integrators".

    Example:
        >>> kernel = SGNHT(step_size=0.01, friction=0.1)
        >>> state = kernel.init(torch.ones(2, 1))
        >>> state, info = kernel.step(state, lambda z: -z, torch.zeros(2, 1, 1), 0.01)
        >>> bool((info.friction < 0.1).all())  # colder than the temperature
        True
    """

    def __init__(
        self,
        model: Program | None = None,
        *,
        step_size: float | Schedule,
        friction: float = 0.1,
        thermostat_rate: float = 1e-3,
        per_coordinate: bool = True,
        temperature: float | Schedule = 1.0,
        init: Strategy = init_to_uniform,
    ) -> None:
        super().__init__(model, step_size=step_size, temperature=temperature, init=init)
        check_share(self, "friction", friction)
        check_share(self, "thermostat_rate", thermostat_rate)
        self.friction, self.thermostat_rate, self.per_coordinate = friction, thermostat_rate, per_coordinate

    def init(self, position: Tensor) -> SGNHTState:
        """The state at positions, `[num_chains, dim]`, at rest."""
        like = position if self.per_coordinate else position[:, :1]
        return SGNHTState(position, torch.zeros_like(position), torch.full_like(like, self.friction))

    def step(
        self,
        state: SGNHTState,
        gradient: Gradient,
        noise: Tensor,
        step_size: float | Tensor,
        temperature: float | Tensor = 1.0,
    ) -> tuple[SGNHTState, SGNHTInfo]:
        """Take a transition; see `StochasticGradientKernel.step`."""
        size, heat = as_scalars(state.position, step_size, temperature)
        time, rate = size.sqrt(), self.thermostat_rate / 2
        middle = state.position + time / 2 * state.momentum
        friction = state.friction + rate * (self._kinetic(state.momentum) - heat)
        slope, rubbed = gradient(middle), (-friction / 2).exp()
        kicked = rubbed * state.momentum + time * slope + (2 * self.friction * heat).sqrt() * noise[:, 0]
        momentum = rubbed * kicked
        position = middle + time / 2 * momentum
        kinetic = self._kinetic(momentum)
        friction = friction + rate * (kinetic - heat)
        info = SGNHTInfo(size, heat, torch.linalg.vector_norm(slope, dim=-1), kinetic.mean(-1), friction.mean(-1))
        return SGNHTState(position, momentum, friction), info

    def _kinetic(self, momentum: Tensor) -> Tensor:
        square = momentum.square()
        return square if self.per_coordinate else square.mean(-1, keepdim=True)
