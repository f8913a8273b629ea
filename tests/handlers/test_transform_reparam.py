import pytest
import torch

import posterity as pt
from posterity.bijectors import Exp, ScalarAffine, bijector_to
from posterity.handlers import TransformReparam
from tests.statistical import assert_same_distribution

dist, handle = pt.distributions, pt.handlers

DISTRIBUTIONS = {
    "affine and exp": lambda: dist.TransformedDistribution(
        dist.Normal(torch.zeros(3).double(), 1.0), [ScalarAffine(2.0, 1.0), Exp()]
    ),
    "log normal": lambda: dist.LogNormal(torch.tensor([0.5, 1.0]).double(), 0.7),
    "logit normal": lambda: dist.LogitNormal(torch.tensor([0.5, 1.0]).double(), 0.7),
    "on a simplex": lambda: dist.TransformedDistribution(
        dist.Normal(torch.zeros(2, 3).double(), 1.0).to_event(1), [bijector_to(torch.distributions.constraints.simplex)]
    ),
    "with events": lambda: dist.LogNormal(torch.zeros(2, 3).double(), 1.0).to_event(1),
    "of torch": lambda: torch.distributions.TransformedDistribution(
        torch.distributions.Normal(torch.zeros(3).double(), 1.0), [torch.distributions.transforms.ExpTransform()]
    ),
}


def traced(make):
    model = handle.reparam(lambda: pt.sample("x", make()), {"x": TransformReparam()})
    return handle.trace(model).get_trace()


@pytest.mark.parametrize("case", DISTRIBUTIONS)
def test_the_density_is_the_same_after_the_change_of_variables(case):
    made = DISTRIBUTIONS[case]()
    trace = traced(DISTRIBUTIONS[case])
    base, value = trace["x_base"].value, trace["x"].value
    assert value.shape == made.batch_shape + made.event_shape
    steps = made.base_dist if isinstance(made, dist.Independent) else made
    transforms = {"log normal": [Exp()], "with events": [Exp()], "logit normal": [pt.bijectors.Sigmoid()]}.get(case)
    log_det, point = 0.0, base
    for transform in transforms or steps.transforms:
        moved = transform(point)
        log_det = log_det + transform.log_abs_det_jacobian(point, moved)
        point = moved
    expected = trace["x_base"].log_prob() - (log_det.sum(-1) if case == "with events" else log_det)
    torch.testing.assert_close(made.log_prob(value), expected, rtol=1e-9, atol=1e-9)


def test_draws_have_the_distribution_that_they_had():
    def model():
        with pt.plate("data", 4000):
            return pt.sample("x", dist.LogNormal(0.3, 0.8))

    assert_same_distribution(handle.reparam(model, {"x": TransformReparam()})(), model())


def test_gradients_reach_the_parameters():
    loc = torch.tensor(0.5, requires_grad=True)
    model = handle.reparam(lambda: pt.sample("x", dist.LogNormal(loc, 1.0)), {"x": TransformReparam()})
    handle.trace(handle.substitute(model, {"x_base": torch.tensor(2.0)})).get_trace().log_prob_sum().backward()
    torch.testing.assert_close(loc.grad, torch.tensor(1.5))


def test_what_is_not_transformed_is_refused():
    model = handle.reparam(lambda: pt.sample("x", dist.Normal(0.0, 1.0)), {"x": TransformReparam()})
    with pytest.raises(TypeError, match="TransformReparam: site 'x' has a Normal, which is no TransformedDistribution"):
        model()
