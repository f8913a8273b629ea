"""Flows as density models: they are densities, their samples follow them, and they work wherever modules do."""

import copy
import io
import math

import pytest
import torch
from scipy import stats

import posterity as pt
from posterity.bijectors import ActNorm, Exp, Flow
from posterity.distributions import Independent, Normal, StudentT
from posterity.networks import MAF, NeuralSpline, NormalizingFlow, RealNVP
from tests.statistical import FALSE_ALARM

FAMILIES = {
    "real_nvp": lambda d, **k: RealNVP(d, 3, (12,), **k),
    "maf": lambda d, **k: MAF(d, 2, (12,), **k),
    "spline": lambda d, **k: NeuralSpline(d, 2, (12,), num_bins=4, **k),
    "autoregressive_spline": lambda d, **k: NeuralSpline(d, 2, (12,), num_bins=4, autoregressive=True, **k),
}
every_family = pytest.mark.parametrize("make", FAMILIES.values(), ids=FAMILIES.keys())


def _random(make, features=2, dtype=torch.float64, **options):
    """A flow with random parameters on data that is not standardised."""
    flow = make(features, **options)
    stream = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=stream))
        flow.loc.copy_(torch.linspace(-3.0, 5.0, features))
        flow.scale.copy_(torch.linspace(0.5, 4.0, features))
        flow.context_loc.fill_(1.0)
    return flow.to(dtype)


def _grid(flow, number, reach=8.0):
    """Midpoints of a square around the data, `[number ** 2, 2]`, and the area of a cell."""
    points = (torch.arange(number, dtype=torch.float64) + 0.5) / number * 2 * reach - reach
    square = torch.cartesian_prod(points, points) * flow.scale + flow.loc
    return square, float((2 * reach / number) ** 2 * flow.scale.prod())


def _total(flow, number, context=None):
    square, area = _grid(flow, number)
    with torch.no_grad():
        return float(flow.log_prob(square, context).exp().sum()) * area


@every_family
@pytest.mark.parametrize("conditional", [False, True], ids=["", "conditional"])
def test_the_density_integrates_to_one(make, conditional):
    flow = _random(make, **({"context_features": 2} if conditional else {}))
    context = torch.tensor([0.5, 2.0], dtype=torch.float64) if conditional else None
    coarse, fine = _total(flow, 150, context), _total(flow, 300, context)
    # The error of the cells is less than their change when halved.
    assert abs(fine - coarse) < 5e-4
    assert abs(fine - 1) < 5e-4


@every_family
def test_a_fitted_density_integrates_to_one(make):
    flow = make(2).double()
    angle = 6.3 * torch.rand(600, dtype=torch.float64)
    ring = torch.stack([angle.cos(), 50 * angle.sin()], 1) + torch.randn(600, 2).double() * torch.tensor([0.2, 10.0])
    before = flow.log_prob(ring).mean()
    flow.fit(ring, num_epochs=5, batch_size=50, lr=5e-3, seed=0, progress=False, compile=False)
    assert flow.log_prob(ring).mean() > before
    coarse, fine = _total(flow, 300), _total(flow, 600)
    assert abs(fine - coarse) < 1e-3
    assert abs(fine - 1) < 1e-3


@every_family
@pytest.mark.parametrize("conditional", [False, True], ids=["", "conditional"])
def test_the_log_density_is_the_change_of_variables_by_autodiff(make, conditional):
    flow = _random(make, 3, **({"context_features": 2} if conditional else {}))
    context = torch.tensor([0.5, 2.0], dtype=torch.float64) if conditional else None
    u = torch.randn(6, 3, dtype=torch.float64)
    to_data = flow.distribution(context).transforms

    def data(point):
        for transform in to_data:
            point = transform(point)
        return point

    jacobian = torch.vmap(torch.func.jacrev(data))(u)
    expected = Normal(0.0, 1.0).log_prob(u).sum(-1) - torch.linalg.slogdet(jacobian).logabsdet
    torch.testing.assert_close(flow.log_prob(data(u), context), expected)
    torch.testing.assert_close(flow.distribution(context).log_prob(data(u)), expected)


@every_family
def test_samples_follow_the_density(make):
    flow = _random(make)
    number, cells, fine = 20_000, 12, 240
    square, area = _grid(flow, fine, reach=4.0)
    with torch.no_grad():
        masses = flow.log_prob(square).exp().reshape(cells, fine // cells, cells, fine // cells).sum((1, 3)) * area
    draws = flow.sample(number, generator=torch.Generator().manual_seed(1))
    places = ((draws - flow.loc) / flow.scale + 4.0).div(8.0 / cells).floor().long()
    inside = ((places >= 0) & (places < cells)).all(-1)
    counts = torch.bincount(places[inside] @ torch.tensor([cells, 1]), minlength=cells**2)
    expected = masses.flatten() * number
    kept = expected > 10
    observed = torch.cat([counts[kept], (number - counts[kept].sum()).reshape(1)])
    wanted = torch.cat([expected[kept], (number - expected[kept].sum()).reshape(1)])
    assert stats.chisquare(observed.numpy(), wanted.numpy(), sum_check=False).pvalue > FALSE_ALARM


def test_conditional_samples_are_of_their_context():
    flow = _random(FAMILIES["maf"], context_features=1)
    context = torch.tensor([[-1.0], [3.0]], dtype=torch.float64)
    draws = flow.sample(4000, context, generator=torch.Generator().manual_seed(1))
    assert draws.shape == (4000, 2, 2)
    for row in (0, 1):
        alone = flow.sample(4000, context[row], generator=torch.Generator().manual_seed(2))
        for feature in (0, 1):
            test = stats.ks_2samp(draws[:, row, feature].numpy(), alone[:, feature].numpy())
            assert test.pvalue > FALSE_ALARM
    assert stats.ks_2samp(draws[:, 0, 1].numpy(), draws[:, 1, 1].numpy()).pvalue < FALSE_ALARM


@every_family
def test_float32_is_near_float64_and_its_samples_come_back(make):
    double = _random(make)
    single = copy.deepcopy(double).float()
    x = double.sample(50)
    exact = double.log_prob(x)
    assert (single.log_prob(x.float()) - exact).abs().max() < 1e-3 * (1 + exact.abs().max())
    z = (single.sample(200) - single.loc) / single.scale
    back = single.bijector.forward(single.bijector.inverse(z))
    torch.testing.assert_close(back, z, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("make", [RealNVP, MAF, NeuralSpline])
def test_it_compiles_into_one_graph_and_is_vectorised(make):
    flow = _random(make, num_layers=1, hidden_features=(4,), context_features=1)
    x, context = torch.randn(7, 2, dtype=torch.float64), torch.randn(7, 1, dtype=torch.float64)
    expected = flow.log_prob(x, context)
    compiled = torch.compile(flow.log_prob, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, context), expected)
    torch.testing.assert_close(torch.vmap(flow.log_prob)(x, context), expected)
    torch.testing.assert_close(flow(x, context), expected)


@every_family
def test_a_state_dict_brings_the_density_along(make):
    flow = _random(make)
    x = torch.randn(5, 2, dtype=torch.float64)
    expected = flow.log_prob(x)
    file = io.BytesIO()
    torch.save(flow.state_dict(), file)
    file.seek(0)
    other = make(2).double()
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.log_prob(x), expected)
    assert torch.equal(copy.deepcopy(flow).log_prob(x), expected)


def test_no_tensor_is_made_on_another_device():
    flow = RealNVP(3, 2, (4,), context_features=2).to("meta")
    x, context = torch.zeros(5, 3, device="meta"), torch.zeros(5, 2, device="meta")
    assert flow.log_prob(x, context).is_meta
    assert flow.sample(2, context).shape == (2, 5, 3)


def test_reparameterised_draws_reach_the_parameters():
    flow = _random(FAMILIES["spline"])
    flow.rsample(4).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in flow.parameters())


def test_another_base_gives_other_tails():
    base = Independent(StudentT(torch.full((2,), 3.0), 0.0, 1.0), 1)
    flow = RealNVP(2, 2, (4,), base=base)
    torch.testing.assert_close(flow.log_prob(torch.full((1, 2), 30.0)), base.log_prob(torch.full((1, 2), 30.0)))
    assert flow.sample((3, 4)).shape == (3, 4, 2)


def test_a_base_that_is_a_module_is_trained_with_the_flow():
    class Base(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.log_scale = torch.nn.Parameter(torch.zeros(2))

        def forward(self):
            return Normal(torch.zeros(2), self.log_scale.exp()).to_event(1)

    flow = MAF(2, 1, (4,), base=Base())
    flow.log_prob(torch.ones(3, 2)).sum().backward()
    assert flow.base.log_scale.grad is not None
    assert "base.log_scale" in flow.state_dict()


def test_a_flow_is_a_prior_inside_a_program():
    prior = _random(FAMILIES["real_nvp"], dtype=torch.float32, context_features=1)

    def model(context, x=None):
        flow = pt.module("prior", prior)
        with pt.plate("rows", len(context)):
            z = pt.sample("z", flow.distribution(context))
            return pt.sample("x", Normal(z, 0.1).to_event(1), obs=x)

    context = torch.zeros(6, 1)
    trace = pt.handlers.trace(model).get_trace(context)
    assert trace["z"].value.shape == (6, 2)
    torch.testing.assert_close(trace.log_probs()["z"], prior.log_prob(trace["z"].value, context))
    guide = pt.infer.AutoNormal(model)
    svi = pt.infer.SVI(model, guide, torch.optim.Adam, {"lr": 0.01}, seed=0, progress=False)
    before = [p.detach().clone() for p in prior.parameters()]
    svi.run(3, context, x=torch.ones(6, 2))
    assert any(not torch.equal(p, was) for p, was in zip(prior.parameters(), before, strict=True))


def test_autoregressive_flows_take_a_single_feature():
    flow = _random(FAMILIES["autoregressive_spline"], 1, context_features=1)
    context = torch.ones(1, dtype=torch.float64)
    x = torch.linspace(-30, 30, 20_001, dtype=torch.float64).unsqueeze(-1)
    with torch.no_grad():
        total = torch.trapezoid(flow.log_prob(x, context).exp(), x.squeeze(-1))
    assert math.isclose(float(total), 1.0, abs_tol=1e-4)


def test_arguments_are_checked():
    for make in (RealNVP, NeuralSpline):
        with pytest.raises(ValueError, match="coupling layers, which need 2 features, .*NeuralSpline.1, autoregress"):
            make(1)
    with pytest.raises(ValueError, match="features of MAF must be a whole number of at least 1, but is 0"):
        MAF(0)
    with pytest.raises(ValueError, match="num_layers of RealNVP must be a whole number of at least 1, but is 0"):
        RealNVP(2, 0)
    with pytest.raises(ValueError, match=r"a width in hidden_features of RealNVP .* but is 1.5"):
        RealNVP(2, hidden_features=(1.5,))
    with pytest.raises(ValueError, match="num_bins of NeuralSpline must be at least 2, but is 1"):
        NeuralSpline(2, num_bins=1)
    with pytest.raises(ValueError, match="bound of NeuralSpline must be positive, but is -1"):
        NeuralSpline(2, bound=-1.0)
    with pytest.raises(TypeError, match=r"bijector of NormalizingFlow must be a bijector that is a module, .* not Exp"):
        NormalizingFlow(2, Exp())
    with pytest.raises(TypeError, match="base of NormalizingFlow must be, or give, a distribution, not a int"):
        NormalizingFlow(2, Flow([ActNorm(2)]), base=lambda: 3)
    with pytest.raises(ValueError, match=r"base of RealNVP must have events of shape \[2\], but has \[\]"):
        RealNVP(2, base=Normal(torch.zeros(2), 1.0))


def test_values_and_contexts_are_checked():
    flow, conditional = RealNVP(2, 1, (4,)), RealNVP(2, 1, (4,), context_features=3)
    x, context = torch.zeros(5, 2), torch.zeros(5, 3)
    with pytest.raises(ValueError, match=r"x of RealNVP must have the shape \[\*batch, 2\], but has \[5, 3\]"):
        flow.log_prob(context)
    with pytest.raises(TypeError, match=r"x of RealNVP must be a tensor of the flow's own torch.float32, not"):
        flow.log_prob(x.double())
    with pytest.raises(ValueError, match="x of RealNVP must be finite, but has NaN or infinite entries"):
        flow.log_prob(torch.full((5, 2), math.nan))
    with pytest.raises(ValueError, match="RealNVP takes no context: make it with context_features="):
        flow.log_prob(x, context)
    with pytest.raises(ValueError, match="RealNVP is conditional: give a context with 3 features"):
        conditional.sample(2)
    with pytest.raises(ValueError, match=r"context of RealNVP must have the shape \[\*batch, 3\], but has \[5, 2\]"):
        conditional.log_prob(x, x)
    with pytest.raises(ValueError, match="context of RealNVP must be finite"):
        conditional.distribution(torch.full((3,), math.inf))
