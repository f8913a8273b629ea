"""Stochastic variational inference: the driver that fits a guide to a model."""

import math
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sized
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from posterity.infer.arguments import as_call
from posterity.infer.capture import CaptureError, can_compile
from posterity.infer.elbo import ELBO
from posterity.infer.objective import Objective
from posterity.infer.optimizers import rules
from posterity.infer.simulation import Pair, Program
from posterity.infer.svi_steps import SVISteps
from posterity.runtime import Progress

# From how many steps on compiling pays: it takes seconds, and saves about two milliseconds a step.
_WORTH_COMPILING = 4000
# How often the losses are looked at, which on an accelerator waits for them; so many steps are taken at once.
_STEPS_BETWEEN_LOOKS = 50


class SVIResult(NamedTuple):
    """What a run of `SVI` gives.

    Attributes:
        losses: The negative bound at each step of the run in nats, `[num_steps]`.
        params: What was trained, by name; `param` values on their own spaces.
        converged: Whether the run ended because the loss had stopped falling.
    """

    losses: Tensor
    params: dict[str, Tensor]
    converged: bool


class SVI:
    """Fit a guide to a model's posterior by gradient steps on a bound.

    Parameters stay where they are: a guide's or a network's in that module, those of `param` statements in this
    object (`params`). The same seed gives the same steps.

    Args:
        model: A program.
        guide: A program over the model's latent variables: one of `posterity.infer`'s automatic guides, a function,
            or a `torch.nn.Module`.
        optimizer: A class of `torch.optim`, or a function that makes an optimizer from parameters.
        optimizer_args: The class's arguments, such as `{"lr": 0.01}`.
        loss: The objective. Default: `ELBO()`.
        seed: A whole number; None takes one from torch's global generator.
        progress: Whether `run` shows a live line.
        compile: Whether whole steps (draw, objective, gradient, optimizer) run as one compiled graph; for Adam, AdamW
            and SGD. `"auto"`: for runs of at least 4000 steps, where a compiler is installed; a run whose programs
            cannot be captured warns, and goes on uncompiled. A graph holds for arguments of the same shapes and the
            same other values (a number that changes at each step had better be a tensor), and for modules in the same
            mode. Whatever else the programs read, closures and attributes, stays as it was at the capture; only
            tensors may be changed, in place.
        clip_norm: The greatest norm that all gradients together may have.
        clip_value: The greatest absolute value of a gradient's entries.
        scheduler: Makes a learning-rate schedule from the optimizer; it steps after each step.
        patience: Over how many steps the mean loss must go on falling; a run that does not ends as converged. None: it
            never ends early.
        checkpoint: A file to which `run` saves its state from time to time, and when it is interrupted.
        checkpoint_every: Steps between two such savings.

    Raises:
        TypeError: An argument is not of its kind.
        ValueError: A number is out of range; at the first step, guide and model do not fit each other, or there is
            nothing to train.

    Example:
        >>> import posterity as pt
        >>> def model(x):
        ...     z = pt.sample("z", pt.distributions.Normal(0.0, 1.0))
        ...     with pt.plate("data", len(x)):
        ...         pt.sample("x", pt.distributions.Normal(z, 1.0), obs=x)
        >>> def guide(x):
        ...     loc = pt.param("loc", 0.0)
        ...     scale = pt.param("scale", 1.0, constraint=torch.distributions.constraints.positive)
        ...     pt.sample("z", pt.distributions.Normal(loc, scale))
        >>> svi = SVI(model, guide, torch.optim.Adam, {"lr": 0.05}, seed=0, progress=False)
        >>> result = svi.run(300, torch.full((9,), 2.0))
        >>> bool((result.params["loc"] - 1.8).abs() < 0.1)
        True
    """

    def __init__(
        self,
        model: Program,
        guide: Program,
        optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_args: Mapping[str, Any] | None = None,
        *,
        loss: Objective | None = None,
        seed: int | None = None,
        progress: bool = True,
        compile: bool | Literal["auto"] = "auto",  # noqa: A002  # the name that drivers share
        clip_norm: float | None = None,
        clip_value: float | None = None,
        scheduler: Callable[[torch.optim.Optimizer], Any] | None = None,
        patience: int | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int = 1000,
    ) -> None:
        for name, program in (("model", model), ("guide", guide), ("optimizer", optimizer)):
            if not callable(program):
                raise TypeError(f"SVI: {name} must be callable, not a {type(program).__name__}")
        if isinstance(optimizer, torch.optim.Optimizer):
            raise TypeError("SVI: give the optimizer's class and its arguments; SVI knows the parameters")
        if loss is not None and not isinstance(loss, Objective):
            raise TypeError(f"SVI: loss must be an objective such as ELBO(), not a {type(loss).__name__}")
        if compile not in (True, False, "auto"):
            raise ValueError(f"SVI: compile must be True, False or 'auto', not {compile!r}")
        for name, number in (("clip_norm", clip_norm), ("clip_value", clip_value), ("patience", patience)):
            if number is not None and not number > 0:
                raise ValueError(f"SVI: {name} must be positive, not {number}")
        if checkpoint_every < 1:
            raise ValueError(f"SVI: checkpoint_every must be at least 1, not {checkpoint_every}")
        self.model, self.guide = model, guide
        self.progress, self.compile = progress, compile
        self.patience = patience
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        self.checkpoint_every = checkpoint_every
        self._steps = SVISteps(
            ELBO() if loss is None else loss, model, guide, optimizer, optimizer_args or {}, scheduler,
            int(torch.randint(2**62, ())) if seed is None else seed, clip_norm, clip_value,
        )  # fmt: skip
        self._loaded: Mapping[str, Any] | None = None

    @property
    def objective(self) -> Objective:
        """The bound."""
        return self._steps.objective

    @property
    def clip_norm(self) -> float | None:
        """The greatest norm that all gradients together may have."""
        return self._steps.clip_norm

    @property
    def clip_value(self) -> float | None:
        """The greatest absolute value of a gradient's entries."""
        return self._steps.clip_value

    @property
    def optimizer(self) -> torch.optim.Optimizer | None:
        """The optimizer; None before the first step."""
        return self._steps.optimizer

    @property
    def scheduler(self) -> Any:
        """The learning-rate schedule; None before the first step, or where there is none."""
        return self._steps.scheduler

    @property
    def params(self) -> dict[str, Tensor]:
        """What is trained, by name, without gradients; `param` values on their own spaces."""
        return self._steps.parameters.values()

    @property
    def num_steps(self) -> int:
        """How many steps have been taken."""
        return len(self._steps.losses)

    def init(self, *args: Any, **kwargs: Any) -> None:
        """Run guide and model once, check them, and make parameters and optimizer; the first step does this itself.

        Args:
            *args: The model's arguments, which the guide gets too.
            **kwargs: Their keyword arguments.

        Raises:
            ValueError: Guide and model do not fit each other, there is nothing to train, or the loss is not finite.
        """
        self._begin(self._pair(args, kwargs))

    def step(self, *args: Any, **kwargs: Any) -> float:
        """Take one gradient step.

        Args:
            *args: The model's arguments, which the guide gets too.
            **kwargs: Their keyword arguments.

        Returns:
            The loss before the step, the negative bound in nats.

        Raises:
            FloatingPointError: The loss, or a gradient, is not finite; the parameters stay as they were.
        """
        pair = self._ready(args, kwargs)
        value = float(self._step(pair, compiled=self.compile is True))
        if not math.isfinite(value):
            self._steps.refuse_bad_step(pair)
        return value

    @torch.no_grad()
    def evaluate(self, *args: Any, **kwargs: Any) -> float:
        """An estimate of the loss, without a step.

        Args:
            *args: The model's arguments, which the guide gets too.
            **kwargs: Their keyword arguments.
        """
        pair = self._ready(args, kwargs)
        return float(self._steps.estimate(pair, self._steps.draw_noise(pair)).loss)

    def run(self, num_steps: int, *args: Any, **kwargs: Any) -> SVIResult:
        """Take steps, on the same arguments each time.

        Args:
            num_steps: How many.
            *args: The model's arguments, which the guide gets too.
            **kwargs: Their keyword arguments.

        Returns:
            The losses and what was trained.

        Raises:
            ValueError: `num_steps` is no whole number of at least 1; in eager steps, a site's log density is NaN.
            FloatingPointError: The loss or a gradient is not finite; the site is named where it is a log density. The
                parameters are those before that step.
            KeyboardInterrupt: After a Ctrl-C; the steps taken stay, and are saved to `checkpoint`.
        """
        if isinstance(num_steps, bool) or not isinstance(num_steps, int) or num_steps < 1:
            raise ValueError(f"SVI.run: num_steps must be a whole number of at least 1, not {num_steps!r}")
        return self._run([(args, kwargs, num_steps)], num_steps)

    def run_epochs(self, num_epochs: int, batches: Iterable[Any]) -> SVIResult:
        """Take a step on each of the batches, several times over.

        Args:
            num_epochs: How often to go through them.
            batches: A `DataLoader`, or whatever can be gone through again: tuples (or lists) of the model's
                arguments, mappings of its keyword arguments, or single arguments.

        Returns:
            The losses and what was trained.

        Raises:
            ValueError: There are no batches, or `num_epochs` is no whole number of at least 1.
            FloatingPointError: As in `run`.
        """
        if isinstance(num_epochs, bool) or not isinstance(num_epochs, int) or num_epochs < 1:
            raise ValueError(f"SVI.run_epochs: num_epochs must be a whole number of at least 1, not {num_epochs!r}")
        length = len(batches) if isinstance(batches, Sized) else None
        if length == 0:
            raise ValueError("SVI.run_epochs: there are no batches")
        calls = ((*as_call(batch), 1) for _ in range(num_epochs) for batch in batches)
        result = self._run(calls, None if length is None else num_epochs * length)
        if not len(result.losses):
            raise ValueError("SVI.run_epochs: there are no batches")
        return result

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, and the losses so far."""
        if self.optimizer is None:
            raise RuntimeError("SVI: there is no state before the first step")
        return self._steps.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state: its next steps are those that would have been taken.

        Args:
            state: What `state_dict` gave, of an `SVI` of the same programs and optimizer.
        """
        if self.optimizer is None:
            self._loaded = dict(state)  # for when the parameters are there
        else:
            self._steps.load_state_dict(state)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the state to a file, whole or not at all."""
        target = Path(path)
        part = target.with_name(target.name + ".part")
        torch.save(self.state_dict(), part)
        part.replace(target)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Go on from a file that `save`, or `checkpoint`, wrote."""
        self.load_state_dict(torch.load(path, weights_only=True))

    def _run(self, calls: Iterable[tuple[tuple[Any, ...], dict[str, Any], int]], total: int | None) -> SVIResult:
        """Take steps: some number of them on each of several arguments."""
        begin, looked, converged = None, 0, False
        with Progress("SVI", total=total, enabled=self.progress) as progress:
            try:
                for args, kwargs, number in calls:
                    pair = self._ready(args, kwargs)
                    if begin is None:
                        begin = looked = self.num_steps
                        compiled = self._shall_compile(total)
                    end = self.num_steps + number
                    while self.num_steps < end and not converged:
                        stop = min(end, looked + _STEPS_BETWEEN_LOOKS)
                        if self.checkpoint is not None:
                            stop = min(
                                stop, self.num_steps + self.checkpoint_every - self.num_steps % self.checkpoint_every
                            )
                        losses = self._take(pair, compiled, stop - self.num_steps)
                        progress.update(len(losses), loss=losses[-1])
                        if self.num_steps - looked >= _STEPS_BETWEEN_LOOKS:
                            self._steps.look(pair, looked)
                            looked = self.num_steps
                            converged = self._has_converged(begin)
                        if self.checkpoint is not None and self.num_steps % self.checkpoint_every == 0:
                            self.save(self.checkpoint)
                    if converged:
                        break
                if begin is not None:
                    self._steps.look(pair, looked)
            except KeyboardInterrupt:
                if self.checkpoint is not None and self.optimizer is not None:
                    self.save(self.checkpoint)
                raise
        return SVIResult(self._steps.losses.since(begin or 0), self.params, converged)

    def _take(self, pair: Pair, compiled: bool, limit: int) -> Tensor:
        """Take steps on the same arguments, all of them at once where that is possible; their losses."""
        losses = self._steps.take_many(pair, limit) if compiled else None
        return self._step(pair, compiled) if losses is None else losses

    def _step(self, pair: Pair, compiled: bool) -> Tensor:
        pools = self._steps.draw_noise(pair)
        if not compiled or self.compile is False:
            return self._steps.take_eagerly(pair, pools)
        try:
            return self._steps.take_compiled(pair, pools)
        except CaptureError as error:
            if self.compile != "auto":
                raise
            warnings.warn(f"SVI: {error}. This run goes on uncompiled.", stacklevel=5)
            self.compile = False
            return self._steps.take_eagerly(pair, pools)

    def _ready(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Pair:
        pair = self._pair(args, kwargs)
        if self.optimizer is None:
            self._begin(pair)
        return pair

    def _begin(self, pair: Pair) -> None:
        self._steps.begin(pair)
        if self._loaded is not None:
            self._steps.load_state_dict(self._loaded)
            self._loaded = None

    def _pair(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Pair:
        return Pair(self.model, self.guide, args, kwargs)

    def _shall_compile(self, num_steps: int | None) -> bool:
        if self.compile != "auto":
            return bool(self.compile)
        return (
            num_steps is not None
            and num_steps >= _WORTH_COMPILING
            and self.optimizer is not None
            and rules(self.optimizer) is not None
            and can_compile()
        )

    def _has_converged(self, begin: int) -> bool:
        return self.patience is not None and self._steps.losses.have_stopped_falling(self.patience, begin)
