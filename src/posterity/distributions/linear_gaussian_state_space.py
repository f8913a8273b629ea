"""Linear state-space models with Gaussian noise: exact likelihoods, filtering and smoothing."""

import math
from collections.abc import Collection
from typing import Any, NoReturn, Self

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.gates import two_sources
from posterity.distributions.kalman import (
    Moments,
    Observation,
    Transition,
    filtered,
    marginals,
    paths,
    predicted,
    smoothed,
)
from posterity.distributions.missing_steps import checked_mask
from posterity.distributions.parameters import broadcast_shapes
from posterity.distributions.state_space_parameters import gaussian, matrix_sizes, of_steps
from posterity.kernels import Source, normal

_TIMED = ("transition_matrix", "transition_noise", "observation_matrix", "observation_noise")


class LinearGaussianStateSpace(Distribution):
    r"""Observations $y_t = H x_t + v_t$ of a state that moves as $x_{t+1} = F x_t + w_t$, all noise normal.

    An event is the sequence $y_1, \dots, y_T$, `[num_steps, observation_size]`. Filtering and smoothing take a number
    of batched steps that grows with the logarithm of `num_steps`; covariances are updated in Joseph's form, which
    keeps them positive in float32.

    Args:
        num_steps: T, at least 1.
        transition_matrix: F, `[*batch, state_size, state_size]`.
        transition_noise: The distribution of w: a multivariate normal, or independent normal entries (`to_event(1)`),
            with events of `state_size`. Its mean is a drift.
        observation_matrix: H, `[*batch, observation_size, state_size]`.
        observation_noise: The distribution of v, likewise, with events of `observation_size`.
        initial: The distribution of the first state, likewise, with events of `state_size`.
        time_varying: The names of those of the four arguments above `initial` whose last batch dimension is time, of
            size T - 1 for transitions and T for observations.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A matrix is no floating tensor, or a noise not normal.
        ValueError: Shapes do not fit each other.

    Source: Kalman, A New Approach to Linear Filtering and Prediction Problems, 1960, https://doi.org/10.1115/1.3662552;
    in logarithmic depth: `posterity.distributions.kalman`.

    Example:
        >>> from posterity.distributions import Normal
        >>> def noise(scale):
        ...     return Normal(torch.zeros(1), scale).to_event(1)
        >>> one = torch.eye(1)
        >>> d = LinearGaussianStateSpace(3, one, noise(1.0), one, noise(0.5), noise(2.0))
        >>> d.variance.squeeze()
        tensor([4.2500, 5.2500, 6.2500])
        >>> d.filter(torch.tensor([[1.0], [2.0], [3.0]])).mean.squeeze()
        tensor([0.9412, 1.8218, 2.7980])
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012  # declared by torch's base
    support = constraints.independent(constraints.real, 2)
    has_rsample = True

    def __init__(
        self,
        num_steps: int,
        transition_matrix: Tensor,
        transition_noise: torch.distributions.Distribution,
        observation_matrix: Tensor,
        observation_noise: torch.distributions.Distribution,
        initial: torch.distributions.Distribution,
        time_varying: Collection[str] = (),
        validate_args: bool | None = None,
    ) -> None:
        if isinstance(num_steps, bool) or not isinstance(num_steps, int) or num_steps < 1:
            raise ValueError(f"num_steps of LinearGaussianStateSpace must be a positive integer, but is {num_steps!r}.")
        unknown = set(time_varying) - set(_TIMED)
        if unknown:
            raise ValueError(
                f"time_varying of LinearGaussianStateSpace takes names among {_TIMED}, not {sorted(unknown)}."
            )
        self.num_steps, self.time_varying = num_steps, tuple(time_varying)
        state, seen = matrix_sizes(transition_matrix, observation_matrix)
        given = {
            "transition_matrix": ((transition_matrix, 2),),
            "transition_noise": gaussian("transition_noise", transition_noise, state),
            "observation_matrix": ((observation_matrix, 2),),
            "observation_noise": gaussian("observation_noise", observation_noise, seen),
            "initial": gaussian("initial", initial, state),
        }
        timed = {name: [(self._steps_first(name, t, rank), rank) for t, rank in parts] for name, parts in given.items()}
        batch_shape = broadcast_shapes(
            "batch shapes in LinearGaussianStateSpace",
            **{name: parts[-1][0].shape[1 : parts[-1][0].dim() - 2] for name, parts in timed.items()},
        )
        (f, _), (drift, _), (q, _) = *timed["transition_matrix"], *timed["transition_noise"]
        (h, _), (shift, _), (r, _) = *timed["observation_matrix"], *timed["observation_noise"]
        mean, root = (t for t, _ in timed["initial"])
        # Square roots of covariances; T - 1 transitions, T observations.
        self._transition = Transition(*of_steps((f, drift, q), num_steps - 1, batch_shape))
        self._observation = Observation(*of_steps((h, shift, r), num_steps, batch_shape))
        self._initial = Moments(*of_steps((mean, root), 1, batch_shape))
        Distribution.__init__(self, batch_shape, (num_steps, seen), validate_args=validate_args)

    def __repr__(self) -> str:
        state = self._transition.matrix.shape[-1]
        return (
            f"LinearGaussianStateSpace(num_steps={self.num_steps}, state_size={state}, "
            f"observation_size={self.event_shape[-1]}, batch_shape={tuple(self.batch_shape)})"
        )

    def expand(self, batch_shape: _size, _instance: Any = None) -> Self:
        """The same model with its batch broadcast to `batch_shape`; no memory is copied."""
        batch_shape = self._checked_expansion(batch_shape)
        new = self._bare_copy(_instance)
        new._transition = Transition(*of_steps(self._transition, self.num_steps - 1, batch_shape))
        new._observation = Observation(*of_steps(self._observation, self.num_steps, batch_shape))
        new._initial = Moments(*of_steps(self._initial, 1, batch_shape))
        new._batch_shape = batch_shape
        return new

    def log_prob(self, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """Log density of the observations with the states integrated out, of shape `sample_shape + batch_shape`.

        Args:
            value: `[*sample_shape, *batch_shape, num_steps, observation_size]`.
            mask: True where the observation of a step is missing, of a shape that broadcasts against
                `[*sample_shape, *batch_shape, num_steps]`; what stands there is not looked at.

        Raises:
            TypeError: `mask` is not boolean.
            ValueError: Shapes do not fit, or a value is NaN.
        """
        first, transition, observation, y, seen = self._prepared(value, mask)
        states = predicted(first, transition, filtered(first, transition, observation, y))
        h = observation.matrix
        innovation = y - observation.offset - (h @ states.mean.unsqueeze(-1)).squeeze(-1)
        root = _root(h @ states.covariance @ h.mT + observation.covariance)
        z = torch.linalg.solve_triangular(root, innovation.unsqueeze(-1), upper=False).squeeze(-1)
        log_det = root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        size = y.shape[-1]
        each = -0.5 * z.square().sum(-1) - log_det - 0.5 * size * math.log(2 * math.pi)
        return (each if seen is None else torch.where(seen, each, 0)).sum(0)

    def filter(self, observations: Tensor, mask: Tensor | None = None) -> Moments:
        """Mean and covariance of the state at each step given the observations up to it.

        Arguments and errors are those of `log_prob`.

        Returns:
            `mean`, `[*sample_shape, *batch_shape, num_steps, state_size]`, and `covariance`, `[..., num_steps,
            state_size, state_size]`.
        """
        first, transition, observation, y, _ = self._prepared(observations, mask)
        return _steps_last(filtered(first, transition, observation, y))

    def smooth(self, observations: Tensor, mask: Tensor | None = None) -> Moments:
        """Mean and covariance of the state at each step given all observations; shapes as of `filter`."""
        first, transition, observation, y, _ = self._prepared(observations, mask)
        return _steps_last(smoothed(filtered(first, transition, observation, y), transition))

    @property
    def mean(self) -> Tensor:
        """Mean of the observations, `[*batch_shape, num_steps, observation_size]`."""
        states, observation = self._states(), self._observation
        return ((observation.matrix @ states.mean.unsqueeze(-1)).squeeze(-1) + observation.offset).movedim(0, -2)

    @property
    def variance(self) -> Tensor:
        """Variance of the observations, `[*batch_shape, num_steps, observation_size]`."""
        h = self._observation.matrix
        covariance = h @ self._states().covariance @ h.mT + _square(self._observation.covariance)
        return covariance.diagonal(dim1=-2, dim2=-1).movedim(0, -2)

    @property
    def mode(self) -> Tensor:
        """The mean."""
        return self.mean

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`: the sum of those of the errors of prediction, which are normal."""
        first, transition, observation, y, _ = self._prepared(self.mean.detach(), None)
        states = predicted(first, transition, filtered(first, transition, observation, y))
        h = observation.matrix
        root = _root(h @ states.covariance @ h.mT + observation.covariance)
        log_det = root.diagonal(dim1=-2, dim2=-1).log().sum((0, -1))
        return log_det + 0.5 * y.shape[-1] * self.num_steps * math.log(2 * math.pi * math.e)

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Sequences of shape `sample_shape + batch_shape + event_shape`, with gradients."""
        state, seen = self._transition.matrix.shape[-1], self.event_shape[-1]
        states_from, observations_from = two_sources(generator)
        shape = torch.Size((*sample_shape, *self.batch_shape))
        like = self._like()

        def noise(size: int, source: Source) -> Tensor:
            return normal((self.num_steps, *shape, size), source=source, dtype=like.dtype, device=like.device)

        first, transition, observation = self._aligned(len(shape) - len(self.batch_shape))
        w, v = noise(state, states_from), noise(seen, observations_from)
        start = first.mean + (first.covariance @ w[:1].unsqueeze(-1)).squeeze(-1)
        moves = (transition.covariance @ w[1:].unsqueeze(-1)).squeeze(-1)
        x = paths(start, transition, moves)
        y = (observation.matrix @ x.unsqueeze(-1) + observation.covariance @ v.unsqueeze(-1)).squeeze(-1)
        return (y + observation.offset).movedim(0, -2)

    @classmethod
    def fit(cls, *args: object, **kwargs: object) -> NoReturn:
        """Refused: which parameters are free is not known."""
        raise NotImplementedError(
            "LinearGaussianStateSpace.fit does not know which parameters are free: maximise the sum of log_prob over "
            "those that are."
        )

    def _like(self) -> Tensor:
        return self._transition.matrix

    def _steps_first(self, name: str, tensor: Tensor, rank: int) -> Tensor:
        """Steps as dimension 0, of size 1 where the argument does not vary."""
        if name not in self.time_varying:
            return tensor.unsqueeze(0)
        steps = self.num_steps - (1 if name.startswith("transition") else 0)
        at = tensor.dim() - rank - 1
        if at < 0 or tensor.shape[at] != steps:
            raise ValueError(
                f"{name} of LinearGaussianStateSpace varies in time and must have {steps} steps in its last batch "
                f"dimension, but its batch shape is {tuple(tensor.shape[: tensor.dim() - rank])}."
            )
        return tensor.movedim(at, 0)

    def _aligned(self, extra: int) -> tuple[Moments, Transition, Observation]:
        """The model with `extra` dimensions of size 1 between the steps and the batch; square roots of covariances."""

        def moved(tensor: Tensor) -> Tensor:
            return tensor.reshape(tensor.shape[:1] + (1,) * extra + tensor.shape[1:])

        return (
            Moments(*map(moved, self._initial)),
            Transition(*map(moved, self._transition)),
            Observation(*map(moved, self._observation)),
        )

    def _states(self) -> Moments:
        (mean, root), (f, drift, noise) = self._initial, self._transition
        return marginals(Moments(mean, _square(root)), Transition(f, drift, _square(noise)))

    def _prepared(
        self, value: Tensor, mask: Tensor | None
    ) -> tuple[Moments, Transition, Observation, Tensor, Tensor | None]:
        """The model aligned with observations, covariances squared, and the observations; all with steps first."""
        value = self._checked_value(value)
        batch = torch.broadcast_shapes(value.shape[:-2], self.batch_shape)
        (mean, root), (f, drift, q), (h, shift, r) = self._aligned(len(batch) - len(self.batch_shape))
        y = value.to(f.dtype).expand(*batch, *self.event_shape).movedim(-2, 0)
        seen = None
        if mask is not None:
            missing = checked_mask("LinearGaussianStateSpace", mask, torch.Size((*batch, self.num_steps)))
            seen = ~missing.movedim(-1, 0)
            y = torch.where(seen.unsqueeze(-1), y, shift)
            h = torch.where(seen[..., None, None], h, 0)
        self._check_values("value", y, constraints.real)
        return (
            Moments(mean, _square(root)),
            Transition(f, drift, _square(q)),
            Observation(h, shift, _square(r)),
            y,
            seen,
        )


def _steps_last(states: Moments) -> Moments:
    mean, covariance = states
    covariance = covariance.expand(*mean.shape, mean.shape[-1])
    return Moments(mean.movedim(0, -2), covariance.movedim(0, -3))


def _square(root: Tensor) -> Tensor:
    return root @ root.mT


def _root(covariance: Tensor) -> Tensor:
    root: Tensor = torch.linalg.cholesky(0.5 * (covariance + covariance.mT))
    return root
