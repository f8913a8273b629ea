"""The tensors that a traced graph holds: those of the user, and those that passes add."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node


def held_tensor(graph: GraphModule, node: Any) -> Tensor | None:
    """The tensor that a node stands for; None if it stands for no plain tensor that the graph holds."""
    if not isinstance(node, Node) or node.op != "get_attr":
        return None
    owner: Any = graph
    for name in str(node.target).split("."):
        owner = getattr(owner, name, None)
    is_plain = type(owner) in (Tensor, torch.nn.Parameter) and owner.layout == torch.strided
    return owner if is_plain else None


def hold(graph: GraphModule, tensor: Tensor, meta: Mapping[str, Any]) -> Node:
    """A node, at the place where the graph takes insertions, for a tensor that it holds from now on.

    Args:
        graph: The graph.
        tensor: The tensor.
        meta: What the node is said to hold, as in the node that it replaces.
    """
    number = 0
    while hasattr(graph, f"_constant{number}"):
        number += 1
    graph.register_buffer(f"_constant{number}", tensor)
    node = graph.graph.get_attr(f"_constant{number}")
    node.meta.update(meta)
    return node
