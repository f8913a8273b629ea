"""`logsigmoid` and its derivative in operations that share their exponential."""

import operator

import torch
from torch.fx import GraphModule, Node

aten = torch.ops.aten


def expand_log_sigmoid(graph: GraphModule) -> None:
    r"""Write out $\min(x, 0) - \log(1 + e)$ with $e = \exp(-|x|)$, and its derivative $(1 \text{ or } e) / (1 + e)$.

    Left to itself, Inductor writes the derivative with conversions between integers and floats. The logarithm is that
    of a number between 1 and 2, for which a polynomial of $s = e / (2 + e)$ is half the work of a library's function:
    $\log(1 + e) = 2 \operatorname{artanh} s = 2 s (1 + s^2 p(s^2))$.

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
                logarithm = _log1p(graph, e, x.meta["val"].dtype)
                new = call(aten.sub.Tensor, (call(aten.clamp.default, (x, None, 0)), logarithm))
            _replace(graph, user, new)
        graph.graph.erase_node(node)


def _exponential(graph: GraphModule, x: Node) -> Node:
    call = graph.graph.call_function
    return call(aten.exp.default, (call(aten.neg.default, (call(aten.abs.default, (x,)),)),))


def _log1p(graph: GraphModule, e: Node, dtype: torch.dtype) -> Node:
    """The logarithm of 1 + e for e from 0 to 1."""
    call = graph.graph.call_function
    coefficients = _COEFFICIENTS.get(dtype)
    if coefficients is None:
        return call(aten.log1p.default, (e,))
    s = call(aten.div.Tensor, (e, call(aten.add.Tensor, (e, 2))))
    square = call(aten.mul.Tensor, (s, s))
    *others, last = coefficients
    polynomial = call(aten.mul.Tensor, (square, last))
    for coefficient in reversed(others):
        polynomial = call(aten.mul.Tensor, (square, call(aten.add.Tensor, (polynomial, coefficient))))
    twice = call(aten.add.Tensor, (s, s))
    return call(aten.add.Tensor, (twice, call(aten.mul.Tensor, (twice, polynomial))))


# (artanh(s) / s - 1) / s^2 as a polynomial of s^2 from 0 to 1/9, interpolated at Chebyshev's points in 50 digits. The
# relative error of the logarithm is 4e-10 and 5e-18.
_COEFFICIENTS = {
    torch.float32: (0.333333337, 0.199998532, 0.14296179, 0.108532879, 0.116121646),
    torch.float64: (
        0.3333333333333333,
        0.20000000000007292,
        0.1428571428355438,
        0.11111111358713932,
        0.09090894718066429,
        0.07692785032479312,
        0.06657072104827468,
        0.06000536404795356,
        0.04400369243072337,
        0.08082022805971766,
    ),
}


def _replace(graph: GraphModule, node: Node, new: Node) -> None:
    new.meta.update(node.meta)
    node.replace_all_uses_with(new)
    graph.graph.erase_node(node)
