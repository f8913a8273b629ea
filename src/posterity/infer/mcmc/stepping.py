"""Transitions one after the other by a kernel's own `step`, eagerly or as a graph; every chain waits for the others."""

import warnings
from typing import Any, Literal

from torch import Tensor
from torch.utils import _pytree as pytree

from posterity.infer.capture import CaptureError
from posterity.infer.mcmc.adaptation import Adaptation
from posterity.infer.mcmc.block import Block, Report, joined
from posterity.infer.mcmc.chees import ChEES
from posterity.infer.mcmc.compiled_target import CompiledTarget
from posterity.infer.mcmc.compiled_trajectory import CompiledStep, compiled_step
from posterity.infer.mcmc.kernel import Kernel
from posterity.infer.mcmc.mclmc import MCLMC
from posterity.infer.mcmc.metric import Metric, Preconditioned
from posterity.infer.mcmc.step_graph import StepGraph
from posterity.infer.mcmc.taped_keys import CannotTapeError
from posterity.infer.mcmc.target import LogDensity, Target
from posterity.infer.potential import Potential
from posterity.kernels import Key

# Transitions of a graph between two looks at Ctrl-C, and numbers of noise that are made ahead for them.
_AT_ONCE, _MOST_NOISE = 128, 2**22


class Stepping:
    """Makes transitions of any kernel.

    Attributes:
        interrupted: Whether a Ctrl-C has ended the last block.

    Args:
        kernel: The kernel.
        target: What to draw from, on its own space.
        keys: The chains' keys; transition t takes that of `fold_in(t)`.
        example: Points `[num_chains, dim]`.
        compile: Whether a step is to be captured as one graph, or, of kernels whose steps look at values, the log
            density. `"auto"`: if it can be; else a warning says so.

    Raises:
        CaptureError: The target's course depends on values.
    """

    def __init__(
        self,
        kernel: Kernel[Any, Any],
        target: Target,
        keys: Key,
        example: Tensor,
        *,
        compile: bool | Literal["auto"],  # noqa: A002  # the name that drivers share
    ) -> None:
        self.kernel, self.target, self._keys = kernel, target, keys
        self._captures = bool(compile) and kernel.is_capturable
        self._must = compile is True
        self.interrupted = False
        plain = type(target) is Potential or isinstance(target, LogDensity)
        if compile and plain and not kernel.is_capturable and not self._is_trajectory():
            self.target = CompiledTarget(target, example)
        self._compiles = bool(compile)
        self._graph: StepGraph | None = None
        self._compiled: CompiledStep[Any, Any, Any] | None = None

    def init(self, metric: Metric | None, point: Tensor) -> Any:
        """The kernel's state at points of the target's own space."""
        return self.kernel.init(self._whitened(metric), point if metric is None else metric.inverse(point))

    def point(self, metric: Metric | None, state: Any) -> Tensor:
        """A state's points on the target's own space."""
        position: Tensor = self.kernel.position(state)
        return position if metric is None else metric.forward(position)

    def warm_up(self, adaptation: Adaptation, state: Any, first: int, number: int, report: Report) -> tuple[Any, Block]:
        """Make transitions from which the kernel is tuned.

        Args:
            adaptation: What tunes it.
            state: Where the chains are.
            first: The number of the first transition.
            number: How many.
            report: Is told of the progress.

        Returns:
            The new state, and what the transitions gave.
        """
        found = []
        for t in range(first, first + number):
            metric = adaptation.metric
            state, block, info = self._steps(adaptation, state, t, 1)
            found.append(block)
            if adaptation.update(state, info):
                state = self.moved(adaptation.metric, state, self.point(metric, state))
            report(1, _shown(adaptation.tuning, block.info))
        return state, joined(found)

    def sample(self, adaptation: Adaptation, state: Any, first: int, number: int, report: Report) -> tuple[Any, Block]:
        """Make transitions with the tuning as it is; as `warm_up`. A Ctrl-C ends the block early."""
        found: list[Block] = []
        made = 0
        try:
            while made < number:
                own = min(number - made, self._graph.at_once(_AT_ONCE, _MOST_NOISE) if self._graph else 1)
                state, block, _ = self._steps(adaptation, state, first + made, own)
                found.append(block)
                made += own
                report(own, _shown(adaptation.tuning, block.info))
        except KeyboardInterrupt:
            self.interrupted = True
            if not found:
                raise
        return state, joined(found)

    def moved(self, metric: Metric | None, state: Any, point: Tensor) -> Any:
        """The state at points of the target's own space, with what else there is in a state."""
        position = point if metric is None else metric.inverse(point)
        return self.kernel.moved(self._whitened(metric), state, position)

    def _steps(self, adaptation: Adaptation, state: Any, first: int, number: int) -> tuple[Any, Block, Any]:
        """Make a few transitions; the state, what they gave, and what is known of the last one."""
        if self._captures:
            try:
                return self._graph_steps(adaptation, state, first, number)
            except CannotTapeError:
                self._captures = False
            except CaptureError as error:
                if self._must:
                    raise
                warnings.warn(f"MCMC: {error}. This run goes on uncompiled.", stacklevel=5)
                self._captures = False
        found = []
        for t in range(first, first + number):
            metric = adaptation.metric
            state, info = self._step(metric, state, adaptation.tuning, self._keys.fold_in(t))
            draws, known = self._kept(metric, state, info)
            found.append(Block(*({n: v.clone().unsqueeze(1) for n, v in part.items()} for part in (draws, known))))
        return state, joined(found), info

    def _step(self, metric: Metric | None, state: Any, tuning: Any, keys: Key) -> tuple[Any, Any]:
        if not (self._compiles and self._is_trajectory()):
            return self.kernel.step(self._whitened(metric), state, tuning, keys)
        if self._compiled is None:
            own: Any = self.kernel
            self._compiled = compiled_step(own, self.target, metric, state, tuning, keys)
        return self._compiled(metric, state, tuning, keys)

    def _is_trajectory(self) -> bool:
        """Whether a step is a beginning, some leapfrogs and an end, each of which can be captured."""
        return isinstance(self.kernel, ChEES) or (isinstance(self.kernel, MCLMC) and self.kernel.adjusted)

    def _graph_steps(self, adaptation: Adaptation, state: Any, first: int, number: int) -> tuple[Any, Block, Any]:
        given = adaptation.metric, adaptation.tuning
        if self._graph is None or not self._graph.fits(given, state):

            def step(given: Any, state: Any, keys: Any) -> Any:
                metric, tuning = given
                state, info = self.kernel.step(self._whitened(metric), state, tuning, keys)
                return state, info, self._kept(metric, state, info)

            self._graph = StepGraph(step, given, state, self._keys)
        state, info, (draws, known) = self._graph(given, state, first, number)
        return state, Block(draws, known), pytree.tree_map(lambda rows: rows[:, -1], info)

    def _kept(self, metric: Metric | None, state: Any, info: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What is kept of a transition: draws and information."""
        draws = {"position": self.point(metric, state), **self.kernel.extra_draws(state)}
        return draws, {"log_density": state.log_density, **info._asdict()}

    def _whitened(self, metric: Metric | None) -> Target:
        return self.target if metric is None else Preconditioned(self.target, metric)


def _shown(tuning: Any, info: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a progress line is made of."""
    shown: dict[str, Tensor] = {name: info[name] for name in ("accept_prob", "is_divergent") if name in info}
    if hasattr(tuning, "step_size"):
        shown["step_size"] = tuning.step_size
    return shown
