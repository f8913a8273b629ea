"""Elliptical slice sampling: for normal priors and any likelihood, with nothing to tune."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from posterity.infer.initialization import Strategy, init_to_sample
from posterity.infer.mcmc.adaptation import FixedTuning
from posterity.infer.mcmc.gaussian_prior import GaussianPotential, GaussianPrior
from posterity.infer.mcmc.kernel import Kernel
from posterity.infer.mcmc.metric import Preconditioned
from posterity.infer.mcmc.target import Target
from posterity.infer.simulation import Program
from posterity.kernels import Key, Source, normal, uniform
from posterity.kernels.tracing import once


class NoTuning(NamedTuple):
    """What a kernel without anything to tune takes."""


class EllipticalSliceState(NamedTuple):
    """Where chains of `EllipticalSlice` are, on the target's own space.

    Attributes:
        position: `[num_chains, dim]`.
        log_density: Of prior and likelihood together, `[num_chains]`.
        log_likelihood: `[num_chains]`.
    """

    position: Tensor
    log_density: Tensor
    log_likelihood: Tensor


class EllipticalSliceInfo(NamedTuple):
    """What is known of a transition, `[num_chains]` each.

    Attributes:
        is_accepted: Whether one of the points on the ellipse was in the slice; else the chain has stayed.
        num_shrinks: How often the bracket shrank: how many points were outside of the slice.
        num_steps: How many times the likelihood was evaluated.
    """

    is_accepted: Tensor
    num_shrinks: Tensor
    num_steps: Tensor


class EllipticalSlice(Kernel[EllipticalSliceState, NoTuning]):
    r"""Move on an ellipse through the current point and a draw from the prior, to where the likelihood is high enough.

    For latent variables $z \sim N(m, \Sigma)$, as of a Gaussian process, and any likelihood L. With $\nu \sim N(0,
    \Sigma)$ the points are $m + (z - m) \cos\theta + \nu \sin\theta$. Angles come from a bracket that begins as the
    whole circle and shrinks towards the current point with each angle that is refused; the first one whose likelihood
    passes a uniform share of L(z) is taken. There is no step size, and no metric: the ellipse has the prior's shape.

    How the bracket shrinks does not depend on the likelihood, so the likelihoods of all its points are computed in one
    batch. If none passes, the chain stays. That leaves the target unchanged too, since the way back through the same
    refused points is as probable as the way there.

    Args:
        model: A program whose latent variables are all Normal or MultivariateNormal, with parameters that do not depend
            on each other; marked discrete ones are summed out.
        log_density: Instead of a model: the log *likelihood* of one flat vector `[dim]`.
        prior: With `log_density`: the mean `[dim]`, and the standard deviations `[dim]` or the lower Cholesky factor of
            the covariance `[dim, dim]`.
        max_proposals: How many points of an ellipse are computed. If a small share s of an ellipse is in the slice, the
            first one of them in it comes after about $2 \log(1 / s)$; see `num_shrinks` of the information.
        init: Where chains of a model start; a strategy of `posterity.infer.initialization`.

    Raises:
        TypeError: Neither a model nor a log density is given, or both; a log density without a prior, or a model with
            one; a prior that is not two tensors.
        ValueError: The prior's shapes or values are impossible, or a number is out of range. For a model, once its data
            are known: a latent variable is not normal, or depends on another one.

    Source: Murray, Adams and MacKay (2010), "Elliptical slice sampling", figure 2.

    Example:
        >>> from posterity.infer.mcmc.target import LogDensity
        >>> prior = (torch.zeros(2), torch.ones(2))
        >>> kernel = EllipticalSlice(log_density=lambda z: -(z - 1).abs().sum(), prior=prior)
        >>> target = LogDensity(kernel.log_density, dim=2)
        >>> state = kernel.init(target, torch.zeros(4, 2))
        >>> state, info = kernel.step(target, state, NoTuning(), Key(0).fold_in(torch.arange(4)))
        >>> state.position.shape, bool(info.is_accepted.all())
        (torch.Size([4, 2]), True)
    """

    def __init__(
        self,
        model: Program | None = None,
        *,
        log_density: Callable[[Tensor], Tensor] | None = None,
        prior: tuple[Tensor, Tensor] | None = None,
        max_proposals: int = 16,
        init: Strategy = init_to_sample,
    ) -> None:
        super().__init__(model, log_density=log_density, init=init)
        if (prior is None) != (log_density is None):
            raise TypeError(
                "EllipticalSlice: give prior=(loc, scale) with log_density, which is then the log likelihood; a model "
                "has its own"
            )
        if isinstance(max_proposals, bool) or not isinstance(max_proposals, int) or max_proposals < 1:
            raise ValueError(
                f"EllipticalSlice: max_proposals must be a whole number of at least 1, not {max_proposals!r}"
            )
        self.prior = None if prior is None else _checked(prior)
        self.max_proposals = max_proposals

    def init(self, target: Target, position: Tensor) -> EllipticalSliceState:
        """The state at positions `[num_chains, dim]`.

        Raises:
            TypeError: The target is in the coordinates of a metric, or a model's that `potential` has not made.
            ValueError: It has another dimension than the prior.
        """
        prior, log_likelihood = self._parts(target)
        with torch.no_grad():
            value = log_likelihood(position)
            return EllipticalSliceState(position, prior.log_density(position) + value, value)

    def step(
        self, target: Target, state: EllipticalSliceState, tuning: NoTuning, keys: Key
    ) -> tuple[EllipticalSliceState, EllipticalSliceInfo]:
        """Try points of one ellipse for each chain, and take the first one in the slice."""
        prior, log_likelihood = self._parts(target)
        like = state.position
        noise = once(normal(like.shape[-1:], source=keys.at(0), dtype=like.dtype, device=like.device))
        chance = once(uniform((1 + self.max_proposals,), source=keys.at(1), dtype=torch.float64, device=like.device))
        level = state.log_likelihood + chance[:, 0].log()
        angles = shrinking_angles(chance[:, 1:]).mT.unsqueeze(-1)
        around = (like - prior.loc) * angles.cos() + prior.spread(noise) * angles.sin()
        points = prior.loc + around.to(like.dtype)
        with torch.no_grad():
            values = log_likelihood(points)
        is_outside = ~((values > level) & (values < math.inf))
        num_shrinks = is_outside.long().cumprod(0).sum(0)
        is_accepted = num_shrinks < self.max_proposals
        first = num_shrinks.clamp(max=self.max_proposals - 1).unsqueeze(0)
        value = values.gather(0, first).squeeze(0)
        point = points.gather(0, first.unsqueeze(-1).expand(1, *like.shape)).squeeze(0)
        position = torch.where(is_accepted.unsqueeze(-1), point, like)
        value = torch.where(is_accepted, value, state.log_likelihood)
        info = EllipticalSliceInfo(is_accepted, num_shrinks, torch.full_like(num_shrinks, self.max_proposals))
        return EllipticalSliceState(position, prior.log_density(position) + value, value), info

    def adaptation(self, target: Target, position: Tensor, num_warmup: int, keys: Key) -> FixedTuning:
        """There is nothing to tune, and the kernel moves on the target's own space."""
        return FixedTuning(NoTuning())

    def potential(self, args: Sequence[Any], kwargs: Mapping[str, Any], source: Source) -> GaussianPotential:
        """The model with given data as a target that knows its prior.

        Raises:
            ValueError: A latent variable is not normal, or its parameters depend on other latent variables.
        """
        assert self.model is not None
        return GaussianPotential(self.model, args, kwargs, init=self.start, source=source)

    def _parts(self, target: Target) -> tuple[GaussianPrior, Callable[[Tensor], Tensor]]:
        """The target's prior and log likelihood."""
        if isinstance(target, GaussianPotential):
            return target.prior, target.log_likelihood
        if self.prior is None:
            raise TypeError(
                f"EllipticalSlice: the target of a model must be made by the kernel's `potential`, not a "
                f"{type(target).__name__}"
            )
        if isinstance(target, Preconditioned):
            raise TypeError("EllipticalSlice: the target must be the log likelihood itself, not one under a metric")
        if target.dim != len(self.prior.loc):
            raise ValueError(
                f"EllipticalSlice: the target has {target.dim} dimensions, but the prior's mean has shape "
                f"{tuple(self.prior.loc.shape)}"
            )
        return self.prior, target.log_density


def shrinking_angles(chance: Tensor) -> Tensor:
    """Angles from a bracket that is the whole circle, and is cut off at each angle on the side away from zero.

    Args:
        chance: Uniform numbers, `[*batch, num_angles]`.

    Returns:
        In radians, `[*batch, num_angles]`.

    Source: Murray, Adams and MacKay (2010), figure 2, steps 4 and 9 to 13.

    Example:
        >>> shrinking_angles(torch.tensor([0.25, 0.5, 0.5])) / math.pi
        tensor([ 0.5000, -0.5000,  0.0000])
    """
    angle = 2 * math.pi * chance[..., 0]
    low, high = angle - 2 * math.pi, angle
    angles = [angle]
    for number in chance.unbind(-1)[1:]:
        low, high = once(torch.where(angle < 0, angle, low)), once(torch.where(angle < 0, high, angle))
        angle = once(low + (high - low) * number)
        angles.append(angle)
    return torch.stack(angles, -1)


def _checked(prior: Any) -> GaussianPrior:
    is_pair = isinstance(prior, tuple | list) and len(prior) == 2 and all(isinstance(part, Tensor) for part in prior)
    if not is_pair:
        raise TypeError(
            "EllipticalSlice: prior must be two tensors, the mean [dim] and the standard deviations [dim] or Cholesky "
            f"factor [dim, dim], not {prior!r}"
        )
    loc, scale = prior
    if loc.dim() != 1 or scale.shape not in (loc.shape, loc.shape + loc.shape):
        raise ValueError(
            f"EllipticalSlice: the prior's mean has shape {tuple(loc.shape)} and its scale {tuple(scale.shape)}, but "
            "they must be [dim], and [dim] or [dim, dim]"
        )
    diagonal = scale if scale.dim() == 1 else scale.diagonal()
    is_lower = scale.dim() == 1 or bool((scale.triu(1) == 0).all())
    if not (is_lower and bool((diagonal > 0).all()) and bool(scale.isfinite().all()) and bool(loc.isfinite().all())):
        raise ValueError(
            "EllipticalSlice: the prior's mean must be finite, and its scale positive standard deviations or a lower "
            "triangular factor with a positive diagonal"
        )
    return GaussianPrior(loc, scale)
