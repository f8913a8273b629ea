"""Flows learn densities; parts and parameters of them are found, and contexts must agree."""

import math

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal

from posterity.bijectors import (
    MAF,
    ActNorm,
    Exp,
    Flow,
    Invert,
    NeuralSplineFlow,
    Permute,
    Planar,
    RealNVP,
    ScalarAffine,
    Trainable,
)


def _moons(number, stream):
    """Two interleaved half circles with noise, about standardised."""
    angle = math.pi * torch.rand(number, generator=stream)
    upper = torch.rand(number, generator=stream) < 0.5
    across = torch.where(upper, angle.cos(), 1 - angle.cos())
    up = torch.where(upper, angle.sin(), 0.5 - angle.sin())
    points = (torch.stack([across, up], -1) - torch.tensor([0.5, 0.25])) * torch.tensor([1.2, 2.0])
    return points + 0.1 * torch.randn(number, 2, generator=stream)


@pytest.mark.parametrize(
    "build", [lambda: NeuralSplineFlow(2, 2, (32, 32)), lambda: MAF(2, 4, (32, 32))], ids=["splines", "maf"]
)
def test_two_moons_are_learned(build):
    stream = torch.Generator().manual_seed(0)
    train, test = _moons(512, stream), _moons(512, stream)
    normal = MultivariateNormal(train.mean(0), train.T.cov())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        flow = build()
    density = flow(Independent(Normal(torch.zeros(2), 1.0), 1))
    optimizer = torch.optim.Adam(flow.parameters(), lr=5e-3)
    for _ in range(200):
        optimizer.zero_grad()
        (-density.log_prob(train).mean()).backward()
        optimizer.step()
    with torch.no_grad():
        gain = density.log_prob(test) - normal.log_prob(test)
    # More than 0.4 nats a point better than the best Gaussian, on points not seen, and by 5 standard errors.
    assert float(gain.mean() - 5 * gain.std() / math.sqrt(len(test))) > 0.4


def test_parameters_of_all_parts_are_found_once():
    inner, planar, norm = RealNVP(2, 1), Planar(2), ActNorm(2)
    flow = Flow([Invert(planar), inner, Permute([1, 0]), norm.inv, inner])
    expected = {id(p) for part in (inner, planar, norm) for p in part.parameters()}
    assert {id(p) for p in flow.parameters()} == expected
    flow.double()
    assert flow.eval()(torch.zeros(3, 2, dtype=torch.float64)).dtype == torch.float64
    assert not norm.training


def test_contexts_must_agree_in_size():
    with pytest.raises(ValueError, match=r"contexts of one size, but take \[2, 3\]"):
        Flow([Planar(2, context_features=2), RealNVP(2, 1, context_features=3)])


def test_parts_without_a_context_stay():
    flow = Flow([Invert(Planar(2, context_features=3)), ActNorm(2), Planar(2)]).eval()
    assert flow.context_features == 3
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(flow.condition(torch.zeros(4, 3))(x), x)
    with pytest.raises(ValueError, match="Flow takes no context"):
        Flow([Planar(2)]).condition(torch.zeros(4, 3))


def test_what_builds_no_bijector_is_refused():
    with pytest.raises(ValueError, match="Trainable needs at least one parameter"):
        Trainable(Exp)
    with pytest.raises(TypeError, match="build of Trainable must give a Bijector, not Tensor"):
        Trainable(lambda shift: shift, shift=torch.zeros(3))


def test_a_trained_bijector_finds_the_scale_of_the_data():
    stream = torch.Generator().manual_seed(0)
    data = 3 + 2 * torch.randn(400, generator=stream)
    affine = Trainable(ScalarAffine, scale=torch.tensor(1.0), shift=torch.tensor(0.0))
    density = affine(Normal(0.0, 1.0))
    optimizer = torch.optim.LBFGS(affine.parameters(), lr=0.5, max_iter=50)

    def closure():
        optimizer.zero_grad()
        loss = -density.log_prob(data).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    torch.testing.assert_close(affine.shift.detach(), data.mean(), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(affine.scale.detach(), data.std(correction=0), rtol=1e-3, atol=1e-3)
