"""The driver of Markov chain Monte Carlo."""

import os
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from posterity.infer.arviz import to_arviz
from posterity.infer.capture import CaptureError, can_compile
from posterity.infer.diagnostics import Summary, advice, summarize
from posterity.infer.mcmc.adaptation import Adaptation, FixedTuning
from posterity.infer.mcmc.block import Block
from posterity.infer.mcmc.compiled_gibbs import CompiledGibbs
from posterity.infer.mcmc.draw_store import Directory, DiskStore, DrawStore, fingerprint
from posterity.infer.mcmc.gibbs import Gibbs
from posterity.infer.mcmc.hamiltonian import HamiltonianKernel
from posterity.infer.mcmc.kernel import Kernel
from posterity.infer.mcmc.mixed_potential import MixedPotential
from posterity.infer.mcmc.native_trajectories import NativeTrajectories
from posterity.infer.mcmc.nuts import NUTS
from posterity.infer.mcmc.process_group import ProcessGroup
from posterity.infer.mcmc.stepping import Stepping
from posterity.infer.mcmc.target import LogDensity, Target
from posterity.infer.pathfinder import Pathfinder
from posterity.infer.potential import Potential
from posterity.kernels import Key
from posterity.runtime import Progress

Engine = Stepping | NativeTrajectories | CompiledGibbs

# Transitions of a chain from which on compiling pays for itself.
_WORTH_COMPILING = 300
# Numbers that a block may hold, and transitions between two savings.
_MOST_NUMBERS, _BETWEEN_SAVINGS = 2**25, 250
# Fewer draws of a chain tell nothing about it.
_ENOUGH_TO_JUDGE = 4
# Numbers of streams that no transition has: transitions count from 0.
_START, _TRIALS = -1, -2


class MCMC:
    """Runs the chains of a kernel: warm-up, sampling, and what is said of the draws.

    Chains are a dimension of tensors, on one processor. A chain's draws depend on the seed and on its number, not on
    how many chains there are, up to rounding, which grows along a chain. In a process group of `torch.distributed`
    (torchrun), each process runs its share of the chains, and the first one gathers the draws of all.

    Args:
        kernel: The kernel, such as `NUTS(model)`.
        num_warmup: Transitions that tune the kernel, and are not kept.
        num_samples: Draws to keep of each chain.
        num_chains: How many chains.
        thin: Keep one of so many transitions.
        collect_warmup: Whether to keep the warm-up's draws too; see `get_warmup`.
        initial_values: Where chains start: by site name `[num_chains, *shape]` for a model, on the model's own space;
            for a log density `[num_chains, dim]`. `"pathfinder"`: at draws of `Pathfinder`, where the posterior is
            far from where the kernel's `init` looks. None: that `init` finds points.
        seed: For the same draws again; None: one of torch's global generator.
        progress: Whether to show a live line.
        compile: Whether to compile the log density with its gradient, or the kernel's step, into one graph. `"auto"`:
            where a compiler is installed and there are at least 300 transitions; a model that cannot be captured warns,
            and runs uncompiled.
        directory: A folder for draws and state, written as the run goes on, so that memory stays bounded and a run that
            was stopped, however, goes on to the same draws when it is started again. A folder of another run, by its
            options, its starts or the log density there, is refused. None: draws stay in memory.

    Attributes:
        seconds: How long the last run took, by phase: `"setup"`, with what compiling takes, `"warmup"` and
            `"sampling"`.
        adaptation: What the warm-up has learnt: its `tuning` and its `metric`.

    Raises:
        TypeError: An argument is not of its kind.
        ValueError: A number is out of range, or the initial values are not those of so many chains.

    Example:
        >>> import posterity as pt
        >>> from posterity.infer.mcmc.nuts import NUTS
        >>> def model(x):
        ...     loc = pt.sample("loc", pt.distributions.Normal(0.0, 10.0))
        ...     with pt.plate("data", len(x)):
        ...         pt.sample("x", pt.distributions.Normal(loc, 1.0), obs=x)
        >>> mcmc = MCMC(NUTS(model), num_warmup=50, num_samples=50, num_chains=2, seed=0, compile=False, progress=False)
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore")  # so few draws are not enough
        ...     mcmc.run(torch.tensor([1.0, 2.0, 3.0]))
        >>> mcmc.get_samples()["loc"].shape
        torch.Size([100])
    """

    def __init__(
        self,
        kernel: Kernel[Any, Any],
        num_warmup: int = 1000,
        num_samples: int = 1000,
        num_chains: int = 4,
        *,
        thin: int = 1,
        collect_warmup: bool = False,
        initial_values: Mapping[str, Tensor] | Tensor | Literal["pathfinder"] | None = None,
        seed: int | None = None,
        progress: bool = True,
        compile: bool | Literal["auto"] = "auto",  # noqa: A002  # the name that drivers share
        directory: str | os.PathLike[str] | None = None,
    ) -> None:
        if not isinstance(kernel, Kernel):
            raise TypeError(f"MCMC: kernel must be a kernel such as NUTS(model), not {kernel!r}")
        numbers = {"num_warmup": (num_warmup, 0), "num_samples": (num_samples, 1), "num_chains": (num_chains, 1)}
        for name, (number, least) in (numbers | {"thin": (thin, 1)}).items():
            if isinstance(number, bool) or not isinstance(number, int) or number < least:
                raise ValueError(f"MCMC: {name} must be a whole number of at least {least}, not {number!r}")
        if compile not in (True, False, "auto"):
            raise ValueError(f"MCMC: compile must be True, False or 'auto', not {compile!r}")
        self.kernel = kernel
        self.num_warmup, self.num_samples, self.num_chains, self.thin = num_warmup, num_samples, num_chains, thin
        self.collect_warmup, self.progress, self.compile = collect_warmup, progress, compile
        self.initial_values = initial_values
        self.seed = seed
        self.path = None if directory is None else Path(directory)
        self.potential: Potential | None = None
        self.adaptation: Adaptation | None = None
        self.seconds: dict[str, float] = {}
        self._args: tuple[Any, ...] = ()
        self._kwargs: dict[str, Any] = {}
        self._draws: DrawStore | DiskStore = DrawStore()
        self._warmup: DrawStore | DiskStore = DrawStore()
        self._samples: dict[str, Tensor] | None = None
        self._whole: Block | None = None
        self._check_initial_values()

    def run(self, *args: Any, **kwargs: Any) -> None:
        """Warm up, and draw; with a `directory`, go on from where an earlier run was stopped.

        Args:
            *args: The model's arguments.
            **kwargs: Its keyword arguments.

        Raises:
            ValueError: The model cannot be sampled: no start with a finite log density, a discrete latent variable that
                is neither summed out nor a kernel's, a random subsample; or the directory holds another run.
            KeyboardInterrupt: After a Ctrl-C; what was drawn until then can be had.
        """
        self._args, self._kwargs, self._samples, self._whole = args, kwargs, None, None
        began = time.perf_counter()
        processes = ProcessGroup()
        chains = processes.own_chains(self.num_chains)
        seed = processes.agreed(int(torch.randint(2**62, ())) if self.seed is None else self.seed)
        directory = None if self.path is None else Directory(self.path, processes)
        saved = None if directory is None else directory.saved_run(self._options(), None if self.seed is None else seed)
        if saved is not None:
            seed = saved["seed"]
        target, point = self._target(args, kwargs, seed)
        point = point[chains.start : chains.stop]
        keys = Key(Key(seed).fold_in(torch.arange(chains.start, chains.stop)).data.to(point.device))
        engine = self._engine(target, keys, point)
        adaptation = self.kernel.adaptation(engine.target, point, self.num_warmup, keys.fold_in(_TRIALS))
        state = engine.init(adaptation.metric, point)
        start = {"point": point}
        if not self.kernel.extra_draws(state):  # discrete values of a start are drawn at random
            start["log_density"] = state.log_density
        if directory is not None:
            directory.check_start(saved, start)
        made, blocks = {"warmup": 0, "sample": 0}, {"warmup": 0, "sample": 0}
        if saved is not None:
            adaptation.load_state_dict(saved["adaptation"])
            state = type(state)(*saved["state"])
            made, blocks = saved["transitions"], saved["blocks"]
        self._warmup, self._draws = (
            DrawStore() if directory is None else DiskStore(directory, phase, blocks[phase])
            for phase in ("warmup", "sample")
        )

        def save(state: Any) -> None:
            if directory is not None:
                counts = {"warmup": self._warmup.num_blocks, "sample": self._draws.num_blocks}
                own = {"fingerprint": fingerprint({**self._options(), "seed": seed}), "seed": seed, "start": start}
                own |= {"transitions": made, "blocks": counts}
                directory.save_state({**own, "adaptation": adaptation.state_dict(), "state": list(state)})

        self.seconds = {"setup": time.perf_counter() - began}
        shows = self.progress and processes.rank == 0
        try:
            self._run_phases(engine, adaptation, state, made, save, shows)
        finally:
            self.adaptation = FixedTuning(adaptation.tuning, adaptation.metric)  # which holds nothing compiled
        if processes.size > 1:
            self._whole = processes.gathered(self._draws.whole())
        if processes.rank == 0:
            self._warn(self.num_chains * point.shape[-1])

    def get_samples(self, group_by_chain: bool = False) -> dict[str, Tensor]:
        """The draws.

        Args:
            group_by_chain: Whether to keep the chains apart.

        Returns:
            By site name, `deterministic` ones too, `[num_chains * num_samples, ...]`, chain after chain; or
            `[num_chains, num_samples, ...]`. For a log density one tensor, `"position"`.

        Raises:
            RuntimeError: Nothing has been drawn yet.
        """
        if self._samples is None:
            self._samples = self._values(self._drawn().draws)
        if group_by_chain:
            return dict(self._samples)
        return {name: value.flatten(0, 1) for name, value in self._samples.items()}

    def get_warmup(self, group_by_chain: bool = False) -> dict[str, Tensor]:
        """The warm-up's draws, with `collect_warmup`; as `get_samples`."""
        if self._warmup.num_transitions == 0:
            raise RuntimeError("MCMC: no draws of the warm-up were kept; use collect_warmup=True, and run")
        values = self._values(self._warmup.whole().draws)
        return values if group_by_chain else {name: value.flatten(0, 1) for name, value in values.items()}

    def get_extra_fields(self, group_by_chain: bool = False) -> dict[str, Tensor]:
        """What is known of each kept transition: acceptance, divergence, number of steps, energy, log density.

        Args:
            group_by_chain: Whether to keep the chains apart.
        """
        info = self._drawn().info
        return dict(info) if group_by_chain else {name: value.flatten(0, 1) for name, value in info.items()}

    def summary(self, prob: float = 0.9) -> Summary:
        """Mean, standard deviation, quantiles, Monte Carlo errors, effective sample sizes and R-hat of each parameter.

        Args:
            prob: How much lies between the outer quantiles.
        """
        return summarize(self.get_samples(group_by_chain=True), prob=prob)

    def to_arviz(self, **options: Any) -> Any:
        """The draws, with what is known of them, as an `arviz.InferenceData`; options as of `infer.to_arviz`."""
        names = {"accept_prob": "acceptance_rate", "is_divergent": "diverging", "num_steps": "n_steps"}
        stats = {names.get(name, name): value for name, value in self.get_extra_fields().items()}
        stats = {"lp" if name == "log_density" else name: value for name, value in stats.items()}
        own: dict[str, Any] = {"model": self.kernel.model, "args": self._args, "kwargs": self._kwargs}
        own |= {"sample_stats": stats, "num_chains": self._drawn().draws["position"].shape[0]}
        return to_arviz(self.get_samples(), **(own | options))

    def _target(self, args: tuple[Any, ...], kwargs: dict[str, Any], seed: int) -> tuple[Target, Tensor]:
        """What is drawn from, and where the chains start."""
        start = Key(seed).fold_in(_START)
        if self.kernel.model is None:
            if args or kwargs:
                raise TypeError("MCMC.run: a kernel of a log_density takes no arguments")
            assert self.kernel.log_density is not None
            if not isinstance(self.initial_values, Tensor):
                raise ValueError(
                    "MCMC: a kernel of a log_density needs initial_values, a tensor [num_chains, dim], which say how "
                    "many numbers a point has"
                )
            point = self.initial_values.detach().clone()
            if not point.is_floating_point():
                point = point.to(torch.get_default_dtype())
            target = LogDensity(self.kernel.log_density, point.shape[1])
            self._check_start(target, point)
            return target, point
        potential = self.kernel.potential(args, kwargs, start)
        self.potential = potential
        if self.initial_values == "pathfinder":
            finder = Pathfinder(self.kernel.model, init=self.kernel.start, seed=seed, progress=False)
            point = finder.run(*args, **kwargs).unconstrained[: self.num_chains]
            point = point[torch.arange(self.num_chains) % len(point)]
        elif isinstance(self.initial_values, Mapping):
            values = {name: torch.as_tensor(value) for name, value in self.initial_values.items()}
            self._check_chains({name: len(value) if value.dim() else None for name, value in values.items()})
            point = potential.unconstrain(values).to(potential.dtype)
            self._check_start(potential, point)
        elif isinstance(self.initial_values, Tensor):
            if self.initial_values.shape[1] != potential.dim:
                raise ValueError(
                    f"MCMC: a point of this model has {potential.dim} numbers, but initial_values has shape "
                    f"{tuple(self.initial_values.shape)}"
                )
            point = self.initial_values.detach().to(potential.dtype)
            self._check_start(potential, point)
        else:
            point = potential.initial_points(self.num_chains, init=self.kernel.start, source=start)
        return potential, point

    def _engine(self, target: Target, keys: Key, point: Tensor) -> Engine:
        """What makes the transitions."""
        worth = self.num_warmup + self.num_samples * self.thin >= _WORTH_COMPILING
        compiles = self.compile is True or (self.compile == "auto" and worth and can_compile())
        if compiles:
            on_cpu = point.device.type == "cpu"
            try:
                if isinstance(self.kernel, HamiltonianKernel) and on_cpu:
                    return NativeTrajectories(self.kernel, target, keys, point)
                if isinstance(target, MixedPotential) and target.dim and on_cpu:
                    assert isinstance(self.kernel, Gibbs)
                    if isinstance(self.kernel.inner, HamiltonianKernel):
                        return CompiledGibbs(self.kernel, target, keys, point)
                return Stepping(self.kernel, target, keys, point, compile=self.compile)
            except CaptureError as error:
                if self.compile is True:
                    raise
                warnings.warn(f"MCMC: {error}. This run goes on uncompiled.", stacklevel=3)
        return Stepping(self.kernel, target, keys, point, compile=False)

    def _run_phases(
        self,
        engine: Engine,
        adaptation: Adaptation,
        state: Any,
        made: dict[str, int],
        save: Callable[[Any], None],
        shows: bool,
    ) -> None:
        """Go on to the end from where `made` transitions of the phases have led."""
        whole = self.num_warmup + self.num_samples * self.thin
        divergences = 0
        with Progress("MCMC", total=whole, enabled=shows) as progress:
            phase, began = "warm-up", time.perf_counter()

            def report(advance: float, known: Mapping[str, Tensor]) -> None:
                nonlocal divergences
                divergences += int(known["is_divergent"].sum()) if "is_divergent" in known else 0
                names = {"step_size": "step", "accept_prob": "acc"}
                means = {names[n]: _Mean(known[n]) for n in names if n in known and known[n].numel()}
                progress.update(advance, phase=phase, **means, div=divergences)

            if sum(made.values()):
                progress.update(sum(made.values()))
            while made["warmup"] < self.num_warmup:
                number = self._block_length(state, self.num_warmup - made["warmup"])
                state, block = engine.warm_up(adaptation, state, made["warmup"], number, report)
                made["warmup"] += number
                if self.collect_warmup:
                    self._warmup.append(block)
                if made["warmup"] == self.num_warmup:
                    point = engine.point(adaptation.metric, state)
                    if adaptation.finish():
                        state = engine.moved(adaptation.metric, state, point)
                save(state)
            self.seconds["warmup"] = time.perf_counter() - began
            phase, divergences, began = "sampling", 0, time.perf_counter()
            while made["sample"] < self.num_samples * self.thin:
                number = self._block_length(state, self.num_samples * self.thin - made["sample"])
                first = self.num_warmup + made["sample"]
                state, block = engine.sample(adaptation, state, first, number, report)
                kept = slice((self.thin - 1 - made["sample"]) % self.thin, None, self.thin)
                if block.num_transitions < number:  # a Ctrl-C: what there is, is not where all chains are
                    if self.path is None:
                        self._draws.append(block.part(kept))
                    raise KeyboardInterrupt
                made["sample"] += number
                self._draws.append(block.part(kept))
                save(state)
                if engine.interrupted:
                    raise KeyboardInterrupt
            self.seconds["sampling"] = time.perf_counter() - began

    def _block_length(self, state: Any, left: int) -> int:
        numbers = max(1, self.kernel.position(state).numel())
        longest = max(self.thin, _MOST_NUMBERS // numbers)
        return min(left, longest if self.path is None else min(longest, _BETWEEN_SAVINGS * self.thin))

    def _options(self) -> dict[str, Any]:
        """What must be the same for a run to go on; it may be made longer."""
        options = {n: v for n, v in vars(self.kernel).items() if isinstance(v, bool | int | float | str | None)}
        own = {"num_warmup": self.num_warmup, "num_chains": self.num_chains, "thin": self.thin}
        return {"kernel": type(self.kernel).__name__, **options, **own}

    def _values(self, draws: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Draws on the model's own space, by site name."""
        extra = {name: value for name, value in draws.items() if name != "position"}
        if self.potential is None:
            return {"position": draws["position"], **extra}
        return {**self.kernel.values(self.potential, draws["position"], extra)}

    def _warn(self, num_numbers: int) -> None:
        """Say what is wrong with the draws, of so many numbers at each transition, and what to do."""
        if self._draws.num_transitions < _ENOUGH_TO_JUDGE:
            return
        if self.path is not None and self._draws.num_transitions * num_numbers > _MOST_NUMBERS:
            warnings.warn(
                "MCMC: the draws are too many to be looked at without a request, since they are on disk so that memory "
                "stays bounded: see summary()",
                stacklevel=3,
            )
            return
        info = self.get_extra_fields(group_by_chain=True)
        for sentence in advice(
            self.get_samples(group_by_chain=True),
            divergences=info.get("is_divergent"),
            tree_depths=info.get("tree_depth") if isinstance(self.kernel, NUTS) else None,
            max_tree_depth=self.kernel.max_tree_depth if isinstance(self.kernel, NUTS) else None,
            energies=info.get("energy"),
        ):
            warnings.warn(f"MCMC: {sentence}", stacklevel=3)

    def _drawn(self) -> Block:
        if self._draws.num_transitions == 0:
            raise RuntimeError("MCMC: nothing has been drawn yet; call run first")
        return self._draws.whole() if self._whole is None else self._whole

    def _check_initial_values(self) -> None:
        values = self.initial_values
        if isinstance(values, Tensor):
            if values.dim() != 2:
                raise ValueError(
                    f"MCMC: initial_values must have shape [num_chains, dim], but has {tuple(values.shape)}"
                )
            self._check_chains({"initial_values": values.shape[0]})
        elif isinstance(values, str):
            if values != "pathfinder":
                raise ValueError(f"MCMC: initial_values must be tensors or 'pathfinder', not {values!r}")
        elif values is not None and not isinstance(values, Mapping):
            raise TypeError(
                f"MCMC: initial_values must be a mapping from site names to tensors, or a tensor, not a "
                f"{type(values).__name__}"
            )

    def _check_chains(self, lengths: Mapping[str, int | None]) -> None:
        for name, length in lengths.items():
            if length != self.num_chains:
                of = "a single number" if length is None else f"values for {length}"
                raise ValueError(
                    f"MCMC: there are {self.num_chains} chains, but the initial value of {name!r} is {of}; its first "
                    "dimension is the chain"
                )

    def _check_start(self, target: Potential | LogDensity, point: Tensor) -> None:
        value, gradient = target.value_and_grad(point)
        bad = ~(value.isfinite() & gradient.isfinite().all(-1))
        if bool(bad.any()):
            chains = bad.nonzero().flatten().tolist()
            failure = target.failure(point[chains[0]])
            raise ValueError(
                f"MCMC: at the initial values of chains {chains} the log density is {value[bad].tolist()}, or its "
                "gradient is not finite" + (f": {failure}" if failure else "")
            )


class _Mean:
    """The mean of a tensor, computed when a progress line is drawn."""

    def __init__(self, values: Tensor) -> None:
        self._values = values

    def __float__(self) -> float:
        return float(self._values.double().mean())
