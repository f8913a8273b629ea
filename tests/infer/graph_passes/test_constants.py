"""Constant folding: everything that depends on no argument, nothing else, and no memory of the user."""

import pytest
import torch
from torch import Tensor

from posterity.infer.graph_passes import constants, fold_constants, simplify
from tests.infer.graph_passes.graphs import POINT, folded, names, plain

aten = torch.ops.aten
DATA = torch.tensor([1.0, 2.0, 4.0])


def test_a_computation_on_data_is_folded_with_its_writes() -> None:
    data = DATA.clone()

    def function(x: Tensor) -> Tensor:
        constant = data.log().neg_().sub_(1.0)
        return x + constant.view(3, 1).squeeze(-1)

    assert names(folded(function)) == ["aten.add.Tensor"]
    assert torch.equal(data, DATA)


def test_a_write_through_a_view_belongs_to_its_base() -> None:
    def function(x: Tensor) -> Tensor:
        base = DATA.exp()
        base[1:].zero_()
        return x * base

    assert names(folded(function)) == ["aten.mul.Tensor"]


def test_the_old_value_is_not_mixed_up_with_the_new_one() -> None:
    def function(x: Tensor) -> Tensor:
        base = DATA.exp()
        before = x * base
        base.add_(1.0)
        return before + x * base

    assert "aten.exp.default" in names(folded(function))


def test_a_view_taken_before_a_write_is_not_mixed_up_either() -> None:
    def function(x: Tensor) -> Tensor:
        base = DATA.exp()
        view = base[:2]
        before = x[:2] * view
        base.add_(1.0)
        return before + x[:2] * view

    assert "aten.exp.default" in names(folded(function))


def test_memory_that_takes_an_argument_stays() -> None:
    def function(x: Tensor) -> Tensor:
        base = DATA.exp()
        base[0].copy_(x[0])
        return base + 1

    found = names(folded(function))
    assert "aten.exp.default" in found
    assert "aten.add.Tensor" in found


def test_memory_that_takes_an_argument_through_two_views_stays() -> None:
    def function(x: Tensor) -> Tensor:
        base = torch.zeros(2, 3)
        base.t()[0].add_(x[:2])
        return base.sum(1) * 2

    assert "aten.zeros.default" in names(folded(function))


def test_the_users_memory_is_read_anew_where_the_graph_writes_to_it() -> None:
    counter = torch.zeros(3)

    def function(x: Tensor) -> Tensor:
        counter.add_(1.0)
        return x * counter.exp()

    graph = plain(function, POINT)
    fold_constants(graph, [POINT], keep_strides=True)
    counter.zero_()
    first, second = graph(POINT), graph(POINT)
    torch.testing.assert_close(first, POINT * torch.e)
    torch.testing.assert_close(second, POINT * torch.e**2)


def test_two_names_of_the_users_memory_are_one_memory() -> None:
    counter = torch.zeros(3)
    other = counter.view(3)[:2]

    def function(x: Tensor) -> Tensor:
        counter.add_(1.0)
        return x[:2] * other.exp()

    graph = plain(function, POINT)
    fold_constants(graph, [POINT], keep_strides=True)
    counter.zero_()
    graph(POINT)
    torch.testing.assert_close(graph(POINT), POINT[:2] * torch.e**2)


def test_what_shares_memory_with_an_argument_is_no_constant() -> None:
    argument = POINT.clone()
    half = argument[:2]
    graph = plain(lambda x: x[:2] + half.exp(), argument)
    simplify(graph, [argument])
    argument.fill_(0.5)
    torch.testing.assert_close(graph(argument), 0.5 + torch.full((2,), 0.5).exp())


def test_random_numbers_stay_random() -> None:
    graph = plain(lambda x: x + torch.rand(3), POINT)
    simplify(graph, [POINT])
    assert not torch.equal(graph(POINT), graph(POINT))


def test_returned_constants_are_the_callers_own() -> None:
    graph = folded(lambda x: (x + 1, DATA.exp()))
    graph(POINT)[1].zero_()
    torch.testing.assert_close(graph(POINT)[1], DATA.exp())


def test_a_uniform_constant_is_written_into_the_code() -> None:
    graph = folded(lambda x: x + torch.ones(3).log().sub_(0.5))
    (full,) = graph.graph.find_nodes(op="call_function", target=aten.full.default)
    assert full.args == ([3], -0.5)


@pytest.mark.parametrize("values", [[0.0, -0.0], [1.0, 1.0 + 2**-23], [torch.nan, 1.0]])
def test_what_differs_in_a_bit_is_not_uniform(values: list[float]) -> None:
    data = torch.tensor(values)
    graph = plain(lambda x: x.copysign(data * 1.0), torch.ones(2))
    simplify(graph, [torch.ones(2)])
    assert not graph.graph.find_nodes(op="call_function", target=aten.full.default)


def test_too_much_memory_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "MOST_BYTES", 64)
    large = torch.arange(20.0)
    graph = folded(lambda x: x.sum() + (large.exp() * DATA.exp().sum()).sum())
    assert names(graph).count("aten.exp.default") == 1, "the small one is kept, the large one is not"


def test_a_custom_operator_stays() -> None:
    @torch.library.custom_op("posterity_test::counted", mutates_args=())
    def counted(x: Tensor) -> Tensor:
        return x + 1

    counted.register_fake(torch.empty_like)
    assert "posterity_test.counted.default" in names(folded(lambda x: x + counted(DATA)))
