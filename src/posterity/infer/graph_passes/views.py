"""Views that no longer ask for certain strides, so that other passes may lay tensors out anew."""

import torch
from torch.fx import GraphModule

from posterity.infer.graph_passes.aliases import Aliases

aten = torch.ops.aten


def relax_views(graph: GraphModule) -> bool:
    """Replace each `view` by a `reshape`, which copies where a view is impossible.

    Args:
        graph: Changed in place.

    Returns:
        Whether the graph computes the same with whatever strides: not if a write to a view is read through its base,
        or the reverse, or if something reads memory by strides.
    """
    views = graph.graph.find_nodes(op="call_function", target=aten.view.default)
    aliases = Aliases(graph)
    if any(node.target in _BY_STRIDES for node in graph.graph.nodes):
        return False
    if any(writes[-1] > view for view in views if (writes := aliases.writes(view))):
        return False
    for view in views:
        view.target = aten.reshape.default
    return True


_BY_STRIDES = {aten.as_strided.default, aten.as_strided_.default, aten._reshape_alias.default, aten.stride.int}
