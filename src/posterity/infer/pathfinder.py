"""Pathfinder: normal approximations along the way of an optimiser to the mode."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from posterity.infer.initialization import Strategy, init_to_uniform
from posterity.infer.pareto_smoothing import pareto_smooth
from posterity.infer.potential import Potential
from posterity.infer.quasi_newton import History, InverseHessian, minimise
from posterity.infer.simulation import Program
from posterity.kernels import Key, normal
from posterity.runtime import Progress

# How many points go through the model at once.
_POINTS_AT_ONCE = 1024


class PathfinderResult(NamedTuple):
    """What a run of `Pathfinder` gives.

    Attributes:
        samples: Approximate draws from the posterior, by site name `[num_samples, ...]`.
        unconstrained: The same draws on unconstrained space, `[num_samples, dim]`: good starts of Markov chains.
        elbo: The evidence lower bound of each path's normal distribution in nats, `[num_paths]`; minus infinity for
            a path that failed.
        pareto_k: The shape of the importance weights' tail: above 0.7 the draws are only a rough approximation. NaN
            for a single path, which is not resampled.
    """

    samples: dict[str, Tensor]
    unconstrained: Tensor
    elbo: Tensor
    pareto_k: float


class Pathfinder:
    """Approximate a posterior by the normal distributions that an optimiser meets on its way to the mode.

    Each path goes by L-BFGS from a random point to a mode of the density on unconstrained space. At each point of it
    the optimiser's estimate of the curvature makes a normal distribution; the one with the best evidence lower bound
    is kept. Draws of several paths are resampled by Pareto-smoothed importance weights. All paths run together.

    Args:
        model: A program; its marked discrete variables are summed out.
        num_paths: How many paths. With one, the draws are those of its normal distribution.
        num_samples: How many draws to return.
        num_draws_per_path: How many draws of each path the result is resampled from.
        num_elbo_draws: How many draws estimate each bound.
        max_steps: How many steps a path has at most.
        history_size: How many steps the estimate of the curvature remembers.
        tolerance: A path ends when a step raises the log density by less than this share of it.
        init: Where paths start; a strategy of `posterity.infer.initialization`.
        seed: A whole number; None takes one from torch's global generator.
        progress: Whether to show a live line.

    Raises:
        ValueError: A number is out of range; at the run, the model is none that `Potential` takes, or all paths fail.

    Source: Zhang, Carpenter, Gelman and Vehtari (2022), "Pathfinder: parallel quasi-Newton variational inference",
    algorithms 1 to 4.

    Example:
        >>> import posterity as pt
        >>> def model(x):
        ...     z = pt.sample("z", pt.distributions.Normal(0.0, 1.0))
        ...     pt.sample("x", pt.distributions.Normal(z, 1.0), obs=x)
        >>> result = Pathfinder(model, seed=0, progress=False).run(2.0)
        >>> result.samples["z"].shape, bool((result.samples["z"].mean() - 1.0).abs() < 0.15)
        (torch.Size([1000]), True)
    """

    def __init__(
        self,
        model: Program,
        *,
        num_paths: int = 8,
        num_samples: int = 1000,
        num_draws_per_path: int = 1000,
        num_elbo_draws: int = 100,
        max_steps: int = 200,
        history_size: int = 10,
        tolerance: float = 1e-6,
        init: Strategy = init_to_uniform,
        seed: int | None = None,
        progress: bool = True,
    ) -> None:
        numbers = {
            "num_paths": num_paths,
            "num_samples": num_samples,
            "num_draws_per_path": num_draws_per_path,
            "num_elbo_draws": num_elbo_draws,
            "max_steps": max_steps,
            "history_size": history_size,
        }
        for name, number in numbers.items():
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise ValueError(f"Pathfinder: {name} must be a whole number of at least 1, not {number!r}")
        if not tolerance >= 0:
            raise ValueError(f"Pathfinder: tolerance must not be negative, but it is {tolerance}")
        self.model, self.num_paths, self.num_samples = model, num_paths, num_samples
        self.num_draws_per_path, self.num_elbo_draws = num_draws_per_path, num_elbo_draws
        self.max_steps, self.history_size, self.tolerance = max_steps, history_size, tolerance
        self.init, self.progress = init, progress
        self.seed = int(torch.randint(2**62, ())) if seed is None else seed

    def run(self, *args: Any, **kwargs: Any) -> PathfinderResult:
        """Go the paths, on a model's arguments.

        Args:
            *args: The model's arguments.
            **kwargs: Their keyword arguments.

        Returns:
            Draws, constrained and not, and what they are worth.

        Raises:
            ValueError: The model is none that `Potential` takes.
            RuntimeError: No path found a normal distribution.
        """
        key = Key(self.seed)
        potential = Potential(self.model, args, kwargs, init=self.init, source=key)
        start = potential.initial_points(self.num_paths, init=self.init, source=key.fold_in(1))
        generator = torch.Generator(potential.device).manual_seed(self.seed)

        def downhill(z: Tensor) -> tuple[Tensor, Tensor]:
            value, gradient = potential.value_and_grad(z)
            return -value.nan_to_num(-math.inf, math.inf, -math.inf), -gradient

        with torch.no_grad(), Progress("Pathfinder", enabled=self.progress) as line:
            path, histories = minimise(
                downhill,
                start,
                history_size=self.history_size,
                max_steps=self.max_steps,
                tolerance=self.tolerance,
                on_step=lambda values: line.update(log_density=-values.min()),
            )
            if len(histories) == 1:
                raise RuntimeError("Pathfinder: no path made a step")
            # One normal distribution for each point of each path but the first, `[num_steps, num_paths]`.
            known = History(*(torch.stack(parts[1:]) for parts in zip(*histories, strict=True)))
            normals = _Normals(path.points[1:], -path.gradients[1:], known.inverse_hessian())
            draws, log_density = normals.draw(self.num_elbo_draws, generator, alike=True)
            elbo = (_at_all(potential, draws) - log_density).mean(0)
            valid = path.is_new[1:] & elbo.isfinite()
            elbo, best = torch.where(valid, elbo, -math.inf).max(0)
            if not bool(elbo.isfinite().any()):
                raise RuntimeError(
                    "Pathfinder: no path found a normal distribution with a finite evidence lower bound; start nearer "
                    "to the mode, init=init_to_value(values={...})"
                )
            good = elbo.isfinite().nonzero()[:, 0]
            chosen = normals.at(best[good], good)
            number = self.num_samples if self.num_paths == 1 else self.num_draws_per_path
            points, pareto_k = chosen.draw(number, generator)[0].reshape(-1, potential.dim), math.nan
            if self.num_paths > 1:
                log_weights = _at_all(potential, points) - chosen.mixture_log_density(points)
                smoothed = pareto_smooth(log_weights.nan_to_num(-math.inf))
                pareto_k = smoothed.pareto_k
                taken = smoothed.log_weights.exp().multinomial(self.num_samples, replacement=True, generator=generator)
                points = points[taken]
            return PathfinderResult(potential.constrain(points), points, elbo, pareto_k)


class _Normals:
    """Normal distributions at points of paths, `[*batch]`: a Newton step on, with the curvature known there."""

    def __init__(self, points: Tensor, gradients: Tensor, hessian: InverseHessian) -> None:
        self.points, self.gradients, self.hessian = points, gradients, hessian
        self.mean = points + hessian.times(gradients)
        self.root = hessian.diagonal.sqrt()
        # Zhang et al. (2022), algorithm 4: the covariance is D (I + Q (L L' - I) Q') D with D = diag(root).
        self.basis, triangle = torch.linalg.qr(hessian.vectors / self.root.unsqueeze(-1))
        eye = torch.eye(triangle.shape[-2], dtype=triangle.dtype, device=triangle.device)
        self.factor, failed = torch.linalg.cholesky_ex(eye + triangle @ hessian.middle @ triangle.mT)
        log_det = self.root.log().sum(-1) + self.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = -self.mean.shape[-1] * math.log(2 * math.pi) / 2
        self.log_normaliser = torch.where(failed == 0, constant - log_det, math.nan)

    def at(self, steps: Tensor, paths: Tensor) -> "_Normals":
        """Those of some points."""
        hessian = InverseHessian(*(part[steps, paths] for part in self.hessian))
        return _Normals(self.points[steps, paths], self.gradients[steps, paths], hessian)

    def draw(self, number: int, generator: torch.Generator, *, alike: bool = False) -> tuple[Tensor, Tensor]:
        """Draws and their log densities; NaN where there is no normal.

        Args:
            number: How many of each.
            generator: Where random numbers come from.
            alike: Whether all distributions get the same noise: what is compared then has less of it.

        Returns:
            `[number, *batch, dim]` and `[number, *batch]`.
        """
        mean = self.mean
        batch = [1] * (mean.dim() - 1) if alike else list(mean.shape[:-1])
        shape = (number, *batch, mean.shape[-1])
        noise = normal(shape, source=generator, dtype=mean.dtype, device=mean.device).expand(number, *mean.shape)
        inside = self.basis.mT @ noise.unsqueeze(-1)
        turned = noise + (self.basis @ (self.factor @ inside - inside)).squeeze(-1)
        return mean + self.root * turned, self.log_normaliser - noise.square().sum(-1) / 2

    def mixture_log_density(self, points: Tensor) -> Tensor:
        """The log density of the distributions' mixture in equal parts, `[number]`, at points `[number, dim]`."""
        total = torch.full_like(points[:, 0], -math.inf)
        for i in range(len(self.mean)):
            whole = (points - self.mean[i]) / self.root[i]
            inside = whole @ self.basis[i]
            solved = torch.linalg.solve_triangular(self.factor[i], inside.mT, upper=False).mT
            square = whole.square().sum(-1) - inside.square().sum(-1) + solved.square().sum(-1)
            total = torch.logaddexp(total, self.log_normaliser[i] - square / 2)
        return total - math.log(len(self.mean))


def _at_all(potential: Potential, points: Tensor) -> Tensor:
    """The log density at points `[*batch, dim]`, some at a time."""
    flat = points.reshape(-1, points.shape[-1]).split(_POINTS_AT_ONCE)
    return torch.cat([potential.log_density(part) for part in flat]).reshape(points.shape[:-1])
