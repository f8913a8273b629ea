"""What a formula does differently while a compiler traces it: sums become stacked, shared values are computed once."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

_SERIES = tuple(1 / math.factorial(k) for k in range(2, 14))


def traced(x: Tensor) -> bool:
    """Whether a graph is being made of the operations on `x`, under `torch.func` transformations or not."""
    if torch.compiler.is_compiling():
        return True
    while torch._C._functorch.is_functorch_wrapped_tensor(x):
        x = torch._C._functorch.get_unwrapped(x)
    return type(x) not in (Tensor, Parameter)


def once(x: Tensor) -> Tensor:
    """`x`, which a compiled graph computes once for all its uses.

    Inductor repeats a short expression wherever it is used; in a long formula the repetitions multiply, and compiling
    it takes minutes. It does not look through a strided view.
    """
    return x.as_strided(x.shape, x.stride()) if traced(x) else x


def expm1(x: Tensor) -> Tensor:
    """`torch.expm1`, with its digits for small x in compiled graphs too, where Inductor subtracts 1 from `exp(x)`."""
    if not traced(x):
        return torch.expm1(x)
    near = x.clamp(-0.35, 0.35)
    series = torch.full_like(x, _SERIES[-1])
    for coefficient in _SERIES[-2::-1]:
        series = series * near + coefficient
    return torch.where(near == x, near + near * near * series, torch.exp(x) - 1)


def weighted_sums(
    terms: Callable[[float | Tensor], Sequence[Tensor]], rule: Sequence[tuple[float, float]], like: Tensor
) -> list[Tensor]:
    """`sum_i weight_i terms(node_i)` for each of the tensors that `terms` gives.

    Eager code goes through the nodes one by one, which needs little memory; a graph holds the formula once, and a sum
    over a leading dimension.

    Args:
        terms: Takes a node, a number or a tensor that broadcasts against `like` with one more dimension in front;
            returns new tensors.
        rule: The nodes with their weights.
        like: A tensor of the shape and type of the result.
    """
    if traced(like):
        # Side by side, nodes are two apart in memory: Inductor then vectorises over the elements, not over the nodes.
        column = (-1, *(1 for _ in like.shape))
        nodes, weights = (values.view(column) for values in like.new_tensor(rule).unbind(1))
        return [(values * weights).sum(0) for values in terms(nodes)]
    sums: list[Tensor] = []
    for node, weight in rule:
        values = terms(node)
        sums = [s.add_(v, alpha=weight) for s, v in zip(sums, values, strict=True)] if sums else [
            v.mul_(weight) for v in values
        ]  # fmt: skip
    return sums


def iterate(
    step: Callable[..., tuple[Tensor, Tensor]], x: Tensor, parameters: Sequence[Tensor], count: int, settled: float
) -> Tensor:
    """Repeats `x, residual = step(x, *parameters)` a fixed number of times.

    Eager code leaves out the elements that were within `settled` of the solution before their last step, as soon as
    they are the larger part; a graph and `torch.func` transformations work on all.

    Args:
        step: An elementwise step, with the residual at the x it was given.
        x: Start.
        parameters: Tensors of the same shape.
        count: Number of steps.
        settled: A residual from which one step reaches the last digits.
    """
    for left in range(count - 1, -1, -1):
        new, residual = step(x, *parameters)
        if left == 0 or traced(x) or new.is_meta or torch._C._functorch.is_functorch_wrapped_tensor(new):
            x = once(new)
            continue
        # A NaN residual never settles.
        open_ = (~(residual.abs() < settled)).reshape(-1).nonzero().squeeze(-1)
        if 2 * len(open_) > new.numel():
            x = new
            continue
        if len(open_) == 0:
            return new
        some = [p.reshape(-1)[open_] for p in (new, *parameters)]
        rest = iterate(step, some[0], some[1:], left, settled)
        return new.reshape(-1).index_copy(0, open_, rest).view(new.shape)
    return x
