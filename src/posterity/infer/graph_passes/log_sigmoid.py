"""`logsigmoid` and its derivative in operations that share their exponential."""

import operator

import torch
from torch.fx import GraphModule, Node

aten = torch.ops.aten


def expand_log_sigmoid(graph: GraphModule) -> None:
    r"""Write out $\min(x, 0) - \log(1 + e)$ with $e = \exp(-|x|)$, and its derivative $(1 \text{ or } e) / (1 + e)$.

    Left to itself, Inductor writes the derivative with conversions between integers and floats.

    Args:
        graph: Changed in place.
    """
    for node in graph.graph.find_nodes(op="call_function", target=aten.log_sigmoid_backward.default):
        gradient, x, _ = node.args
        with graph.graph.inserting_before(node):
            call, e = graph.graph.call_function, _exponential(graph, x)
            upper = call(aten.where.ScalarSelf, (call(aten.lt.Scalar, (x, 0)), 1, e))
            new = call(aten.mul.Tensor, (gradient, call(aten.div.Tensor, (upper, call(aten.add.Tensor, (e, 1))))))
        _replace(graph, node, new)
    graph.graph.eliminate_dead_code()
    for node in graph.graph.find_nodes(op="call_function", target=aten.log_sigmoid_forward.default):
        if any(user.target is not operator.getitem or user.args[1] != 0 for user in node.users):
            continue
        (x,) = node.args
        for user in list(node.users):
            with graph.graph.inserting_before(node):
                call, e = graph.graph.call_function, _exponential(graph, x)
                new = call(aten.sub.Tensor, (call(aten.clamp.default, (x, None, 0)), call(aten.log1p.default, (e,))))
            _replace(graph, user, new)
        graph.graph.erase_node(node)


def _exponential(graph: GraphModule, x: Node) -> Node:
    call = graph.graph.call_function
    return call(aten.exp.default, (call(aten.neg.default, (call(aten.abs.default, (x,)),)),))


def _replace(graph: GraphModule, node: Node, new: Node) -> None:
    new.meta.update(node.meta)
    node.replace_all_uses_with(new)
    graph.graph.erase_node(node)
