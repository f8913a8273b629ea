"""Indexing that broadcasts, against indexing one by one."""

import itertools

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from posterity.ppl import Vindex, vindex


def test_entries_are_those_of_whole_numbers():
    x, i, k = torch.randn(3, 4, 5), torch.tensor([[0], [2]]), torch.tensor([1, 4, 0])
    found = Vindex(x)[i, :, k]
    assert found.shape == (2, 3, 4)
    for a, b in itertools.product(range(2), range(3)):
        assert found[a, b].equal(x[i[a, 0], :, k[b]])


def test_dimensions_without_an_index_are_taken_whole():
    x, i = torch.randn(3, 4), torch.tensor([[2], [0]])
    assert Vindex(x)[i].equal(x[i])
    assert Vindex(x)[1].equal(x[1])
    assert Vindex(x)[:, 2].equal(x[:, 2])
    assert Vindex(x)[:].equal(x)
    assert Vindex(x)[...].equal(x)


def test_an_ellipsis_is_a_batch_that_broadcasts():
    x, i = torch.randn(6, 3, 4), torch.tensor([[0], [2]])
    found = Vindex(x)[..., i, :]
    assert found.shape == (2, 6, 4)
    for a, b in itertools.product(range(2), range(6)):
        assert found[a, b].equal(x[b, i[a, 0]])
    paired = Vindex(x)[..., torch.tensor([0, 1, 2, 0, 1, 2]), 1]
    assert paired.equal(torch.stack([x[b, b % 3, 1] for b in range(6)]))


def test_slices_may_be_parts():
    x, i = torch.randn(3, 4), torch.tensor([2, 0])
    assert vindex(x, (i, slice(1, 3))).equal(x[i][:, 1:3])


def test_it_is_mapped_over():
    x, i = torch.randn(7, 3, 4), torch.randint(3, (7, 2))
    assert torch.vmap(lambda x, i: Vindex(x)[i, 1])(x, i).equal(x.gather(1, i[..., None].expand(7, 2, 4))[..., 1])


def test_it_is_captured_with_an_index_without_dimensions():
    graph = make_fx(lambda x, i: Vindex(x)[i], tracing_mode="fake")(torch.randn(3, 2), torch.tensor(0))
    x = torch.randn(3, 2)
    assert graph(x, torch.tensor(2)).equal(x[2])


def test_bad_indices_are_refused():
    x = torch.randn(3, 4)
    with pytest.raises(IndexError, match="an ellipsis may stand at the left only"):
        Vindex(x)[0, ...]
    with pytest.raises(IndexError, match=r"3 indices for a tensor of shape \(3, 4\)"):
        Vindex(x)[0, 0, 0]
    with pytest.raises(TypeError, match="an index must be a whole number, a tensor or a slice, not list"):
        Vindex(x)[[0, 1]]
