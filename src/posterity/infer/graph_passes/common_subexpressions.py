"""Common subexpressions: what is computed twice from the same tensors is computed once.

Inductor looks for them in graphs that are trained, not in one like ours that holds its own derivative.
"""

from typing import Any

import torch
from torch.fx import GraphModule, Node

from posterity.infer.graph_passes.aliases import Aliases


def share_subexpressions(graph: GraphModule) -> None:
    """Replace each operation by an earlier one that is the same.

    Args:
        graph: Changed in place. What draws random numbers or touches memory that is written to stays.
    """
    aliases = Aliases(graph)
    seen: dict[Any, Node] = {}
    for node in list(graph.graph.nodes):
        key = _key(node, aliases)
        if key is None:
            continue
        first = seen.setdefault(key, node)
        if first is not node:
            node.replace_all_uses_with(first)
            graph.graph.erase_node(node)


def _key(node: Node, aliases: Aliases) -> Any:
    """What a node computes from what; None if it must stay."""
    target: Any = node.target
    is_operator = isinstance(target, torch._ops.OpOverload)
    if any(aliases.writes(part) for part in (node, *node.all_input_nodes)):
        return None
    if node.op == "get_attr" or getattr(target, "__name__", "") == "getitem":
        return node.op, target, *map(_frozen, node.args)
    if not is_operator or torch.Tag.nondeterministic_seeded in target.tags or not target._schema.returns:
        return None
    return target, _frozen(node.args), _frozen(node.kwargs)


def _frozen(given: Any) -> Any:
    """Arguments as a key: 1, 1.0 and True are different, as are 0.0 and -0.0."""
    if isinstance(given, list | tuple):
        return tuple(_frozen(part) for part in given)
    if isinstance(given, dict):
        return tuple((name, _frozen(part)) for name, part in sorted(given.items()))
    return given if isinstance(given, Node) else (type(given), repr(given))
