"""Constant folding: what depends on no argument of a graph is computed once.

Operations in place are folded too, with all of the memory that they write to; tensors of the user are only read.
"""

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

from posterity.infer.graph_passes.aliases import Aliases, shares_storage
from posterity.infer.graph_passes.held import held_tensor, hold

# More than that is computed anew each time rather than kept.
MOST_BYTES = 2**28


def fold_constants(graph: GraphModule, example: Sequence[Tensor], *, keep_strides: bool) -> None:
    """Replace what depends on no argument by its value.

    A tensor whose elements are all the same becomes a `full`, which Inductor writes into its code. Random numbers,
    custom operators and what writes to the user's memory stay.

    Args:
        graph: Changed in place.
        example: The graph's arguments: tensors that share memory with them are no constants.
        keep_strides: Whether the graph needs the strides that its tensors have now: a `full` has its own.
    """
    constant = _constants(graph, example)
    needed = [node for node in constant if node.op == "call_function" and not constant.issuperset(node.users)]
    if not needed:
        return
    values = Interpreter(graph, garbage_collect_values=False)
    with torch.no_grad():
        for node in graph.graph.nodes:
            if node in constant:
                values.env[node] = values.run_node(node)
    for node in needed:
        with graph.graph.inserting_before(node):
            new = _constant(graph, values.env[node], node, keep_strides)
        node.replace_all_uses_with(new, delete_user_cb=lambda user: user not in constant)
    for node in reversed(list(graph.graph.nodes)):
        if node in constant and not node.users:
            graph.graph.erase_node(node)


def _constants(graph: GraphModule, example: Sequence[Tensor]) -> set[Node]:
    """The nodes that may be folded together: their values depend on no argument, nor does their memory."""
    aliases = Aliases(graph)
    changing = {aliases.memory(node) for node in aliases.order if _is_foreign(graph, node, example)}
    while True:
        constant: set[Node] = set()
        size = 0
        for node in aliases.order:
            if aliases.memory(node) in changing or not constant.issuperset(node.all_input_nodes):
                continue
            if _is_pure(graph, node) and size + _size(node) <= MOST_BYTES:
                size += _size(node)
                constant.add(node)
        # Memory that is written to folds only as a whole, and only if whoever else reads it comes after the writes.
        found = {
            aliases.memory(part)
            for node in aliases.order
            for part in (node, *node.all_input_nodes)
            if (writes := aliases.writes(part))
            and (not constant.issuperset(writes) or (node not in constant and node < writes[-1]))
        }
        found |= {aliases.memory(node) for node in constant if node.op == "get_attr" and aliases.writes(node)}
        if found <= changing:
            return constant
        changing |= found


def _is_foreign(graph: GraphModule, node: Node, example: Sequence[Tensor]) -> bool:
    if node.op == "get_attr":
        held = held_tensor(graph, node)
        return held is None or shares_storage(held, example)
    return node.op not in ("call_function", "output")


def _is_pure(graph: GraphModule, node: Node) -> bool:
    """Whether a node computes the same from the same inputs, and returns it."""
    if node.op == "get_attr":
        return held_tensor(graph, node) is not None
    if node.op != "call_function":
        return False
    target: Any = node.target
    if target is operator.getitem:
        return True
    if not isinstance(target, torch._ops.OpOverload) or target.namespace not in ("aten", "prims"):
        return False
    values = node.meta.get("val")
    if isinstance(values, list | tuple):
        if any(user.target is not operator.getitem for user in node.users):
            return False
    else:
        values = [values]
    return (
        len(target._schema.returns) > 0
        and torch.Tag.nondeterministic_seeded not in target.tags
        and all(isinstance(value, Tensor) and value.layout == torch.strided for value in values)
    )


def _size(node: Node) -> int:
    """The bytes that a node's value takes, if it takes any of its own."""
    value = node.meta.get("val")
    is_view = node.op == "get_attr" or getattr(node.target, "is_view", False)
    return 0 if is_view or not isinstance(value, Tensor) else value.numel() * value.element_size()


def _constant(graph: GraphModule, value: Tensor, node: Node, keep_strides: bool) -> Node:
    if _is_uniform(value) and not keep_strides:
        options: dict[str, Any] = {"dtype": value.dtype, "device": value.device, "pin_memory": False}
        number = value[(0,) * value.dim()].item()
        full = graph.graph.call_function(torch.ops.aten.full.default, (list(value.shape), number), options)
        full.meta.update(node.meta)
        return full
    held = hold(graph, value, node.meta)
    if all(user.op != "output" for user in node.users):
        return held
    # Whoever gets it may write to it.
    copy = graph.graph.call_function(torch.ops.aten.clone.default, (held,))
    copy.meta.update(node.meta)
    return copy


def _is_uniform(value: Tensor) -> bool:
    """Whether all elements are the same to the bit."""
    if value.numel() == 0 or value.is_complex() or value.device.type == "meta":
        return False
    distinct = value[tuple(0 if stride == 0 else slice(None) for stride in value.stride())]
    bits = distinct.reshape(-1).view(torch.uint8).reshape(distinct.numel(), -1)
    return bool((bits == bits[0]).all())
