"""Which products of a graph become thin ones, and that a graph with them says the same."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import posterity as pt
from posterity import distributions as dist
from posterity.infer import Potential
from posterity.infer.capture import can_compile
from posterity.infer.native import thin_product
from posterity.infer.replay import Replay
from posterity.kernels import Key, normal
from tests.infer.graph_passes.graphs import folded

pytestmark = pytest.mark.skipif(not can_compile(), reason="needs a C++ compiler")


def real(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return normal(shape, source=Key(seed), dtype=dtype)


def num_thin(function: Callable[[Tensor], Tensor], example: Tensor) -> int:
    graph = folded(function, example)
    return len(graph.graph.find_nodes(op="call_function", target=thin_product.OPERATOR))


DATA = real(600, 3)


@pytest.mark.parametrize("num_chains", [1, 4, thin_product.MOST_ROWS])
def test_products_with_data_are_thin(num_chains: int) -> None:
    assert num_thin(lambda z: (DATA @ z.t()).t().exp(), real(num_chains, 3, seed=1)) == 1
    assert num_thin(lambda z: z @ DATA, real(num_chains, 600, seed=1)) == 1


def test_other_products_stay() -> None:
    assert num_thin(lambda z: (DATA @ z.t()).t().exp(), real(thin_product.MOST_ROWS + 1, 3, seed=1)) == 0
    assert num_thin(lambda z: (DATA[:100] @ z.t()).t().exp(), real(4, 3, seed=1)) == 0
    assert num_thin(lambda z: z @ (2 * z).t(), real(4, 600, seed=1)) == 0
    assert num_thin(lambda z: (DATA.to(torch.complex128) @ z.t()).t(), real(4, 3, seed=1).to(torch.complex128)) == 0


def test_products_stay_where_nothing_can_be_built(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses() -> None:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(thin_product, "_function", refuses)
    assert num_thin(lambda z: (DATA @ z.t()).t().exp(), real(4, 3, seed=1)) == 0


def logistic(x: Tensor, y: Tensor) -> None:
    a = pt.sample("a", dist.Normal(x.new_tensor(0.0), 1.0))
    b = pt.sample("b", dist.Normal(x.new_zeros(x.shape[1]), 1.0).to_event(1))
    with pt.plate("data", len(y)):
        pt.sample("y", dist.Bernoulli(logits=a + x @ b), obs=y)


def linear(x: Tensor, y: Tensor) -> None:
    scale = pt.sample("scale", dist.HalfNormal(x.new_tensor(1.0)))
    b = pt.sample("b", dist.Normal(x.new_zeros(x.shape[1]), 1.0).to_event(1))
    with pt.plate("data", len(y)):
        pt.sample("y", dist.Normal(x @ b, scale), obs=y)


@pytest.mark.parametrize(
    ("model", "dtype", "num_chains"),
    [(logistic, torch.float32, 3), (logistic, torch.float64, 1), (linear, torch.float64, 3)],
)
def test_a_regression_says_the_same(model: Callable[..., None], dtype: torch.dtype, num_chains: int) -> None:
    x, noise = real(1100, 5, dtype=dtype), real(1100, seed=1, dtype=dtype)
    y = (noise > 0).to(dtype) if model is logistic else noise
    potential = Potential(model, (x, y), source=Key(3))
    z = 0.3 * real(num_chains, potential.dim, seed=2, dtype=dtype)
    replay = Replay(lambda z: potential.value_and_grad(z), [z], is_settled=True)
    assert replay.reason == ""
    addresses = [call.function for call in replay._native._recording.calls]
    assert addresses.count(thin_product._function()[1]) == 2
    replay()
    # 1100 terms of size 1: their roundings together are below 1100 eps of their sum.
    tolerance = 1100 * torch.finfo(dtype).eps
    exact = Potential(model, (x.double(), y.double()), source=Key(3)).value_and_grad(z.double())
    for found, expected in zip(replay.outputs, exact, strict=True):
        torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=1100 * tolerance)
