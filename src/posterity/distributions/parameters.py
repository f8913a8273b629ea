"""Parameters of a distribution as tensors: one dtype, one device, batch shapes that broadcast.

Also the pairs `probs` and `logits`, of which a user gives one and the other is computed when it is asked for.
"""

from collections.abc import Iterable, Mapping
from numbers import Number
from typing import Any, cast

import torch
from torch import Tensor
from torch.distributions.utils import lazy_property


def broadcast_parameters(
    owner: str, *, event_ranks: Mapping[str, int] | None = None, **parameters: Tensor | float
) -> tuple[Tensor, ...]:
    """Parameters as tensors of one batch shape, one floating dtype and one device.

    Numbers follow the tensors beside them; without any tensor they take torch's defaults. Integers become
    floating.

    Args:
        owner: The distribution, for error messages.
        event_ranks: How many of a parameter's last dimensions are not part of the batch; 0 where not named.
        parameters: The parameters by name.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Batch shapes do not broadcast, a parameter has too few dimensions, or tensors live on
            different devices.

    Example:
        >>> loc, scale = broadcast_parameters("Normal", loc=torch.zeros(2, 1), scale=torch.ones(3))
        >>> loc.shape, scale.shape
        (torch.Size([2, 3]), torch.Size([2, 3]))
        >>> loc, tril = broadcast_parameters(
        ...     "Gaussian", event_ranks={"loc": 1, "tril": 2}, loc=torch.zeros(4, 1, 3), tril=torch.ones(2, 3, 3)
        ... )
        >>> loc.shape, tril.shape
        (torch.Size([4, 2, 3]), torch.Size([4, 2, 3, 3]))
    """
    if not any(event_ranks.values() if event_ranks else ()) and all(type(p) is float for p in parameters.values()):
        return tuple(torch.scalar_tensor(cast(float, p)) for p in parameters.values())
    tensors = [p for p in parameters.values() if isinstance(p, Tensor)]
    for name, p in parameters.items():
        _check_real(owner, name, p)
    if len({t.device for t in tensors}) > 1:
        devices = ", ".join(f"{name} on {p.device}" for name, p in parameters.items() if isinstance(p, Tensor))
        raise ValueError(f"parameters of {owner} must live on one device, but got {devices}.")
    dtype = torch.get_default_dtype()
    floating = [t.dtype for t in tensors if t.is_floating_point()]
    if floating:
        dtype = floating[0]
        for other in floating[1:]:
            dtype = torch.promote_types(dtype, other)
    device = tensors[0].device if tensors else None
    values = {
        name: p.to(dtype) if isinstance(p, Tensor) else torch.tensor(p, dtype=dtype, device=device)
        for name, p in parameters.items()
    }
    ranks = {name: (event_ranks or {}).get(name, 0) for name in values}
    for name, value in values.items():
        if value.dim() < ranks[name]:
            raise ValueError(
                f"{name} of {owner} must have at least {ranks[name]} dimensions, but its shape is {tuple(value.shape)}."
            )
    shape = broadcast_shapes(
        f"parameters of {owner}" if not any(ranks.values()) else f"batch shapes of the parameters of {owner}",
        **{name: v.shape[: v.dim() - ranks[name]] for name, v in values.items()},
    )
    return tuple(v.expand(shape + v.shape[v.dim() - ranks[name] :]) for name, v in values.items())


def broadcast_shapes(what: str, **shapes: torch.Size) -> torch.Size:
    """The shape that all of `shapes` broadcast to.

    Raises:
        ValueError: There is none; the message begins with `what` and lists the shapes by name.

    Example:
        >>> broadcast_shapes("weights", left=torch.Size([3, 1]), right=torch.Size([2]))
        torch.Size([3, 2])
    """
    first, *others = shapes.values()
    result = first
    for other in others:
        if not broadcastable(result, other):
            listed = ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())
            raise ValueError(f"{what} must broadcast against each other, but have shapes: {listed}.")
        longer, shorter = (result, other) if len(result) >= len(other) else (other, result)
        ahead = len(longer) - len(shorter)
        # The other size where one is 1: a size of 0 must survive too.
        sizes = [j if i == 1 else i for i, j in zip(longer[ahead:], shorter, strict=True)]
        result = torch.Size([*longer[:ahead], *sizes])
    return result


def beside(owner: str, name: str, parameter: Tensor | float, like: Tensor) -> Tensor:
    """A parameter as a tensor of the dtype of `like`, on whose device it must be.

    Args:
        owner: The distribution, for error messages.
        name: The parameter's name.
        parameter: The parameter.
        like: A parameter that is a tensor already.

    Raises:
        TypeError: It is neither a number nor a real tensor.
        ValueError: It lives on another device.

    Example:
        >>> beside("Multinomial", "total_count", 3, torch.zeros(2))
        tensor(3.)
    """
    _check_real(owner, name, parameter)
    if isinstance(parameter, Tensor) and parameter.device != like.device:
        raise ValueError(
            f"parameters of {owner} must live on one device, but {name} is on {parameter.device} and others are on "
            f"{like.device}."
        )
    return torch.as_tensor(parameter, dtype=like.dtype, device=like.device)


def exactly_one(owner: str, **parameters: Tensor | float | None) -> dict[str, Tensor | float]:
    """The one of alternative parameters that is given, by its name.

    Raises:
        ValueError: None is given, or several are.

    Example:
        >>> exactly_one("Bernoulli", probs=None, logits=0.5)
        {'logits': 0.5}
    """
    given = {name: value for name, value in parameters.items() if value is not None}
    if len(given) != 1:
        *names, last = parameters
        raise ValueError(f"{owner} takes either {', '.join(names)} or {last}: give exactly one of them.")
    return given


class BinaryProbability:
    """The pair `probs` and `logits` of a yes-or-no event; list this class before torch's own.

    The one that was not given is computed at its first use, exactly: torch clamps probabilities at eps.
    """

    @lazy_property
    def probs(self) -> Tensor:
        """Probability of the event."""
        return self.logits.sigmoid()

    @lazy_property
    def logits(self) -> Tensor:
        """Log odds of the event, `log(probs / (1 - probs))`; infinite where it is certain or impossible."""
        probs = self.probs
        return probs.log() - torch.log1p(-probs)


def alike(parameters: Iterable[Tensor | float]) -> bool:
    """Whether all are floating tensors of one shape, dtype and device: nothing is left to broadcast."""
    first, *others = parameters
    if not isinstance(first, Tensor) or not first.is_floating_point():
        return False
    shape, dtype, device = first.shape, first.dtype, first.device
    return all(isinstance(o, Tensor) and o.shape == shape and o.dtype is dtype and o.device == device for o in others)


def is_wrapped(value: Tensor) -> bool:
    """Whether `torch.func` or a fake mode stands between this tensor and its numbers."""
    return type(value) not in (Tensor, torch.nn.Parameter) or torch._C._functorch.is_functorch_wrapped_tensor(value)


def is_plain() -> bool:
    """Whether code runs as it stands: neither captured in a graph nor under a transform of `torch.func`."""
    return not torch.compiler.is_compiling() and torch._C._functorch.peek_interpreter_stack() is None


def broadcastable(a: torch.Size, b: torch.Size) -> bool:
    """Whether two shapes broadcast against each other."""
    return all(i == j or i == 1 or j == 1 for i, j in zip(reversed(a), reversed(b), strict=False))


def _check_real(owner: str, name: str, parameter: Any) -> None:
    if (
        not isinstance(parameter, Tensor | Number)
        or isinstance(parameter, complex)
        or (isinstance(parameter, Tensor) and parameter.is_complex())
    ):
        raise TypeError(
            f"{name} of {owner} must be a number or a real tensor, not "
            f"{parameter.dtype if isinstance(parameter, Tensor) else type(parameter).__name__}."
        )
