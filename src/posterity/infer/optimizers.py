"""One step of torch's optimizers as functions of tensors, so that a compiled graph can hold it.

They keep their state where torch's own keep it: in `optimizer.state`, so that the two can take turns.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from posterity.kernels.tracing import once

State = dict[str, Tensor]


class Rule(NamedTuple):
    """How one parameter is updated.

    Attributes:
        name: Which optimizer: `adam` or `sgd`.
        options: Its parameter group's options but the learning rate.
    """

    name: str
    options: dict[str, Any]


def rules(optimizer: torch.optim.Optimizer) -> list[Rule] | None:
    """The rule of each parameter of an optimizer in turn; None where a graph cannot hold it."""
    found = []
    for group in optimizer.param_groups:
        options = {key: value for key, value in group.items() if key not in ("params", "lr")}
        if options.get("maximize") or options.get("differentiable"):
            return None
        if type(optimizer) in (torch.optim.Adam, torch.optim.AdamW):
            if options["amsgrad"]:
                return None
            if type(optimizer) is torch.optim.AdamW:
                options["decoupled_weight_decay"] = True
            rule = Rule("adam", options)
        elif type(optimizer) is torch.optim.SGD:
            rule = Rule("sgd", options)
        else:
            return None
        found += [rule] * len(group["params"])
    return found


def state_of(optimizer: torch.optim.Optimizer, parameter: Tensor, rule: Rule) -> State:
    """The tensors that the optimizer keeps for a parameter, made as torch makes them where it has not begun."""
    state = optimizer.state[parameter]
    if rule.name == "adam":
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            state["exp_avg"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
            state["exp_avg_sq"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        return {key: state[key] for key in ("step", "exp_avg", "exp_avg_sq")}
    if rule.options["momentum"] != 0:
        if state.get("momentum_buffer") is None:
            # torch's first buffer is the gradient itself, undampened: the NaN says that there is none yet.
            state["momentum_buffer"] = torch.full_like(parameter, torch.nan)
        return {"momentum_buffer": state["momentum_buffer"]}
    return {}


def scheduled(group: Mapping[str, Any]) -> list[float]:
    """The options of a parameter group that schedules change: the learning rate, and the betas or the momentum."""
    return [float(group["lr"]), *map(float, group["betas"] if "betas" in group else (group["momentum"],))]


def updated(
    rule: Rule, parameter: Tensor, gradient: Tensor, state: State, numbers: Sequence[Tensor]
) -> tuple[Tensor, State]:
    """A parameter and its state after one step; `numbers` are those of `scheduled`.

    Source: Kingma and Ba (2015), "Adam", algorithm 1; Loshchilov and Hutter (2019), "Decoupled weight decay
    regularization"; Sutskever et al. (2013), "On the importance of initialization and momentum in deep learning".
    """
    options = rule.options
    learning_rate = numbers[0]
    decay = options["weight_decay"]
    if decay and not options.get("decoupled_weight_decay"):
        gradient = gradient + decay * parameter
    if rule.name == "sgd":
        if options["momentum"] == 0:
            return parameter - learning_rate * gradient, {}
        momentum = numbers[1]
        before = state["momentum_buffer"]
        buffer = torch.where(before.isnan(), gradient, momentum * before + (1 - options["dampening"]) * gradient)
        direction = gradient + momentum * buffer if options["nesterov"] else buffer
        return parameter - learning_rate * direction, {"momentum_buffer": buffer}
    beta1, beta2 = numbers[1], numbers[2]
    if decay and options.get("decoupled_weight_decay"):
        parameter = parameter * (1 - learning_rate * decay)
    step = state["step"] + 1
    mean = state["exp_avg"] + (1 - beta1) * (gradient - state["exp_avg"])
    square = beta2 * state["exp_avg_sq"] + (1 - beta2) * gradient * gradient
    count = step.double()  # in float32 the first corrections would lose four digits
    # A graph would compute these powers anew for every entry.
    size = once((learning_rate.double() / (1 - beta1**count)).to(parameter.dtype))
    growth = once((1 - beta2**count).rsqrt().to(parameter.dtype))
    new = parameter - size * mean / (square.sqrt() * growth + options["eps"])
    return new, {"step": step, "exp_avg": mean, "exp_avg_sq": square}


def clipped(gradients: Sequence[Tensor], norm: float | None, value: float | None) -> list[Tensor]:
    """Gradients scaled down to a total norm, and cut to an absolute value.

    Args:
        gradients: The gradients.
        norm: The greatest norm of all of them together; None: any.
        value: The greatest absolute value; None: any.
    """
    result = list(gradients)
    if norm is not None:
        length = torch.stack([g.square().sum() for g in result]).sum().sqrt()
        factor = (norm / (length + 1e-6)).clamp(max=1.0)
        result = [g * factor.to(g.dtype) for g in result]
    if value is not None:
        result = [g.clamp(-value, value) for g in result]
    return result
