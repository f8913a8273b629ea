import numpy as np
import pytest
import torch
from torch.distributions import constraints

import posterity as pt
from posterity.kernels import Key
from tests.statistical import assert_mean, assert_variance

dist, handle = pt.distributions, pt.handlers


def site_of(program, name="x"):
    return handle.trace(program).get_trace()[name]


class TestSample:
    def test_draws_have_the_distribution(self):
        draws = pt.sample("x", dist.Normal(torch.full((20_000,), 3.0), 2.0))
        assert_mean(draws, 3.0)
        assert_variance(draws, 4.0)

    def test_torchs_own_distributions_are_taken(self):
        value = pt.sample("x", torch.distributions.Normal(torch.zeros(3), 1.0))
        assert value.shape == (3,)

    def test_gradients_reach_the_parameters_of_the_draw(self):
        loc = torch.tensor(1.0, requires_grad=True)
        pt.sample("x", dist.Normal(loc, 1.0)).backward()
        assert loc.grad == 1.0

    @pytest.mark.parametrize("obs", [2, 2.0, np.float64(2.0), np.array(2.0), torch.tensor(2.0)])
    def test_data_may_be_any_numbers(self, obs):
        site = site_of(lambda: pt.sample("x", dist.Normal(0.0, 1.0), obs=obs))
        assert site.is_observed
        assert site.value.dtype == torch.float32
        assert site.value == 2.0

    def test_numbers_take_the_precision_of_the_parameters(self):
        loc = torch.zeros((), dtype=torch.float64)
        assert site_of(lambda: pt.sample("x", dist.Normal(loc, 1.0), obs=0.1)).value.dtype == torch.float64

    def test_data_that_are_none_leave_the_variable_latent(self):
        assert site_of(lambda: pt.sample("x", dist.Normal(0.0, 1.0), obs=None)).is_latent

    def test_a_key_for_one_site_fixes_its_draw_alone(self):
        def model(key):
            return pt.sample("x", dist.Normal(0.0, 1.0), rng_key=key), pt.sample("y", dist.Normal(0.0, 1.0))

        first, second = model(Key(1)), model(Key(1))
        assert first[0] == second[0]
        assert first[1] != second[1]
        assert handle.seed(model, 0)(Key(1))[0] == first[0]

    def test_a_sample_shape_adds_batch_dimensions(self):
        site = site_of(lambda: pt.sample("x", dist.Normal(torch.zeros(2), 1.0), sample_shape=(3,)))
        assert site.value.shape == site.batch_shape == (3, 2)

    @pytest.mark.parametrize("name", ["", 3, None, ("x",)])
    def test_a_name_that_is_no_string_is_refused(self, name):
        with pytest.raises(TypeError, match="sample: the name must be a string that is not empty, not"):
            pt.sample(name, dist.Normal(0.0, 1.0))

    def test_what_is_no_distribution_is_refused(self):
        with pytest.raises(TypeError, match=r"site 'x' must be given a distribution, not a Tensor: pt.sample\(name"):
            pt.sample("x", torch.ones(3))

    def test_a_distributions_class_is_no_distribution(self):
        with pytest.raises(TypeError, match="site 'x' must be given a distribution, not a type"):
            pt.sample("x", dist.Normal)


class TestObservedShapes:
    @pytest.mark.parametrize(("batch", "value"), [((5,), (5, 1)), ((5, 1), (5,)), ((4, 1), (1, 3))])
    def test_a_value_that_would_spread_against_its_batch_is_refused(self, batch, value):
        with pytest.raises(
            ValueError, match=r"site 'y': .* would spread to .* every entry against every other"
        ) as caught:
            pt.sample("y", dist.Normal(torch.zeros(batch), 1.0), obs=torch.zeros(value))
        assert str(value) in str(caught.value)
        assert str(batch) in str(caught.value)

    @pytest.mark.parametrize(("batch", "value"), [((), (5,)), ((5,), ()), ((5, 3), (3,)), ((3,), (5, 3)), ((1,), (5,))])
    def test_a_value_that_repeats_one_side_alone_is_taken(self, batch, value):
        model = handle.trace(lambda: pt.sample("y", dist.Normal(torch.zeros(batch), 1.0), obs=torch.zeros(value)))
        expected = torch.distributions.Normal(torch.zeros(batch), 1.0).log_prob(torch.zeros(value)).sum()
        torch.testing.assert_close(model.get_trace().log_prob_sum(), expected)

    def test_a_value_with_another_event_is_refused(self):
        with pytest.raises(ValueError, match=r"site 'y': a value of shape \(4,\) .* does not end with the event_shape"):
            pt.sample("y", dist.Normal(torch.zeros(3), 1.0).to_event(1), obs=torch.zeros(4))

    def test_a_value_that_does_not_fit_the_plates_names_them(self):
        with pytest.raises(ValueError, match=r"inside plates 'data' \(5\), does not broadcast"), pt.plate("data", 5):
            pt.sample("y", dist.Normal(0.0, 1.0), obs=torch.zeros(4))

    def test_the_check_holds_for_conditioned_values(self):
        model = handle.condition(lambda: pt.sample("y", dist.Normal(torch.zeros(5), 1.0)), {"y": torch.zeros(5, 1)})
        with pytest.raises(ValueError, match="site 'y': .* would spread"):
            model()

    def test_a_value_that_is_no_number_is_refused(self):
        with pytest.raises(TypeError, match="the value of site 'y' must be a tensor or numbers, not a str"):
            pt.sample("y", dist.Normal(0.0, 1.0), obs="three")

    def test_a_handler_that_gives_what_is_no_tensor_is_found_out(self):
        class Careless(pt.ppl.Handler):
            def process_message(self, site):
                site.value, site.is_observed = "three", True

        with Careless(), pytest.raises(TypeError, match="the value of site 'y' must be a tensor, not a str"):
            pt.sample("y", dist.Normal(0.0, 1.0))


class TestPartlyObserved:
    mask = torch.tensor([True, False, True])
    data = torch.tensor([1.0, torch.nan, 3.0])

    def model(self):
        with pt.plate("data", 3):
            return pt.sample("x", dist.Normal(0.0, 1.0), obs=self.data, obs_mask=self.mask)

    def test_the_value_mixes_data_and_draws(self):
        trace = handle.trace(self.model).get_trace()
        assert [s.name for s in trace.latents()] == ["x_unobserved"]
        torch.testing.assert_close(trace["x"].value[self.mask], self.data[self.mask])
        assert trace["x"].value[1] == trace["x_unobserved"].value[1]

    def test_each_entry_counts_once(self):
        trace = handle.trace(self.model).get_trace()
        expected = dist.Normal(0.0, 1.0).log_prob(trace["x"].value).sum()
        torch.testing.assert_close(trace.log_prob_sum(), expected)

    def test_gradients_see_no_missing_data(self):
        loc = torch.tensor(0.5, requires_grad=True)

        def model():
            pt.sample("x", dist.Normal(loc, 1.0).expand((3,)), obs=self.data, obs_mask=self.mask)

        latent = {"x_unobserved": torch.tensor([0.0, 2.0, 0.0])}
        handle.trace(handle.substitute(model, latent)).get_trace().log_prob_sum().backward()
        torch.testing.assert_close(loc.grad, torch.tensor(1.0 + 2.0 + 3.0 - 3 * 0.5))

    def test_it_works_for_vector_events(self):
        data = torch.tensor([[1.0, 2.0], [torch.nan, torch.nan]])
        normal = dist.Normal(torch.zeros(2, 2), 1.0).to_event(1)
        trace = handle.trace(lambda: pt.sample("x", normal, obs=data, obs_mask=torch.tensor([True, False]))).get_trace()
        torch.testing.assert_close(trace.log_prob_sum(), normal.log_prob(trace["x"].value).sum())

    def test_a_mask_that_is_not_boolean_is_refused(self):
        with pytest.raises(TypeError, match="obs_mask of site 'x' must be a bool tensor, not torch.float32"):
            pt.sample("x", dist.Normal(0.0, 1.0), obs=1.0, obs_mask=torch.ones(()))

    @pytest.mark.parametrize("seen", [True, False])
    def test_one_mask_may_stand_for_all(self, seen):
        trace = handle.trace(lambda: pt.sample("x", dist.Normal(0.0, 1.0), obs=7.0, obs_mask=seen)).get_trace()
        assert (trace["x"].value == 7.0) == seen


class TestDeterministic:
    def test_it_hands_the_value_back_and_records_it(self):
        value = {"anything": 3}
        site = site_of(lambda: pt.deterministic("x", value))
        assert site.value is value
        assert site.kind == "deterministic"

    def test_it_adds_nothing_to_the_density(self):
        assert handle.trace(lambda: pt.deterministic("x", torch.ones(3))).get_trace().log_prob_sum() == 0

    def test_a_name_that_is_no_string_is_refused(self):
        with pytest.raises(TypeError, match="deterministic: the name"):
            pt.deterministic(1, 2)


class TestFactor:
    def test_it_adds_its_term(self):
        trace = handle.trace(lambda: pt.factor("term", torch.tensor([1.0, -3.0]))).get_trace()
        assert trace.log_prob_sum() == -2.0
        assert trace["term"].is_observed

    def test_a_plate_repeats_and_scales_it(self):
        def model():
            with pt.plate("data", 10, subsample_size=5):
                pt.factor("term", 1.0)

        assert handle.trace(model).get_trace().log_prob_sum() == 10.0

    def test_masks_and_scales_reach_it(self):
        def model():
            with handle.mask(mask=torch.tensor([True, False])), handle.scale(scale=3.0):
                pt.factor("term", torch.tensor([1.0, torch.nan]))

        assert handle.trace(model).get_trace().log_prob_sum() == 3.0

    def test_gradients_go_through_it(self):
        x = torch.tensor(2.0, requires_grad=True)
        handle.trace(lambda: pt.factor("term", x**2)).get_trace().log_prob_sum().backward()
        assert x.grad == 4.0

    def test_it_says_whether_gradients_may_go_through_its_draws(self):
        assert not site_of(lambda: pt.factor("x", 1.0, has_rsample=False)).distribution.has_rsample


class TestParam:
    def test_outside_of_drivers_it_is_its_first_value(self):
        first = torch.tensor([1.0, 2.0])
        assert pt.param("a", first) is first
        assert pt.param("a", lambda: first) is first

    def test_whole_numbers_become_floating(self):
        assert pt.param("a", 2).dtype == torch.get_default_dtype()

    def test_the_constraint_may_stand_third(self):
        site = site_of(lambda: pt.param("x", torch.tensor(2.0), constraints.positive))
        assert site.constraint is constraints.positive

    def test_a_first_value_outside_of_the_constraint_is_refused(self):
        with pytest.raises(ValueError, match="the first value of param 'a' violates its constraint GreaterThan"):
            pt.param("a", torch.tensor(-1.0), constraint=constraints.positive)

    def test_a_value_that_nobody_gives_is_missed(self):
        with pytest.raises(ValueError, match="param 'a' has no value here: give it an init"):
            pt.param("a")

    def test_a_driver_may_give_the_value(self):
        assert handle.substitute(lambda: pt.param("a"), {"a": torch.tensor(3.0)})() == 3.0

    def test_a_name_that_is_no_string_is_refused(self):
        with pytest.raises(TypeError, match="param: the name"):
            pt.param(None, 1.0)

    def test_two_readings_are_one_parameter(self):
        assert list(handle.trace(lambda: (pt.param("a", 1.0), pt.param("a", 1.0))).get_trace()) == ["a"]

    def test_a_subsample_cuts_its_batch(self):
        whole = torch.arange(12.0).reshape(4, 3)
        with pt.plate("data", 4, subsample=torch.tensor([2, 0])):
            torch.testing.assert_close(pt.param("a", whole, event_dim=1), whole[[2, 0]])
            assert pt.param("b", whole) is whole
