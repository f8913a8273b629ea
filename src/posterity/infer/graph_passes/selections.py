"""Selections whose condition is the same everywhere: the check that observed data lie in a distribution's support."""

import torch
from torch.fx import GraphModule, Node

aten = torch.ops.aten


def drop_selections(graph: GraphModule) -> None:
    """Replace `where(condition, a, b)` by a or b where the condition is known, `full`.

    Args:
        graph: Changed in place; it must compute the same with whatever strides, see `relax_views`.
    """
    for node in graph.graph.find_nodes(op="call_function", target=aten.where.self):
        condition, *choices = node.args
        if not isinstance(condition, Node) or condition.target != aten.full.default:
            continue
        chosen = choices[0] if condition.args[1] else choices[1]
        value = node.meta["val"]
        if not isinstance(chosen, Node) or chosen.meta["val"].dtype != value.dtype:
            continue
        # A `where` has memory of its own.
        with graph.graph.inserting_before(node):
            spread = graph.graph.call_function(aten.expand.default, (chosen, list(value.shape)))
            copy = graph.graph.call_function(aten.clone.default, (spread,), {"memory_format": torch.contiguous_format})
        spread.meta["val"] = chosen.meta["val"].expand(value.shape)
        copy.meta.update(node.meta)
        node.replace_all_uses_with(copy)
        graph.graph.erase_node(node)
