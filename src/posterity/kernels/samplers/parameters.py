"""The parameters of a sampler: tensors of one floating dtype that broadcast, or a clear refusal."""

from collections.abc import Sequence
from numbers import Number
from typing import TypeGuard, cast

import torch
from torch import Tensor

from posterity.kernels.random import Source
from posterity.kernels.samplers.noise import is_eager


def sampler_parameters(name: str, **parameters: Tensor | float) -> tuple[Tensor, ...]:
    """Tensors of one dtype, float32 or float64, not yet broadcast.

    Args:
        name: The sampler, for messages.
        parameters: Real tensors, and numbers beside them.

    Returns:
        The tensors in the given order. Half precision becomes float32, integers the default dtype.

    Raises:
        TypeError: No parameter is a tensor, or one is neither a number nor a real tensor.

    Example:
        >>> sampler_parameters("beta", a=torch.ones(2), b=3)
        (tensor([1., 1.]), tensor(3.))
    """
    tensors = [value for value in parameters.values() if isinstance(value, Tensor)]
    wrong = [key for key, value in parameters.items() if not isinstance(value, Tensor | Number)]
    wrong += [key for key, value in parameters.items() if isinstance(value, Tensor) and value.is_complex()]
    if not tensors or wrong:
        kinds = ", ".join(f"{key}: {_kind(value)}" for key, value in parameters.items())
        raise TypeError(f"{name} takes real tensors, and numbers beside them, but got {kinds}.")
    dtype = tensors[0].dtype
    for tensor in tensors[1:]:
        dtype = torch.promote_types(dtype, tensor.dtype)
    if not dtype.is_floating_point:
        dtype = torch.get_default_dtype()
    dtype = torch.promote_types(dtype, torch.float32)
    device = tensors[0].device
    result = tuple(
        value.to(dtype) if isinstance(value, Tensor) else torch.full((), value, dtype=dtype, device=device)
        for value in parameters.values()
    )
    return result


def drawn_shape(name: str, sample_shape: Sequence[int], **parameters: Tensor) -> torch.Size:
    """The sample shape in front of the parameters' broadcast shape.

    Raises:
        ValueError: The shapes do not broadcast.

    Example:
        >>> drawn_shape("beta", (5,), a=torch.ones(2, 1), b=torch.ones(3))
        torch.Size([5, 2, 3])
    """
    try:
        shape = torch.broadcast_shapes(*(parameter.shape for parameter in parameters.values()))
    except RuntimeError as error:
        shapes = ", ".join(f"{key} {list(value.shape)}" for key, value in parameters.items())
        raise ValueError(f"{name}: the parameters' shapes do not broadcast: {shapes}.") from error
    return torch.Size((*sample_shape, *shape))


def is_direct(source: Source, *parameters: Tensor | float) -> TypeGuard[torch.Generator | None]:
    """Whether torch's own sampler serves: no key, no graph, and parameters that are tensors of one shape and dtype."""
    if not (source is None or isinstance(source, torch.Generator)):
        return False
    first = parameters[0]
    if not isinstance(first, Tensor) or first.dtype not in (torch.float32, torch.float64):
        return False
    for other in parameters[1:]:
        if not isinstance(other, Tensor) or other.dtype is not first.dtype or other.shape != first.shape:
            return False
    return is_eager(*cast(tuple[Tensor, ...], parameters))


def _kind(value: object) -> str:
    return str(value.dtype) if isinstance(value, Tensor) else type(value).__name__
