"""MADE: outputs see what comes before them, all of it and nothing else."""

import pytest
import torch

from posterity.bijectors import MADE


def _randomised(network):
    stream = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, dtype=torch.float64, generator=stream)
    return network.double()


@pytest.mark.parametrize("order", [None, (3, 1, 0, 2), (3, 2, 1, 0)])
@pytest.mark.parametrize("hidden", [(), (8,), (9, 7, 6)])
@pytest.mark.parametrize("context", [0, 2])
def test_the_jacobian_is_strictly_triangular_in_the_order(order, hidden, context):
    made = _randomised(MADE(4, 3, hidden, context_features=context, order=order))
    contexts = [torch.ones(context, dtype=torch.float64)] if context else []
    jacobian = torch.func.jacrev(made)(torch.linspace(-1, 1, 4, dtype=torch.float64), *contexts)
    place = torch.tensor(order if order is not None else range(4))
    before = (place[:, None] > place)[:, None, :].expand(4, 3, 4)
    # With at least one unit of each degree every allowed path is there.
    assert torch.equal(jacobian != 0, before)


@pytest.mark.parametrize("hidden", [(8,), (9, 7)])
def test_every_output_sees_the_context(hidden):
    made = _randomised(MADE(3, 2, hidden, context_features=2))
    x, context = torch.ones(3, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    assert bool((torch.func.jacrev(made, argnums=1)(x, context) != 0).all())
    # And not linearly: the first feature too has its hidden units.
    curvature = torch.func.hessian(made, argnums=1)(x, context)
    assert bool((curvature != 0).flatten(2).any(-1).all())


def test_a_single_feature_has_constant_outputs():
    made = _randomised(MADE(1, 2))
    assert torch.equal(made(torch.tensor([0.0]).double()), made(torch.tensor([5.0]).double()))


def test_inputs_of_any_batch_meet_contexts_of_any_batch():
    assert MADE(3, 2, context_features=4)(torch.zeros(5, 1, 3), torch.zeros(6, 4)).shape == (5, 6, 3, 2)


def test_it_starts_at_zero():
    assert torch.equal(MADE(3, 2)(torch.ones(3)), torch.zeros(3, 2))


@pytest.mark.parametrize("order", [None, (3, 1, 0, 2)])
@pytest.mark.parametrize("hidden", [(), (2,), (9, 7), (7, 2, 5)])
@pytest.mark.parametrize("context", [0, 2])
def test_the_outputs_one_by_one_are_those_of_one_pass(order, hidden, context):
    made = _randomised(MADE(4, 3, hidden, context_features=context, order=order))
    x = torch.randn(5, 4, dtype=torch.float64)
    contexts = [torch.randn(5, context, dtype=torch.float64)] if context else []
    whole, run = made(x, *contexts), made.one_by_one(5, *contexts)
    for feature in run.order:
        torch.testing.assert_close(run.outputs(), whole[:, feature])
        run.add(x[:, feature])


def test_an_order_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"order of MADE must hold each of 0 to 2 once, but is \(0, 0, 1\)"):
        MADE(3, order=(0, 0, 1))
