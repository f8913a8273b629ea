"""The steps of a run, on whatever batches come, and what to say where a step went wrong."""

import warnings
from typing import Any

import torch
from torch import Tensor

from posterity.infer.arguments import values_of
from posterity.infer.capture import CaptureError
from posterity.infer.run_at_point import Call
from posterity.infer.stochastic_gradient.kernel import StochasticGradientKernel
from posterity.infer.stochastic_gradient.random_blocks import RandomBlocks, Settings
from posterity.infer.stochastic_gradient.stochastic_potential import StochasticPotential, Subsampled
from posterity.infer.stochastic_gradient.transition import CapturedTransition, transition

# How many batches are kept in memory until their steps are looked at.
_BATCHES_HELD = 16


class NotFiniteError(FloatingPointError):
    """A gradient, or a position, is not finite.

    Attributes:
        step: Which step it was.
        before: The state before it.
    """

    def __init__(self, message: str, step: int, before: Any) -> None:
        super().__init__(message)
        self.step, self.before = step, before


class Steps:
    """Takes the steps of a run, and remembers the last ones until they are known to be finite.

    Args:
        kernel: The kernel.
        potential: The model.
        blocks: The steps' random numbers.
        compiled: Whether steps run as compiled graphs.
        or_eager: Whether a model that cannot be captured runs uncompiled.
    """

    def __init__(
        self,
        kernel: StochasticGradientKernel[Any],
        potential: StochasticPotential,
        blocks: RandomBlocks,
        compiled: bool,
        or_eager: bool,
    ) -> None:
        self._kernel, self._potential, self._blocks = kernel, potential, blocks
        self._compiled, self._or_eager = compiled, or_eager
        self._graphs: dict[Any, CapturedTransition] = {}
        # Of the last arguments: themselves, the plates that take random subsamples, and the graph.
        self._bound: tuple[Any, Any, tuple[Subsampled, ...], CapturedTransition | None] | None = None
        self._unchecked: list[tuple[int, Any, Call, Any]] = []

    @property
    def is_checked(self) -> bool:
        """Whether all steps until now are known to be finite."""
        return not self._unchecked

    def take(
        self, step: int, number: int, state: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Tensor, dict[str, Tensor]]:
        """Take steps on the same arguments: one, or as many as one graph takes at once.

        Args:
            step: The number of the first step.
            number: How many to take at most.
            state: Where the chains are.
            args: The model's arguments.
            kwargs: Its keyword arguments.

        Returns:
            The new state; the positions after the steps, `[num_steps, num_chains, dim]`; and what is known of them,
            `[num_steps]` or `[num_steps, num_chains]` each.

        Raises:
            NotFiniteError: One of the last steps was not finite.
        """
        same = self._bound is not None and self._bound[0] is args and self._bound[1] is kwargs
        plates = self._bound[2] if same and self._bound is not None else self._potential.plates(args, kwargs)
        call = Call(args, kwargs, self._blocks.subsamples(step, plates))
        settings = self._blocks.settings(step)
        if self._bound is None or not same:
            self._bound = args, kwargs, plates, self._graph(state, call, settings, plates)
        graph = self._bound[3]
        at_once = min(number, self._blocks.left(step))
        if graph is not None and at_once > 1 and graph.repeats(call):
            return self._take_many(graph, step, at_once, state, call, plates)
        if graph is None:
            new, info = transition(self._kernel, self._potential, state, call, settings)
        else:
            new, info = graph(state, call, settings)
        self._unchecked.append((step, state, call, info.gradient_norm))
        if len(self._unchecked) >= (self._blocks.length if same else min(self._blocks.length, _BATCHES_HELD)):
            self.check(new)
        return new, new.position.unsqueeze(0), {name: value.unsqueeze(0) for name, value in info._asdict().items()}

    def _take_many(
        self,
        graph: CapturedTransition,
        step: int,
        number: int,
        state: Any,
        call: Call,
        plates: tuple[Subsampled, ...],
    ) -> tuple[Any, Tensor, dict[str, Tensor]]:
        subsamples = self._blocks.many_subsamples(step, number, plates)
        several = call._replace(subsamples=subsamples)
        states, infos = graph.many(state, several, self._blocks.many_settings(step, number))
        before = state
        for i in range(number):
            own = call._replace(subsamples={name: rows[i] for name, rows in subsamples.items()})
            self._unchecked.append((step + i, before, own, infos.gradient_norm[i]))
            before = type(state)._make(part[i] for part in states)
        new = type(state)._make(part[-1].clone() for part in states)
        self.check(new)
        return new, states.position, infos._asdict()

    def check(self, state: Any) -> None:
        """Look whether all steps up to a state were finite.

        Raises:
            NotFiniteError: Naming the first that was not, and the site, where one is to blame.
        """
        unchecked, self._unchecked = self._unchecked, []
        if not unchecked:
            return
        finite = torch.stack([norm for *_, norm in unchecked]).isfinite()
        if bool(finite.all() & state.position.isfinite().all()):
            return
        where = torch.cat([finite, state.position.isfinite().all(-1)[None]]).logical_not().nonzero()
        row, chain = where[0].tolist()
        step, before, call, _ = unchecked[min(row, len(unchecked) - 1)]
        reason = self._reason(before.position[chain], chain, call)
        raise NotFiniteError(
            f"the gradient of the log density is not finite at step {step} of chain {chain}; the chains are those "
            f"before it. {reason}. Take smaller steps, or start at values that are more likely",
            step,
            before,
        )

    def _graph(
        self, state: Any, call: Call, settings: Settings, plates: tuple[Subsampled, ...]
    ) -> CapturedTransition | None:
        if not self._compiled:
            return None
        key = values_of(call.args, call.kwargs), plates
        if key not in self._graphs:
            try:
                self._graphs[key] = CapturedTransition(self._kernel, self._potential, state, call, settings)
            except CaptureError as error:
                if not self._or_eager:
                    raise
                warnings.warn(f"SGMCMC: {error}. This run goes on uncompiled.", stacklevel=5)
                self._compiled = False
                return None
        return self._graphs[key]

    def _reason(self, position: Tensor, chain: int, call: Call) -> str:
        """Which site's log density is not finite, from a run with every check."""
        own = call._replace(subsamples={name: rows[chain] for name, rows in call.subsamples.items()})
        return self._potential.complaint(position, own) or (
            f"The log density is finite at the position before it, of norm {float(position.norm()):.3g}"
        )
