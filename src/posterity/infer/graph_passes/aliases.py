"""Which tensors of a traced graph may share memory, and which of that memory is written to.

Read off the operators' schemas: a graph that `make_fx` leaves has views and operations in place.
"""

import operator
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from posterity.infer.graph_passes.held import held_tensor


class Aliases:
    """The nodes of a graph in classes that may share memory.

    What is not known to be apart counts as shared; a call of anything but an operator counts as a write to all that it
    is given.

    Args:
        graph: The graph.

    Attributes:
        order: Each node's place in the graph.
    """

    def __init__(self, graph: GraphModule) -> None:
        self.order: dict[Node, int] = {node: place for place, node in enumerate(graph.graph.nodes)}
        self._parent: dict[Node, Node] = {node: node for node in self.order}
        written: list[tuple[Node, Node]] = []
        owners: dict[int, Node] = {}
        for node in self.order:
            if node.op == "get_attr":
                held = held_tensor(graph, node)
                if held is not None:
                    self._join(node, owners.setdefault(held.untyped_storage()._cdata, node))
            elif node.op == "call_function" and node.target is not operator.getitem:
                shared, writes = _effects(node)
                for other in shared:
                    self._join(node, other)
                written += [(node, other) for other in writes]
            elif node.op != "output":
                for other in node.all_input_nodes:
                    self._join(node, other)
        self._writes: dict[Node, list[Node]] = {}
        for node, other in written:
            self._writes.setdefault(self.memory(other), []).append(node)

    def memory(self, node: Node) -> Node:
        """The node that stands for a class."""
        while self._parent[node] is not node:
            node = self._parent[node]
        return node

    def writes(self, node: Node) -> list[Node]:
        """Which nodes write to memory that a node may share, in their order."""
        return self._writes.get(self.memory(node), [])

    def _join(self, node: Node, other: Node) -> None:
        self._parent[self.memory(node)] = self.memory(other)


def _effects(node: Node) -> tuple[list[Node], list[Node]]:
    """With which of its arguments a call may share memory, and to which it writes."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return node.all_input_nodes, node.all_input_nodes
    schema = node.target._schema
    is_view = any(returned.alias_info is not None for returned in schema.returns)
    shared: list[Node] = []
    writes: list[Node] = []
    for place, argument in enumerate(schema.arguments):
        given = node.args[place] if place < len(node.args) else node.kwargs.get(argument.name)
        if argument.alias_info is not None:
            shared += _nodes(given) if is_view else ()
            writes += _nodes(given) if argument.alias_info.is_write else ()
    return shared, writes


def _nodes(given: Any) -> Iterator[Node]:
    if isinstance(given, Node):
        yield given
    elif isinstance(given, Iterable) and not isinstance(given, str):
        for part in given:
            yield from _nodes(part)


def shares_storage(tensor: Tensor, others: Iterable[Tensor]) -> bool:
    """Whether a tensor lies in the storage of one of several others."""
    own = tensor.untyped_storage()._cdata
    return any(own == other.untyped_storage()._cdata for other in others)
