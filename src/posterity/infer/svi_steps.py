"""The gradient steps of variational inference, and all that the next one depends on.

A step is taken eagerly or in a compiled graph, on noise drawn ahead by torch's generators: both read the same numbers.
"""

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from posterity.handlers import Trace
from posterity.infer.compiled_steps import CompiledSteps
from posterity.infer.loss_record import LossRecord
from posterity.infer.objective import Estimate, Objective
from posterity.infer.optimizers import clipped
from posterity.infer.parameters import Parameters
from posterity.infer.simulation import Pair, Program, check_sites
from posterity.infer.svi_graph import check_trained
from posterity.kernels import NoiseLayout, NoiseRecorder
from posterity.kernels.noise_tape import Pools

# How many random numbers are drawn ahead at most.
_NOISE_AHEAD = 2**18


class SVISteps:
    """Steps on an objective, for the driver `SVI`.

    Args:
        objective: The bound.
        model: The model.
        guide: The guide.
        make_optimizer: From the parameters, and options, to the optimizer.
        optimizer_args: The options.
        make_scheduler: From the optimizer to a learning-rate schedule; None: there is none.
        seed: Of the noise.
        clip_norm: The greatest norm that all gradients together may have.
        clip_value: The greatest absolute value of a gradient's entries.

    Attributes:
        parameters: What is trained.
        optimizer: The optimizer; None before `begin`.
        scheduler: The schedule; it steps after each step.
        losses: The loss before each step, NaN for a step that was refused.
    """

    def __init__(
        self,
        objective: Objective,
        model: Program,
        guide: Program,
        make_optimizer: Callable[..., torch.optim.Optimizer],
        optimizer_args: Mapping[str, Any],
        make_scheduler: Callable[[torch.optim.Optimizer], Any] | None,
        seed: int,
        clip_norm: float | None,
        clip_value: float | None,
    ) -> None:
        self.objective = objective
        self.clip_norm, self.clip_value = clip_norm, clip_value
        self.parameters = Parameters(iter((model, guide)))
        self.optimizer: torch.optim.Optimizer | None = None
        self.scheduler: Any = None
        self.losses = LossRecord()
        self._make_optimizer, self._optimizer_args = make_optimizer, dict(optimizer_args)
        self._make_scheduler = make_scheduler
        cpu = torch.device("cpu")
        self._generators = {cpu: torch.Generator(cpu).manual_seed(seed)}
        # By kind of arguments: a batch of another size takes other noise. And that of the last call.
        self._layouts: dict[Any, NoiseLayout] = {}
        self._last: tuple[Pair, NoiseLayout] | None = None
        self._state: dict[str, Tensor] = {}
        self._compiled = CompiledSteps(objective, model, guide, self.parameters, clip_norm, clip_value)

    def begin(self, pair: Pair) -> None:
        """Run guide and model, check them, and make parameters and optimizer.

        Raises:
            ValueError: Guide and model do not fit each other, there is nothing to train, or the loss is not finite.
        """
        # Automatic guides make their parameters in the first run, and take random numbers only then.
        self.probe(pair)
        model_trace, guide_trace = self.probe(pair)
        check_sites(model_trace, guide_trace)
        self.parameters.discover(model_trace, guide_trace)
        trained = self.parameters.trained()
        if not trained:
            raise ValueError(
                "SVI: neither guide nor model has anything to train: use pt.param or an automatic guide, and pt.module "
                "for networks"
            )
        with torch.no_grad():
            estimate = self.estimate(pair, self.draw_noise(pair))
        self._state = {name: value.detach() for name, value in estimate.state.items()}
        self.optimizer = self._new_optimizer(list(trained.values()))
        self.scheduler = None if self._make_scheduler is None else self._make_scheduler(self.optimizer)

    def probe(self, pair: Pair) -> tuple[Trace, Trace]:
        """Run what one particle runs, with every check and without gradients; the traces of model and guide."""
        return self._probe(pair, NoiseRecorder(self._generators))

    def draw_noise(self, pair: Pair) -> dict[str, Tensor]:
        """The noise of the next estimate."""
        return self._layout_of(pair).draw(self._generators, (self.objective.num_particles,))

    def estimate(self, pair: Pair, pools: Pools) -> Estimate:
        """The objective, estimated from noise."""
        estimate: Estimate = self.parameters(lambda: self.objective.estimate(pair, pools, self._state))
        return estimate

    def take_eagerly(self, pair: Pair, pools: Pools) -> Tensor:
        """Take a step; its loss, `[1]`."""
        return self._taken(self._eager_loss(pair, pools))

    def take_compiled(self, pair: Pair, pools: Pools) -> Tensor:
        """Take a step in a graph, captured when a kind of arguments is met for the first time; its loss, `[1]`.

        Raises:
            CaptureError: The programs cannot be captured; no step was taken.
            ValueError: The optimizer is none that a graph can hold.
        """
        assert self.optimizer is not None
        args, kwargs = pair.args, pair.kwargs
        loss, self._state = self._compiled.step(self.optimizer, args, kwargs, pools, self._state)
        return self._taken(loss)

    def take_many(self, pair: Pair, limit: int) -> Tensor | None:
        """Take up to so many steps at once, in the graph of the last one; their losses. None where that cannot be."""
        native = self.scheduler is None and limit > 1
        graph = self._compiled.native(pair.args, pair.kwargs) if native else None
        if graph is None:
            return None
        layout = self._layout_of(pair)
        limit = max(1, min(limit, _NOISE_AHEAD // max(1, self.objective.num_particles * layout.size())))
        states = {device: generator.get_state() for device, generator in self._generators.items()}
        try:
            layout.fill(graph.rooms(limit), self._generators)
        except BaseException:  # a Ctrl-C: what was drawn is to be drawn again
            for device, state in states.items():
                self._generators[device].set_state(state)
            raise
        losses = self.losses.since(len(self.losses) - 1).new_full((limit,), torch.inf)
        try:
            graph.block(self._state, losses)
        except BaseException:  # a Ctrl-C after some steps: none has an infinite loss
            losses = losses[losses != torch.inf]
            raise
        finally:
            self._state = graph.state()
            self.losses.append(losses)
        return losses

    def look(self, pair: Pair, since: int) -> None:
        """See whether all losses from a step on are finite.

        Raises:
            FloatingPointError: One is not; see `refuse_bad_step`.
        """
        if len(self.losses) > since and not bool(self.losses.since(since).isfinite().all()):
            self.refuse_bad_step(pair)

    def refuse_bad_step(self, pair: Pair) -> NoReturn:
        """Forget the first step that was refused and all after it, and say why: from a run with every check.

        Raises:
            FloatingPointError: Always; the site is named whose log density is not finite.
        """
        losses = self.losses.since(0)
        where = int(losses.isfinite().logical_not().nonzero()[0])
        reason = "a gradient is not finite, though the loss is: see the log densities' slopes there"
        try:
            for _ in range(3):
                for found in self.probe(pair):
                    for site in found.samples():
                        if not bool(found.log_prob(site).isfinite().all()):
                            raise ValueError(f"the log density of site {site.name!r} is infinite there")
        except (ValueError, RuntimeError) as error:
            notes = "\n".join(getattr(error, "__notes__", []))
            reason = f"{error}\n{notes}"
        self.losses = LossRecord(losses[:where])
        raise FloatingPointError(
            f"SVI: step {where + 1} gave a loss or a gradient that is not finite; the parameters are those before it. "
            f"{reason}"
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, and the losses so far; after `begin`."""
        assert self.optimizer is not None
        return {
            "parameters": {name: p.detach().clone() for name, p in self.parameters.trained().items()},
            "buffers": {name: b.detach().clone() for name, b in self.parameters.named_buffers()},
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "generators": {str(device): g.get_state() for device, g in self._generators.items()},
            "objective": dict(self._state),
            "losses": self.losses.since(0),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; after `begin`.

        Raises:
            ValueError: It is that of other parameters.
        """
        assert self.optimizer is not None
        trained = self.parameters.trained()
        if trained.keys() != state["parameters"].keys():
            raise ValueError(
                f"SVI: the state has parameters {sorted(state['parameters'])}, but these programs have "
                f"{sorted(trained)}"
            )
        with torch.no_grad():
            for name, parameter in trained.items():
                parameter.copy_(state["parameters"][name])
            for name, buffer in self.parameters.named_buffers():
                buffer.copy_(state["buffers"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        for device, generator in state["generators"].items():
            self._generators.setdefault(torch.device(device), torch.Generator(device)).set_state(generator)
        self._state = dict(state["objective"])
        self.losses = LossRecord(state["losses"])
        self._compiled.forget()

    def _taken(self, loss: Tensor) -> Tensor:
        losses = loss.detach().reshape(1)
        self.losses.append(losses)
        if self.scheduler is not None:
            self.scheduler.step()
        return losses

    def _eager_loss(self, pair: Pair, pools: Pools) -> Tensor:
        assert self.optimizer is not None
        self.optimizer.zero_grad(set_to_none=True)
        estimate = self.estimate(pair, pools)
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

    def _probe(self, pair: Pair, recorder: NoiseRecorder) -> tuple[Trace, Trace]:
        with torch.no_grad():
            traces: tuple[Trace, Trace] = self.parameters(lambda: self.objective.probe(pair, recorder))
        return traces

    def _layout_of(self, pair: Pair) -> NoiseLayout:
        """What noise a step takes."""
        if self._last is None or self._last[0] is not pair:
            if pair.kind not in self._layouts:
                self._layouts[pair.kind] = self._find_layout(pair)
            self._last = pair, self._layouts[pair.kind]
        return self._last[1]

    def _find_layout(self, pair: Pair) -> NoiseLayout:
        """What noise a run takes; the next steps are the same whether it was looked for or known."""
        cpu = torch.device("cpu")
        buffers = {buffer: buffer.clone() for buffer in self.parameters.buffers()}
        recorder = NoiseRecorder({cpu: torch.Generator(cpu).manual_seed(0)})
        traces = self._probe(pair, recorder)
        layout = recorder.layout()
        pools = layout.draw(recorder.generators, (self.objective.num_particles,))
        self.parameters(lambda: self.objective.prepare(pair, pools))
        self.parameters.discover(*traces)
        self._take_in_new_parameters()
        with torch.no_grad():
            for buffer, before in buffers.items():
                buffer.copy_(before)
        for device in layout.devices() - self._generators.keys():
            self._generators[device] = torch.Generator(device).manual_seed(self._generators[cpu].initial_seed())
        return layout

    def _new_optimizer(self, trained: list[nn.Parameter]) -> torch.optim.Optimizer:
        options = dict(self._optimizer_args)
        chosen = {"fused", "foreach", "capturable", "differentiable"} & options.keys()
        if self._make_optimizer in (torch.optim.Adam, torch.optim.AdamW) and not chosen:
            options["fused"] = all(p.is_floating_point() for p in trained)  # a quarter of the time
        return self._make_optimizer(trained, **options)

    def _take_in_new_parameters(self) -> None:
        """Hand the optimizer the parameters that a run met for the first time."""
        if self.optimizer is None:  # it will have all of them
            return
        known = {p for group in self.optimizer.param_groups for p in group["params"]}
        new = [p for p in self.parameters.trained().values() if p not in known]
        if new:
            self.optimizer.add_param_group({"params": new})
