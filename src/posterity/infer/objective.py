"""What every objective of variational inference is: a bound on the log evidence, and an estimate of its gradient."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from posterity.handlers import Trace, replay, seed, trace
from posterity.infer.arguments import kind_of
from posterity.infer.enumeration import enumerated_traces, log_density
from posterity.infer.simulation import Program, nesting_of_marked, simulate
from posterity.kernels import NoiseRecorder, Source
from posterity.kernels.noise_tape import Pools


class Estimate(NamedTuple):
    """One estimate of an objective.

    Attributes:
        loss: The negative bound in nats, a scalar without gradient.
        surrogate: A scalar whose gradient estimates the loss's, without bias.
        state: What the objective wants to see again at its next estimate: running averages, by name.
    """

    loss: Tensor
    surrogate: Tensor
    state: dict[str, Tensor]


class Objective(ABC):
    """A bound on the log evidence to be made tight by gradient steps.

    Args:
        num_particles: How many independent draws from the guide one estimate takes.
        vectorized: Whether they are computed at once by `torch.vmap`, rather than one after the other.

    Raises:
        ValueError: `num_particles` is no whole number of at least 1.
    """

    def __init__(self, num_particles: int = 1, *, vectorized: bool = True) -> None:
        if isinstance(num_particles, bool) or not isinstance(num_particles, int) or num_particles < 1:
            raise ValueError(
                f"num_particles of {type(self).__name__} must be a whole number of at least 1, not {num_particles!r}"
            )
        self.num_particles, self.vectorized = num_particles, vectorized
        # How many dimensions plates take, where sites are marked to be summed out; by model, guide and arguments.
        self._nestings: dict[Hashable, int | None] = {}

    @abstractmethod
    def estimate(
        self,
        model: Program,
        guide: Program,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        pools: Pools,
        state: Mapping[str, Tensor],
    ) -> Estimate:
        """One estimate, from noise made ahead.

        Args:
            model: The model.
            guide: The guide.
            args: Their positional arguments.
            kwargs: Their keyword arguments.
            pools: Noise for each particle, by kind, `[num_particles, ...]`.
            state: The `state` of the last estimate; empty at first.
        """

    def loss(
        self,
        model: Program,
        guide: Program,
        *args: Any,
        generator: torch.Generator | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """An estimate of the negative bound for a loop of one's own: call `backward()` on it.

        Args:
            model: The model.
            guide: The guide.
            *args: Their positional arguments.
            generator: Where the random numbers come from; None: torch's global generator.
            **kwargs: Their keyword arguments.

        Returns:
            A scalar in nats, whose value is the estimate and whose gradient estimates the bound's.

        Example:
            >>> import posterity as pt
            >>> normal = pt.distributions.Normal(0.0, 1.0)
            >>> same = lambda: pt.sample("x", normal)
            >>> pt.infer.ELBO().loss(same, same)
            tensor(0.)
        """
        pools = self.draw_noise(model, guide, args, kwargs, generator)
        estimate = self.estimate(model, guide, args, kwargs, pools, {})
        return estimate.surrogate + (estimate.loss - estimate.surrogate).detach()

    def draw_noise(
        self,
        model: Program,
        guide: Program,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """The noise of one estimate, `[num_particles, ...]` by kind; a run without gradients shows what is needed."""
        generator = torch.default_generator if generator is None else generator
        recorder = NoiseRecorder({generator.device: generator})
        with torch.no_grad():
            self.probe(model, guide, args, kwargs, recorder)
        return recorder.layout().draw(recorder.generators, (self.num_particles,))

    def probe(
        self, model: Program, guide: Program, args: Sequence[Any], kwargs: Mapping[str, Any], recorder: NoiseRecorder
    ) -> tuple[Trace, Trace]:
        """Run what one particle runs, so that the recorder learns its noise; the plain traces of model and guide."""
        # An earlier run shows whether there are sites to sum out; it draws them, which the particles do not.
        plain = simulate(model, guide, args, kwargs, NoiseRecorder(recorder.generators))
        self._nestings[model, guide, kind_of(args, kwargs)] = nesting_of_marked(*plain)
        self.traces(model, guide, args, kwargs, recorder)
        return plain

    def prepare(  # noqa: B027  # most need to know nothing
        self, model: Program, guide: Program, args: Sequence[Any], kwargs: Mapping[str, Any], pools: Pools
    ) -> None:
        """Find out what estimates for arguments of this kind need to know, before a graph is captured; after `probe`.

        Args:
            model: The model.
            guide: The guide.
            args: Their positional arguments.
            kwargs: Their keyword arguments.
            pools: Noise for each particle, `[num_particles, ...]`.
        """

    def traces(
        self, model: Program, guide: Program, args: Sequence[Any], kwargs: Mapping[str, Any], source: Source
    ) -> tuple[Trace, Trace]:
        """One joint run of guide and model, in which marked sites hold their whole support; after `probe`."""
        nesting = self._nestings.get((model, guide, kind_of(args, kwargs)))
        if nesting is None:
            return simulate(model, guide, args, kwargs, source)
        with seed(rng_seed=source):
            return enumerated_traces(model, guide, args, kwargs, max_plate_nesting=nesting)

    def log_joint(
        self, model: Program, guide: Program, args: Sequence[Any], kwargs: Mapping[str, Any], recorded: Trace
    ) -> Tensor:
        """The model's log density with the latent values of a guide's trace, marked sites summed out; after `probe`."""
        nesting = self._nestings.get((model, guide, kind_of(args, kwargs)))
        if nesting is None:
            return trace(replay(model, recorded)).get_trace(*args, **kwargs).log_prob_sum()
        return log_density(model, args, kwargs, recorded, max_plate_nesting=nesting)
