"""Turn a function of tensors into one compiled graph.

Python runs once, on stand-ins for the tensors, and leaves a graph of tensor operations: handlers, distributions and
modules cost nothing afterwards. What the function does must not depend on the values of its tensors.
"""

import threading
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

from posterity.infer.graph_passes import simplify
from posterity.infer.native.header import header_if_it_pays
from posterity.kernels.native.library import without_trials
from posterity.runtime import without_validation


class CaptureError(RuntimeError):
    """A function is not one graph: its course depends on the values of its tensors."""


# Capturing patches torch for the whole process: one thread at a time.
CAPTURING = threading.RLock()


def capture(function: Callable[..., Any], example: Sequence[Tensor], *, is_settled: bool = False) -> Callable[..., Any]:
    """Compile a function of tensors for arguments of the example's shapes and dtypes.

    Args:
        function: Takes the tensors, and returns tensors in tuples, lists or dicts. It may write to its arguments in
            place, and differentiate by `torch.autograd.grad`; other tensors that it reads are taken as they are.
        example: Arguments to capture it with.
        is_settled: Whether those other tensors keep their values from now on: what depends on them alone is then
            computed once, and they may be laid out anew.

    Returns:
        The compiled function. It makes no autograd graph.

    Raises:
        CaptureError: The function's course depends on the values of its tensors, so that it is not one graph.

    Example:
        >>> if can_compile():
        ...     square = capture(lambda x: x * x, [torch.ones(3)])
        ...     assert square(torch.full((3,), 2.0)).tolist() == [4.0, 4.0, 4.0]
    """
    return compiled(traced(function, example, is_settled=is_settled), example)


def traced(function: Callable[..., Any], example: Sequence[Tensor], *, is_settled: bool = False) -> GraphModule:
    """The graph of what a function of tensors does; see `capture`."""
    from torch.fx.experimental.proxy_tensor import make_fx

    try:
        with CAPTURING, without_validation():
            graph = make_fx(function, tracing_mode="fake", _allow_non_fake_inputs=True)(*example)
    except Exception as error:
        if "data-dependent" in str(error).lower() or "DataDependent" in type(error).__name__:
            raise CaptureError(
                "this program cannot be captured as one graph: it branches on the value of a tensor (an `if`, a "
                "`.item()`, an indexing by a mask); run it with compile=False"
            ) from error
        raise
    graph.graph.eliminate_dead_code()
    if is_settled:
        simplify(graph, example)
    graph.recompile()
    return graph


def compiled(graph: GraphModule, example: Sequence[Tensor]) -> Callable[..., Any]:
    """A graph, compiled for arguments like the example; see `capture`."""
    from torch._inductor import compile as inductor
    from torch._inductor import config
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    # Inductor keeps graphs on disk only of which it is told the shapes by tensors without values.
    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    shapes: list[Any] = [mode.from_tensor(tensor, static_shapes=True) for tensor in example]
    # The callers vouch for their arguments' shapes: Inductor would look at all of them at every call. What a program
    # draws from torch's own generator (dropout) is to be the same numbers as in eager code.
    options = config.patch(size_asserts=False, fallback_random=True)
    with CAPTURING, torch.no_grad(), options, header_if_it_pays():
        function = without_trials(lambda: inductor(graph, shapes))

    def call(*arguments: Tensor) -> Any:
        with torch.no_grad():
            return function(*arguments)

    return call


@cache
def can_compile() -> bool:
    """Whether the machine has what compiling for its processor takes: a C++ compiler."""
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except (InvalidCxxCompiler, RuntimeError, OSError):
        return False
    return True
