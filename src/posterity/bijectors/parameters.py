"""Parameters of bijectors: numbers, which follow the input's dtype and device, or tensors with a batch shape."""

import math
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from posterity.runtime import validation_enabled

Parameter = Tensor | float


def real_parameter(owner: str, name: str, value: Any) -> Parameter:
    """`value` as a float or a floating tensor.

    Raises:
        TypeError: It is neither a real number nor a real tensor.
    """
    if isinstance(value, Tensor) and not value.is_complex():
        return value if value.is_floating_point() else value.to(torch.get_default_dtype())
    if isinstance(value, Real):
        return float(value)
    kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
    raise TypeError(f"{name} of {owner} must be a real number or a real tensor, not {kind}.")


def positive_parameter(owner: str, name: str, value: Any) -> Parameter:
    """As `real_parameter`, greater than 0.

    Raises:
        ValueError: It is not positive.
    """
    parameter = real_parameter(owner, name, value)
    if not holds(parameter > 0):
        raise ValueError(f"{name} of {owner} must be positive, but is {value}.")
    return parameter


def nonzero_parameter(owner: str, name: str, value: Any) -> Parameter:
    """As `real_parameter`, not 0 and not NaN.

    Raises:
        ValueError: It is 0 or NaN.
    """
    parameter = real_parameter(owner, name, value)
    if not holds(parameter != 0) or not holds(parameter == parameter):
        raise ValueError(f"{name} of {owner} must not be 0: the map would have no inverse. It is {value}.")
    return parameter


def holds(condition: Tensor | bool) -> bool:
    """Whether a condition holds everywhere; tensors are read only where values are checked."""
    if isinstance(condition, bool):
        return condition
    if not validation_enabled() or condition.device.type == "meta":
        return True
    return bool(torch._is_all_true(condition))


def log_abs(value: Parameter, like: Tensor) -> Tensor:
    """Log |value| as a tensor; a number's has the dtype and device of `like`."""
    return value.abs().log() if isinstance(value, Tensor) else like.new_full((), math.log(abs(value)))


def next_above(bound: Tensor) -> Tensor:
    """The least number above `bound` that is not a subnormal, which processors may flush to 0; it moves as `bound`."""
    fixed = bound.detach()
    above = torch.maximum(torch.nextafter(fixed, fixed + fixed.abs() + 1), fixed + torch.finfo(bound.dtype).tiny)
    return bound + (above - fixed)


def next_below(bound: Tensor) -> Tensor:
    """The greatest number below `bound` that is not a subnormal; it moves as `bound`."""
    return -next_above(-bound)


def batch_shape(owner: str, **parameters: Parameter) -> torch.Size:
    """The shape that the parameters broadcast to; numbers have none.

    Raises:
        ValueError: There is none.
    """
    shapes = {name: value.shape for name, value in parameters.items() if isinstance(value, Tensor)}
    if len(shapes) < 2:  # as in most bijectors, on every call
        return next(iter(shapes.values()), torch.Size())
    try:
        return torch.Size(torch.broadcast_shapes(*shapes.values()))
    except RuntimeError:
        listed = ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())
        raise ValueError(
            f"parameters of {owner} must broadcast against each other, but have shapes: {listed}."
        ) from None
