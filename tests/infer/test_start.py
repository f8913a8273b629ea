"""Where inference starts: tries until all is finite, and one point for each chain."""

import pytest
import torch

import posterity as pt
from posterity.handlers import seed, trace
from posterity.infer import init_to_feasible, init_to_mean, init_to_sample, init_to_uniform, init_to_value
from posterity.infer.sources import seeded_generator
from posterity.infer.start import find_start, initial_values
from posterity.kernels import Key
from tests.infer.test_initialization import model

dist = pt.distributions


def test_later_priors_see_the_earlier_values():
    def chained():
        first = pt.sample("first", dist.Normal(torch.zeros(()), 1.0))
        pt.sample("second", dist.Normal(first, 1.0))

    start = find_start(chained, init=init_to_value(values={"first": 7.0}, fallback=init_to_mean))
    assert start.trace["second"].value == 7


def test_it_tries_until_the_log_density_is_finite():
    def rarely():
        z = pt.sample("z", dist.Normal(torch.zeros(()), 1.0))
        pt.factor("positive", torch.where(z > 0, 0.0, -torch.inf))

    for number in range(5):
        assert find_start(rarely, init=init_to_uniform, source=Key(number)).unconstrained["z"] > 0


def test_it_tries_again_where_a_parameter_leaves_its_support():
    def rarely():
        z = pt.sample("z", dist.Normal(torch.zeros(()), 1.0))
        pt.sample("x", dist.Normal(0.0, z), obs=1.0)

    for number in range(5):
        assert find_start(rarely, init=init_to_uniform, source=Key(number)).unconstrained["z"] > 0


def test_what_is_never_finite_is_named():
    def never():
        pt.sample("z", dist.Normal(torch.zeros(()), 1.0))
        pt.factor("wall", -torch.inf)

    with pytest.raises(ValueError, match=r"in 7 tries: observed site 'wall' has a log density of -inf.*init_to_value"):
        find_start(never, num_tries=7)


def test_a_strategy_without_chance_is_not_tried_for_ever():
    runs = []

    def never():
        runs.append(None)
        pt.sample("z", dist.Normal(torch.zeros(()), 1.0))
        pt.factor("wall", -torch.inf)

    with pytest.raises(ValueError, match="in 2 tries"):
        find_start(never, init=init_to_feasible)
    assert len(runs) == 2


def test_a_gradient_that_is_not_finite_is_named():
    def kinked():
        z = pt.sample("z", dist.Normal(torch.zeros(()), 1.0))
        pt.factor("root", (z - z.detach()).sqrt())

    with pytest.raises(ValueError, match="the gradient of the log density with respect to site 'z' is not finite"):
        find_start(kinked, num_tries=3)


def test_an_error_of_the_model_that_has_nothing_to_do_with_values_comes_through():
    runs = []

    def wrong():
        runs.append(None)
        pt.sample("z", dist.Normal(torch.zeros(()), 1.0))
        pt.sample("x", dist.Normal(torch.zeros(2), 1.0), obs=torch.zeros(3))

    with pytest.raises(ValueError, match=r"site 'x': a value of shape \(3,\)"):
        find_start(wrong)
    # Two tries, and one without checks of values.
    assert len(runs) == 3


def test_a_complaint_about_values_that_recurs_word_by_word_is_tried_again():
    def rarely():
        z = pt.sample("z", dist.Normal(torch.zeros(()), 1.0))
        # Seven starts of eight are off, and the message holds no number but nan.
        pt.sample("x", dist.Normal(torch.where(z > 1.5, z, torch.nan), 1.0), obs=1.0)

    for number in range(5):
        assert find_start(rarely, init=init_to_uniform, source=Key(number)).unconstrained["z"] > 1.5


def test_a_matrix_without_a_cholesky_factor_is_tried_again():
    def rarely():
        z = pt.sample("z", dist.Normal(torch.zeros(()), 1.0))
        factor = torch.linalg.cholesky(torch.diag(torch.stack([torch.ones(()), z - 1.5])))
        pt.sample("x", dist.MultivariateNormal(torch.zeros(2), scale_tril=factor), obs=torch.ones(2))

    for number in range(5):
        assert find_start(rarely, init=init_to_uniform, source=Key(number)).unconstrained["z"] > 1.5


def test_a_complaint_about_values_that_stays_comes_with_what_to_do():
    runs = []

    def never():
        runs.append(None)
        pt.sample("z", dist.Normal(torch.zeros(()), 1.0))
        pt.sample("x", dist.Normal(torch.tensor(torch.nan), 1.0), obs=1.0)

    with pytest.raises(ValueError, match="loc of Normal must satisfy.*nan") as caught:
        find_start(never, init=init_to_uniform, num_tries=7)
    assert "the last of 7 tries to find a start: start at values" in "\n".join(caught.value.__notes__)
    runs.clear()
    with pytest.raises(ValueError, match="loc of Normal must satisfy.*nan"):
        find_start(never, init=init_to_feasible)
    assert len(runs) == 2


def test_each_chain_starts_at_a_point_of_its_own_that_the_key_decides():
    points = initial_values(model, num_chains=3, source=Key(1))
    assert {name: tuple(value.shape) for name, value in points.items()} == {
        "real": (3,), "positive": (3,), "interval": (3,), "shares": (3, 2), "correlation": (3, 3),
        "direction": (3, 2), "heavy": (3,), "vector": (3, 2, 2),
    }  # fmt: skip
    assert len(points["real"].unique()) == 3
    again = initial_values(model, num_chains=4, source=Key(1))
    assert all(torch.equal(points[name], again[name][:3]) for name in points)


def test_chains_without_a_continuous_latent_have_nowhere_to_start():
    with pytest.raises(ValueError, match="the model has no continuous latent variable"):
        initial_values(lambda: pt.sample("k", dist.Bernoulli(0.5)))


def test_discrete_latents_and_point_masses_stay_in_the_trace_alone():
    def mixed():
        pt.sample("z", dist.Normal(torch.zeros(()), 1.0))
        pt.sample("k", dist.Bernoulli(0.5))
        pt.sample("fixed", dist.Delta(torch.zeros(())))

    start = find_start(mixed)
    assert list(start.unconstrained) == ["z"]
    assert list(start.trace) == ["z", "k", "fixed"]


def test_the_seed_around_decides_and_spends_nothing():
    def drawn(search):
        with seed(rng_seed=5):
            start = find_start(model, init=init_to_sample) if search else None
            return start, pt.sample("z", dist.Normal(torch.zeros(()), 1.0))

    (first, after), (again, _), (_, plain) = drawn(True), drawn(True), drawn(False)
    assert all(torch.equal(first.unconstrained[name], again.unconstrained[name]) for name in first.unconstrained)
    assert torch.equal(after, plain)


def test_what_a_model_hides_follows_the_seed_too():
    def hidden():
        with pt.handlers.block():
            first = pt.sample("first", dist.Normal(torch.zeros(()), 1.0))
        pt.sample("second", dist.Normal(first, 1e-6))

    before = torch.get_rng_state()
    one, two = (find_start(hidden, init=init_to_mean, source=Key(0)).unconstrained["second"] for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(before, torch.get_rng_state())
    with seeded_generator(None):
        assert torch.equal(before, torch.get_rng_state())


def test_handlers_around_see_parameters_alone():
    def with_param():
        scale = pt.param("scale", 2.0)
        pt.sample("z", dist.Normal(torch.zeros(()), scale))

    with trace() as around, pt.handlers.substitute(data={"scale": torch.tensor(3.0)}):
        start = find_start(with_param)
    assert list(around.trace) == ["scale"]
    assert start.trace["z"].distribution.scale == 3


def test_numbers_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="num_tries must be at least 1, not 0"):
        find_start(model, num_tries=0)
    with pytest.raises(ValueError, match="num_chains must be at least 1, not 0"):
        initial_values(model, num_chains=0)


def test_an_error_about_types_names_the_latent_variables_with_theirs():
    def model(x):
        b = pt.sample("b", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
        pt.sample("y", dist.Normal(x @ b, 1.0))

    with pytest.raises(RuntimeError, match="dtype|scalar type") as caught:
        find_start(model, (torch.ones(3, 2, dtype=torch.float64),))
    note = "\n".join(caught.value.__notes__)
    assert "'b' of torch.float32; the model's arguments are of torch.float64. Give the parameters of the priors" in note

    def other(x):
        pt.sample("b", dist.Normal(0.0, 1.0))
        raise RuntimeError("of the model's own")

    with pytest.raises(RuntimeError, match="of the model's own") as caught:
        find_start(other, (torch.ones(1),))
    assert not any("the latent variables drawn" in note for note in getattr(caught.value, "__notes__", []))
