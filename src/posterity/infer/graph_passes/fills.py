"""Tensors of one number that are made in the image of others, such as the gradient that a derivative starts from."""

from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

aten = torch.ops.aten

_NUMBERS = {
    aten.ones_like.default: 1,
    aten.zeros_like.default: 0,
    aten.new_ones.default: 1,
    aten.new_zeros.default: 0,
}


def detach_fills(graph: GraphModule) -> None:
    """Write `ones_like(x)` and its kin as `full`, which does not depend on x.

    Args:
        graph: Changed in place; it must compute the same with whatever strides, see `relax_views`.
    """
    for node in list(graph.graph.nodes):
        value = node.meta.get("val")
        if node.op != "call_function" or not isinstance(value, Tensor):
            continue
        number: Any
        if node.target in _NUMBERS:
            number = _NUMBERS[node.target]
        elif node.target == aten.full_like.default:
            number = node.args[1]
        elif node.target == aten.new_full.default:
            number = node.args[2]
        else:
            continue
        node.target, node.args = aten.full.default, (list(value.shape), number)
        node.kwargs = {"dtype": value.dtype, "device": value.device, "pin_memory": False}
