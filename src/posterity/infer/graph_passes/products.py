"""Matrix products laid out so that the data, not the chains, are what lies together in memory.

Under `torch.vmap` the product of a data matrix and a vector is `X @ Z.T`, with the chains as the last dimension: few
lanes of a vector register are filled in what follows, and BLAS copes badly with so thin a matrix.
"""

from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from posterity.infer.graph_passes.aliases import Aliases
from posterity.infer.graph_passes.constants import MOST_BYTES
from posterity.infer.graph_passes.held import held_tensor, hold

aten = torch.ops.aten


def lay_out_products(graph: GraphModule) -> None:
    """Transpose products of which only the transpose is used, and matrices that the graph holds.

    The matrices are copied so that their longer dimension lies together: a product that sums over it, and one that
    spans it, are then both fast.

    Args:
        graph: Changed in place; it must compute the same with whatever strides, see `relax_views`.
    """
    _cancel(graph)
    aliases = Aliases(graph)
    for product in graph.graph.find_nodes(op="call_function", target=aten.mm.default):
        if not aliases.writes(product):
            _transpose_result(graph, product)
    _cancel(graph)
    copies: dict[tuple[Any, ...], Tensor] = {}
    for product in graph.graph.find_nodes(op="call_function", target=aten.mm.default):
        _lay_out_operands(graph, product, copies)


def _cancel(graph: GraphModule) -> None:
    """Take out transposes of transposes."""
    node: Any
    for node in graph.graph.nodes:
        if _is_transpose(node) and _is_transpose(node.args[0]):
            node.replace_all_uses_with(node.args[0].args[0])
    for node in reversed(list(graph.graph.nodes)):
        if _is_transpose(node) and not node.users:
            graph.graph.erase_node(node)


def _transpose_result(graph: GraphModule, product: Node) -> None:
    """Replace `mm(a, b)`, all of whose users transpose it, by `mm(b.T, a.T)` if that has the longer rows."""
    rows, columns = product.meta["val"].shape
    if rows < columns or not product.users or not all(map(_is_transpose, product.users)):
        return
    a, b = product.args
    with graph.graph.inserting_before(product):
        new = graph.graph.call_function(aten.mm.default, (_transposed(graph, b), _transposed(graph, a)))
    new.meta["val"] = product.meta["val"].new_empty(columns, rows)
    for user in list(product.users):
        user.replace_all_uses_with(new)
        graph.graph.erase_node(user)
    graph.graph.erase_node(product)


def _transposed(graph: GraphModule, matrix: Any) -> Node:
    meta = {"val": matrix.meta["val"].t()} if "val" in matrix.meta else {}
    held = held_tensor(graph, matrix)
    if held is not None:
        return hold(graph, held.t(), meta)
    node = graph.graph.call_function(aten.permute.default, (matrix, [1, 0]))
    node.meta.update(meta)
    return node


def _lay_out_operands(graph: GraphModule, product: Node, copies: dict[tuple[Any, ...], Tensor]) -> None:
    """Let a product read the matrices that the graph holds along their longer dimension."""
    for operand in dict.fromkeys(product.args):
        held = held_tensor(graph, operand)
        if held is None or held.device.type != "cpu" or held.nbytes > MOST_BYTES:
            continue
        wide = held if held.shape[1] >= held.shape[0] else held.t()
        if wide.shape[0] == wide.shape[1] or wide.stride(1) == 1:
            continue
        key = (wide.data_ptr(), wide.dtype, *wide.shape, *wide.stride())
        copy = copies.setdefault(key, wide.detach().contiguous())
        assert isinstance(operand, Node)
        with graph.graph.inserting_before(product):
            new = hold(graph, copy if wide is held else copy.t(), operand.meta)
        product.replace_input_with(operand, new)


def _is_transpose(given: Any) -> bool:
    """Whether a node is the transpose of a matrix."""
    if not isinstance(given, Node) or given.op != "call_function":
        return False
    node: Any = given
    if node.target == aten.t.default:
        return bool(node.args[0].meta["val"].dim() == 2)
    if node.target == aten.permute.default:
        return [axis % 2 for axis in node.args[1]] == [1, 0] and len(node.args[1]) == 2
    if node.target == aten.transpose.int:
        return bool(node.args[0].meta["val"].dim() == 2 and (node.args[1] - node.args[2]) % 2 == 1)
    return False
