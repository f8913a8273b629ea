"""Transitions of Gibbs sampling around a Hamiltonian kernel: compiled sweeps, and native trajectories between them."""

import time
from typing import Any

import torch
from torch import Tensor

from posterity.infer.mcmc.adaptation import Adaptation
from posterity.infer.mcmc.block import Block, Report, joined
from posterity.infer.mcmc.compiled_sweep import CompiledSweep
from posterity.infer.mcmc.compiled_target import CompiledTarget
from posterity.infer.mcmc.dual_averaging import DualAveraging
from posterity.infer.mcmc.gibbs import SWEEP, Gibbs
from posterity.infer.mcmc.hamiltonian import HamiltonianKernel
from posterity.infer.mcmc.metric import Metric
from posterity.infer.mcmc.mixed_potential import MixedPotential
from posterity.infer.mcmc.native_trajectories import NativeTrajectories, on_target_space
from posterity.infer.mcmc.single_transitions import SingleTransitions
from posterity.infer.mcmc.trajectory import HamiltonianState
from posterity.infer.mcmc.windowed_warmup import WindowedWarmup
from posterity.kernels import Key

# Transitions whose random numbers are made together, how many numbers that may be, and seconds between two reports.
_AT_ONCE, _MOST_NOISE, _BETWEEN_REPORTS = 128, 2**22, 0.1


class CompiledGibbs:
    """Makes transitions of `Gibbs` around NUTS or HMC; all chains sweep together, and wait for each other.

    Attributes:
        target: The model as the warm-up's trials see it: given the discrete values of its first run.
        interrupted: Whether a Ctrl-C has ended the last block.

    Args:
        kernel: The kernel.
        potential: What to draw from.
        keys: The chains' keys; transition t takes that of `fold_in(t)`.
        example: Points `[num_chains, dim]`, on the CPU.

    Raises:
        CaptureError: The model's course depends on values.
    """

    def __init__(self, kernel: Gibbs, potential: MixedPotential, keys: Key, example: Tensor) -> None:
        assert isinstance(kernel.inner, HamiltonianKernel)
        self._kernel, self._potential, self._keys = kernel, potential, keys
        self._inner = kernel.inner
        self.interrupted = False
        choices = potential.held_choices.expand(len(example), -1)
        self.target = CompiledTarget(potential, example, choices)
        self._trajectories = NativeTrajectories(kernel.inner, self.target, keys, example)
        self._sweep = CompiledSweep(kernel.sweep(potential), example, choices, keys)
        self._at_once = max(1, min(_AT_ONCE, _MOST_NOISE // max(1, self._sweep.num_numbers)))

    @property
    def reason(self) -> str:
        """Why not all graphs are replayed natively; empty where they are."""
        return self.target.evaluation.reason or self._sweep.reason

    def init(self, metric: Metric | None, point: Tensor) -> Any:
        """The kernel's state at points of the target's own space, with discrete values from their priors."""
        return self._state(metric, point, self._potential.first_choices(point))

    def moved(self, metric: Metric | None, state: Any, point: Tensor) -> Any:
        """The state at points of the target's own space, with the same discrete values."""
        return self._state(metric, point, state.choices)

    def point(self, metric: Metric | None, state: Any) -> Tensor:
        """A state's points on the target's own space."""
        assert metric is not None
        return metric.forward(state.position)

    def warm_up(self, adaptation: Adaptation, state: Any, first: int, number: int, report: Report) -> tuple[Any, Block]:
        """Make transitions from which the kernel is tuned; as `Stepping.warm_up`."""
        assert isinstance(adaptation, WindowedWarmup)
        blocks: list[Block] = []
        while number > 0:
            own = min(number, adaptation.transitions_left())
            metric = adaptation.metric
            averaging = adaptation.averaging if self._inner.adapt_step_size else None
            state, block, gradients = self._run(adaptation, state, first, own, report, averaging)
            whitened = block.draws["position"]
            blocks.append(on_target_space(block, metric))
            if adaptation.absorb(whitened, gradients):
                adaptation.close(state.position)
                state = self.moved(adaptation.metric, state, metric.forward(state.position))
            first, number = first + own, number - own
        return state, joined(blocks)

    def sample(self, adaptation: Adaptation, state: Any, first: int, number: int, report: Report) -> tuple[Any, Block]:
        """Make transitions with the tuning as it is; as `Stepping.sample`. A Ctrl-C ends the block early."""
        state, block, _ = self._run(adaptation, state, first, number, report, None, may_end_early=True)
        assert adaptation.metric is not None
        return state, on_target_space(block, adaptation.metric)

    def _state(self, metric: Metric | None, point: Tensor, choices: Tensor) -> Any:
        assert metric is not None
        value, gradient = self.target.at(point, choices)
        inner = HamiltonianState(metric.inverse(point), value.clone(), metric.transpose(gradient))
        return self._kernel.with_choices(inner, choices)

    def _run(
        self,
        adaptation: Adaptation,
        state: Any,
        first: int,
        number: int,
        report: Report,
        averaging: DualAveraging | None,
        *,
        may_end_early: bool = False,
    ) -> tuple[Any, Block, Tensor]:
        """Make transitions: the state, what they gave on whitened space, and the gradients there."""
        metric = adaptation.metric
        assert metric is not None
        position, value, gradient, choices = (part.clone().contiguous() for part in state)
        step_size = adaptation.tuning.step_size.double().clone().contiguous()
        averaging = None if averaging is None else DualAveraging(step_size, *(part.clone() for part in averaging[1:]))
        swept = choices.new_empty(number, *choices.shape)
        changed = choices.new_empty(number, len(choices))
        inner = HamiltonianState(position, value, gradient)
        single = SingleTransitions(self._trajectories, inner, metric, step_size, averaging, number)
        told, when = 0, time.perf_counter()

        def tell(made: int) -> None:
            nonlocal told, when
            known = {name: single.info[name][told:made] for name in ("accept_prob", "is_divergent")}
            report(made - told, {"step_size": step_size, **known})
            told, when = made, time.perf_counter()

        made = 0
        try:
            for i in range(number):
                here = i % self._at_once
                if here == 0:
                    transitions = torch.arange(first + i, first + min(i + self._at_once, number))
                    keys = Key(self._keys.data.unsqueeze(0)).fold_in(transitions.unsqueeze(-1))
                    self._sweep.prepare(keys.fold_in(SWEEP))
                z = metric.forward(position)
                new = self._sweep(here, z, choices)
                if self._kernel.updates:
                    z, new = self._kernel.updated(self._potential, z, new, Key(keys.data[here]))
                    position.copy_(metric.inverse(z))
                changed[i] = (new != choices).sum(-1)
                choices.copy_(new)
                fresh, slope = self.target.at(z, choices)
                value.copy_(fresh)
                gradient.copy_(metric.transpose(slope))
                swept[i] = choices
                single(i, Key(keys.data[here]))
                made = i + 1
                if time.perf_counter() - when > _BETWEEN_REPORTS:
                    tell(made)
        except KeyboardInterrupt:
            self.interrupted = True
            if not (may_end_early and made):
                raise
        if made > told:
            tell(made)
        if averaging is not None:
            adaptation.retune(averaging)  # type: ignore[attr-defined]  # only a windowed warm-up averages
        draws = {"position": single.draws, "choices": swept}
        known = {**single.info, "num_changed": changed}
        block = Block(*({n: rows[:made].transpose(0, 1) for n, rows in part.items()} for part in (draws, known)))
        return self._kernel.with_choices(inner, choices), block, single.gradients[:made].transpose(0, 1)
