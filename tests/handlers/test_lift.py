import pytest
import torch
from torch.distributions import constraints

import posterity as pt

dist, handle = pt.distributions, pt.handlers


def model():
    loc = pt.param("loc", torch.zeros(2))
    scale = pt.param("scale", torch.tensor(1.0), constraint=constraints.positive)
    return pt.sample("x", dist.Normal(loc, scale))


def kinds(program):
    return {name: site.kind for name, site in handle.trace(program).get_trace().items()}


def test_all_parameters_take_one_prior():
    assert kinds(handle.lift(model, dist.Exponential(1.0))) == {"loc": "sample", "scale": "sample", "x": "sample"}


def test_a_mapping_lifts_those_that_it_names():
    assert kinds(handle.lift(model, {"scale": dist.Exponential(1.0)})) == {
        "loc": "param",
        "scale": "sample",
        "x": "sample",
    }


def test_a_function_chooses():
    lifted = handle.lift(model, lambda site: dist.Normal(0.0, 1.0) if site.constraint is constraints.real else None)
    assert kinds(lifted) == {"loc": "sample", "scale": "param", "x": "sample"}


def test_the_prior_takes_the_parameters_shape_as_one_event():
    site = handle.trace(handle.lift(model, {"loc": dist.Normal(0.0, 1.0)})).get_trace()["loc"]
    assert site.value.shape == site.distribution.event_shape == (2,)


def test_the_draw_is_what_the_program_sees():
    lifted = handle.lift(lambda: pt.param("a", 0.0), {"a": dist.Delta(torch.tensor(7.0))})
    assert lifted() == 7.0


def test_a_trace_inside_records_the_draw_once():
    with handle.lift(prior={"a": dist.Normal(0.0, 1.0)}):
        trace = handle.trace(lambda: pt.param("a", 0.0)).get_trace()
    assert {name: site.kind for name, site in trace.items()} == {"a": "sample"}


def test_a_seed_inside_fixes_the_draw():
    lifted = handle.lift(handle.seed(lambda: pt.param("a", 0.0), 0), dist.Normal(0.0, 1.0))
    assert lifted() == lifted()


def test_inside_plates_the_batch_is_the_plates():
    def local():
        with pt.plate("data", 3):
            return pt.param("a", torch.zeros(3))

    site = handle.trace(handle.lift(local, dist.Normal(0.0, 1.0))).get_trace()["a"]
    assert site.batch_shape == (3,)
    assert site.value.shape == (3,)


def test_a_subsampled_parameter_is_drawn_for_the_subsample():
    def local():
        with pt.plate("data", 5, subsample_size=2):
            return pt.param("a", torch.zeros(5, 4), event_dim=1)

    site = handle.trace(handle.lift(local, dist.Normal(0.0, 1.0))).get_trace()["a"]
    assert site.batch_shape == (2,)
    assert site.value.shape == (2, 4)


def test_what_is_no_prior_is_refused():
    with pytest.raises(TypeError, match="lift: prior must be a distribution, a mapping .* not float"):
        handle.lift(model, 1.0)
