import traceback

import pytest
import torch

import posterity as pt

dist, handle = pt.distributions, pt.handlers


def two_sites(y=None):
    x = pt.sample("x", dist.Normal(0.0, 1.0))
    return pt.sample("y", dist.Normal(x, 2.0), obs=y)


class TestTrace:
    def test_it_records_sites_by_name_in_order(self):
        trace = handle.trace(two_sites).get_trace(torch.tensor(1.0))
        assert list(trace) == ["x", "y"]
        assert len(trace) == 2
        assert [s.name for s in trace.samples()] == ["x", "y"]
        assert [s.name for s in trace.latents()] == ["x"]
        assert "sites" in repr(trace)

    def test_the_density_is_the_joint_one(self):
        trace = handle.trace(two_sites).get_trace(torch.tensor(1.0))
        x = trace["x"].value
        expected = dist.Normal(0.0, 1.0).log_prob(x) + dist.Normal(x, 2.0).log_prob(torch.tensor(1.0))
        torch.testing.assert_close(trace.log_prob_sum(), expected)
        torch.testing.assert_close(sum(trace.log_probs().values()), expected)

    def test_a_program_without_sites_has_density_one(self):
        assert handle.trace(lambda: None).get_trace().log_prob_sum() == 0

    def test_each_run_has_a_trace_of_its_own(self):
        traced = handle.trace(two_sites)
        first = traced.get_trace()
        second = traced.get_trace()
        assert first is not second
        assert first["x"].value != second["x"].value

    def test_the_table_shows_the_shapes(self):
        def model():
            pt.param("loc", torch.zeros(2))
            with pt.plate("data", 3):
                pt.sample("x", dist.Normal(torch.zeros(2), 1.0).to_event(1))
                pt.sample("y", dist.Normal(0.0, 1.0), obs=torch.zeros(3))
            pt.deterministic("pair", (1, 2))

        assert handle.trace(model).get_trace().format_shapes() == (
            "site  kind           distribution  value\n"
            "loc   param                        2\n"
            "data  plate                        3\n"
            "x     sample         3 | 2         3 2\n"
            "y     observed       3 |           3\n"
            "pair  deterministic                tuple"
        )

    def test_two_traces_record_alike(self):
        with handle.trace() as outer, handle.trace() as inner:
            two_sites()
        assert list(outer.trace) == list(inner.trace)
        assert outer.trace["x"].value is inner.trace["x"].value


class TestErrors:
    def test_two_sites_of_one_name(self):
        def model():
            pt.sample("x", dist.Normal(0.0, 1.0))
            pt.deterministic("x", 1)

        with pytest.raises(ValueError, match=r"two sites are called 'x' \(a sample and a deterministic\)"):
            handle.trace(model).get_trace()

    def test_a_value_outside_of_the_support_names_site_and_value_and_shows_the_table(self):
        def model():
            pt.sample("rate", dist.Exponential(1.0))
            pt.sample("y", dist.Exponential(1.0), obs=torch.tensor([1.0, -3.5]))

        trace = handle.trace(model).get_trace()
        with pytest.raises(ValueError, match=r"observed site 'y': value of Exponential must satisfy .*-3\.5") as caught:
            trace.log_prob_sum()
        assert trace.format_shapes() in "".join(traceback.format_exception(caught.value))

    def test_a_latent_value_outside_of_the_support_names_the_site(self):
        model = handle.substitute(lambda: pt.sample("rate", dist.Exponential(1.0)), {"rate": -1.0})
        with pytest.raises(ValueError, match=r"^site 'rate': value of Exponential must satisfy"):
            handle.trace(model).get_trace().log_prob_sum()

    def test_nan_in_data_names_the_site(self):
        def model():
            pt.sample("y", dist.Normal(0.0, 1.0), obs=torch.tensor([0.0, torch.nan]))

        with pytest.raises(ValueError, match="observed site 'y': value of Normal must satisfy .*nan"):
            handle.trace(model).get_trace().log_prob_sum()

    def test_a_density_of_nan_names_the_site_and_the_value(self):
        class Broken(dist.Normal):
            def log_prob(self, value):
                return super().log_prob(value) * torch.nan

        def model():
            pt.sample("x", dist.Normal(0.0, 1.0))
            pt.sample("y", Broken(0.0, 1.0), obs=torch.tensor([1.0, 2.5]))

        trace = handle.trace(model).get_trace()
        with pytest.raises(ValueError, match=r"site 'y' has a log density of NaN, at the value \[1.0, 2.5\]") as caught:
            trace.log_probs()
        assert trace.format_shapes() in caught.value.__notes__[0]

    def test_without_validation_nan_goes_through(self, no_validation):
        trace = handle.trace(lambda: pt.factor("term", torch.nan)).get_trace()
        assert trace.log_prob_sum().isnan()

    def test_an_error_of_the_models_own_carries_the_sites_before_it(self):
        def model():
            pt.sample("x", dist.Normal(torch.zeros(3), 1.0))
            return {}["missing"]

        with pytest.raises(KeyError, match="missing") as caught:
            handle.trace(model).get_trace()
        assert caught.value.__notes__ == [
            "the sites so far:\nsite  kind    distribution  value\nx     sample  3 |           3"
        ]

    def test_a_shape_error_carries_the_site_itself(self):
        def model():
            pt.sample("x", dist.Normal(0.0, 1.0))
            pt.sample("y", dist.Normal(torch.zeros(3), 1.0), obs=torch.zeros(3, 1))

        with pytest.raises(ValueError, match="site 'y'") as caught:
            handle.trace(model).get_trace()
        assert "y     observed  3 |           3 1" in caught.value.__notes__[0]

    def test_nested_traces_add_one_table(self):
        def model():
            pt.sample("x", dist.Normal(0.0, 1.0))
            raise ArithmeticError

        with pytest.raises(ArithmeticError) as caught, handle.trace():
            handle.trace(model).get_trace()
        assert len(caught.value.__notes__) == 1


class TestTransforms:
    def test_densities_run_under_vmap(self):
        data = torch.tensor([0.5, 1.5])

        def density(x):
            return handle.trace(handle.substitute(two_sites, {"x": x})).get_trace(data).log_prob_sum()

        xs = torch.tensor([-1.0, 0.0, 2.0])
        torch.testing.assert_close(torch.vmap(density)(xs), torch.stack([density(x) for x in xs]))

    def test_gradients_of_densities_agree_with_the_formula(self):
        def density(x):
            return handle.trace(handle.substitute(two_sites, {"x": x})).get_trace(torch.tensor(3.0)).log_prob_sum()

        x = torch.tensor(0.7)
        torch.testing.assert_close(torch.func.grad(density)(x), -x + (3.0 - x) / 4)

    def test_a_whole_program_is_captured_on_stand_ins(self, no_validation):
        from torch.fx.experimental.proxy_tensor import make_fx

        def model(y):
            loc = pt.param("loc", torch.zeros(()))
            with pt.plate("data", 4, subsample_size=2) as chosen:
                x = pt.sample("x", dist.Normal(loc, 1.0))
                pt.sample("y", dist.Normal(x, 1.0), obs=y[chosen])
                with handle.mask(mask=torch.tensor([True, False])):
                    pt.sample("z", dist.Normal(x, 1.0), obs=y[chosen])
            pt.factor("term", x.sum())

        def density(y):
            return handle.trace(handle.seed(model, 0)).get_trace(y).log_prob_sum()

        y = torch.arange(4.0)
        graph = make_fx(density, tracing_mode="fake", _allow_non_fake_inputs=True)(y)
        torch.testing.assert_close(graph(y), density(y))
        torch.testing.assert_close(graph(y + 1), density(y + 1))

    def test_it_runs_on_the_meta_device(self):
        def model():
            with pt.plate("data", 3, device="meta"):
                x = pt.sample("x", dist.Normal(torch.zeros((), device="meta"), 1.0))
                pt.sample("y", dist.Normal(x, 1.0), obs=torch.zeros(3, device="meta"))

        trace = handle.trace(model).get_trace()
        assert trace["x"].value.is_meta
        assert trace.log_prob_sum().is_meta
