"""The passes together: the same numbers from models of all kinds, and the structure that makes them fast."""

import operator
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.fx import GraphModule

import posterity as pt
from posterity import distributions as dist
from posterity.infer import Potential
from posterity.infer.capture import can_compile, traced
from posterity.infer.replay import Replay
from posterity.kernels import Key, normal

aten = torch.ops.aten


def real(*shape: int, seed: int = 0) -> Tensor:
    return normal(shape, source=Key(seed), dtype=torch.float64)


def one(value: float = 1.0) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def logistic(x: Tensor, y: Tensor) -> None:
    b = pt.sample("b", dist.Normal(x.new_zeros(x.shape[1]), one()).to_event(1))
    with pt.plate("data", len(y)):
        pt.sample("y", dist.Bernoulli(logits=x @ b), obs=y)


def poisson(x: Tensor, y: Tensor) -> None:
    a = pt.sample("a", dist.Normal(one(0.0), one()))
    b = pt.sample("b", dist.Normal(x.new_zeros(x.shape[1]), one()).to_event(1))
    with pt.plate("data", len(y)):
        pt.sample("y", dist.Poisson((a + 0.1 * (x @ b)).exp()), obs=y)


def eight_schools(sigma: Tensor, y: Tensor) -> None:
    mu = pt.sample("mu", dist.Normal(one(0.0), one(5.0)))
    tau = pt.sample("tau", dist.HalfCauchy(one(5.0)))
    with pt.plate("schools", len(y)):
        t = pt.sample("t", dist.Normal(one(0.0), one()))
        pt.sample("y", dist.Normal(mu + tau * t, sigma), obs=y)


def gaussian_process(x: Tensor, y: Tensor) -> None:
    rho = pt.sample("rho", dist.LogNormal(one(0.0), one()))
    noise = pt.sample("noise", dist.HalfNormal(one()))
    covariance = torch.exp(-0.5 * (x[:, None] - x) ** 2 / rho**2) + (noise**2 + 1e-3) * torch.eye(len(x), dtype=x.dtype)
    pt.sample("y", dist.MultivariateNormal(x.new_zeros(len(x)), covariance), obs=y)


def mixture(y: Tensor) -> None:
    share = pt.sample("share", dist.Dirichlet(y.new_ones(3)))
    centre = pt.sample("centre", dist.Normal(y.new_zeros(3), one(3.0)).to_event(1))
    with pt.plate("data", len(y)):
        terms = share.log() + dist.Normal(centre, one()).log_prob(y.unsqueeze(-1))
        pt.factor("likelihood", terms.logsumexp(-1))


def two_layers(x: Tensor, y: Tensor) -> None:
    w = pt.sample("w", dist.Normal(x.new_zeros(x.shape[1], 3), one()).to_event(2))
    v = pt.sample("v", dist.Normal(x.new_zeros(3), one()).to_event(1))
    with pt.plate("data", len(y)):
        pt.sample("y", dist.StudentT(one(4.0), torch.tanh(x @ w) @ v, one()), obs=y)


X = real(30, 5)
CASES: dict[str, tuple[Callable[..., None], tuple[Tensor, ...]]] = {
    "logistic": (logistic, (X, (real(30, seed=1) > 0).double())),
    "poisson": (poisson, (X, real(30, seed=1).abs().round())),
    "eight_schools": (eight_schools, (real(8).abs() + 9, 10 * real(8, seed=1))),
    "gaussian_process": (gaussian_process, (real(12), real(12, seed=1))),
    "mixture": (mixture, (real(20),)),
    "two_layers": (two_layers, (X, real(30, seed=1))),
}


def graph_of(name: str, num_chains: int) -> tuple[GraphModule, Potential, Tensor]:
    model, data = CASES[name]
    potential = Potential(model, data, source=Key(3))
    z = 0.3 * real(num_chains, potential.dim, seed=2)
    return traced(lambda z: potential.value_and_grad(z), [z], is_settled=True), potential, z


def targets(graph: GraphModule) -> list[object]:
    return [node.target for node in graph.graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize("num_chains", [1, 4])
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_stay(name: str, num_chains: int) -> None:
    data = [tensor.clone() for tensor in CASES[name][1]]
    graph, potential, z = graph_of(name, num_chains)
    for point in (z, 2 * z, z - 0.1):
        for found, expected in zip(graph(point), potential.value_and_grad(point), strict=True):
            # Sums over 30 terms of size 10, in another order: 1e-12 is 100 times their rounding.
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert all(map(torch.equal, data, CASES[name][1])), "the user's data changed"


@pytest.mark.parametrize("num_chains", [1, 4, 16])
def test_the_data_lie_together_between_the_products(num_chains: int) -> None:
    graph, _, _ = graph_of("logistic", num_chains)
    products = graph.graph.find_nodes(op="call_function", target=aten.mm.default)
    assert len(products) == 2
    forward, backward = sorted(products)
    assert forward.meta["val"].shape == (num_chains, 30)
    transposes = {aten.t.default, aten.permute.default, aten.transpose.int}
    assert not transposes & set(targets(graph))
    # One copy of the data serves both products.
    matrices = [getattr(graph, product.args[1].target) for product in (forward, backward)]
    assert matrices[0].data_ptr() == matrices[1].data_ptr()
    assert matrices[0].stride() == (30, 1)
    assert matrices[1].stride() == (1, 30)


def test_what_depends_on_data_alone_is_gone() -> None:
    found = targets(graph_of("logistic", 4)[0])
    assert not {
        aten.eq.Scalar,
        aten.isnan.default,
        aten.where.self,
        aten.log.default,
        aten.log_sigmoid_forward.default,
        aten.log1p.default,
    } & {*found}
    assert found.count(aten.exp.default) == 1
    assert aten.pow.Tensor_Scalar in targets(traced(lambda z: one(2.0) * z**2, [real(3)], is_settled=True))
    distances = targets(graph_of("gaussian_process", 1)[0])
    assert operator.getitem in distances
    assert aten.eye.default not in distances
    assert aten.eye.m not in distances


@pytest.mark.skipif(not can_compile(), reason="needs a C++ compiler")
def test_a_compiled_graph_gives_the_same() -> None:
    model, data = CASES["logistic"]
    potential = Potential(model, data, source=Key(3))
    z = 0.3 * real(4, potential.dim, seed=2)
    replay = Replay(lambda z: potential.value_and_grad(z), [z], is_settled=True)
    assert replay.is_native
    replay.inputs[0].mul_(1.5)
    replay()
    torch.testing.assert_close(
        tuple(replay.outputs), potential.value_and_grad(replay.inputs[0]), rtol=1e-12, atol=1e-12
    )
