"""Graphs for the tests of passes, as `capture` makes them before its passes."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from posterity.infer.graph_passes import simplify

POINT = torch.tensor([3.0, 5.0, 7.0])


def plain(function: Callable[..., Any], *example: Tensor) -> GraphModule:
    graph = make_fx(function, tracing_mode="fake", _allow_non_fake_inputs=True)(*example)
    graph.graph.eliminate_dead_code()
    return graph


def names(graph: GraphModule) -> list[str]:
    return [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]


def folded(function: Callable[[Tensor], Any], *example: Tensor) -> GraphModule:
    """The graph after all passes, which has been seen to give what the function gives, twice and on other values."""
    example = example or (POINT,)
    graph = plain(function, *example)
    simplify(graph, list(example))
    for scale in (1.0, -0.5, 1.0):
        given = [scale * tensor for tensor in example]
        expected = function(*(tensor.clone() for tensor in given))
        torch.testing.assert_close(graph(*given), expected, rtol=1e-6, atol=0)
    return graph
