"""The driver of stochastic-gradient Markov chain Monte Carlo: many chains at once, over minibatches."""

import bisect
import itertools
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from posterity.infer.arguments import as_call
from posterity.infer.arviz import to_arviz
from posterity.infer.capture import can_compile
from posterity.infer.diagnostics import Summary, summarize
from posterity.infer.mcmc.block import Block
from posterity.infer.mcmc.draw_store import Directory, DiskStore, DrawStore, fingerprint
from posterity.infer.run_at_point import Call
from posterity.infer.sources import seeded_generator
from posterity.infer.stochastic_gradient.draw_buffer import DrawBuffer
from posterity.infer.stochastic_gradient.kernel import StochasticGradientKernel
from posterity.infer.stochastic_gradient.random_blocks import RandomBlocks
from posterity.infer.stochastic_gradient.steps import NotFiniteError, Steps
from posterity.infer.stochastic_gradient.stochastic_potential import StochasticPotential
from posterity.kernels import Key
from posterity.runtime import Progress

# From how many steps on compiling pays, which takes ten seconds and saves about a millisecond a step.
_WORTH_COMPILING = 8000
# How often the live line gets new figures; steps between two savings; draws that wait to be handed on together.
_STEPS_BETWEEN_FIGURES, _BETWEEN_SAVINGS, _WAITING = 50, 2000, 32

_Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class SGMCMC:
    """Draw from a model's posterior by steps that each see a minibatch alone.

    Steps are never rejected, so the draws have a bias that grows with the step size and with the noise of the
    minibatches; see the kernels. Step t of chain c takes the same random numbers whatever the number of chains.
    Plates with a `subsample_size` choose a subsample for each chain; batches that the caller gives are seen by all
    chains together, whose noise is then not independent.

    Args:
        kernel: `SGLD`, `PSGLD`, `SGHMC`, `SGNHT` or `CyclicalSGLD`, over a model.
        num_warmup: How many steps to take before the first draw is kept.
        num_samples: How many draws to keep of each chain.
        num_chains: How many chains to run.
        thin: Keep the position after each so many steps. Default: 1 in `run`; in `run_epochs`, as many as spread the
            draws over the epochs.
        initial_values: Where the chains start, by site name `[num_chains, *shape]`, all latent variables. Default: the
            kernel's `init`.
        seed: A whole number; None takes one from torch's global generator.
        progress: Whether to show a live line.
        compile: Whether gradient and kernel run as one compiled graph. `"auto"`: for runs of at least 8000 steps, where
            a compiler is installed; a model that cannot be captured is warned about, and goes on uncompiled. What
            else the model reads, closures and attributes, stays as it was at the capture.
        directory: A folder for draws and state, written as the run goes on, so that memory stays bounded and a run that
            was stopped, however, goes on to the same draws when it is started again. A folder of another run, by its
            options, its starts or the log density there, is refused. None: draws stay in memory.

    Raises:
        TypeError: An argument is not of its kind.
        ValueError: A number is out of range.

    Example:
        >>> import posterity as pt
        >>> from posterity.infer.stochastic_gradient import SGLD, SGMCMC
        >>> def model(x):
        ...     loc = pt.sample("loc", pt.distributions.Normal(0.0, 10.0))
        ...     with pt.plate("data", len(x), subsample_size=10) as indices:
        ...         pt.sample("x", pt.distributions.Normal(loc, 1.0), obs=x[indices])
        >>> kernel = SGLD(model, step_size=1e-3)
        >>> mcmc = SGMCMC(kernel, num_warmup=50, num_samples=100, num_chains=4, seed=0, progress=False)
        >>> mcmc.run(torch.linspace(1, 3, 100))
        >>> bool((mcmc.get_samples()["loc"].mean() - 2.0).abs() < 0.1)
        True
    """

    def __init__(
        self,
        kernel: StochasticGradientKernel[Any],
        *,
        num_warmup: int,
        num_samples: int,
        num_chains: int = 1,
        thin: int | None = None,
        initial_values: Mapping[str, Tensor] | None = None,
        seed: int | None = None,
        progress: bool = True,
        compile: bool | Literal["auto"] = "auto",  # noqa: A002  # the name that drivers share
        directory: str | os.PathLike[str] | None = None,
    ) -> None:
        if not isinstance(kernel, StochasticGradientKernel):
            raise TypeError(f"SGMCMC: kernel must be one such as SGLD(model, step_size=...), not {kernel!r}")
        if kernel.model is None:
            raise TypeError(f"SGMCMC: the kernel has no model: {type(kernel).__name__}(model, ...)")
        _check_count("num_warmup", num_warmup, 0)
        _check_count("num_samples", num_samples, 1)
        _check_count("num_chains", num_chains, 1)
        if thin is not None:
            _check_count("thin", thin, 1)
        if compile not in (True, False, "auto"):
            raise ValueError(f"SGMCMC: compile must be True, False or 'auto', not {compile!r}")
        for name, value in (initial_values or {}).items():
            if value.shape[:1] != (num_chains,):
                raise ValueError(
                    f"SGMCMC: initial_values of site {name!r} have shape {tuple(value.shape)}, but there are "
                    f"{num_chains} chains: the first dimension must be {num_chains}"
                )
        self.kernel, self.num_warmup, self.num_samples, self.num_chains = kernel, num_warmup, num_samples, num_chains
        self.thin, self.initial_values, self.progress, self.compile = thin, initial_values, progress, compile
        self.seed = int(torch.randint(2**62, ())) if seed is None else seed
        self._given_seed = seed
        self.path = None if directory is None else Path(directory)
        self.num_steps = 0
        self.potential: StochasticPotential | None = None
        self._state: Any = None
        self._draws: DrawBuffer | None = None
        self._loaded: Mapping[str, Any] | None = None
        self._directory: Directory | None = None
        self._number = 0
        self._start: dict[str, Tensor] = {}
        self._options: dict[str, Any] = {}

    def run(self, *args: Any, **kwargs: Any) -> None:
        """Take steps until the draws are there, on the same arguments each time.

        A run that was interrupted, and one whose state has been loaded, goes on; one that ended starts afresh.

        Args:
            *args: The model's arguments.
            **kwargs: Their keyword arguments.

        Raises:
            ValueError: The model is none that `StochasticPotential` takes; or the directory holds another run.
            FloatingPointError: A gradient is not finite; the chains are those before that step.
        """
        thin = self.thin or 1
        candidates = (t for t in itertools.count(self.num_warmup) if self.kernel.keeps(t))
        kept = list(itertools.islice(candidates, thin - 1, thin * self.num_samples, thin))
        self._begin(args, kwargs, kept, thin)
        self._take_steps(itertools.repeat((args, kwargs)), kept, repeats=True)

    def run_epochs(self, num_epochs: int, batches: Iterable[Any]) -> None:
        """Take a step on each of the batches, several times over; afterwards as `run`.

        The model has to say what a batch stands for: `pt.plate("data", num_data, subsample_size=len(batch))`. A run
        that goes on passes over the batches that it has seen: give the same ones in the same order.

        Args:
            num_epochs: How often to go through them.
            batches: A `DataLoader`, or whatever can be gone through again: tuples (or lists) of the model's
                arguments, mappings of its keyword arguments, or single arguments.

        Raises:
            ValueError: There are no batches, or they are an iterator; `num_epochs` is no whole number of at least 1; or
                there are too few steps for the draws.
            FloatingPointError: As in `run`.
        """
        _check_count("num_epochs", num_epochs, 1, "SGMCMC.run_epochs")
        if iter(batches) is batches:
            raise ValueError(
                "SGMCMC.run_epochs: batches is an iterator, which ends for good after one epoch: give what can be gone "
                "through again, such as a list or a DataLoader"
            )
        first = next((as_call(batch) for batch in batches), None)
        if first is None:
            raise ValueError("SGMCMC.run_epochs: there are no batches")
        per_epoch = len(batches) if isinstance(batches, Sized) else sum(1 for _ in batches)
        total = num_epochs * per_epoch
        candidates = [t for t in range(self.num_warmup, total) if self.kernel.keeps(t)]
        thin = self.thin or max(1, len(candidates) // self.num_samples)
        kept = candidates[thin - 1 :: thin][: self.num_samples]
        if len(kept) < self.num_samples:
            raise ValueError(
                f"SGMCMC.run_epochs: {num_epochs} epochs of {per_epoch} batches are {total} steps, which after "
                f"{self.num_warmup} of warm-up give {len(kept)} of the {self.num_samples} draws (thin={thin}): make "
                "num_epochs greater, or num_warmup, num_samples or thin less"
            )
        self._begin(*first, kept, thin)
        assert self.potential is not None
        if per_epoch > 1 and not self.potential.scales_likelihood(*first):
            warnings.warn(
                "SGMCMC.run_epochs: nothing scales the likelihood of a batch up to all data, so that the draws are "
                'from the posterior of one batch: declare pt.plate("data", num_data, subsample_size=len(batch)) '
                "around the observed sites",
                stacklevel=2,
            )
        calls = (as_call(batch) for _ in range(num_epochs) for batch in batches)
        self._take_steps(itertools.islice(calls, self.num_steps, kept[-1] + 1), kept)

    def get_samples(self, group_by_chain: bool = False) -> dict[str, Tensor]:
        """The draws so far, in constrained space.

        Args:
            group_by_chain: Whether chains keep a dimension of their own.

        Returns:
            By site name `[num_chains * num_samples, *shape]`, one chain after the other, or
            `[num_chains, num_samples, *shape]`.

        Raises:
            RuntimeError: There was no run.
        """
        potential, draws = self._ran()
        with torch.no_grad():
            return potential.constrain(_shaped(draws.whole().draws["position"], group_by_chain))

    def get_extra_fields(self, group_by_chain: bool = False) -> dict[str, Tensor]:
        """What is known of the steps after which draws were kept, by name: step sizes, norms of gradients and the like.

        Args:
            group_by_chain: As for `get_samples`.

        Raises:
            RuntimeError: There was no run.
        """
        info = self._ran()[1].whole().info
        return {name: _shaped(rows, group_by_chain) for name, rows in info.items()}

    def summary(self, prob: float = 0.9) -> Summary:
        """Mean, standard deviation, quantiles, Monte Carlo errors, effective sample sizes and R-hat of each parameter.

        They are about the law that the chains draw from, and know nothing of its bias; with batches that all chains see
        together, R-hat and the errors are too small.

        Args:
            prob: How much lies between the outer quantiles.
        """
        return summarize(self.get_samples(group_by_chain=True), prob=prob)

    def to_arviz(self, **options: Any) -> Any:
        """The draws, with what is known of them, as an `arviz.InferenceData`; options as of `infer.to_arviz`.

        The data and their log likelihood are left out, as the model sees a part of them at a time: options `model`,
        `args` and `kwargs` say how it is called on all.
        """
        own: dict[str, Any] = {"sample_stats": self.get_extra_fields(), "num_chains": self.num_chains}
        return to_arviz(self.get_samples(), **(own | options))

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, and the draws so far.

        Raises:
            RuntimeError: There was no run.
        """
        whole = self._ran()[1].whole()
        return {
            "kernel": type(self.kernel).__name__,
            "seed": self.seed,
            "num_steps": self.num_steps,
            "state": {name: value.clone() for name, value in self._state._asdict().items()},
            "draws": whole.draws["position"].clone(),
            "fields": {name: value.clone() for name, value in whole.info.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next run go on from a state: its draws are those of a run that was never interrupted.

        Args:
            state: What `state_dict` gave, for the same kernel, `num_warmup`, `thin` and number of chains.

        Raises:
            ValueError: It is the state of another kernel, or of another number of chains.
        """
        for what, theirs, ours in (
            ("kernel", state["kernel"], type(self.kernel).__name__),
            ("number of chains", len(state["draws"]), self.num_chains),
        ):
            if theirs != ours:
                raise ValueError(f"SGMCMC: the {what} of the state is {theirs}, but here it is {ours}")
        self._loaded = dict(state)

    def _begin(self, args: tuple[Any, ...], kwargs: dict[str, Any], kept: Sequence[int], thin: int) -> None:
        """Find the chains' places: where they stopped, or new ones."""
        self._options = self._fixed(thin)
        self._directory = None if self.path is None else Directory(self.path, driver="SGMCMC")
        interrupted = self._draws is not None and self.num_steps > 0 and len(self._draws) < self._number
        saved = None
        if self._directory is not None and not interrupted and self._loaded is None:
            saved = self._directory.saved_run(self._options, self._given_seed)
        known = self._loaded if saved is None else saved
        self.seed = self.seed if known is None else known["seed"]
        source = Key(self.seed).at(1)
        assert self.kernel.model is not None
        with seeded_generator(source):
            potential = StochasticPotential(self.kernel.model, args, kwargs, init=self.kernel.start, source=source)
        if self._directory is not None or (known is None and not interrupted):
            first = self._first_positions(potential, source)
        if self._directory is not None:
            self._start = self._started(potential, first, args, kwargs)
            self._directory.check_start(saved, self._start)
        if known is not None:
            state = {name: value.to(potential.device) for name, value in known["state"].items()}
            position, self.num_steps = state["position"], known["num_steps"]
        elif interrupted:
            position = self._state.position
        else:
            position, self.num_steps = first, 0
        if position.shape != (self.num_chains, potential.dim):
            raise ValueError(
                f"SGMCMC: the chains' positions have shape {tuple(position.shape)}, but {self.num_chains} chains of "
                f"this model have {(self.num_chains, potential.dim)}"
            )
        if known is not None or not interrupted:
            self._state = self.kernel.init(position)
            store = DrawStore() if self._directory is None else DiskStore(self._directory, "sample", 0)
            if saved is not None and self._directory is not None:
                store = DiskStore(self._directory, "sample", saved["blocks"])
            self._draws = DrawBuffer(store, position)
        assert self._draws is not None
        if known is not None:
            self._state = type(self._state)(**state)
        if self._loaded is not None:
            count = self._loaded["draws"].shape[1]
            if count > self.num_samples:
                raise ValueError(
                    f"there are {count} draws of each chain already, more than num_samples, {self.num_samples}"
                )
            if count:
                self._draws.store.append(Block({"position": self._loaded["draws"]}, dict(self._loaded["fields"])))
        expected = sum(step < self.num_steps for step in kept)
        if len(self._draws) != expected:
            raise ValueError(
                f"SGMCMC: the state has {len(self._draws)} draws of each chain after {self.num_steps} steps, where "
                f"these settings would have kept {expected}: num_warmup, thin or num_samples have changed"
            )
        self.potential, self._loaded, self._number = potential, None, self.num_samples

    def _fixed(self, thin: int) -> dict[str, Any]:
        """What must be the same for a run to go on; it may be made longer."""
        options = {n: v for n, v in vars(self.kernel).items() if isinstance(v, bool | int | float | str | None)}
        schedules = [(self.kernel.step_size(t), self.kernel.temperature(t)) for t in (0, 1, 10, 100, 1000)]
        own = {"num_warmup": self.num_warmup, "num_chains": self.num_chains, "thin": thin, "schedules": schedules}
        return {"kernel": type(self.kernel).__name__, **options, **own}

    def _started(
        self, potential: StochasticPotential, first: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> dict[str, Tensor]:
        """Where the chains start, and what the log density is estimated to be there."""
        blocks = RandomBlocks(self.kernel, potential, self.num_chains, self.seed, 1)
        call = Call(args, kwargs, blocks.subsamples(0, potential.plates(args, kwargs)))
        with torch.no_grad():
            return {"point": first, "log_density": potential.estimate(first, call)}

    def _first_positions(self, potential: StochasticPotential, source: Key) -> Tensor:
        if self.initial_values is not None:
            return potential.unconstrain(self.initial_values).to(potential.dtype)
        return potential.initial_points(self.num_chains, init=self.kernel.start, source=source)

    def _take_steps(self, calls: Iterable[_Arguments], kept: Sequence[int], *, repeats: bool = False) -> None:
        """Take the steps that are left, on one call after the other; `repeats`: it is the same one for all."""
        potential, draws = self._ran()
        total = kept[-1] + 1
        compiled = (
            total - self.num_steps >= _WORTH_COMPILING and can_compile() if self.compile == "auto" else self.compile
        )
        blocks = RandomBlocks(self.kernel, potential, self.num_chains, self.seed, total)
        steps = Steps(self.kernel, potential, blocks, compiled, or_eager=self.compile == "auto")
        saved = shown = self.num_steps
        try:
            with Progress(
                type(self.kernel).__name__, total=max(1, total - self.num_steps), enabled=self.progress
            ) as line:
                for args, kwargs in calls:
                    if self.num_steps == total:
                        break
                    most = total - self.num_steps if repeats else 1
                    self._state, positions, known = steps.take(self.num_steps, most, self._state, args, kwargs)
                    self._keep(draws, kept, positions, known)
                    self.num_steps += len(positions)
                    figures: dict[str, Any] = {}
                    if self.num_steps - shown >= _STEPS_BETWEEN_FIGURES or shown == saved:
                        figures = {n: known[n][-1].mean() for n in ("step_size", "gradient_norm")}
                        shown = self.num_steps
                    line.update(len(positions), **figures)
                    if self._directory is not None and self.num_steps - saved >= _BETWEEN_SAVINGS:
                        steps.check(self._state)
                        self._save(draws)
                        saved = self.num_steps
                    elif self._directory is None and draws.num_waiting >= _WAITING and steps.is_checked:
                        draws.flush()
                steps.check(self._state)
                self._save(draws)
        except NotFiniteError as bad:
            self._state, self.num_steps = bad.before, bad.step
            draws.shorten(sum(step < bad.step for step in kept))
            raise FloatingPointError(f"SGMCMC: {bad}") from None

    def _keep(self, draws: DrawBuffer, kept: Sequence[int], positions: Tensor, known: Mapping[str, Tensor]) -> None:
        """Keep those draws of the steps from `num_steps` on that are to be kept."""
        first, last = (bisect.bisect_left(kept, self.num_steps + after) for after in (0, len(positions)))
        if last - first == len(positions):
            draws.add(positions, known)
        elif first < last:
            rows = torch.tensor([step - self.num_steps for step in kept[first:last]], device=positions.device)
            draws.add(positions[rows], {name: values[rows] for name, values in known.items()})

    def _save(self, draws: DrawBuffer) -> None:
        """Hand the draws on; in a directory, with the state after them."""
        draws.flush()
        if self._directory is not None:
            options = fingerprint({**self._options, "seed": self.seed})
            own = {"fingerprint": options, "seed": self.seed, "start": self._start, "num_steps": self.num_steps}
            self._directory.save_state({**own, "blocks": draws.store.num_blocks, "state": self._state._asdict()})

    def _ran(self) -> tuple[StochasticPotential, DrawBuffer]:
        if self.potential is None or self._draws is None:
            raise RuntimeError("SGMCMC: there are no draws before a run")
        return self.potential, self._draws


def _shaped(rows: Tensor, group_by_chain: bool) -> Tensor:
    return rows if group_by_chain else rows.flatten(0, 1)


def _check_count(name: str, number: object, least: int, where: str = "SGMCMC") -> None:
    if isinstance(number, bool) or not isinstance(number, int) or number < least:
        raise ValueError(f"{where}: {name} must be a whole number of at least {least}, not {number!r}")
