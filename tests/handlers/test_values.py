import pytest
import torch

import posterity as pt
from tests.statistical import assert_mean

dist, handle = pt.distributions, pt.handlers


def chain(y=None):
    x = pt.sample("x", dist.Normal(0.0, 1.0))
    z = pt.sample("z", dist.Normal(10 * x, 1.0))
    return pt.sample("y", dist.Normal(z, 1.0), obs=y)


def traced(program, *args):
    return handle.trace(program).get_trace(*args)


class TestCondition:
    def test_it_observes(self):
        trace = traced(handle.condition(chain, data={"x": 2.0}))
        assert trace["x"].is_observed
        assert trace["x"].value == 2.0
        assert trace["z"].is_latent

    def test_the_value_counts_in_the_density(self):
        trace = traced(handle.condition(lambda: pt.sample("x", dist.Normal(0.0, 1.0)), {"x": 2.0}))
        torch.testing.assert_close(trace.log_prob_sum(), dist.Normal(0.0, 1.0).log_prob(torch.tensor(2.0)))

    def test_it_takes_the_place_of_data(self):
        assert traced(handle.condition(chain, {"y": 5.0}), torch.tensor(1.0))["y"].value == 5.0

    def test_the_outer_of_two_has_the_last_word(self):
        assert handle.condition(handle.condition(chain, {"y": 1.0}), {"y": 2.0})() == 2.0

    def test_none_leaves_the_site_alone(self):
        assert traced(handle.condition(chain, {"x": None}))["x"].is_latent

    def test_a_trace_gives_all_its_values(self):
        first = traced(chain)
        second = traced(handle.condition(chain, data=first))
        assert all(second[name].value is first[name].value for name in first)
        assert not list(second.latents())

    def test_names_that_the_program_lacks_change_nothing(self):
        assert list(traced(handle.condition(chain, {"w": 2.0}))) == ["x", "z", "y"]

    def test_data_that_are_no_mapping_are_refused(self):
        with pytest.raises(TypeError, match="condition: data must map site names to values, not list"):
            handle.condition(chain, [1.0])


class TestSubstitute:
    def test_the_site_stays_latent(self):
        trace = traced(handle.substitute(chain, {"x": 2.0}))
        assert trace["x"].is_latent
        assert trace["x"].value == 2.0

    def test_data_stay(self):
        assert handle.substitute(chain, {"y": 2.0})(torch.tensor(1.0)) == 1.0

    def test_parameters_are_replaced(self):
        model = handle.substitute(lambda: pt.param("a", 1.0), {"a": torch.tensor(5.0)})
        assert model() == 5.0

    def test_a_function_may_choose(self):
        model = handle.substitute(chain, lambda site: torch.tensor(3.0) if site.name == "z" else None)
        trace = traced(model)
        assert trace["z"].value == 3.0
        assert trace["x"].value != 3.0

    def test_the_inner_of_two_has_the_last_word(self):
        inner = handle.substitute(chain, {"z": 1.0})
        assert traced(handle.substitute(inner, {"z": 2.0}))["z"].value == 1.0

    def test_data_that_are_no_mapping_are_refused(self):
        with pytest.raises(TypeError, match="substitute: data must map site names to values, not int"):
            handle.substitute(chain, 3)


class TestReplay:
    def test_latent_values_are_those_of_the_trace(self):
        first = traced(chain)
        second = traced(handle.replay(chain, first))
        assert second["x"].value is first["x"].value
        assert second["z"].value is first["z"].value

    def test_data_stay_the_programs_own(self):
        first = traced(chain)
        assert handle.replay(chain, first)(torch.tensor(7.0)) == 7.0

    def test_sites_that_the_trace_lacks_are_drawn(self):
        def guide():
            pt.sample("x", dist.Normal(0.0, 1.0))

        first = traced(guide)
        second = traced(handle.replay(chain, first))
        assert second["x"].value is first["x"].value
        assert second["z"].value != first["x"].value

    def test_the_distribution_is_the_programs_own(self):
        trace = traced(lambda: pt.sample("x", dist.Delta(torch.tensor(2.0))))
        replayed = traced(handle.replay(lambda: pt.sample("x", dist.Normal(0.0, 1.0)), trace))
        torch.testing.assert_close(replayed.log_prob_sum(), dist.Normal(0.0, 1.0).log_prob(torch.tensor(2.0)))

    def test_directions_of_the_guide_are_taken_over(self):
        trace = traced(lambda: pt.sample("x", dist.Normal(0.0, 1.0), infer={"marked": True}))
        assert traced(handle.replay(chain, trace))["x"].infer["marked"]

    def test_a_latent_site_that_the_trace_observed_is_refused(self):
        trace = traced(handle.condition(chain, {"x": 1.0}))
        with pytest.raises(ValueError, match="replay: site 'x' is latent in the program but observed in the trace"):
            handle.replay(chain, trace)()

    def test_what_is_no_trace_is_refused(self):
        with pytest.raises(TypeError, match="replay: trace must be a Trace, not NoneType"):
            handle.replay(chain)

    def test_conditioned_sites_inside_stay_conditioned(self):
        first = traced(chain)
        assert traced(handle.replay(handle.condition(chain, {"x": 9.0}), first))["x"].value == 9.0


class TestDo:
    def test_what_comes_after_sees_the_intervention(self):
        trace = traced(handle.do(chain, {"x": 100.0}))
        assert abs(trace["z"].value - 1000.0) < 10.0

    def test_the_site_itself_is_drawn_as_ever(self):
        values = torch.stack([traced(handle.do(chain, {"x": 100.0}))["x"].value for _ in range(500)])
        assert_mean(values, 0.0)

    def test_it_differs_from_conditioning_on_the_same_value(self):
        value = {"x": torch.tensor(2.0)}
        conditioned, intervened = traced(handle.condition(chain, value)), traced(handle.do(chain, value))
        assert conditioned["x"].is_observed
        assert intervened["x"].is_latent

    def test_the_inner_of_two_interventions_holds(self):
        model = handle.do(handle.do(chain, {"z": 100.0}), {"z": -100.0})
        assert model() > 0

    def test_an_observed_site_keeps_its_data_in_the_trace(self):
        def model():
            y = pt.sample("y", dist.Normal(0.0, 1.0), obs=torch.tensor(1.0))
            return pt.deterministic("seen", y)

        trace = traced(handle.do(model, {"y": 5.0}))
        assert trace["y"].value == 1.0
        assert trace["seen"].value == 5.0

    def test_conditioning_outside_reaches_the_site_that_was_left(self):
        trace = traced(handle.condition(handle.do(chain, {"x": 100.0}), {"x": 1.0}))
        assert trace["x"].value == 1.0
        assert trace["x"].is_observed
        assert trace["z"].value > 900


class TestUncondition:
    def test_data_are_forgotten_and_kept_aside(self):
        trace = traced(handle.uncondition(chain), torch.tensor(1e6))
        assert trace["y"].is_latent
        assert trace["y"].value < 1e5
        assert trace["y"].infer["obs"] == 1e6

    def test_factors_stay(self):
        trace = traced(handle.uncondition(lambda: pt.factor("term", 2.0)))
        assert trace.log_prob_sum() == 2.0

    def test_conditioning_outside_holds(self):
        trace = traced(handle.condition(handle.uncondition(chain), {"y": 3.0}), torch.tensor(1.0))
        assert trace["y"].is_observed
        assert trace["y"].value == 3.0

    def test_conditioning_inside_is_forgotten(self):
        assert traced(handle.uncondition(handle.condition(chain, {"y": 1e6})))["y"].is_latent
