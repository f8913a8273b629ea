"""What two calls of a program have in common: the keys under which that is kept which was found out for one of them."""

from collections.abc import Hashable, Mapping, Sequence
from enum import Enum
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

# What two of them that are equal cannot be told apart by.
_PLAIN = (bool, int, float, complex, str, bytes, range, torch.dtype, torch.device, torch.Size, Enum, type(None))


def kind_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Hashable:
    """What decides the course of a run and its shapes: structure, the shapes of tensors, and all other values.

    Args:
        args: The positional arguments.
        kwargs: The keyword arguments.

    Returns:
        A key, the same for two calls of one kind. It keeps those objects alive that it knows by their identity alone.

    Example:
        >>> kind_of((torch.zeros(3), 1), {}) == kind_of((torch.ones(3), 1), {})
        True
        >>> kind_of((torch.zeros(3), 1), {}) == kind_of((torch.zeros(3), 2), {})
        False
    """
    return _key(args, kwargs, exact=False)


def values_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Hashable:
    """As `kind_of`, with all that a captured graph keeps: the strides of tensors, the contents of NumPy's arrays."""
    return _key(args, kwargs, exact=True)


def as_call(batch: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments that a batch of data stands for: a tuple or list, a mapping of keywords, or a single argument.

    Example:
        >>> as_call([1, 2]), as_call({"x": 1}), as_call(1)
        (((1, 2), {}), ((), {'x': 1}), ((1,), {}))
    """
    if isinstance(batch, Mapping):
        return (), dict(batch)
    if isinstance(batch, tuple | list):
        return tuple(batch), {}
    return (batch,), {}


def _key(args: Sequence[Any], kwargs: Mapping[str, Any], exact: bool) -> Hashable:
    leaves, structure = pytree.tree_flatten((tuple(args), dict(kwargs)))
    return structure, tuple(_of_leaf(leaf, exact) for leaf in leaves)


def _of_leaf(leaf: Any, exact: bool) -> Hashable:
    if isinstance(leaf, Tensor):
        return (leaf.shape, leaf.dtype, leaf.device, *((leaf.stride(),) if exact else ()))
    if isinstance(leaf, np.ndarray) and not leaf.dtype.hasobject:
        return (leaf.shape, leaf.dtype, *((leaf.tobytes(),) if exact else ()))
    # Of equal values, 1 and True too, each takes a course of its own.
    return (type(leaf), leaf) if isinstance(leaf, _PLAIN) else _Itself(leaf)


class _Itself:
    """An object that is equal to itself alone."""

    def __init__(self, it: Any) -> None:
        self.it = it

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and self.it is other.it

    def __hash__(self) -> int:
        return id(self.it)
