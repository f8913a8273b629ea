"""The hidden Markov model: a chain of states that are seen only through what each of them emits."""

from typing import Any, NoReturn, Self, cast

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.categorical import Categorical
from posterity.distributions.gates import two_sources
from posterity.distributions.lifted import lift
from posterity.distributions.markov_chain import (
    backward_messages,
    forward_messages,
    log_evidence,
    most_probable_path,
    sample_backwards,
    sample_chain,
)
from posterity.distributions.missing_steps import checked_mask
from posterity.distributions.parameters import broadcast_shapes
from posterity.distributions.supports import point_inside
from posterity.kernels import Source


class HiddenMarkovModel(Distribution):
    r"""Observations $x_1, \dots, x_T$ of a chain $z_1 \to \dots \to z_T$ of K states that is not seen.

    An event is the whole sequence, `[num_steps, *observation_event]`. The chain is summed out exactly in log space;
    for up to 16 states in a number of batched steps that grows with the logarithm of `num_steps`.

    Args:
        initial_distribution: The first state's: a `Categorical` over K states, of batch shape `[*batch]`.
        transition_distribution: The next state's given each state: a `Categorical` of batch shape `[*batch, K]`; with
            a time dimension `[*batch, num_steps - 1, K]`.
        observation_distribution: What each state emits: any distribution of batch shape `[*batch, K]`; with a time
            dimension `[*batch, num_steps, K]`.
        num_steps: T, at least 1.
        time_varying_transition_distribution: Whether transitions have a time dimension.
        time_varying_observation_distribution: Whether emissions have one.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: An argument is no such distribution.
        ValueError: Numbers of states or of steps disagree, or batch shapes do not broadcast.

    Source: Rabiner, A Tutorial on Hidden Markov Models, 1989, https://doi.org/10.1109/5.18626; the products in log
    depth: Särkkä and García-Fernández, Temporal Parallelization of Inference in Hidden Markov Models, 2021,
    https://doi.org/10.1109/TSP.2021.3103338

    Example:
        >>> from posterity.distributions import Normal
        >>> weather = Categorical(torch.tensor([0.8, 0.2]))
        >>> tomorrow = Categorical(torch.tensor([[0.7, 0.3], [0.2, 0.8]]))
        >>> temperature = Normal(torch.tensor([0.0, 15.0]), torch.tensor([5.0, 10.0]))
        >>> d = HiddenMarkovModel(weather, tomorrow, temperature, num_steps=3)
        >>> d.mean
        tensor([3.0000, 6.0000, 7.5000])
        >>> d.posterior_mode(torch.tensor([0.0, 12.0, 20.0]))
        tensor([0, 1, 1])
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012  # declared by torch's base
    has_rsample = False

    def __init__(
        self,
        initial_distribution: torch.distributions.Categorical,
        transition_distribution: torch.distributions.Categorical,
        observation_distribution: torch.distributions.Distribution,
        num_steps: int,
        time_varying_transition_distribution: bool = False,
        time_varying_observation_distribution: bool = False,
        validate_args: bool | None = None,
    ) -> None:
        for name, given, kind in (
            ("initial_distribution", initial_distribution, torch.distributions.Categorical),
            ("transition_distribution", transition_distribution, torch.distributions.Categorical),
            ("observation_distribution", observation_distribution, torch.distributions.Distribution),
        ):
            if not isinstance(given, kind):
                raise TypeError(f"{name} of HiddenMarkovModel must be a {kind.__name__}, not {type(given).__name__}.")
        if isinstance(num_steps, bool) or not isinstance(num_steps, int) or num_steps < 1:
            raise ValueError(f"num_steps of HiddenMarkovModel must be a positive integer, but is {num_steps!r}.")
        self.num_steps = num_steps
        initial, transition = (
            cast(Categorical, lift(initial_distribution)),
            cast(Categorical, lift(transition_distribution)),
        )
        self.num_states = initial._num_events
        if transition._num_events != self.num_states:
            raise ValueError(
                f"transition_distribution of HiddenMarkovModel is over {transition._num_events} states, but "
                f"initial_distribution over {self.num_states}."
            )
        observation = lift(observation_distribution)
        self._tail_of_transition = self._tail(
            "transition_distribution", transition, time_varying_transition_distribution, num_steps - 1
        )
        self._tail_of_observation = self._tail(
            "observation_distribution", observation, time_varying_observation_distribution, num_steps
        )
        batch_shape = broadcast_shapes(
            "batch shapes in HiddenMarkovModel",
            initial_distribution=initial.batch_shape,
            transition_distribution=_without(transition.batch_shape, self._tail_of_transition),
            observation_distribution=_without(observation.batch_shape, self._tail_of_observation),
        )
        self._set(initial, transition, observation, batch_shape)
        event_shape = torch.Size((num_steps, *observation.event_shape))
        Distribution.__init__(self, batch_shape, event_shape, validate_args=validate_args)

    def __repr__(self) -> str:
        return (
            f"HiddenMarkovModel({self.initial_distribution!r}, {self.transition_distribution!r}, "
            f"{self.observation_distribution!r}, num_steps={self.num_steps})"
        )

    def expand(self, batch_shape: _size, _instance: Any = None) -> Self:
        """The same model with its batch broadcast to `batch_shape`; no memory is copied."""
        batch_shape = self._checked_expansion(batch_shape)
        new = self._bare_copy(_instance)
        new._set(self.initial_distribution, self.transition_distribution, self.observation_distribution, batch_shape)
        new._batch_shape = batch_shape
        return new

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        """Sequences of what the states emit."""
        return constraints.independent(cast(constraints.Constraint, self.observation_distribution.support), 1)

    def log_prob(self, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """Log density of observations with the states summed out, of shape `sample_shape + batch_shape`.

        Args:
            value: `[*sample_shape, *batch_shape, num_steps, *observation_event]`.
            mask: True where an observation is missing, of a shape that broadcasts against
                `[*sample_shape, *batch_shape, num_steps]`; what stands there is not looked at.

        Raises:
            TypeError: `mask` is not boolean.
            ValueError: Shapes do not fit.
        """
        log_initial, log_transition, log_emission = self._logs(value, mask)
        return log_evidence(log_initial, log_transition, log_emission)

    def posterior_marginals(self, observations: Tensor, mask: Tensor | None = None) -> Categorical:
        """The distribution of the state at each step given all observations, of batch `[*sample, *batch, num_steps]`.

        Arguments and errors are those of `log_prob`.
        """
        logs = self._logs(observations, mask)
        logits = forward_messages(*logs) + backward_messages(*logs)
        return Categorical(logits=logits.movedim(0, -2))

    def posterior_mode(self, observations: Tensor, mask: Tensor | None = None) -> Tensor:
        """The most probable sequence of states given the observations (Viterbi), `[*sample, *batch, num_steps]`.

        Arguments and errors are those of `log_prob`.
        """
        with torch.no_grad():
            return most_probable_path(*self._logs(observations, mask)).movedim(0, -1)

    def posterior_sample(
        self,
        observations: Tensor,
        sample_shape: _size = (),
        mask: Tensor | None = None,
        *,
        generator: Source = None,
    ) -> Tensor:
        """Sequences of states drawn given the observations, `[*sample_shape, *sample, *batch, num_steps]`.

        Args:
            observations: As `value` of `log_prob`.
            sample_shape: The shape of independent draws for each sequence of observations.
            mask: As in `log_prob`.
            generator: As in `sample`.
        """
        with torch.no_grad():
            logs = self._logs(observations, mask)
            return sample_backwards(forward_messages(*logs), logs[1], torch.Size(sample_shape), generator).movedim(
                0, -1
            )

    @property
    def mean(self) -> Tensor:
        """Mean of each step, `[*batch_shape, num_steps, *observation_event]`."""
        weights, means, _ = self._step_moments()
        return (weights * means).sum(-1 - self._rank)

    @property
    def variance(self) -> Tensor:
        """Variance of each step, entry by entry, `[*batch_shape, num_steps, *observation_event]`."""
        weights, means, variances = self._step_moments()
        centred = means - (weights * means).sum(-1 - self._rank, keepdim=True)
        return (weights * (variances + centred.square())).sum(-1 - self._rank)

    def sample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Sequences of shape `sample_shape + batch_shape + event_shape`: a chain of states, then what each emits."""
        with torch.no_grad():
            chain, emission = two_sources(generator)
            sample_shape = torch.Size(sample_shape)
            # Steps first.
            states = sample_chain(
                self.initial_distribution.logits, self._log_transition(0), self.num_steps, sample_shape, chain
            )
            rank = self._rank
            if self._tail_of_observation == 2:
                draws = self.observation_distribution.sample(sample_shape, generator=emission)
                draws = draws.movedim(-2 - rank, 0)
            else:
                draws = self.observation_distribution.sample((self.num_steps, *sample_shape), generator=emission)
            index = states.reshape(states.shape + (1,) * (rank + 1))
            chosen = draws.gather(-1 - rank, index.expand(*states.shape, 1, *draws.shape[draws.dim() - rank :]))
            return chosen.squeeze(-1 - rank).movedim(0, -1 - rank)

    @classmethod
    def fit(cls, *args: object, **kwargs: object) -> NoReturn:
        """Refused: the family of the emissions is not known from the class."""
        raise NotImplementedError(
            "HiddenMarkovModel.fit does not know the family of the emissions: maximise the sum of log_prob over its "
            "parameters, with a prior where a state may shrink onto one observation."
        )

    @property
    def _rank(self) -> int:
        return len(self.observation_distribution.event_shape)

    def _like(self) -> Tensor:
        return self.initial_distribution.logits

    def _tail(self, name: str, given: Distribution, time_varying: bool, steps: int) -> int:
        tail = (steps, self.num_states) if time_varying else (self.num_states,)
        found = given.batch_shape[len(given.batch_shape) - len(tail) :]
        if len(given.batch_shape) < len(tail) or tuple(found) != tail:
            raise ValueError(
                f"{name} of HiddenMarkovModel must have a batch shape that ends with {tail}, "
                f"{'the steps and ' if time_varying else ''}the states, but its batch shape is "
                f"{tuple(given.batch_shape)}."
            )
        return len(tail)

    def _set(self, initial: Categorical, transition: Categorical, observation: Distribution, batch: torch.Size) -> None:
        self.initial_distribution = initial.expand(batch)
        tail = transition.batch_shape[len(transition.batch_shape) - self._tail_of_transition :]
        self.transition_distribution = transition.expand(batch + tail)
        tail = observation.batch_shape[len(observation.batch_shape) - self._tail_of_observation :]
        self.observation_distribution = observation.expand(batch + tail)

    def _log_transition(self, extra: int) -> Tensor:
        """`[num_steps - 1 or 1, (1,) * extra, *batch, K, K]`."""
        logits = self.transition_distribution.logits
        logits = logits.movedim(-3, 0) if self._tail_of_transition == 2 else logits.unsqueeze(0)
        return logits.reshape(logits.shape[:1] + (1,) * extra + logits.shape[1:])

    def _logs(self, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Logs of the first state's, the transitions' and the emissions' probabilities, the latter two steps first."""
        value = self._checked_value(value)
        rank = self._rank
        batch = torch.broadcast_shapes(value.shape[: value.dim() - 1 - rank], self.batch_shape)
        value = value.expand(*batch, *value.shape[value.dim() - 1 - rank :])
        seen = None
        if mask is not None:
            seen = ~checked_mask("HiddenMarkovModel", mask, torch.Size((*batch, self.num_steps)))
            # Before the density: what is missing must not reach the gradient as NaN.
            inside = point_inside(self.observation_distribution)
            inside = inside.select(-1 - rank, 0)
            inside = inside if self._tail_of_observation == 2 else inside.unsqueeze(-1 - rank)
            kept = seen.reshape(seen.shape + (1,) * rank)
            value = torch.where(kept, value, inside.to(value.dtype))
        observation = self.observation_distribution
        if self._tail_of_observation == 2:
            log_emission = observation.log_prob(value.unsqueeze(-1 - rank)).movedim(-2, 0)
        else:
            log_emission = observation.log_prob(value.movedim(-1 - rank, 0).unsqueeze(-1 - rank))
        if seen is not None:
            log_emission = torch.where(seen.movedim(-1, 0).unsqueeze(-1), log_emission, 0)
        return self.initial_distribution.logits, self._log_transition(len(batch) - len(self.batch_shape)), log_emission

    def _step_moments(self) -> tuple[Tensor, Tensor, Tensor]:
        """Probabilities of the states, and means and variances of emissions, `[*batch, num_steps, K, *event]`."""
        log_none = self._like().new_zeros(self.num_steps, *self.batch_shape, self.num_states)
        steps = forward_messages(self.initial_distribution.logits, self._log_transition(0), log_none)
        weights = steps.softmax(-1).movedim(0, -2)
        d, rank = self.observation_distribution, self._rank
        means, variances = (
            m if self._tail_of_observation == 2 else m.unsqueeze(-2 - rank) for m in (d.mean, d.variance)
        )
        return weights.reshape(weights.shape + (1,) * rank), means, variances


def _without(shape: torch.Size, tail: int) -> torch.Size:
    return shape[: len(shape) - tail]
