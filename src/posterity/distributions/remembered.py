"""What follows from a distribution's parameters alone, such as a normaliser, computed once for many densities."""

from collections.abc import Callable
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from posterity.distributions.parameters import is_plain
from posterity.kernels.reading import records_gradient

_Made = TypeVar("_Made")


def remembered(owner: object, make: Callable[..., _Made], *parameters: Tensor) -> _Made:
    """`make(*parameters)`, kept for as long as `owner` lives and these are the same tensors with the same numbers.

    Torch counts the operations that write to a tensor, and what was made before one is made anew; writes that it does
    not count (through `.data`, or a numpy array of the same memory) are not seen. Nothing is kept where gradients of
    the parameters are recorded, in graphs, under `torch.func` and in inference mode.

    Args:
        owner: A distribution; it holds nothing of this, so that copies and pickles are as small as before.
        make: A function; with the owner it names what is kept.
        parameters: Its arguments.

    Example:
        >>> from posterity.distributions import Normal
        >>> d = Normal(0.0, torch.ones(2))
        >>> remembered(d, torch.log, d.scale) is remembered(d, torch.log, d.scale)
        True
    """
    if not is_plain() or records_gradient(*parameters) or torch.is_inference_mode_enabled():
        return make(*parameters)
    kept = _KEPT.get(owner)
    if kept is None:
        kept = _KEPT[owner] = {}
    found = kept.get(make)
    if found is not None and _unchanged(parameters, found[1]):
        return cast(_Made, found[0])
    value = make(*parameters)
    if not any(p.is_inference() for p in parameters):
        kept[make] = (value, [(p, p._version) for p in parameters])
    return value


def _unchanged(parameters: tuple[Tensor, ...], kept: list[tuple[Tensor, int]]) -> bool:
    # A loop: `all` of a generator takes twice as long, which a density of one number would notice.
    for parameter, (same, version) in zip(parameters, kept, strict=True):
        if parameter is not same or parameter._version != version:
            return False
    return True


_KEPT: WeakKeyDictionary[object, dict[Any, tuple[Any, list[tuple[Tensor, int]]]]] = WeakKeyDictionary()
