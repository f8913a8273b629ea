"""Facts of the single passes: sharing, selections, views, products, `logsigmoid`."""

import pytest
import torch
from torch import Tensor

from posterity.infer.graph_passes import simplify
from posterity.infer.graph_passes.products import lay_out_products
from posterity.infer.graph_passes.views import relax_views
from posterity.kernels import Key, normal
from tests.infer.graph_passes.graphs import folded, names, plain

aten = torch.ops.aten


def test_the_same_is_computed_once() -> None:
    assert names(folded(lambda x: x.exp() + x.exp() * x.exp().detach())).count("aten.exp.default") == 1


def test_numbers_of_other_types_are_other_arguments() -> None:
    graph = plain(lambda x: (torch.add(x, 1), torch.add(x, 1.0), torch.add(x, True)), torch.arange(3))
    simplify(graph, [torch.arange(3)])
    assert [value.dtype for value in graph(torch.arange(3))] == [torch.int64, torch.float32, torch.int64]


def test_random_numbers_are_not_shared() -> None:
    graph = plain(lambda x: torch.rand_like(x) - torch.rand_like(x), torch.ones(3))
    simplify(graph, [torch.ones(3)])
    assert graph(torch.ones(3)).abs().min() > 0


def test_a_value_is_not_shared_across_a_write() -> None:
    def function(x: Tensor) -> Tensor:
        own = x * 2
        before = own.sum()
        own.add_(1)
        return before - own.sum()

    folded(function)


@pytest.mark.parametrize("holds", [True, False])
def test_a_known_selection_is_gone(holds: bool) -> None:
    graph = folded(lambda x: torch.where(torch.full((2, 3), holds), x, 2 * x).view(6))
    assert "aten.where.self" not in names(graph)


def test_a_selection_gives_memory_of_its_own() -> None:
    def function(x: Tensor) -> tuple[Tensor, Tensor]:
        chosen = torch.where(torch.ones(3, dtype=torch.bool), x, 0.0)
        chosen.add_(1)
        return chosen, x * 2

    folded(function)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_sigmoid_and_its_derivative(dtype: torch.dtype) -> None:
    x = torch.tensor(
        [-torch.inf, -800.0, -30.0, -1.0, -0.0, 0.0, 1e-9, 2.0, 40.0, 800.0, torch.inf, torch.nan], dtype=dtype
    )

    def function(x: Tensor) -> tuple[Tensor, Tensor]:
        leaf = x.detach().requires_grad_()
        with torch.enable_grad():
            value = torch.nn.functional.logsigmoid(leaf)
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
        return value.detach(), gradient

    graph = plain(function, x)
    simplify(graph, [x])
    assert not any("log_sigmoid" in name for name in names(graph))
    value, gradient = graph(x)
    few = 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(value, torch.nn.functional.logsigmoid(x), rtol=few, atol=0, equal_nan=True)
    torch.testing.assert_close(gradient, torch.sigmoid(-x), rtol=few, atol=1e-300, equal_nan=True)
    assert value.dtype == gradient.dtype == dtype


def test_a_product_is_transposed_only_if_nobody_wants_it_as_it_is() -> None:
    data = normal((7, 3), source=Key(0))
    z = normal((2, 3), source=Key(1))
    graph = folded(lambda z: (data @ z.t()).t().exp(), z)
    (product,) = graph.graph.find_nodes(op="call_function", target=aten.mm.default)
    assert product.meta["val"].shape == (2, 7)
    graph = folded(lambda z: ((data @ z.t()).t().exp(), data @ z.t()), z)
    (product,) = graph.graph.find_nodes(op="call_function", target=aten.mm.default)
    assert product.meta["val"].shape == (7, 2)


def test_a_product_that_is_written_to_is_not_transposed() -> None:
    data = normal((7, 3), source=Key(0))

    def function(z: Tensor) -> Tensor:
        product = data @ z.t()
        turned = product.t()
        turned.add_(1)
        return turned * 2

    folded(function, normal((2, 3), source=Key(1)))


def test_a_flat_view_of_a_transposed_product_still_works() -> None:
    data = normal((7, 3), source=Key(0))
    folded(lambda z: ((data @ z.t()).t().exp() + 1).t().view(14), normal((2, 3), source=Key(1)))


def test_views_are_left_alone_where_a_later_write_goes_through_them() -> None:
    def function(x: Tensor) -> Tensor:
        own = x * 2
        own.view(3, 1).add_(1)
        return own

    graph = plain(function, torch.ones(3))
    assert not relax_views(graph)
    assert "aten.view.default" in names(graph)
    folded(function)


def test_reading_by_strides_keeps_them() -> None:
    data = normal((7, 3), source=Key(0))
    graph = folded(lambda z: (data @ z.t()).t().as_strided((14,), (1,)), normal((2, 3), source=Key(1)))
    assert "aten.t.default" in names(graph)


def test_the_users_matrix_is_copied_not_changed() -> None:
    data = normal((7, 3), source=Key(0))
    kept, strides = data.clone(), data.stride()
    graph = plain(lambda z: z @ data, normal((2, 7), source=Key(1)))
    lay_out_products(graph)
    assert data.stride() == strides
    assert torch.equal(data, kept)
    (product,) = graph.graph.find_nodes(op="call_function", target=aten.mm.default)
    assert getattr(graph, product.args[1].target).stride() == (1, 7)
