"""What every objective of variational inference is: a bound on the log evidence, and an estimate of its gradient."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from posterity.handlers import Trace, seed
from posterity.infer.enumeration import enumerated_traces, log_density
from posterity.infer.simulation import Pair, Program, nesting_of_marked
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
        pair: Pair,
        pools: Pools,
        state: Mapping[str, Tensor],
    ) -> Estimate:
        """One estimate, from noise made ahead.

        Args:
            pair: Model and guide, with their arguments.
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
        pair = Pair(model, guide, args, kwargs)
        pools = self.draw_noise(pair, generator)
        estimate = self.estimate(pair, pools, {})
        return estimate.surrogate + (estimate.loss - estimate.surrogate).detach()

    def draw_noise(
        self,
        pair: Pair,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """The noise of one estimate, `[num_particles, ...]` by kind; a run without gradients shows what is needed."""
        generator = torch.default_generator if generator is None else generator
        recorder = NoiseRecorder({generator.device: generator})
        with torch.no_grad():
            self.probe(pair, recorder)
        return recorder.layout().draw(recorder.generators, (self.num_particles,))

    def probe(self, pair: Pair, recorder: NoiseRecorder) -> tuple[Trace, Trace]:
        """Run what one particle runs, so that the recorder learns its noise; the plain traces of model and guide."""
        # An earlier run shows whether there are sites to sum out; it draws them, which the particles do not.
        plain = pair.simulate(NoiseRecorder(recorder.generators))
        self._nestings[pair.kind] = nesting_of_marked(*plain)
        self.traces(pair, recorder)
        return plain

    def prepare(  # noqa: B027  # most need to know nothing
        self, pair: Pair, pools: Pools
    ) -> None:
        """Find out what estimates for arguments of this kind need to know, before a graph is captured; after `probe`.

        Args:
            pair: Model and guide, with their arguments.
            pools: Noise for each particle, `[num_particles, ...]`.
        """

    def traces(self, pair: Pair, source: Source) -> tuple[Trace, Trace]:
        """One joint run of guide and model, in which marked sites hold their whole support; after `probe`."""
        nesting = self._nestings.get(pair.kind)
        if nesting is None:
            return pair.simulate(source)
        with seed(rng_seed=source):
            return enumerated_traces(pair.model, pair.guide, pair.args, pair.kwargs, max_plate_nesting=nesting)

    def log_joint(self, pair: Pair, recorded: Trace) -> Tensor:
        """The model's log density with the latent values of a guide's trace, marked sites summed out; after `probe`."""
        nesting = self._nestings.get(pair.kind)
        if nesting is None:
            return pair.replayed_model(recorded).log_prob_sum()
        return log_density(pair.model, pair.args, pair.kwargs, recorded, max_plate_nesting=nesting)
