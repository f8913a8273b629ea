import pytest
import torch

import posterity as pt
from posterity.handlers import AutoReparam, LocScaleReparam, Reparam, TransformReparam

dist, handle = pt.distributions, pt.handlers


def funnel(y=None):
    tau = pt.sample("tau", dist.LogNormal(0.0, 1.0))
    with pt.plate("data", 3):
        theta = pt.sample("theta", dist.Normal(0.0, tau))
        return pt.sample("y", dist.Normal(theta, 1.0), obs=y)


CONFIG = {"theta": LocScaleReparam(0.0), "tau": TransformReparam()}


def names(program, *args):
    return [site.name for site in handle.trace(program).get_trace(*args).samples()]


def test_a_mapping_says_which_sites_are_drawn_how():
    assert names(handle.reparam(funnel, config=CONFIG)) == ["tau_base", "theta_decentered", "y"]


def test_a_function_may_choose():
    changed = handle.reparam(funnel, lambda site: CONFIG["theta"] if site.name == "theta" else None)
    assert names(changed) == ["tau", "theta_decentered", "y"]


def test_a_strategy_is_not_applied_to_what_it_made():
    def choose(site):
        return LocScaleReparam(0.0) if isinstance(site.distribution, dist.Normal) else None

    assert names(handle.reparam(funnel, choose), torch.zeros(3)) == ["tau", "theta_decentered", "y"]


def test_one_strategy_may_work_on_what_another_made():
    config = {"tau": TransformReparam(), "tau_base": LocScaleReparam(0.0)}
    assert names(handle.reparam(funnel, config))[0] == "tau_base_decentered"


def test_it_serves_as_decorator_and_block():
    decorated = handle.reparam(config=CONFIG)(funnel)
    assert names(decorated) == ["tau_base", "theta_decentered", "y"]
    with handle.trace() as recorded, handle.reparam(config=CONFIG):
        funnel()
    assert [site.name for site in recorded.trace.samples()] == ["tau_base", "theta_decentered", "y"]


def test_a_trace_inside_sees_the_variable_as_deterministic():
    with handle.reparam(config=CONFIG):
        trace = handle.trace(funnel).get_trace()
    assert trace["theta"].kind == "deterministic"
    assert trace["theta_decentered"].value.shape == (3,)


def test_inside_a_plate_around_the_handler_draws_stay_independent():
    inner = handle.reparam(lambda: pt.sample("x", dist.Normal(1.0, 2.0)), {"x": LocScaleReparam(0.0)})
    with pt.plate("data", 4):
        value = inner()
    assert value.shape == (4,)
    assert len(set(value.tolist())) == 4


def test_observed_and_substituted_sites_stay_as_they_are():
    data = torch.zeros(3)
    assert names(handle.reparam(funnel, {"y": LocScaleReparam(0.0)}), data) == ["tau", "theta", "y"]
    inside = handle.substitute(handle.condition(funnel, {"tau": 1.0}), {"theta": data})
    assert names(handle.reparam(inside, CONFIG)) == ["tau", "theta", "y"]


def test_conditioning_on_the_new_site_fixes_the_old():
    model = handle.condition(handle.reparam(funnel, CONFIG), {"tau_base": 0.0})
    assert handle.trace(model).get_trace()["tau"].value == 1.0


def test_joint_densities_differ_by_the_change_of_variables_alone():
    y = torch.tensor([1.0, 2.0, -1.0])
    trace = handle.trace(handle.reparam(funnel, CONFIG)).get_trace(y)
    values = {name: trace[name].value for name in ("tau", "theta")}
    original = handle.trace(handle.substitute(funnel, values)).get_trace(y)
    log_det = values["tau"].log() + 3 * values["tau"].log()
    torch.testing.assert_close(trace.log_prob_sum(), original.log_prob_sum() + log_det, rtol=1e-4, atol=1e-4)


def test_seeded_vectorised_and_captured_runs_agree(no_validation):
    from torch.fx.experimental.proxy_tensor import make_fx

    changed = handle.reparam(funnel, AutoReparam())
    y = torch.zeros(3)

    def density(noise):
        given = handle.substitute(handle.seed(changed, 0), {"theta_decentered": noise})
        return handle.trace(given).get_trace(y).log_prob_sum()

    noise = torch.arange(6.0).reshape(2, 3)
    eager = torch.stack([density(row) for row in noise])
    torch.testing.assert_close(torch.vmap(density)(noise), eager)
    graph = make_fx(density, tracing_mode="fake", _allow_non_fake_inputs=True)(noise[0])
    torch.testing.assert_close(graph(noise[1]), eager[1])


class Careless(Reparam):
    def apply(self, site, run):
        return None


def test_a_strategy_may_leave_a_site_as_it_is():
    assert names(handle.reparam(funnel, {"tau": Careless()})) == ["tau", "theta", "y"]


def test_a_strategy_without_a_site_is_refused():
    with pytest.raises(TypeError, match="reparam: config must say which site a strategy is for"):
        handle.reparam(funnel, LocScaleReparam(0.0))


@pytest.mark.parametrize("config", [None, 3])
def test_a_config_that_is_none_is_refused(config):
    with pytest.raises(TypeError, match="reparam: config must map site names to strategies"):
        handle.reparam(funnel, config)


def test_what_is_no_strategy_is_refused():
    with pytest.raises(TypeError, match="reparam: the strategy of site 'tau' is no Reparam, but 0.0"):
        handle.reparam(funnel, {"tau": 0.0})()
