"""The bijector onto a support ends in that support, from all of unconstrained space."""

import pytest
import torch
from torch.distributions import biject_to, transform_to

from posterity.bijectors import Bijector, Exp, Scale, bijector_to, constraints, register_bijector

BOUND = torch.tensor([-1.0, 4.0])
SUPPORTS = [
    (constraints.real, (3,)),
    (constraints.real_vector, (3,)),
    (constraints.positive, (3,)),
    (constraints.nonnegative, (3,)),
    (constraints.greater_than(2.0), (3,)),
    (constraints.greater_than(BOUND), (3, 2)),
    (constraints.greater_than_eq(-2.0), (3,)),
    (constraints.less_than(-1.0), (3,)),
    (constraints.unit_interval, (3,)),
    (constraints.interval(-2.0, 5.0), (3,)),
    (constraints.interval(BOUND, BOUND + 1), (3, 2)),
    (constraints.half_open_interval(0.0, 2.0), (3,)),
    (constraints.simplex, (3,)),
    (constraints.ordered, (3,)),
    (constraints.positive_ordered, (3,)),
    (constraints.sphere, (3,)),
    (constraints.independent(constraints.positive, 2), (4, 3)),
    (constraints.independent(constraints.simplex, 0), (3,)),
    (constraints.independent(constraints.simplex, 1), (2, 3)),
    (constraints.MixtureSameFamilyConstraint(constraints.positive), (3,)),
    (constraints.cat([constraints.positive, constraints.unit_interval], dim=-1, lengths=[2, 1]), (3,)),
    (constraints.cat([constraints.simplex, constraints.ordered], dim=-1, lengths=[3, 2]), (4,)),
    (constraints.cat([constraints.positive, constraints.real], dim=0, lengths=[1, 2]), (3, 2)),
    (constraints.stack([constraints.positive, constraints.unit_interval], dim=-1), (2,)),
    (constraints.stack([constraints.simplex, constraints.simplex], dim=-2), (2, 3)),
    (constraints.stack([constraints.positive, constraints.real], dim=-2), (2, 3)),
    (constraints.stack([constraints.positive, constraints.real], dim=0), (2, 3)),
]


@pytest.mark.parametrize(("constraint", "shape"), SUPPORTS, ids=lambda value: repr(value)[:40])
def test_every_point_of_the_line_lands_in_the_support_and_comes_back(constraint, shape):
    bijector = bijector_to(constraint)
    x = 3 * torch.randn(shape)
    y = bijector(x)
    assert bijector.codomain.event_dim == constraint.event_dim
    assert bool(bijector.codomain.check(y).all())
    kind = type(constraint)
    # torch's checks of these join the checks of blocks of vectors wrongly.
    if kind not in (constraints.cat, constraints.stack):
        assert bool(constraint.check(y).all())
    torch.testing.assert_close(bijector.inverse(y), x, rtol=1e-3, atol=1e-3)
    log_det = bijector.forward_log_det_jacobian(x)
    assert log_det.shape == x.shape[: x.dim() - bijector.domain.event_dim]
    torch.testing.assert_close(bijector.inverse_log_det_jacobian(y), -log_det, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("constraint", [constraints.greater_than(1.0), constraints.less_than(1.0)])
def test_a_bound_is_never_reached(constraint):
    y = bijector_to(constraint)(torch.tensor([-20.0, -200.0]))
    assert bool(constraint.check(y).all())


@pytest.mark.parametrize("constraint", [constraints.ordered, constraints.positive_ordered, constraints.sphere])
def test_torchs_own_registries_know_the_new_supports(constraint):
    for registry in (biject_to, transform_to):
        transform = registry(constraints.independent(constraint, 1))
        y = transform(torch.randn(4, 2, 3))
        assert bool(constraint.check(y).all())
        assert transform.inv(y).shape == (4, 2, 3)


def test_registered_types_cover_their_subtypes():
    class Positive(constraints.Constraint):
        pass

    class VeryPositive(Positive):
        pass

    with pytest.raises(NotImplementedError, match=r"no bijector onto .*register_bijector\(type\(constraint\)\)"):
        bijector_to(VeryPositive())
    register_bijector(Positive)(lambda constraint: Exp())
    assert bijector_to(VeryPositive()) == Exp()


def test_what_is_no_support_is_refused():
    with pytest.raises(NotImplementedError, match="discrete supports have none"):
        bijector_to(torch.distributions.constraints.boolean)
    with pytest.raises(TypeError, match="bijector_to takes a constraint"):
        bijector_to(Scale(1.0))
    with pytest.raises(TypeError, match="register_bijector takes types of constraints, not Real"):
        register_bijector(constraints.real)


def test_every_result_is_a_bijector():
    assert all(isinstance(bijector_to(constraint), Bijector) for constraint, _ in SUPPORTS)
