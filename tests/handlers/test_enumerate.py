"""Whole supports as values: which dimensions they take, and what is refused."""

import pytest
import torch

import posterity as pt
from posterity.distributions import (
    Bernoulli,
    Binomial,
    Categorical,
    DiscreteUniform,
    Independent,
    Normal,
    OneHotCategorical,
    Poisson,
)
from posterity.handlers import condition, config_enumerate, enumerate_sites, replay, seed, substitute, trace
from posterity.handlers.enumerate import Enumeration, max_plate_nesting
from tests.infer.enumerable import PARALLEL, rows


def shapes(model, *args, **options):
    recorded = trace(enumerate_sites(model, **options)).get_trace(*args)
    return {site.name: tuple(site.value.shape) for site in recorded.samples()}


def flip(name, probs=0.5):
    return pt.sample(name, Bernoulli(probs), infer=PARALLEL)


def test_supports_lie_to_the_left_of_all_plates():
    def model():
        a = flip("a")
        with pt.plate("rows", 3, dim=-2):
            flip("b")
            with pt.plate("columns", 4, dim=-1):
                c = pt.sample("c", Categorical(rows(5)), infer=PARALLEL)
                pt.sample("x", Normal(a + c, 1.0), obs=torch.zeros(3, 4))

    assert shapes(model) == {"a": (2, 1, 1), "b": (2, 1, 1, 1), "c": (5, 1, 1, 1, 1), "x": (3, 4)}
    assert shapes(model, first_available_dim=-4)["a"] == (2, 1, 1, 1)


def test_the_values_are_the_support():
    def model():
        with pt.plate("data", 2):
            pt.sample("category", Categorical(rows(3)), infer=PARALLEL)
            pt.sample("vector", OneHotCategorical(rows(3)), infer=PARALLEL)
            pt.sample("count", Binomial(2, 0.5), infer=PARALLEL)
            low = torch.tensor([0, 5])
            pt.sample("own", DiscreteUniform(low, low + 1), infer=PARALLEL)

    recorded = trace(enumerate_sites(model)).get_trace()
    assert recorded["category"].value.tolist() == [[0], [1], [2]]
    assert recorded["vector"].value.squeeze().equal(torch.eye(3, dtype=torch.float64))
    assert recorded["count"].value.flatten().tolist() == [0, 1, 2]
    assert recorded["own"].value.squeeze().tolist() == [[0, 5], [1, 6]]


def test_only_marked_latent_sites_without_a_value_are_enumerated():
    def model():
        flip("marked")
        pt.sample("unmarked", Bernoulli(0.5))
        pt.sample("denied", Bernoulli(0.5), infer={"enumerate": None})
        pt.sample("seen", Bernoulli(0.5), obs=1.0, infer=PARALLEL)
        flip("conditioned")
        flip("substituted")
        pt.sample("continuous", Normal(0.0, 1.0))
        pt.sample("infinite", Poisson(1.0))

    given = condition(substitute(model, {"substituted": torch.tensor(1.0)}), {"conditioned": torch.tensor(0.0)})
    assert {name for name, shape in shapes(given).items() if shape} == {"marked"}
    outside = condition(enumerate_sites(model, -1), {"marked": torch.tensor(1.0)})
    assert trace(outside).get_trace()["marked"].infer["_enumeration"].dim is None
    all_of_them = {name for name, shape in shapes(given, enumerate_all=True).items() if shape}
    assert all_of_them == {"marked", "unmarked"}
    assert {name for name, shape in shapes(config_enumerate(given)).items() if shape} == {"marked", "unmarked"}


def test_turns_of_a_chain_share_dimensions():
    def model(history):
        for t in pt.markov(range(50), history=history):
            flip(f"x_{t}")

    for history in (0, 1, 2):
        found = shapes(model, history)
        assert [len(found[f"x_{t}"]) for t in range(50)] == [1 + t % (history + 1) for t in range(50)]


def test_chains_and_what_stands_outside_have_different_dimensions():
    def model():
        flip("outside")
        for t in pt.markov(range(3)):
            flip(f"x_{t}")
        flip("after")
        for t in pt.markov(range(3)):
            flip(f"y_{t}")

    found = {name: len(shape) for name, shape in shapes(model).items()}
    assert found == {"outside": 1, "x_0": 2, "x_1": 3, "x_2": 2, "after": 2, "y_0": 3, "y_1": 4, "y_2": 3}


def test_loops_over_plates_have_a_dimension_for_each_turn():
    def model():
        for i in pt.plate("data", 3):
            flip(f"x_{i}")

    assert [len(shape) for shape in shapes(model).values()] == [1, 2, 3]


def test_the_dimensions_are_named():
    def model():
        a = flip("a")
        for t in pt.markov(range(3)):
            x = pt.sample(f"x_{t}", Bernoulli(0.2 + 0.5 * a), infer=PARALLEL)
            pt.sample(f"y_{t}", Normal(x, 1.0), obs=torch.tensor(0.0))

    recorded = trace(enumerate_sites(model)).get_trace()
    assert recorded["y_2"].infer["_enumeration"] == Enumeration(-1, None, {-1: "a", -2: "x_2", -3: "x_1"})
    assert recorded["x_0"].infer["_enumeration"] == Enumeration(-1, -2, {-1: "a", -2: "x_0"})


def test_a_program_after_a_guide_leaves_its_dimensions():
    def guide():
        with pt.plate("data", 3):
            flip("z")

    def model():
        with pt.plate("data", 3):
            z = flip("z")
            pt.sample("w", Bernoulli(0.2 + 0.5 * z), infer=PARALLEL)

    guided = trace(enumerate_sites(guide, -2)).get_trace()
    recorded = trace(enumerate_sites(replay(model, guided), -2, after=guided)).get_trace()
    assert recorded["z"].value.shape == (2, 1)
    assert recorded["w"].value.shape == (2, 1, 1)
    assert recorded["w"].infer["_enumeration"] == Enumeration(-2, -3, {-2: "z", -3: "w"})
    assert recorded["z"].infer["_enumeration"].dim is None


def test_continuous_values_carry_dimensions_on():
    def guide():
        x = torch.tensor(0.0)
        for t in pt.markov(range(3)):
            z = flip(f"z_{t}")
            x = pt.sample(f"x_{t}", Normal(x + z, 1.0))

    # Each x depends on all z before it, so that none of their dimensions can be taken again.
    assert [len(shape) for shape in shapes(guide).values()] == [1, 1, 2, 2, 3, 3]


def test_the_nesting_is_that_of_plates_and_batches():
    def model():
        z = flip("z")
        with pt.plate("data", 4, dim=-3):
            pt.sample("x", Normal(z, 1.0))
        pt.sample("y", Normal(torch.zeros(2, 1, 1, 5), 1.0))

    assert max_plate_nesting(model) == 4
    assert max_plate_nesting(lambda: flip("z")) == 0


def test_the_first_run_leaves_no_trace_and_takes_no_random_numbers():
    def model():
        with pt.plate("data", 20, subsample_size=2):
            pt.sample("x", Normal(0.0, 1.0))
            flip("z")

    before = torch.get_rng_state()
    with trace() as recorded:
        max_plate_nesting(model)
    assert torch.get_rng_state().equal(before)
    assert len(recorded.trace) == 0
    once = trace(seed(enumerate_sites(model, -2), 0)).get_trace()
    assert trace(seed(enumerate_sites(model), 0)).get_trace()["x"].value.equal(once["x"].value)


def test_it_is_a_with_block_and_a_decorator():
    with enumerate_sites(first_available_dim=-2):
        assert flip("z").shape == (2, 1)

    @enumerate_sites
    def whole():
        return flip("z")

    @enumerate_sites(enumerate_all=True)
    def every():
        return pt.sample("z", Bernoulli(0.5))

    assert whole().tolist() == every().tolist() == [0, 1]


def test_fifty_variables_have_a_dimension_each():
    def model():
        for i in range(50):
            flip(f"z_{i}")

    assert shapes(model)["z_49"] == (2,) + (1,) * 49


# Errors.


def test_an_infinite_support_is_refused():
    with pytest.raises(ValueError, match="site 'z' is marked for enumeration, but the support of its Poisson"):
        enumerate_sites(lambda: pt.sample("z", Poisson(2.0), infer=PARALLEL))()


def test_supports_of_several_sizes_are_refused():
    with pytest.raises(ValueError, match=r"site 'z' .* support of its Binomial cannot be listed: .*one total_count"):
        enumerate_sites(lambda: pt.sample("z", Binomial(torch.tensor([1.0, 2.0]), 0.5), infer=PARALLEL))()


def test_the_support_of_independent_entries_is_refused():
    d = Independent(Bernoulli(torch.tensor([0.1, 0.2])), 1)
    with pytest.raises(ValueError, match="site 'z' is marked for enumeration, but the support of its Independent"):
        enumerate_sites(lambda: pt.sample("z", d, infer=PARALLEL))()


def test_other_kinds_of_enumeration_are_refused():
    with pytest.raises(NotImplementedError, match="site 'z' is marked .*'sequential'.* only \"parallel\" is there"):
        enumerate_sites(lambda: pt.sample("z", Bernoulli(0.5), infer={"enumerate": "sequential"}))()
    with pytest.raises(NotImplementedError, match="site 'z': enumeration is exact here, without num_samples"):
        enumerate_sites(lambda: pt.sample("z", Bernoulli(0.5), infer={**PARALLEL, "num_samples": 3}))()


def test_a_site_that_looks_back_too_far_is_refused():
    def model():
        x = [torch.tensor(0.0), torch.tensor(0.0)]
        for t in pt.markov(range(4)):
            x.append(pt.sample(f"x_{t}", Bernoulli(0.1 + 0.5 * x[-2]), infer=PARALLEL))

    with pytest.raises(ValueError, match=r"site 'x_2' has 2 elements in dim -1 .*raise the history of pt\.markov"):
        enumerate_sites(model)()


def test_a_site_after_a_chain_that_depends_on_it_is_refused():
    def model():
        for t in pt.markov(range(3)):
            x = flip(f"x_{t}")
        pt.sample("y", Normal(x, 1.0), obs=torch.tensor(0.0))

    with pytest.raises(ValueError, match="site 'y' has 2 elements in dim -1 .* a chain that has ended"):
        enumerate_sites(model)()


def test_variables_that_meet_although_declared_apart_are_refused():
    def model():
        one, other = pt.markov(keep=True), pt.markov(keep=True)
        with one:
            x = flip("x")
        with other:
            y = flip("y")
        with one, other:
            pt.sample("z", Normal(x + y, 1.0), obs=torch.tensor(0.0))

    with pytest.raises(ValueError, match="site 'z' sees 'x' and 'y', which were declared never to meet"):
        enumerate_sites(model)()


def test_too_many_variables_are_refused():
    def model():
        for i in range(70):
            flip(f"z_{i}")

    with pytest.raises(ValueError, match=r"site 'z_60' is one of more .* put the loop into pt\.markov"):
        enumerate_sites(model)()


@pytest.mark.parametrize("dim", [0, 3, -1.0, True])
def test_a_dimension_is_negative(dim):
    with pytest.raises(ValueError, match="enumerate_sites: first_available_dim must be negative"):
        enumerate_sites(lambda: None, first_available_dim=dim)


def test_a_plate_where_variables_are_is_refused():
    def model():
        z = flip("z")
        with pt.plate("data", 2):
            pt.sample("x", Normal(z, 1.0))

    with pytest.raises(ValueError, match="plate 'data' around site 'x' takes dim -1, which first_available_dim -1"):
        enumerate_sites(model, -1)()


def test_a_with_block_needs_its_dimension():
    with pytest.raises(ValueError, match="enumerate_sites was given no first_available_dim"), enumerate_sites():
        pass
