"""What holds for every bijector that is a module: it is both, fully, and a context picks one of a family."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal

from posterity import bijectors as pb
from posterity.bijectors import Bijector
from tests.bijectors.flows import FLOWS

# Rounding of a handful of layers, each of some tens of operations.
SOME = 256

every_flow = pytest.mark.parametrize("case", FLOWS, ids=lambda case: case.name)
conditional = pytest.mark.parametrize("case", [c for c in FLOWS if c.conditional], ids=lambda case: case.name)
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def _jacobians(flow, x):
    rank = flow.domain.event_dim
    size = x.shape[x.dim() - rank :].numel()
    return torch.vmap(torch.func.jacrev(flow.forward))(x).reshape(len(x), size, size)


@every_flow
@every_dtype
def test_each_direction_undoes_the_other(case, dtype):
    flow, x = case.module(dtype), case.inputs(dtype=dtype)
    y, log_det = flow.forward_and_log_det(x)
    back, inverse_log_det = flow.inverse_and_log_det(y)
    assert y.dtype == back.dtype == log_det.dtype == dtype
    # First-order bounds: rounding of values of order |y| + 1, stretched by the inverse's Jacobian, and by the
    # steepness of the log-det.
    jacobian = _jacobians(case.module(), case.inputs())
    moved = torch.linalg.svdvals(torch.linalg.inv(jacobian))[:, 0] * (1 + y.double().flatten(1).norm(dim=1))
    gap = SOME * torch.finfo(dtype).eps * (1 + moved)
    assert bool(((back - x).double().flatten(1).norm(dim=1) <= gap).all())
    double = case.module()
    slope = torch.func.grad(lambda x: double.forward_log_det_jacobian(x).sum())(case.inputs())
    bound = gap * (1 + slope.flatten(1).norm(dim=1))
    assert bool(((log_det + inverse_log_det).double().abs() <= bound).all())
    torch.testing.assert_close(flow.forward(flow.inverse(x)), x, rtol=0, atol=1e-3 if dtype == torch.float32 else 1e-9)


@every_flow
def test_log_dets_are_those_of_the_jacobian(case):
    flow, x = case.module(), case.inputs()
    _, exact = torch.linalg.slogdet(_jacobians(flow, x))
    torch.testing.assert_close(flow.forward_log_det_jacobian(x), exact, rtol=1e-9, atol=1e-9)
    y = flow(x)
    torch.testing.assert_close(flow.inverse_log_det_jacobian(y), -exact, rtol=1e-7, atol=1e-7)


@every_flow
def test_what_is_foretold_and_what_comes_agree(case):
    flow = case.module()
    x = case.inputs().expand(2, 4, *case.event_shape)
    y, log_det = flow.forward_and_log_det(x)
    assert y.shape == flow.forward_shape(x.shape) == x.shape
    assert log_det.shape == (2, 4)
    torch.testing.assert_close(y[1], flow(x[0]))
    torch.testing.assert_close(log_det, flow.forward_log_det_jacobian(x))
    torch.testing.assert_close(flow.inverse(y), flow.inverse_and_log_det(y)[0])


@pytest.mark.parametrize("case", [c for c in FLOWS if c.starts_as_identity], ids=lambda case: case.name)
def test_untrained_flows_are_the_identity(case):
    torch.manual_seed(0)
    flow, x = case.build().eval().double(), case.inputs()
    y, log_det = flow.forward_and_log_det(x)
    torch.testing.assert_close(y, x)
    torch.testing.assert_close(log_det, torch.zeros_like(log_det), rtol=0, atol=1e-12)


@every_flow
def test_it_is_a_module(case):
    flow, x = case.module(), case.inputs()
    assert isinstance(flow, nn.Module)
    assert isinstance(flow, torch.distributions.Transform)
    other = case.build().eval().double()
    assert not torch.allclose(other(x), flow(x))
    other.load_state_dict(flow.state_dict())
    torch.testing.assert_close(other(x), flow(x), rtol=0, atol=0)
    called = []
    flow.register_forward_hook(lambda *_: called.append(True))
    flow(x)
    assert called
    assert repr(flow).startswith(type(flow).__name__ + "(")


@every_flow
def test_the_inverse_and_the_cached_share_its_parameters(case):
    flow, x = case.module(), case.inputs()
    own = {id(parameter) for parameter in flow.parameters()}
    assert own
    assert {id(parameter) for parameter in flow.inv.parameters()} == own
    assert flow.inv.inv is flow or flow.inv is flow.bijector
    cached = flow.with_cache()
    assert {id(parameter) for parameter in cached.parameters()} == own
    assert cached.inverse(cached(x)) is x or torch.equal(cached.inverse(cached(x)), x)
    torch.testing.assert_close(flow.inv(flow(x)), x)


@every_flow
def test_copies_stand_alone(case):
    flow, x = case.module(), case.inputs()
    before = flow(x)
    for twin in (copy.deepcopy(flow), _repickled(flow)):
        torch.testing.assert_close(twin(x), before, rtol=0, atol=0)
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.add_(0.1)
        assert not torch.allclose(twin(x), before)
        torch.testing.assert_close(flow(x), before, rtol=0, atol=0)


def _repickled(flow):
    return pickle.loads(pickle.dumps(flow))


class _Both(nn.Module):
    """Everything that a flow computes, as one module's forward."""

    def __init__(self, flow, context=None):
        super().__init__()
        self.flow, self.context = flow, context

    def forward(self, x):
        flow = self.flow if self.context is None else self.flow.condition(self.context)
        return *flow.forward_and_log_det(x), *flow.inverse_and_log_det(x)


# The others are made of the same parts.
@pytest.mark.parametrize(
    "case",
    [c for c in FLOWS if c.name not in ("maf", "maf_of_splines", "nice", "inverted", "neural_spline_flow", "act_norm")],
    ids=lambda case: case.name,
)
def test_it_compiles_into_one_graph(case):
    both, x = _Both(case.module()), case.inputs()
    torch._dynamo.reset()
    compiled = torch.compile(both, fullgraph=True, backend="aot_eager")
    for ours, expected in zip(compiled(x), both(x), strict=True):
        torch.testing.assert_close(ours, expected)


@every_flow
def test_it_maps_under_vmap(case):
    both, x = _Both(case.module()), case.inputs()
    for ours, expected in zip(torch.vmap(both)(x), both(x), strict=True):
        torch.testing.assert_close(ours, expected)


@every_flow
def test_gradients_reach_parameters_and_inputs(case):
    both, x = _Both(case.module()), case.inputs(2).requires_grad_()
    names = [name for name, _ in both.named_parameters()]
    values = [parameter.detach().clone().requires_grad_() for parameter in both.parameters()]

    def evaluate(x, *values):
        return torch.func.functional_call(both, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(evaluate, (x, *values), fast_mode=True)


@every_flow
def test_on_the_meta_device_nothing_leaves_it(case):
    for value in _Both(case.module().to("meta"))(case.inputs().to("meta")):
        assert value.device.type == "meta"


@every_flow
def test_a_base_distribution_makes_it_a_density(case):
    flow = case.module()
    rank = len(case.event_shape)
    base = Independent(Normal(torch.zeros(case.event_shape, dtype=torch.float64), 1.0), rank)
    density = flow(base)
    draws = density.rsample((3,))
    x, log_det = flow.inverse_and_log_det(draws)
    torch.testing.assert_close(density.log_prob(draws), base.log_prob(x) + log_det)
    (-density.log_prob(draws.detach()).mean()).backward()
    assert all(parameter.grad is not None for parameter in flow.parameters())


@conditional
def test_each_context_has_its_own_map(case):
    flow, x = case.module(context_features=2), case.inputs()
    contexts = torch.tensor([[0.0, 0.0], [1.0, -1.0], [2.0, 0.5], [0.3, 0.1]], dtype=torch.float64)
    conditioned = flow.condition(contexts)
    y, log_det = conditioned.forward_and_log_det(x)
    assert not torch.allclose(flow.condition(contexts[0])(x[1]), y[1])
    for i in range(4):
        one = flow.condition(contexts[i])
        torch.testing.assert_close(one(x[i]), y[i])
        torch.testing.assert_close(one.forward_log_det_jacobian(x[i]), log_det[i])
    torch.testing.assert_close(conditioned.inverse(y), x, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(conditioned.inverse_log_det_jacobian(y), -log_det, rtol=1e-7, atol=1e-7)
    _, exact = torch.linalg.slogdet(_jacobians(flow.condition(contexts[1]), x))
    torch.testing.assert_close(flow.condition(contexts[1]).forward_log_det_jacobian(x), exact, rtol=1e-9, atol=1e-9)
    # A batch of contexts widens a single input, and the shapes say so.
    single = x[0]
    assert conditioned.forward_shape(single.shape) == conditioned(single).shape == (4, 3)
    assert conditioned.inverse(single).shape == (4, 3)
    assert conditioned.forward_log_det_jacobian(single).shape == (4,)


@conditional
def test_contexts_flow_into_gradients_and_graphs(case):
    flow, x = case.module(context_features=2), case.inputs()
    both = _Both(flow, torch.ones(4, 2, dtype=torch.float64))
    values = both(x)
    # The flow of the table is made of couplings, autoregressive layers and parts without a context.
    if case.name == "flow":
        torch._dynamo.reset()
        compiled = torch.compile(both, fullgraph=True, backend="aot_eager")
        for ours, expected in zip(compiled(x), values, strict=True):
            torch.testing.assert_close(ours, expected)
    sum(value.sum() for value in values).backward()
    assert all(parameter.grad is not None for parameter in flow.parameters())


@conditional
def test_a_context_is_asked_for_and_refused(case):
    x = case.inputs()
    flow = case.module(context_features=2)
    with pytest.raises(ValueError, match=r"needs a context of 2 features: use condition\(context\)"):
        flow(x)
    with pytest.raises(ValueError, match=r"must have the shape \[\*batch, 2\], but has \(4, 3\)"):
        flow.condition(torch.zeros(4, 3))
    with pytest.raises(ValueError, match="takes no context"):
        case.module().condition(torch.zeros(4, 2))


def test_the_table_holds_every_module():
    shown = {getattr(pb, name) for name in pb.__all__}
    kinds = {kind for kind in shown if isinstance(kind, type) and issubclass(kind, Bijector)}
    kinds = {kind for kind in kinds if issubclass(kind, nn.Module)} - {pb.ModuleBijector}
    assert kinds == {type(case.build()) for case in FLOWS} & kinds
