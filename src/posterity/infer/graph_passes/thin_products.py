"""Products of a few rows with a wide matrix that the graph holds, by an operator that is made for them."""

import torch
from torch.fx import GraphModule, Node

from posterity.infer.graph_passes.held import held_tensor
from posterity.infer.native import thin_product

aten = torch.ops.aten

# A wide matrix' rows are at least so long.
_LEAST_COLUMNS = 512


def thin_products(graph: GraphModule) -> None:
    """Replace `mm` by `posterity::thin_product` where it is faster.

    Args:
        graph: Changed in place; its products have been laid out by `lay_out_products`.
    """
    for product in graph.graph.find_nodes(op="call_function", target=aten.mm.default):
        if _is_thin(graph, product) and thin_product.is_available():
            product.target = thin_product.OPERATOR


def _is_thin(graph: GraphModule, product: Node) -> bool:
    thin, wide = product.args
    held = held_tensor(graph, wide)
    if held is None or not isinstance(thin, Node) or held.device.type != "cpu":
        return False
    value = thin.meta["val"]
    return (
        value.dtype == held.dtype
        and held.dtype in (torch.float32, torch.float64)
        and value.shape[0] <= thin_product.MOST_ROWS
        and max(held.shape) >= _LEAST_COLUMNS
        and held.stride(int(held.shape[1] >= held.shape[0])) == 1
    )
