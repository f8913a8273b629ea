"""Sums over discrete variables of products of factors, some of them repeated over plates, in log space.

Tensor variable elimination: from the innermost plates outwards, variables are summed out, and what is left is
multiplied over the plates that none of the remaining variables is in.
"""

import heapq
import itertools
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Plates = frozenset[str]
NO_PLATES: Plates = frozenset()


class LogFactor(NamedTuple):
    """A factor, as its logarithm in nats.

    Attributes:
        value: The logarithm, with one dimension for each name.
        dims: Names of the dimensions: variables, plates.
    """

    value: Tensor
    dims: tuple[str, ...]


def sum_product(
    factors: Sequence[LogFactor],
    variables: Mapping[str, Plates],
    plates: Mapping[str, float] | None = None,
    kept: Mapping[str, Plates] | None = None,
    *,
    reduce: Callable[[Tensor, int], Tensor] | None = None,
    steps: list[tuple[str, LogFactor]] | None = None,
) -> list[LogFactor]:
    r"""Sum variables out of a product of factors, and multiply over plates, exactly.

    Args:
        factors: The factors. One that a variable is in has all plates of the variable.
        variables: The variables to sum out, with the plates that each is in (has an instance for every element of).
        plates: The plates, with the power that a product over one is raised to: full size over size, if subsampled.
        kept: Variables that stay, with their plates; these plates are then not multiplied over, where they matter.
        reduce: Sums a tensor of logarithms over its last dimension (given as a second argument); by default
            `log_sum_exp`, for the largest term `torch.amax`.
        steps: A list that takes the name of each variable with the factor that it was summed out of, in order.

    Returns:
        The factors that are left, which have no variable but those kept. Without any, each is a number.

    Raises:
        ValueError: A variable is in a plate that one of its factors is not in.
        NotImplementedError: The sum needs time exponential in the size of a plate.

    Source: Obermeyer et al. (2019), "Tensor Variable Elimination for Plated Factor Graphs", Algorithm 1,
    https://arxiv.org/abs/1902.03210

    Example:
        >>> prior = LogFactor(torch.tensor([0.5, 0.5]).log(), ("z",))
        >>> heads = LogFactor(torch.tensor([[0.2, 0.2, 0.2], [0.6, 0.6, 0.6]]).log(), ("z", "tosses"))
        >>> (left,) = sum_product([prior, heads], {"z": frozenset()}, {"tosses": 1.0})
        >>> left.value.exp()
        tensor(0.1120)
    """
    plates, kept = plates or {}, kept or {}
    where = {**kept, **variables}
    for factor in factors:
        for name in factor.dims:
            missing = where.get(name, NO_PLATES) - set(factor.dims)
            if missing:
                raise ValueError(
                    f"variable {name!r} is in plate {min(missing)!r}, but a factor over {', '.join(factor.dims)} is not"
                )
    waiting = [(frozenset(factor.dims) & plates.keys(), factor) for factor in factors]
    done = []
    while waiting:
        leaf = max((around for around, _ in waiting), key=len)
        here = [factor for around, factor in waiting if around == leaf]
        waiting = [pair for pair in waiting if pair[0] != leaf]
        local = {name for name, around in variables.items() if around == leaf}
        for factor in eliminate(here, local, reduce or log_sum_exp, steps):
            left = [name for name in factor.dims if name not in leaf]
            outer = frozenset().union(*(where[name] & plates.keys() for name in left))
            if outer < leaf:
                waiting.append((outer, multiply_over(factor, {name: plates[name] for name in leaf - outer})))
            elif stuck := [name for name in left if name in variables]:
                raise NotImplementedError(
                    f"{', '.join(map(repr, stuck))} cannot be summed out: together with what is summed inside plates "
                    f"{', '.join(sorted(map(repr, leaf)))}, they are coupled across these plates, which takes time "
                    "exponential in the plates' sizes; make one of the plates a loop (for i in pt.plate(...))"
                )
            else:
                done.append(factor)
    return done


def log_sum_exp(logs: Tensor, dim: int) -> Tensor:
    """`torch.logsumexp`, whose gradient is zero rather than NaN where all terms are minus infinity.

    Example:
        >>> x = torch.full((2,), -torch.inf, requires_grad=True)
        >>> log_sum_exp(x, 0).backward()
        >>> x.grad
        tensor([0., 0.])
    """
    possible = logs.detach().amax(dim, keepdim=True) > -torch.inf
    total = torch.where(possible, logs, 0.0).logsumexp(dim)
    return torch.where(possible.squeeze(dim), total, -torch.inf)


def multiply(factors: Sequence[LogFactor], last: str | None = None) -> LogFactor:
    """The product of factors, over all of their dimensions; `last` names the one to put last."""
    if len(factors) == 1 and (last is None or factors[0].dims[-1] == last):
        return factors[0]
    dims = tuple(dict.fromkeys(name for factor in factors for name in factor.dims if name != last))
    dims = dims if last is None else (*dims, last)
    total = aligned(factors[0], dims)
    for factor in factors[1:]:
        total = total + aligned(factor, dims)
    return LogFactor(total, dims)


def multiply_over(factor: LogFactor, plates: Mapping[str, float]) -> LogFactor:
    """The product of a factor over plates, raised to their powers."""
    value = factor.value
    axes = [axis for axis, name in enumerate(factor.dims) if name in plates]
    if axes:
        value = value.sum(axes)
    power = math.prod(plates.values())
    return LogFactor(value if power == 1 else value * power, tuple(n for n in factor.dims if n not in plates))


def aligned(factor: LogFactor, dims: Sequence[str]) -> Tensor:
    """The value with its dimensions in the order of `dims`, and of size 1 where it has none."""
    order = sorted(range(len(factor.dims)), key=lambda axis: dims.index(factor.dims[axis]))
    value = factor.value.permute(order) if order != list(range(len(order))) else factor.value
    return value[tuple(slice(None) if name in factor.dims else None for name in dims)]


def connected(factors: Iterable[tuple[str, ...]], names: Collection[str]) -> list[list[int]]:
    """The indices of factors, given by their dims, in groups that share none of the names with each other."""
    groups: dict[int, list[int]] = {}
    group_of: dict[str, int] = {}
    for index, dims in enumerate(factors):
        touched = {group_of[name] for name in dims if name in group_of}
        group = max(touched, key=lambda g: len(groups[g])) if touched else index
        members = groups.setdefault(group, [])
        for other in touched - {group}:
            members += groups.pop(other)
            group_of.update({name: group for name, g in group_of.items() if g == other})
        members.append(index)
        group_of.update({name: group for name in dims if name in names})
    return list(groups.values())


def eliminate(
    factors: Sequence[LogFactor],
    names: Collection[str],
    reduce: Callable[[Tensor, int], Tensor] = log_sum_exp,
    steps: list[tuple[str, LogFactor]] | None = None,
) -> list[LogFactor]:
    """Factors with names summed out, each time the one whose sum is the smallest tensor; see `sum_product`."""
    sizes = {name: size for factor in factors for name, size in zip(factor.dims, factor.value.shape, strict=True)}
    pool = dict(enumerate(factors))
    touching: dict[str, set[int]] = {name: set() for name in names if name in sizes}
    for index, factor in pool.items():
        for name in factor.dims:
            if name in touching:
                touching[name].add(index)

    def cost(name: str) -> int:
        return math.prod(sizes[n] for n in {n for i in touching[name] for n in pool[i].dims} if n != name)

    # Costs go out of date when a neighbour is summed out: each is looked at again when its turn comes.
    fresh = itertools.count(len(factors))
    queue = [(cost(name), name) for name in touching]
    heapq.heapify(queue)
    while queue:
        expected, name = heapq.heappop(queue)
        if (now := cost(name)) != expected:
            heapq.heappush(queue, (now, name))
            continue
        together = touching.pop(name)
        product = multiply([pool.pop(i) for i in sorted(together)], last=name)
        if steps is not None:
            steps.append((name, product))
        index = next(fresh)
        pool[index] = LogFactor(reduce(product.value, -1), product.dims[:-1])
        for neighbour in product.dims[:-1]:
            if neighbour in touching:
                touching[neighbour] = touching[neighbour] - together | {index}
    return list(pool.values())
