"""Transitions of the Hamiltonian kernels by native code: `native/hamiltonian.cpp` around a replayed graph."""

import ctypes
import time

import torch
from torch import Tensor

from posterity.infer.mcmc.adaptation import Adaptation
from posterity.infer.mcmc.block import Block, Report, joined
from posterity.infer.mcmc.compiled_target import CompiledTarget
from posterity.infer.mcmc.dual_averaging import DualAveraging
from posterity.infer.mcmc.hamiltonian import HamiltonianKernel
from posterity.infer.mcmc.hmc import HMC
from posterity.infer.mcmc.metric import DenseMetric, DiagonalMetric, LowRankMetric, Metric
from posterity.infer.mcmc.nuts import NUTS
from posterity.infer.mcmc.target import Target
from posterity.infer.mcmc.trajectory import MAX_ENERGY_ERROR, HamiltonianState
from posterity.infer.mcmc.windowed_warmup import WindowedWarmup
from posterity.infer.native.ahead import build_ahead
from posterity.infer.native.library import library
from posterity.kernels import Key

# Seconds between two looks at Ctrl-C and the progress line, about.
_BETWEEN_LOOKS = 0.1


class NativeTrajectories:
    """Makes transitions of a Hamiltonian kernel natively; the target is compiled once, for a number of chains.

    Attributes:
        interrupted: Whether a Ctrl-C has ended the last block.

    Args:
        kernel: NUTS or HMC.
        target: What to draw from, on its own space; it is compiled if it is not yet.
        keys: The chains' keys; transition t takes that of `fold_in(t)`.
        example: Points `[num_chains, dim]`, on the CPU.

    Raises:
        CaptureError: The target's course depends on values.
    """

    def __init__(self, kernel: HamiltonianKernel, target: Target, keys: Key, example: Tensor) -> None:
        self._kernel, self._keys = kernel, keys
        self.interrupted = False
        build_ahead("hamiltonian")
        self.target = target if isinstance(target, CompiledTarget) else CompiledTarget(target, example)
        self._evaluation = self.target.evaluation
        self.library = library("hamiltonian")
        self.library.hamiltonian_new.restype = ctypes.c_void_p
        self.library.hamiltonian_new.argtypes = [ctypes.POINTER(Job), ctypes.c_int64]
        self.library.hamiltonian_advance.restype = ctypes.c_int64
        self.library.hamiltonian_advance.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64]
        self.library.hamiltonian_delete.argtypes = [ctypes.c_void_p, ctypes.c_int64]

    @property
    def reason(self) -> str:
        """Why the target is not evaluated natively; empty where it is."""
        return self._evaluation.reason

    def init(self, metric: Metric | None, point: Tensor) -> HamiltonianState:
        """The kernel's state at points of the target's own space."""
        assert metric is not None
        value, gradient = self.target.value_and_grad(point)
        return HamiltonianState(metric.inverse(point), value, metric.transpose(gradient))

    def moved(self, metric: Metric | None, state: HamiltonianState, point: Tensor) -> HamiltonianState:
        """The state at points of the target's own space."""
        return self.init(metric, point)

    def point(self, metric: Metric | None, state: HamiltonianState) -> Tensor:
        """A state's points on the target's own space."""
        assert metric is not None
        return metric.forward(state.position)

    def warm_up(
        self, adaptation: Adaptation, state: HamiltonianState, first: int, number: int, report: Report
    ) -> tuple[HamiltonianState, Block]:
        """Make transitions from which the kernel is tuned; as `Stepping.warm_up`."""
        assert isinstance(adaptation, WindowedWarmup)
        blocks: list[Block] = []
        while number > 0:
            own = min(number, adaptation.transitions_left())
            metric = adaptation.metric
            averaging = adaptation.averaging if self._kernel.adapt_step_size else None
            state, block, gradients = self._run(adaptation, state, first, own, report, averaging, keep_gradients=True)
            whitened = block.draws["position"]
            blocks.append(on_target_space(block, metric))
            if adaptation.absorb(whitened, gradients):
                adaptation.close(state.position)
                state = self.init(adaptation.metric, metric.forward(state.position))
            first, number = first + own, number - own
        return state, joined(blocks)

    def sample(
        self, adaptation: Adaptation, state: HamiltonianState, first: int, number: int, report: Report
    ) -> tuple[HamiltonianState, Block]:
        """Make transitions with the tuning as it is; as `Stepping.sample`. A Ctrl-C ends the block early."""
        state, block, _ = self._run(adaptation, state, first, number, report, None, keep_gradients=False)
        assert adaptation.metric is not None
        return state, on_target_space(block, adaptation.metric)

    def _run(
        self,
        adaptation: Adaptation,
        state: HamiltonianState,
        first: int,
        number: int,
        report: Report,
        averaging: DualAveraging | None,
        *,
        keep_gradients: bool,
    ) -> tuple[HamiltonianState, Block, Tensor | None]:
        """Make transitions; no chain waits for another before the last."""
        metric = adaptation.metric
        assert metric is not None
        state = HamiltonianState(*(part.clone().contiguous() for part in state))
        chains, dim = state.position.shape
        draws = state.position.new_empty(chains, number, dim)
        gradients = torch.empty_like(draws) if keep_gradients else None
        info = empty_info(chains, number)
        step_size = adaptation.tuning.step_size.double().clone().contiguous()
        averaging = None if averaging is None else DualAveraging(step_size, *(part.clone() for part in averaging[1:]))
        done = torch.zeros(chains, dtype=torch.int64)
        job, kept = self.job(state, metric, step_size, first, averaging, draws, gradients, info, done)
        is_double = int(state.position.dtype == torch.float64)
        run = self.library.hamiltonian_new(ctypes.byref(job), is_double)
        told = torch.zeros_like(done)

        def tell() -> None:
            new = torch.arange(number) < done.unsqueeze(1)
            new &= torch.arange(number) >= told.unsqueeze(1)
            made = {name: info[name][new] for name in ("accept_prob", "is_divergent")}
            report(float((done - told).double().mean()), {"step_size": step_size, **made})
            told.copy_(done)

        at_once, whole = 16, number
        try:
            going = 1
            while going > 0:
                began = time.perf_counter()
                going = self.library.hamiltonian_advance(run, is_double, at_once)
                if time.perf_counter() - began < _BETWEEN_LOOKS / 2:
                    at_once *= 2
                tell()
            if going < 0:
                self._evaluation.check()
        except KeyboardInterrupt:
            self.interrupted = True
            whole = int(done.min())
            if keep_gradients or not whole:
                raise
        finally:
            self.library.hamiltonian_delete(run, is_double)
        del kept
        if averaging is not None:
            adaptation.retune(averaging)  # type: ignore[attr-defined]  # only a windowed warm-up averages
        return state, Block({"position": draws}, info).part(slice(whole)), gradients

    def job(
        self,
        state: HamiltonianState,
        metric: Metric,
        step_size: Tensor,
        first: int,
        averaging: DualAveraging | None,
        draws: Tensor,
        gradients: Tensor | None,
        info: dict[str, Tensor],
        done: Tensor,
    ) -> tuple["Job", list[Tensor]]:
        """The arguments of native code, and what must live as long as they are used.

        Args:
            state: Where the chains are; it moves.
            metric: The map from whitened space.
            step_size: `[num_chains]`; where it is averaged, it moves.
            first: The number of the first transition.
            averaging: Of the step size; it moves. None: the step size stays.
            draws: Takes the positions, `[num_chains, num_transitions, dim]`.
            gradients: Takes the gradients there; None: nobody wants them.
            info: Takes what is known of the transitions; see `empty_info`.
            done: How many transitions each chain has made.
        """
        chains, number, dim = draws.shape
        point = self._evaluation.inputs[0]
        for part, shape in (
            (state.position, point.shape),
            (state.gradient, point.shape),
            (state.log_density, (chains,)),
        ):
            if part.shape != shape or part.dtype != point.dtype:
                raise ValueError(
                    f"a state of {part.dtype} with shape {tuple(part.shape)} does not fit a target that was compiled "
                    f"for points of {point.dtype} with shape {tuple(point.shape)}"
                )
        kept: list[Tensor] = []

        def address(tensor: Tensor | None) -> int | None:
            if tensor is None or tensor.numel() == 0:
                return None
            assert tensor.is_contiguous()
            kept.append(tensor)
            return tensor.data_ptr()

        kind, scale, factor, stretch = _parts(metric)
        kernel, value = self._kernel, self._evaluation.outputs
        job = Job(
            num_chains=chains,
            dim=dim,
            max_tree_depth=kernel.max_tree_depth if isinstance(kernel, NUTS) else 1,
            is_nuts=isinstance(kernel, NUTS),
            max_energy_error=MAX_ENERGY_ERROR,
            evaluate=self._evaluation.entry,
            context=self._evaluation.context,
            point=address(self._evaluation.inputs[0]),
            value=address(value[0]),
            gradient=address(value[1]),
            metric=kind,
            rank=0 if stretch is None else stretch.shape[-1],
            scale=address(scale),
            factor=address(factor),
            stretch=address(stretch),
            position=address(state.position),
            log_density=address(state.log_density),
            position_gradient=address(state.gradient),
            keys=address(self._keys.data.contiguous()),
            first_transition=first,
            num_transitions=number,
            trajectory_length=kernel.trajectory_length if isinstance(kernel, HMC) else 0.0,
            jitter=kernel.jitter if isinstance(kernel, HMC) else 0.0,
            max_num_steps=kernel.max_num_steps if isinstance(kernel, HMC) else 0,
            num_steps_given=(kernel.num_steps or 0) if isinstance(kernel, HMC) else 0,
            step_size=address(step_size),
            target_accept=kernel.target_accept if averaging is not None else 0.0,
            error_sum=address(None if averaging is None else averaging.error_sum),
            log_step_average=address(None if averaging is None else averaging.log_step_average),
            shrinkage_point=address(None if averaging is None else averaging.shrinkage_point),
            num_updates=address(None if averaging is None else averaging.num_updates),
            draws=address(draws),
            gradients=address(gradients),
            accept_prob=address(info["accept_prob"]),
            energy=address(info["energy"]),
            log_densities=address(info["log_density"]),
            num_steps=address(info["num_steps"]),
            tree_depth=address(info["tree_depth"]),
            is_divergent=address(info["is_divergent"]),
            done=address(done),
        )
        return job, kept


def empty_info(*shape: int) -> dict[str, Tensor]:
    """Room for what is known of transitions, by name."""
    real = torch.empty(shape, dtype=torch.float64)
    return {
        "log_density": real,
        "accept_prob": real.clone(),
        "is_divergent": torch.zeros(shape, dtype=torch.bool),
        "num_steps": torch.zeros(shape, dtype=torch.int64),
        "tree_depth": torch.zeros(shape, dtype=torch.int64),
        "energy": real.clone(),
    }


def on_target_space(block: Block, metric: Metric) -> Block:
    """A block whose positions are in whitened space, with those on the target's own."""
    position = metric.forward(block.draws["position"].transpose(0, 1)).transpose(0, 1)
    return Block({**block.draws, "position": position}, block.info)


def _parts(metric: Metric) -> tuple[int, Tensor | None, Tensor | None, Tensor | None]:
    if isinstance(metric, DenseMetric):
        return 1, None, metric.factor.contiguous(), None
    if isinstance(metric, LowRankMetric) and metric.stretch.shape[-1]:
        return 2, metric.scale.contiguous(), metric.directions.contiguous(), metric.stretch.contiguous()
    assert isinstance(metric, DiagonalMetric | LowRankMetric)
    return 0, metric.scale.contiguous(), None, None


class Job(ctypes.Structure):
    """`Job` of `native/hamiltonian.cpp`, field by field."""

    _fields_ = [  # ctypes reads it once
        *((name, ctypes.c_int64) for name in ("num_chains", "dim", "max_tree_depth", "is_nuts")),
        ("max_energy_error", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in ("evaluate", "context", "point", "value", "gradient")),
        *((name, ctypes.c_int64) for name in ("metric", "rank")),
        *((name, ctypes.c_void_p) for name in ("scale", "factor", "stretch")),
        *((name, ctypes.c_void_p) for name in ("position", "log_density", "position_gradient", "keys")),
        *((name, ctypes.c_int64) for name in ("first_transition", "num_transitions")),
        *((name, ctypes.c_double) for name in ("trajectory_length", "jitter")),
        *((name, ctypes.c_int64) for name in ("max_num_steps", "num_steps_given")),
        ("step_size", ctypes.c_void_p),
        ("target_accept", ctypes.c_double),
        *((n, ctypes.c_void_p) for n in ("error_sum", "log_step_average", "shrinkage_point", "num_updates")),
        *((name, ctypes.c_void_p) for name in ("draws", "gradients", "accept_prob", "energy", "log_densities")),
        *((name, ctypes.c_void_p) for name in ("num_steps", "tree_depth", "is_divergent", "done")),
    ]
