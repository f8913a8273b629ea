import pytest

import posterity as pt

dist, handle = pt.distributions, pt.handlers


def model():
    pt.param("loc", 1.0)
    pt.sample("x", dist.Normal(0.0, 1.0))
    pt.sample("y", dist.Normal(0.0, 1.0), obs=0.0)


def seen(**arguments):
    return list(handle.trace(handle.block(model, **arguments)).get_trace())


def test_everything_is_hidden_by_default():
    assert seen() == []


def test_names_are_hidden():
    assert seen(hide=["x", "loc"]) == ["y"]


def test_names_are_exposed():
    assert seen(expose=["x"]) == ["x"]


def test_a_function_hides():
    assert seen(hide_fn=lambda site: site.kind == "param") == ["x", "y"]


def test_a_function_exposes():
    assert seen(expose_fn=lambda site: site.is_observed) == ["y"]


def test_handlers_inside_see_hidden_sites():
    with handle.block(), handle.trace() as inside:
        model()
    assert list(inside.trace) == ["loc", "x", "y"]


def test_values_from_outside_do_not_reach_hidden_sites():
    with handle.condition(data={"x": 100.0}), handle.trace() as outside, handle.block(hide=["x"]):
        assert pt.sample("x", dist.Normal(0.0, 1.0)) < 50
    assert len(outside.trace) == 0


def test_two_ways_at_once_are_refused():
    with pytest.raises(ValueError, match="block: give one of hide, expose, hide_fn and expose_fn"):
        handle.block(model, hide=["x"], expose=["y"])


@pytest.mark.parametrize("argument", ["hide", "expose"])
def test_a_bare_name_is_refused(argument):
    with pytest.raises(TypeError, match=rf"block: {argument} must be a list of names; write {argument}=\['x'\]"):
        handle.block(model, **{argument: "x"})
