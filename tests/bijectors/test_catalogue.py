"""What holds for every bijector: inverses, log-dets, gradients, transformations of torch, and copies.

Bounds on rounding are of first order: a result computed with a relative error of a few eps in the value in between
is off by that error times the derivative of what comes after, plus a few eps of itself.
"""

import copy
import math
import pickle

import pytest
import torch
from torch.distributions import Independent, LogNormal, Normal, Transform, TransformedDistribution

from posterity.bijectors import Bijector, Stack, constraints
from tests.bijectors.catalogue import CASES

# Rounding errors of a handful of elementary functions, each off by an ulp or two.
FEW = 16

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
# The one of each type with the most parameters: capture takes half a second a case.
by_parameters = sorted(CASES, key=lambda case: len(case.parameters))
one_of_each_type = list({type(case.bijector()): case for case in by_parameters}.values())
parametrised = pytest.mark.parametrize("case", [c for c in CASES if c.parameters], ids=lambda case: case.name)


def _jacobians(case):
    """Of the map between coordinates, `[num_events, out, in]`, with the coordinates of inputs and outputs."""
    bijector = case.bijector()
    rank = bijector.domain.event_dim
    events = case.x.reshape(-1, *case.x.shape[case.x.dim() - rank :])
    embed = case.embed or (lambda v: v.reshape(events.shape[1:]))
    coordinates = torch.stack([case.unembed(event) for event in events])
    maps = torch.vmap(torch.func.jacrev(lambda v: bijector.forward(embed(v)).flatten()))
    charted = torch.vmap(torch.func.jacrev(lambda v: case.chart(bijector.forward(embed(v)))))
    return bijector, events, coordinates, maps(coordinates), charted(coordinates)


def _log_volume(jacobian):
    """log sqrt(det J^T J), by singular values; log |det J| for a square matrix."""
    return torch.linalg.svdvals(jacobian).log().sum(-1)


def _gap(case, dtype):
    """First-order bounds on the rounding of `inverse(forward(x))`, per coordinate of x: `[num_events, in]`."""
    bijector, events, coordinates, jacobian, _ = _jacobians(case)
    y = bijector.forward(events).reshape(len(events), -1)
    # What is between must not be off by more than its parts: 1 stands for the intermediates of the formulas.
    moved = (torch.linalg.pinv(jacobian).abs() @ y.abs().clamp(min=1e-3).unsqueeze(-1)).squeeze(-1)
    return FEW * torch.finfo(dtype).eps * (coordinates.abs() + moved + 1)


@every_case
def test_it_is_a_transform_of_torch(case):
    bijector = case.bijector()
    assert isinstance(bijector, Transform)
    assert bijector.bijective


@every_case
def test_images_lie_in_the_codomain_and_preimages_in_the_domain(case):
    bijector = case.bijector()
    y = bijector(case.x)
    assert bool(bijector.domain.check(case.x).all())
    assert bool(bijector.codomain.check(y).all())
    assert bool(bijector.domain.check(bijector.inverse(y)).all())


@every_case
@every_dtype
def test_the_inverse_undoes_the_map(case, dtype):
    bijector, x = case.bijector(dtype), case.x.to(dtype)
    back = bijector.inverse(bijector.forward(x))
    assert back.dtype == dtype
    rank = bijector.domain.event_dim
    events = (back - x).reshape(-1, *x.shape[x.dim() - rank :]).double()
    error = torch.stack([case.unembed(event) for event in events]).abs()
    assert bool((error <= _gap(case, dtype)).all()), (error / _gap(case, dtype)).max()


@every_case
@every_dtype
def test_the_map_undoes_the_inverse(case, dtype):
    bijector, events, coordinates, jacobian, _ = _jacobians(case)
    y = bijector.forward(events).to(dtype)
    bijector = case.bijector(dtype)
    again = bijector.forward(bijector.inverse(y))
    assert again.dtype == dtype
    moved = (jacobian.abs() @ (coordinates.abs() + 1).unsqueeze(-1)).squeeze(-1)
    bound = FEW * torch.finfo(dtype).eps * (y.reshape(len(y), -1).abs().double() + moved)
    error = (again - y).reshape(len(y), -1).abs().double()
    assert bool((error <= bound).all()), (error / bound).max()


@every_case
def test_log_dets_are_those_of_the_jacobian(case):
    bijector, events, _, _, charted = _jacobians(case)
    log_det = bijector.forward_log_det_jacobian(events)
    exact = _log_volume(charted)
    # Autodiff rounds what it multiplies, values of the order 1, and the singular values the greatest of them.
    singular = torch.linalg.svdvals(charted)
    eps = torch.finfo(torch.float64).eps
    tolerance = FEW * charted.shape[-1] * eps * (1 + singular[:, 0]) / singular[:, -1]
    assert log_det.shape == exact.shape == (len(events),)
    assert bool(((log_det - exact).abs() <= tolerance + FEW * eps * exact.abs()).all())


@every_case
@every_dtype
def test_log_dets_of_both_directions_agree(case, dtype):
    bijector, x = case.bijector(dtype), case.x.to(dtype)
    y = bijector.forward(x)
    forward = bijector.forward_log_det_jacobian(x)
    inverse = bijector.inverse_log_det_jacobian(y)
    assert forward.dtype == inverse.dtype == dtype
    assert forward.shape == inverse.shape == x.shape[: x.dim() - bijector.domain.event_dim]
    double, events, coordinates, jacobian, _ = _jacobians(case)
    embed = case.embed or (lambda v: v.reshape(events.shape[1:]))
    slope = torch.vmap(torch.func.grad(lambda v: double.forward_log_det_jacobian(embed(v))))(coordinates)
    bound = (slope.abs() * _gap(case, dtype)).sum(-1)
    bound = bound + FEW * torch.finfo(dtype).eps * (forward.flatten().abs().double() + jacobian.shape[-1])
    error = (forward + inverse).flatten().abs().double()
    assert bool((error <= bound).all()), (error / bound).max()


@every_case
def test_values_and_log_dets_together_are_those_apart(case):
    bijector, x = case.bijector(), case.x
    y, log_det = bijector.forward_and_log_det(x)
    torch.testing.assert_close(y, bijector.forward(x), rtol=0, atol=0)
    torch.testing.assert_close(log_det, bijector.forward_log_det_jacobian(x))
    torch.testing.assert_close(log_det, bijector.log_abs_det_jacobian(x, y))
    back, inverse_log_det = bijector.inverse_and_log_det(y)
    torch.testing.assert_close(back, bijector.inverse(y), rtol=0, atol=0)
    torch.testing.assert_close(inverse_log_det, bijector.inverse_log_det_jacobian(y))


@every_case
def test_the_inverse_bijector_exchanges_the_directions(case):
    bijector, x = case.bijector(), case.x
    y = bijector(x)
    inverse = bijector.inv
    assert inverse.inv == bijector
    assert inverse.domain == bijector.codomain
    assert inverse.codomain == bijector.domain
    torch.testing.assert_close(inverse(y), bijector.inverse(y), rtol=0, atol=0)
    torch.testing.assert_close(inverse.inverse(x), y, rtol=0, atol=0)
    torch.testing.assert_close(inverse.forward_log_det_jacobian(y), bijector.inverse_log_det_jacobian(y))
    torch.testing.assert_close(inverse.log_abs_det_jacobian(y, x), -bijector.log_abs_det_jacobian(x, y))
    assert inverse.forward_shape(y.shape) == x.shape


@every_case
def test_with_a_cache_the_way_back_is_exact(case):
    cached, x = case.bijector().with_cache(), case.x
    y = cached(x)
    assert cached.inverse(y) is x or torch.equal(cached.inverse(y), x)
    assert torch.equal(cached.inv(y), x)
    torch.testing.assert_close(cached.inverse_log_det_jacobian(y), -case.bijector().forward_log_det_jacobian(x))
    torch.testing.assert_close(cached.inv.forward_log_det_jacobian(y), cached.inverse_log_det_jacobian(y))


@every_case
def test_shapes_are_foretold(case):
    bijector, x = case.bijector(), case.x
    y = bijector(x)
    assert bijector.forward_shape(x.shape) == y.shape
    assert bijector.inverse_shape(y.shape) == x.shape
    wider = x.expand(2, 1, *x.shape)
    assert bijector(wider).shape == bijector.forward_shape(wider.shape)
    assert bijector.forward_log_det_jacobian(wider).shape == wider.shape[: wider.dim() - bijector.domain.event_dim]


def _everything(case):
    def evaluate(x, parameters):
        bijector = case.build(**parameters)
        y = bijector.forward(x)
        return (
            y,
            bijector.inverse(y),
            bijector.forward_log_det_jacobian(x),
            bijector.inverse_log_det_jacobian(y),
            bijector.inv.log_abs_det_jacobian(y, x),
        )

    return evaluate


@pytest.mark.parametrize("case", one_of_each_type, ids=lambda case: case.name)
def test_it_compiles_into_one_graph(case):
    def evaluate(x, parameters):
        bijector = case.build(**parameters)
        y, log_det = bijector.forward_and_log_det(x)
        return y, log_det, *bijector.inverse_and_log_det(y)

    torch._dynamo.reset()
    compiled = torch.compile(evaluate, fullgraph=True, backend="aot_eager")
    for ours, expected in zip(compiled(case.x, case.parameters), evaluate(case.x, case.parameters), strict=True):
        torch.testing.assert_close(ours, expected)


@every_case
def test_it_maps_under_vmap(case):
    evaluate = _everything(case)
    mapped = torch.vmap(lambda x: evaluate(x, case.parameters))(case.x)
    for ours, expected in zip(mapped, evaluate(case.x, case.parameters), strict=True):
        torch.testing.assert_close(ours, expected)


@every_case
def test_on_the_meta_device_nothing_leaves_it(case):
    parameters = {name: value.to("meta") for name, value in case.parameters.items()}
    for value in _everything(case)(case.x.to("meta"), parameters):
        assert value.device.type == "meta"


@parametrised
def test_parameters_broadcast_as_a_batch(case):
    first = next(iter(case.parameters))
    parameter = case.parameters[first]
    batch = torch.stack([factor * parameter for factor in (1.0, 1.1, 1.2)])
    bijector = case.bijector()
    rank = bijector.domain.event_dim
    # Parameters of a stack's parts broadcast against slices, which have a dimension less; those that are vectors or
    # matrices already have the dimensions of an event.
    before_event = case.x.dim() - (rank if parameter.dim() else isinstance(bijector, Stack))
    shaped = batch.reshape(3, *(1,) * before_event, *parameter.shape)
    batched = case.build(**{**case.parameters, first: shaped})
    values, log_dets = batched.forward_and_log_det(case.x)
    singles = [case.build(**{**case.parameters, first: one}).forward_and_log_det(case.x) for one in batch]
    torch.testing.assert_close(values, torch.stack([value for value, _ in singles]))
    torch.testing.assert_close(log_dets, torch.stack([log_det for _, log_det in singles]))
    assert batched.inverse(values).shape == (3, *case.x.shape)
    assert batched.inverse_log_det_jacobian(values).shape == (3, *case.x.shape[: case.x.dim() - rank])


@every_case
def test_gradients_reach_inputs_and_parameters(case):
    bijector, _, coordinates, _, _ = _jacobians(case)
    names = list(case.parameters)
    event = coordinates[0].clone().requires_grad_()
    tensors = [case.parameters[name].clone().requires_grad_() for name in names]
    shape = case.x.shape[case.x.dim() - bijector.domain.event_dim :]
    embed = case.embed or (lambda v: v.reshape(shape))
    # Any number that is a smooth function of the output serves to pull it off its manifold's constraint.
    y = bijector.forward(embed(event.detach()))

    def forward(event, *tensors):
        made = case.build(**dict(zip(names, tensors, strict=True)))
        return made.forward_and_log_det(embed(event))

    def backward(*tensors):
        made = case.build(**dict(zip(names, tensors, strict=True)))
        return made.inverse_and_log_det(y)

    assert torch.autograd.gradcheck(forward, (event, *tensors), check_forward_ad=True)
    assert (
        torch.autograd.gradgradcheck(lambda *inputs: forward(*inputs)[1], (event, *tensors)) if _curved(case) else True
    )
    if tensors:
        assert torch.autograd.gradcheck(backward, tuple(tensors))


def _curved(case):
    log_det = case.bijector().forward_log_det_jacobian(case.x.clone().requires_grad_())
    return log_det.requires_grad


@every_case
def test_copies_are_equal_and_act_alike(case):
    bijector = case.bijector()
    for twin in (copy.deepcopy(bijector), bijector.with_cache()):
        assert twin is not bijector
        assert twin == bijector
        assert hash(twin) == hash(bijector)
        assert torch.equal(twin(case.x), bijector(case.x))
    # What a pickle holds; cases made by a lambda have nothing unpicklable inside.
    twin = pickle.loads(pickle.dumps(bijector.with_cache()))
    assert twin == bijector
    assert torch.equal(twin(case.x), bijector(case.x))


@every_case
def test_its_text_names_it(case):
    bijector = case.bijector()
    assert repr(bijector).startswith(f"{type(bijector).__name__}(")
    assert "object at" not in repr(bijector)


@every_case
def test_torchs_transformed_distribution_works_with_it(case):
    bijector = case.bijector()
    domain = bijector.domain
    while isinstance(domain, constraints.independent):
        domain = domain.base_constraint
    rank = bijector.domain.event_dim
    shape = case.x.shape[case.x.dim() - rank :]
    zeros = torch.zeros(shape, dtype=torch.float64)
    if domain is constraints.positive:
        base = LogNormal(zeros, 1.0)
    elif case.embed is None and bool(bijector.domain.check(zeros).all()):
        base = Normal(zeros, 1.0)
    else:
        pytest.skip("its domain has no distribution of torch at hand")
    mapped = TransformedDistribution(base, [bijector])
    draws = mapped.rsample((3,))
    x = bijector.inverse(draws)
    expected = Independent(base, rank).log_prob(x) - bijector.forward_log_det_jacobian(x)
    torch.testing.assert_close(mapped.log_prob(draws), expected)
    assert mapped.event_shape == draws.shape[1:]
    if rank == 0:
        assert math.isfinite(float(mapped.log_prob(draws).sum()))


def test_the_catalogue_holds_every_bijector():
    from posterity import bijectors

    shown = {getattr(bijectors, name) for name in bijectors.__all__}
    kinds = {kind for kind in shown if isinstance(kind, type) and issubclass(kind, Bijector)} - {Bijector}
    # Modules have a table of their own, in `flows`.
    kinds = {kind for kind in kinds if not issubclass(kind, torch.nn.Module)}
    assert kinds == {type(case.bijector()) for case in CASES} & kinds
