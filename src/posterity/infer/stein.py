"""Stein variational gradient descent: particles that move together to where they stand for the posterior."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from posterity.infer.capture import can_compile, capture
from posterity.infer.initialization import Strategy, init_to_uniform
from posterity.infer.potential import Potential
from posterity.infer.simulation import Program
from posterity.kernels import Key
from posterity.runtime import Progress

# From how many steps on compiling pays, which takes ten seconds.
_WORTH_COMPILING = 4000
# How often the particles are looked at, which on an accelerator waits for them.
_STEPS_BETWEEN_LOOKS = 50


class SVGDResult(NamedTuple):
    """What a run of `SVGD` gives.

    Attributes:
        samples: The particles, by site name `[num_particles, ...]`.
        unconstrained: The particles on unconstrained space, `[num_particles, dim]`.
        norms: The root mean square of the particles' driving force at each step of the run, `[num_steps]`: it goes to
            zero.
    """

    samples: dict[str, Tensor]
    unconstrained: Tensor
    norms: Tensor


class SVGD:
    r"""Move particles to where they stand for the posterior (Stein variational gradient descent).

    On unconstrained space, each particle is drawn up the slope of the log density, averaged over its neighbours by
    the kernel $k(x, x') = \exp(-|x - x'|^2 / h)$, and pushed away from them by the kernel's own slope. In many
    dimensions the particles come out too close together: this is for few dimensions, or for ensembles.

    Args:
        model: A program; its marked discrete variables are summed out.
        optimizer: A class of `torch.optim`, or a function that makes an optimizer from parameters.
        optimizer_args: The class's arguments. Default: `{"lr": 0.05}`.
        num_particles: How many particles.
        bandwidth: h; None: at each step the median of the squared distances, over the logarithm of `num_particles`.
        init: Where particles start; a strategy of `posterity.infer.initialization`.
        seed: A whole number; None takes one from torch's global generator.
        progress: Whether `run` shows a live line.
        compile: Whether the driving force runs as one compiled graph. `"auto"`: for runs of at least 4000 steps, where
            a compiler is installed and the model can be vectorised.

    Raises:
        TypeError: An argument is not of its kind.
        ValueError: A number is out of range; at the run, the model is none that `Potential` takes.

    Source: Liu and Wang (2016), "Stein variational gradient descent", algorithm 1.

    Example:
        >>> import posterity as pt
        >>> def model(x):
        ...     z = pt.sample("z", pt.distributions.Normal(0.0, 1.0))
        ...     pt.sample("x", pt.distributions.Normal(z, 1.0), obs=x)
        >>> svgd = SVGD(model, num_particles=50, seed=0, progress=False)
        >>> samples = svgd.run(200, 2.0).samples
        >>> bool((samples["z"].mean() - 1.0).abs() < 0.1)
        True
    """

    def __init__(
        self,
        model: Program,
        optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_args: Mapping[str, Any] | None = None,
        *,
        num_particles: int = 100,
        bandwidth: float | None = None,
        init: Strategy = init_to_uniform,
        seed: int | None = None,
        progress: bool = True,
        compile: bool | Literal["auto"] = "auto",  # noqa: A002  # the name that drivers share
    ) -> None:
        for name, program in (("model", model), ("optimizer", optimizer)):
            if not callable(program):
                raise TypeError(f"SVGD: {name} must be callable, not a {type(program).__name__}")
        if isinstance(num_particles, bool) or not isinstance(num_particles, int) or num_particles < 1:
            raise ValueError(f"SVGD: num_particles must be a whole number of at least 1, not {num_particles!r}")
        if bandwidth is not None and not bandwidth > 0:
            raise ValueError(f"SVGD: bandwidth must be positive, not {bandwidth}")
        if compile not in (True, False, "auto"):
            raise ValueError(f"SVGD: compile must be True, False or 'auto', not {compile!r}")
        self.model, self.num_particles, self.bandwidth = model, num_particles, bandwidth
        self.init, self.progress, self.compile = init, progress, compile
        self.seed = int(torch.randint(2**62, ())) if seed is None else seed
        self.particles: Tensor | None = None
        self.optimizer: torch.optim.Optimizer | None = None
        self._make_optimizer = optimizer
        self._optimizer_args = {"lr": 0.05} if optimizer_args is None else dict(optimizer_args)

    def run(self, num_steps: int, *args: Any, **kwargs: Any) -> SVGDResult:
        """Take steps; a second run goes on from where the first one ended.

        Args:
            num_steps: How many.
            *args: The model's arguments.
            **kwargs: Their keyword arguments.

        Returns:
            The particles, and how far they are from rest.

        Raises:
            ValueError: `num_steps` is no whole number of at least 1, the model is none that `Potential` takes, or has
                other variables than at the first run.
            FloatingPointError: The log density's gradient is not finite at a particle.
        """
        if isinstance(num_steps, bool) or not isinstance(num_steps, int) or num_steps < 1:
            raise ValueError(f"SVGD.run: num_steps must be a whole number of at least 1, not {num_steps!r}")
        key = Key(self.seed)
        potential = Potential(self.model, args, kwargs, init=self.init, source=key)
        if self.particles is None or self.optimizer is None:
            start = potential.initial_points(self.num_particles, init=self.init, source=key.fold_in(1))
            self.particles = torch.nn.Parameter(start)
            self.optimizer = self._make_optimizer([self.particles], **self._optimizer_args)
        if self.particles.shape[-1] != potential.dim:
            raise ValueError(
                f"SVGD.run: the particles have {self.particles.shape[-1]} dimensions, and the model has "
                f"{potential.dim} now: make a new SVGD"
            )
        particles, optimizer = self.particles, self.optimizer

        def force(z: Tensor) -> Tensor:
            return stein_force(z, potential.value_and_grad(z)[1], self.bandwidth)

        worth = num_steps >= _WORTH_COMPILING and potential.vectorized and can_compile()
        if self.compile is True or (self.compile == "auto" and worth):
            force = capture(force, [particles.detach()])
        norms: list[Tensor] = []
        with Progress("SVGD", total=num_steps, enabled=self.progress) as line:
            for _ in range(num_steps):
                push = force(particles.detach())
                norms.append(push.square().mean().sqrt())
                if len(norms) % _STEPS_BETWEEN_LOOKS in (0, 1) and not bool(norms[-1].isfinite()):
                    raise FloatingPointError(
                        f"SVGD: the gradient of the log density is not finite at step {len(norms)}: take smaller steps"
                    )
                particles.grad = -push
                optimizer.step()
                line.update(force=norms[-1])
        if not bool(norms[-1].isfinite()):
            raise FloatingPointError("SVGD: the gradient of the log density is not finite: take smaller steps")
        with torch.no_grad():
            points = particles.detach().clone()
            return SVGDResult(potential.constrain(points), points, torch.stack(norms))


def stein_force(particles: Tensor, gradients: Tensor, bandwidth: float | None = None) -> Tensor:
    """The direction in which particles reduce the KL divergence fastest (Liu and Wang, 2016, equation 8).

    Args:
        particles: `[num_particles, dim]`.
        gradients: Of the log density at them, `[num_particles, dim]`.
        bandwidth: The kernel's h; None: by the median of the squared distances.

    Returns:
        `[num_particles, dim]`.

    Example:
        >>> stein_force(torch.zeros(1, 2), torch.ones(1, 2))  # one particle climbs
        tensor([[1., 1.]])
    """
    number = len(particles)
    if number == 1:
        return gradients
    # Centred, so that the differences keep their digits.
    x = particles - particles.mean(0)
    squares = x.square().sum(-1)
    distances = (squares.unsqueeze(-1) + squares - 2 * x @ x.mT).clamp(min=0)
    if bandwidth is None:
        above = torch.triu_indices(number, number, 1, device=x.device)
        least = torch.finfo(x.dtype).tiny
        scale = distances[above[0], above[1]].median().clamp(min=least) / math.log(number)
    else:
        scale = torch.full_like(squares[0], bandwidth)
    kernel = (-distances / scale).exp()
    repulsion = 2 / scale * (x * kernel.sum(-1, keepdim=True) - kernel @ x)
    return (kernel @ gradients + repulsion) / number
