"""Rewriting of a traced graph that reads tensors which keep their values, as a log density reads the data.

What the graph computes stays the same up to rounding.
"""

from collections.abc import Sequence

from torch import Tensor
from torch.fx import GraphModule

from posterity.infer.graph_passes.common_subexpressions import share_subexpressions
from posterity.infer.graph_passes.constants import fold_constants
from posterity.infer.graph_passes.fills import detach_fills
from posterity.infer.graph_passes.log_sigmoid import expand_log_sigmoid
from posterity.infer.graph_passes.products import lay_out_products
from posterity.infer.graph_passes.selections import drop_selections
from posterity.infer.graph_passes.thin_products import thin_products
from posterity.infer.graph_passes.views import relax_views

__all__ = ["simplify"]


def simplify(graph: GraphModule, example: Sequence[Tensor]) -> None:
    """Rewrite a graph in place, so that it computes less; see the passes' own files.

    Args:
        graph: As `posterity.infer.capture.traced` makes it. The tensors that it holds are never written to, and
            belong to the user: they must keep their values from now on.
        example: Its arguments.

    Example:
        >>> import torch
        >>> from posterity.infer.capture import traced
        >>> scale = torch.tensor([1.0, 2.0])
        >>> graph = traced(lambda x: x - scale.log(), [torch.ones(2)])
        >>> simplify(graph, [torch.ones(2)])
        >>> [node.target.__name__ for node in graph.graph.nodes if node.op == "call_function"]
        ['sub.Tensor']
    """
    may_lay_out = relax_views(graph)
    if may_lay_out:
        detach_fills(graph)
    fold_constants(graph, example, keep_strides=not may_lay_out)
    expand_log_sigmoid(graph)
    share_subexpressions(graph)
    if may_lay_out:
        drop_selections(graph)
        lay_out_products(graph)
        thin_products(graph)
    graph.graph.eliminate_dead_code()
    graph.delete_all_unused_submodules()
    graph.recompile()
