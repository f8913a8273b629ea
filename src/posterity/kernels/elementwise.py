"""How a special function becomes one of torch's: differentiable, under `vmap`, inside compiled graphs.

A function gives its values by plain torch operations on tensors of one shape, and its derivatives as functions of the
same arguments. Derivatives that are themselves differentiable give the second order.
"""

from collections.abc import Callable
from numbers import Number
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import Parameter

from posterity.kernels.reading import records_gradient

Values = Callable[..., Tensor]

# Bytes of each argument that are worked on at a time in eager mode: a long formula's temporaries stay in the cache.
BLOCK = 1 << 18


def elementwise(*derivatives: Values | None) -> Callable[[Values], Values]:
    """Decorates a function of equally shaped floating tensors with its derivatives.

    The result takes tensors or numbers, at least one of them a tensor, broadcasts and promotes them, and can be
    differentiated in reverse and forward mode, mapped by `torch.vmap` and compiled without a graph break, in any
    nesting of these. The function itself sees no gradients, so it may iterate, and on large tensors it is called
    block by block. It must not let its control flow depend on values.

    Args:
        derivatives: For each argument a function `(*arguments, value)` that returns the partial derivative,
            elementwise; None for an argument without one, which then gets no gradient.

    Returns:
        The decorator.

    Raises:
        TypeError: (from the decorated function) no argument is a tensor, or one is complex.

    Example:
        >>> @elementwise(lambda x, value: 2 * x)
        ... def square(x):
        ...     return x * x
        >>> torch.func.grad(square)(torch.tensor(3.0))
        tensor(6.)
    """

    def decorate(function: Values) -> Values:
        operation = _operation(function, derivatives)
        name = function.__name__

        def apply(*arguments: Tensor) -> Tensor:
            result: Tensor = operation.apply(*arguments)
            return result

        UNKNOWN_TO_DYNAMO.append(apply)

        def broadcast(*arguments: Tensor | float) -> Tensor:
            if torch.compiler.is_dynamo_compiling():
                meet_dynamo()
                return apply(*broadcast_arguments(name, arguments))
            tensors = broadcast_arguments(name, arguments)
            # An autograd function costs more than the few operations of most formulas.
            return _in_blocks(function, tensors) if _is_plain(tensors) else apply(*tensors)

        broadcast.__name__ = broadcast.__qualname__ = name
        broadcast.__doc__, broadcast.__module__ = function.__doc__, function.__module__
        return broadcast

    return decorate


def meet_dynamo() -> None:
    """Let Dynamo pass all these functions on to the compiler behind it, untraced, before it meets one of them.

    It cannot trace an autograd function with forward-mode derivatives; the compiler can. Done at compile time, because
    importing Dynamo takes longer than importing torch.
    """
    from torch._dynamo.comptime import comptime

    comptime(_allow_all)


def _allow_all(_: object) -> None:
    while UNKNOWN_TO_DYNAMO:
        torch.compiler.allow_in_graph(UNKNOWN_TO_DYNAMO.pop())


UNKNOWN_TO_DYNAMO: list[Values] = []


def _operation(function: Values, derivatives: tuple[Values | None, ...]) -> type[torch.autograd.Function]:
    class Operation(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(*arguments: Tensor) -> Tensor:
            return _in_blocks(function, arguments)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            ctx.save_for_backward(*inputs, output)
            ctx.save_for_forward(*inputs, output)

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
            (gradient,) = gradients
            return tuple(
                None if derivative is None or not needed else gradient * derivative(*ctx.saved_tensors)
                for derivative, needed in zip(derivatives, ctx.needs_input_grad, strict=True)
            )

        @staticmethod
        def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:
            terms = [
                tangent * derivative(*ctx.saved_tensors)
                for derivative, tangent in zip(derivatives, tangents, strict=True)
                if derivative is not None and tangent is not None
            ]
            return sum(terms[1:], terms[0]) if terms else torch.zeros_like(ctx.saved_tensors[-1])

    Operation.__name__ = Operation.__qualname__ = function.__name__
    return Operation


def in_blocks(formula: Values, *arguments: Tensor) -> Tensor:
    """`formula(*arguments)` for an elementwise formula of several operations, whose temporaries stay in the cache.

    Large tensors of one shape are worked on block by block where no derivative is recorded and no graph is made;
    elsewhere, and for shapes that have to broadcast, this is the plain call.

    Args:
        formula: Takes the tensors, or pieces of them, and returns a new tensor of their shape.
        arguments: Tensors of one dtype.

    Example:
        >>> in_blocks(lambda x, y: (x + y).log(), torch.ones(2), torch.ones(2))
        tensor([0.6931, 0.6931])
    """
    first = arguments[0]
    if first.numel() * first.element_size() <= 2 * BLOCK or not _is_plain(arguments):
        return formula(*arguments)
    return _in_blocks(formula, arguments) if all(a.shape == first.shape for a in arguments) else formula(*arguments)


def _is_plain(arguments: tuple[Tensor, ...]) -> bool:
    """Whether nothing but the values is asked for: no derivative, no transform, no graph."""
    if torch.compiler.is_compiling() or torch._C._functorch.peek_interpreter_stack() is not None:
        return False
    return not records_gradient(*arguments)


def _in_blocks(function: Values, arguments: tuple[Tensor, ...]) -> Tensor:
    first = arguments[0]
    # Traced and fake tensors are of other types: a graph should hold the formula once.
    size = BLOCK // first.element_size()
    if first.numel() <= 2 * size or first.device.type != "cpu" or type(first) not in (Tensor, Parameter):
        return function(*arguments)
    result = torch.empty(first.shape, dtype=first.dtype, device=first.device)
    blocks = zip(*(a.reshape(-1).split(size) for a in (result, *arguments)), strict=True)
    for target, *block in blocks:
        target.copy_(function(*block))
    return result


def broadcast_arguments(name: str, arguments: tuple[Tensor | float, ...]) -> tuple[Tensor, ...]:
    """Tensors of one shape, one floating type and one device from tensors and numbers, for the function `name`.

    Raises:
        TypeError: No argument is a tensor, or one is complex.

    Example:
        >>> broadcast_arguments("beta", (torch.tensor([1, 2]), 0.5))
        (tensor([1., 2.]), tensor([0.5000, 0.5000]))
    """
    first = arguments[0]
    if isinstance(first, Tensor) and first.is_floating_point():
        layout = (first.shape, first.dtype, first.device)
        if all(isinstance(a, Tensor) and (a.shape, a.dtype, a.device) == layout for a in arguments[1:]):
            return cast(tuple[Tensor, ...], arguments)
    tensors = [argument for argument in arguments if isinstance(argument, Tensor)]
    others = [argument for argument in arguments if not isinstance(argument, Tensor | Number)]
    if not tensors or others or any(tensor.is_complex() for tensor in tensors):
        kinds = ", ".join(str(a.dtype) if isinstance(a, Tensor) else type(a).__name__ for a in arguments)
        raise TypeError(f"{name} takes real tensors, and numbers beside them, but got: {kinds}.")
    dtype = tensors[0].dtype
    for tensor in tensors[1:]:
        dtype = torch.promote_types(dtype, tensor.dtype)
    if not dtype.is_floating_point:
        dtype = torch.get_default_dtype()
    device = tensors[0].device
    values = [
        a.to(dtype) if isinstance(a, Tensor) else torch.full((), a, dtype=dtype, device=device) for a in arguments
    ]
    return tuple(torch.broadcast_tensors(*values))
