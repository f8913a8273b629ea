"""All products of the first elements of a sequence under an associative operation, in a logarithmic number of steps."""

from collections.abc import Callable

import torch
from torch import Tensor

Elements = tuple[Tensor, ...]
Operation = Callable[[Elements, Elements], Elements]


def associative_scan(operation: Operation, elements: Elements, *, reverse: bool = False) -> Elements:
    r"""$a_1, \; a_1 a_2, \; a_1 a_2 a_3, \dots$ for an associative product, in about $2 \log_2 T$ batched steps.

    Args:
        operation: From the earlier and the later elements, each a tuple of tensors `[num_pairs, ...]`, to their
            products, likewise.
        elements: Tensors that share dimension 0, of size T.
        reverse: Whether to give the products of the last elements, $\dots, a_{T-1} a_T, \; a_T$, instead.

    Source: Blelloch, Prefix Sums and Their Applications, 1990.

    Example:
        >>> add = lambda earlier, later: (earlier[0] + later[0],)
        >>> associative_scan(add, (torch.tensor([1.0, 2.0, 3.0]),))
        (tensor([1., 3., 6.]),)
    """
    if reverse:
        flipped = tuple(e.flip(0) for e in elements)
        return tuple(e.flip(0) for e in associative_scan(lambda a, b: operation(b, a), flipped))
    size = elements[0].shape[0]
    if size < 2:
        return elements
    pairs = operation(_every_other(elements, 0, size - 1), _every_other(elements, 1, size))
    odd = associative_scan(operation, pairs)
    if size < 3:
        return _interleaved(tuple(e[:1] for e in elements), odd)
    last = (size - 1) // 2
    even = operation(tuple(e[:last] for e in odd), _every_other(elements, 2, size))
    # Some parts of a product may have a wider batch than the elements.
    first = tuple(e[:1].expand(1, *wide.shape[1:]) for e, wide in zip(elements, even, strict=True))
    return _interleaved(tuple(torch.cat(both) for both in zip(first, even, strict=True)), odd)


def reduce(operation: Operation, elements: Elements) -> Elements:
    """The product of all elements, in `ceil(log2(T))` batched steps; each with dimension 0 of size 1.

    Arguments are those of `associative_scan`.

    Example:
        >>> reduce(lambda earlier, later: (earlier[0] + later[0],), (torch.tensor([1.0, 2.0, 3.0]),))
        (tensor([6.]),)
    """
    while (size := elements[0].shape[0]) > 1:
        products = operation(_every_other(elements, 0, size - 1), _every_other(elements, 1, size))
        if size % 2:
            products = tuple(torch.cat([p, e[-1:]]) for p, e in zip(products, elements, strict=True))
        elements = products
    return elements


def _every_other(elements: Elements, start: int, stop: int) -> Elements:
    return tuple(e[start:stop:2] for e in elements)


def _interleaved(even: Elements, odd: Elements) -> Elements:
    result = []
    for a, b in zip(even, odd, strict=True):
        paired = torch.stack([a[: len(b)].expand_as(b), b], dim=1).flatten(0, 1)
        result.append(paired if len(a) == len(b) else torch.cat([paired, a[len(b) :]]))
    return tuple(result)
