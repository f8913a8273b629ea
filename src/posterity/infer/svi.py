"""Stochastic variational inference: the driver that fits a guide to a model."""

import math
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sized
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from posterity.infer.arguments import as_call, kind_of
from posterity.infer.capture import CaptureError, can_compile
from posterity.infer.compiled_steps import CompiledSteps
from posterity.infer.elbo import ELBO
from posterity.infer.objective import Estimate, Objective
from posterity.infer.optimizers import clipped, rules
from posterity.infer.parameters import Parameters
from posterity.infer.simulation import Pair, Program, check_sites
from posterity.infer.svi_graph import check_trained
from posterity.kernels import NoiseLayout, NoiseRecorder
from posterity.runtime import Progress

# From how many steps on compiling pays: it takes seconds, and saves about two milliseconds a step.
_WORTH_COMPILING = 4000
# How often the losses are looked at, which on an accelerator waits for them; so many steps are taken at once.
_STEPS_BETWEEN_LOOKS = 50
# How many random numbers are drawn ahead at most.
_NOISE_AHEAD = 2**18


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
        self.objective = ELBO() if loss is None else loss
        self.progress, self.compile = progress, compile
        self.clip_norm, self.clip_value = clip_norm, clip_value
        self.patience = patience
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        self.checkpoint_every = checkpoint_every
        # Of a step, or of several, each: `[num_steps]`.
        self._losses: list[Tensor] = []
        self._num_steps = 0
        self.optimizer: torch.optim.Optimizer | None = None
        self.scheduler: Any = None
        self._make_optimizer, self._optimizer_args = optimizer, dict(optimizer_args or {})
        self._make_scheduler = scheduler
        seed = int(torch.randint(2**62, ())) if seed is None else seed
        cpu = torch.device("cpu")
        self._generators = {cpu: torch.Generator(cpu).manual_seed(seed)}
        self._parameters = Parameters(iter((model, guide)))
        # By kind of arguments: a batch of another size takes other noise. And that of the last call.
        self._layouts: dict[Any, NoiseLayout] = {}
        self._last: tuple[Any, Any, NoiseLayout] | None = None
        self._state: dict[str, Tensor] = {}
        self._compiled = CompiledSteps(
            self.objective, self.model, self.guide, self._parameters, self.clip_norm, self.clip_value
        )
        self._loaded: dict[str, Any] | None = None

    @property
    def params(self) -> dict[str, Tensor]:
        """What is trained, by name, without gradients; `param` values on their own spaces."""
        return self._parameters.values()

    @property
    def num_steps(self) -> int:
        """How many steps have been taken."""
        return self._num_steps

    def init(self, *args: Any, **kwargs: Any) -> None:
        """Run guide and model once, check them, and make parameters and optimizer; the first step does this itself.

        Args:
            *args: The model's arguments, which the guide gets too.
            **kwargs: Their keyword arguments.

        Raises:
            ValueError: Guide and model do not fit each other, there is nothing to train, or the loss is not finite.
        """
        # Automatic guides make their parameters in the first run, and take random numbers only then.
        self._probe(args, kwargs)
        _, (model_trace, guide_trace) = self._probe(args, kwargs)
        check_sites(model_trace, guide_trace)
        self._parameters.discover(model_trace, guide_trace)
        trained = self._parameters.trained()
        if not trained:
            raise ValueError(
                "SVI: neither guide nor model has anything to train: use pt.param or an automatic guide, and pt.module "
                "for networks"
            )
        with torch.no_grad():
            estimate = self._estimate(args, kwargs, self._draw_noise(args, kwargs))
        self._state = {name: value.detach() for name, value in estimate.state.items()}
        self.optimizer = self._new_optimizer(list(trained.values()))
        self.scheduler = None if self._make_scheduler is None else self._make_scheduler(self.optimizer)
        if self._loaded is not None:
            self._restore(self._loaded)
            self._loaded = None

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
        self._ready(args, kwargs)
        loss = self._step(args, kwargs, compiled=self.compile is True)
        value = float(loss)
        if not math.isfinite(value):
            self._report_bad_step(args, kwargs)
        return value

    @torch.no_grad()
    def evaluate(self, *args: Any, **kwargs: Any) -> float:
        """An estimate of the loss, without a step.

        Args:
            *args: The model's arguments, which the guide gets too.
            **kwargs: Their keyword arguments.
        """
        self._ready(args, kwargs)
        return float(self._estimate(args, kwargs, self._draw_noise(args, kwargs)).loss)

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
        return {
            "parameters": {name: p.detach().clone() for name, p in self._parameters.trained().items()},
            "buffers": {name: b.detach().clone() for name, b in self._parameters.named_buffers()},
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "generators": {str(device): g.get_state() for device, g in self._generators.items()},
            "objective": dict(self._state),
            "losses": self._losses_from(0),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state: its next steps are those that would have been taken.

        Args:
            state: What `state_dict` gave, of an `SVI` of the same programs and optimizer.
        """
        if self.optimizer is None:
            self._loaded = dict(state)  # for when the parameters are there
        else:
            self._restore(state)

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
                    self._ready(args, kwargs)
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
                        losses = self._steps(args, kwargs, compiled, stop - self.num_steps)
                        progress.update(len(losses), loss=losses[-1])
                        if self.num_steps - looked >= _STEPS_BETWEEN_LOOKS:
                            self._look(looked, args, kwargs)
                            looked = self.num_steps
                            converged = self._has_converged(begin)
                        if self.checkpoint is not None and self.num_steps % self.checkpoint_every == 0:
                            self.save(self.checkpoint)
                    if converged:
                        break
                if begin is not None:
                    self._look(looked, args, kwargs)
            except KeyboardInterrupt:
                if self.checkpoint is not None and self.optimizer is not None:
                    self.save(self.checkpoint)
                raise
        return SVIResult(self._losses_from(begin or 0), self.params, converged)

    def _steps(self, args: tuple[Any, ...], kwargs: dict[str, Any], compiled: bool, limit: int) -> Tensor:
        """Take steps on the same arguments, all of them at once where that is possible; their losses."""
        graph = self._compiled.native(args, kwargs) if compiled and self.scheduler is None and limit > 1 else None
        if graph is None:
            return self._step(args, kwargs, compiled)
        layout = self._layout_of(args, kwargs)
        limit = max(1, min(limit, _NOISE_AHEAD // max(1, self.objective.num_particles * layout.size())))
        states = {device: generator.get_state() for device, generator in self._generators.items()}
        try:
            layout.fill(graph.rooms(limit), self._generators)
        except BaseException:  # a Ctrl-C: what was drawn is to be drawn again
            for device, state in states.items():
                self._generators[device].set_state(state)
            raise
        losses = torch.full((limit,), torch.inf, dtype=self._losses[-1].dtype)
        try:
            graph.block(self._state, losses)
        except BaseException:  # a Ctrl-C after some steps: none has an infinite loss
            losses = losses[losses != torch.inf]
            raise
        finally:
            self._state = graph.state()
            self._note(losses)
        return losses

    def _note(self, losses: Tensor) -> None:
        self._losses.append(losses)
        self._num_steps += len(losses)

    def _ready(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.optimizer is None:
            self.init(*args, **kwargs)

    def _probe(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        generators: dict[torch.device, torch.Generator] | None = None,
    ) -> Any:
        recorder = NoiseRecorder(self._generators if generators is None else generators)
        with torch.no_grad():
            traces = self._parameters(lambda: self.objective.probe(self._pair(args, kwargs), recorder))
        return recorder, traces

    def _draw_noise(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Tensor]:
        return self._layout_of(args, kwargs).draw(self._generators, (self.objective.num_particles,))

    def _layout_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NoiseLayout:
        """What noise a step takes."""
        if self._last is None or self._last[0] is not args or self._last[1] is not kwargs:
            key = kind_of(args, kwargs)
            if key not in self._layouts:
                self._layouts[key] = self._find_layout(args, kwargs)
            self._last = args, kwargs, self._layouts[key]
        return self._last[2]

    def _find_layout(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NoiseLayout:
        """What noise a run takes; the next steps are the same whether it was looked for or known."""
        cpu = torch.device("cpu")
        buffers = {buffer: buffer.clone() for buffer in self._parameters.buffers()}
        recorder, traces = self._probe(args, kwargs, {cpu: torch.Generator(cpu).manual_seed(0)})
        layout: NoiseLayout = recorder.layout()
        pools = layout.draw(recorder.generators, (self.objective.num_particles,))
        self._parameters(lambda: self.objective.prepare(self._pair(args, kwargs), pools))
        self._parameters.discover(*traces)
        self._take_in_new_parameters()
        with torch.no_grad():
            for buffer, before in buffers.items():
                buffer.copy_(before)
        for device in layout.devices() - self._generators.keys():
            self._generators[device] = torch.Generator(device).manual_seed(self._generators[cpu].initial_seed())
        return layout

    def _estimate(self, args: tuple[Any, ...], kwargs: dict[str, Any], pools: Mapping[str, Tensor]) -> Estimate:
        estimate: Estimate = self._parameters(
            lambda: self.objective.estimate(self._pair(args, kwargs), pools, self._state)
        )
        return estimate

    def _pair(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Pair:
        return Pair(self.model, self.guide, args, kwargs)

    def _new_optimizer(self, trained: list[nn.Parameter]) -> torch.optim.Optimizer:
        options = dict(self._optimizer_args)
        chosen = {"fused", "foreach", "capturable", "differentiable"} & options.keys()
        if self._make_optimizer in (torch.optim.Adam, torch.optim.AdamW) and not chosen:
            options["fused"] = all(p.is_floating_point() for p in trained)  # a quarter of the time
        return self._make_optimizer(trained, **options)

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

    def _step(self, args: tuple[Any, ...], kwargs: dict[str, Any], compiled: bool) -> Tensor:
        pools = self._draw_noise(args, kwargs)
        graphs = compiled and self.compile is not False
        loss = self._compiled_step(args, kwargs, pools) if graphs else self._eager_step(args, kwargs, pools)
        losses = loss.detach().reshape(1)
        self._note(losses)
        if self.scheduler is not None:
            self.scheduler.step()
        return losses

    def _eager_step(self, args: tuple[Any, ...], kwargs: dict[str, Any], pools: Mapping[str, Tensor]) -> Tensor:
        assert self.optimizer is not None
        self.optimizer.zero_grad(set_to_none=True)
        estimate = self._estimate(args, kwargs, pools)
        self._take_in_new_parameters()
        check_trained(estimate)
        estimate.surrogate.backward()
        with_gradient = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        gradients = [p.grad for p in with_gradient]
        finite = torch.stack([estimate.loss.isfinite(), *(g.isfinite().all() for g in gradients)]).all()
        if not finite:
            return torch.full_like(estimate.loss, torch.nan)
        if self.clip_norm is not None or self.clip_value is not None:
            for p, g in zip(with_gradient, clipped(gradients, self.clip_norm, self.clip_value), strict=True):
                p.grad = g
        self.optimizer.step()
        self._state = {name: value.detach() for name, value in estimate.state.items()}
        return estimate.loss

    def _compiled_step(self, args: tuple[Any, ...], kwargs: dict[str, Any], pools: Mapping[str, Tensor]) -> Tensor:
        assert self.optimizer is not None
        try:
            loss, self._state = self._compiled.step(self.optimizer, args, kwargs, pools, self._state)
        except CaptureError as error:
            if self.compile != "auto":
                raise
            warnings.warn(f"SVI: {error}. This run goes on uncompiled.", stacklevel=5)
            self.compile = False
            return self._eager_step(args, kwargs, pools)
        return loss

    def _take_in_new_parameters(self) -> None:
        """Hand the optimizer the parameters that a run met for the first time."""
        if self.optimizer is None:  # it will have all of them
            return
        known = {p for group in self.optimizer.param_groups for p in group["params"]}
        new = [p for p in self._parameters.trained().values() if p not in known]
        if new:
            self.optimizer.add_param_group({"params": new})

    def _look(self, since: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.num_steps > since and not bool(self._losses_from(since).isfinite().all()):
            self._report_bad_step(args, kwargs)

    def _report_bad_step(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Say which site's log density is not finite, from a run with every check."""
        losses = self._losses_from(0)
        where = int(losses.isfinite().logical_not().nonzero()[0])
        reason = "a gradient is not finite, though the loss is: see the log densities' slopes there"
        try:
            for _ in range(3):
                _, traces = self._probe(args, kwargs)
                for found in traces:
                    for site in found.samples():
                        if not bool(found.log_prob(site).isfinite().all()):
                            raise ValueError(f"the log density of site {site.name!r} is infinite there")
        except (ValueError, RuntimeError) as error:
            notes = "\n".join(getattr(error, "__notes__", []))
            reason = f"{error}\n{notes}"
        self._losses, self._num_steps = [losses[:where]], where
        raise FloatingPointError(
            f"SVI: step {where + 1} gave a loss or a gradient that is not finite; the parameters are those before it. "
            f"{reason}"
        )

    def _has_converged(self, begin: int) -> bool:
        if self.patience is None or self.num_steps - begin < 2 * self.patience:
            return False
        recent = self._losses_from(self.num_steps - 2 * self.patience)
        before, after = recent[: self.patience], recent[self.patience :]
        # Half a standard error of the difference: what falls more slowly than that cannot be told from noise.
        noise = ((before.var() + after.var()) / self.patience).sqrt()
        return bool(before.mean() - after.mean() < 0.5 * noise)

    def _losses_from(self, start: int) -> Tensor:
        parts, missing = [], self.num_steps - start
        for part in reversed(self._losses):
            if missing <= 0:
                break
            parts.append(part[max(0, len(part) - missing) :])
            missing -= len(part)
        return torch.cat(parts[::-1]) if parts else torch.zeros(0)

    def _restore(self, state: Mapping[str, Any]) -> None:
        assert self.optimizer is not None
        trained = self._parameters.trained()
        if trained.keys() != state["parameters"].keys():
            raise ValueError(
                f"SVI: the state has parameters {sorted(state['parameters'])}, but these programs have "
                f"{sorted(trained)}"
            )
        with torch.no_grad():
            for name, parameter in trained.items():
                parameter.copy_(state["parameters"][name])
            for name, buffer in self._parameters.named_buffers():
                buffer.copy_(state["buffers"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        for device, generator in state["generators"].items():
            self._generators.setdefault(torch.device(device), torch.Generator(device)).set_state(generator)
        self._state = dict(state["objective"])
        self._losses, self._num_steps = [state["losses"]], len(state["losses"])
        self._compiled.forget()
