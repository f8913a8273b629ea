"""Draws, most probable values and marginals of discrete variables against sums over assignments by hand."""

import pytest
import torch
from scipy import stats
from torch.fx.experimental.proxy_tensor import make_fx

import posterity as pt
from posterity.distributions import (
    Bernoulli,
    Binomial,
    Categorical,
    DiscreteUniform,
    Empirical,
    HiddenMarkovModel,
    Normal,
    OneHotCategorical,
)
from posterity.handlers import condition, mask, seed, substitute, trace
from posterity.infer.enumeration import log_density
from posterity.infer.infer_discrete import compute_marginals, infer_discrete
from posterity.kernels import Key
from tests.infer.enumerable import PARALLEL, hidden_markov, joint, mixture, nested, reals, rows
from tests.infer.test_enumeration import CASES
from tests.statistical import FALSE_ALARM


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def draws_of(model, args, number):
    """Independent posterior draws: the model in a plate, whose elements all see the same data."""

    def many(*args):
        with pt.plate("draws", number, dim=-4):
            model(*args)

    return trace(seed(infer_discrete(many), 1)).get_trace(*args)


def code(assignment, sizes, batch=0):
    """The number of an assignment among all of them, in the order in which they are listed."""
    number = torch.zeros((), dtype=torch.long)
    for name, size in sizes.items():
        value = assignment[name].long()
        for part in value.reshape(batch, -1).unbind(-1) if batch else value.reshape(-1):
            number = number * size + part
    return number


def test_draws_have_the_frequencies_of_the_joint_posterior(case):
    model, args, sizes, shapes = case
    probs = joint(model, sizes, shapes, args)[1].softmax(0)
    number = 4000
    drawn = draws_of(model, args, number)
    values = {name: drawn[name].value.expand(number, *drawn[name].value.shape[1:]) for name in sizes}
    counts = torch.bincount(code(values, sizes, number), minlength=len(probs)).double()
    # Pearson's test is good where every class expects many: the rarest assignments are one class together.
    rarest = probs.argsort()
    few = (probs * number < 50).sum(), (probs[rarest].cumsum(0) * number < 50).sum() + 1
    classes = [rarest[: max(map(int, few))], *rarest[max(map(int, few)) :].split(1)]
    observed = torch.stack([counts[members].sum() for members in classes])
    expected = torch.stack([probs[members].sum() for members in classes]) * number
    assert len(classes) > 2
    assert (expected >= 50).all()
    assert stats.chisquare(observed, expected).pvalue > FALSE_ALARM


def test_at_temperature_zero_it_is_the_most_probable_assignment(case):
    model, args, sizes, shapes = case
    every, densities = joint(model, sizes, shapes, args)
    found = trace(infer_discrete(model, temperature=0)).get_trace(*args)
    assert {name: found[name].value.long().tolist() for name in sizes} == {
        name: value.tolist() for name, value in every[int(densities.argmax())].items()
    }


def test_marginals_are_sums_of_the_joint_posterior(case):
    model, args, sizes, shapes = case
    every, densities = joint(model, sizes, shapes, args)
    probs = densities.softmax(0)
    for name, marginal in compute_marginals(model, args).items():
        table = marginal.probs if sizes[name] > 2 or isinstance(marginal, Categorical) else None
        ones = table[..., 1] if table is not None else marginal.probs
        expected = sum(p * (assignment[name] == 1) for p, assignment in zip(probs, every, strict=True))
        torch.testing.assert_close(ones, expected, rtol=1e-10, atol=1e-12)


def test_the_most_probable_path_of_a_long_chain_is_viterbis():
    y, initial, transition, locs = reals(100), rows(4, seed=1), rows(4, 4, seed=2), reals(4, seed=3)
    d = HiddenMarkovModel(Categorical(initial), Categorical(transition), Normal(locs, 1.0), num_steps=100)
    found = trace(infer_discrete(hidden_markov, temperature=0)).get_trace(y, initial, transition, locs)
    assert torch.stack([found[f"x_{t}"].value for t in range(100)]).equal(d.posterior_mode(y))


def test_values_of_continuous_variables_are_given_inside():
    x, locs, weights = torch.tensor([-5.0, 5.0, 4.9]), torch.tensor([-5.0, 5.0]), torch.tensor([0.5, 0.5])
    for given in (substitute, condition):
        model = given(mixture, {"weights": weights})
        found = trace(infer_discrete(model, temperature=0)).get_trace(x, locs)
        assert found["z"].value.tolist() == [0, 1, 1]
        assert found["weights"].value.equal(weights)


def test_values_may_also_be_given_outside():
    x, locs = torch.tensor([0.0]), torch.tensor([-1.0, 1.0])
    for winner, weights in enumerate(([0.9, 0.1], [0.1, 0.9])):
        model = substitute(infer_discrete(mixture, temperature=0), {"weights": torch.tensor(weights)})
        assert trace(model).get_trace(x, locs)["z"].value.tolist() == [winner]


def test_discrete_values_given_outside_are_kept_and_counted_on():
    def model():
        a = pt.sample("a", Bernoulli(0.5), infer=PARALLEL)
        return a, pt.sample("b", Bernoulli(0.01 + 0.98 * a), infer=PARALLEL)

    for given in (0.0, 1.0):
        found = substitute(infer_discrete(model, temperature=0), {"a": torch.tensor(given)})()
        assert [float(value) for value in found] == [given, given]


def test_other_latent_variables_and_subsamples_have_one_value():
    def model():
        with pt.plate("data", 100, subsample_size=2) as index:
            x = pt.sample("x", Normal(0.0, 1.0))
            z = pt.sample("z", Bernoulli(0.5), infer=PARALLEL)
            pt.sample("y", Normal(100 * z + 0 * x, 1.0), obs=torch.tensor([0.0, 100.0]))
        return index

    recorded = trace(infer_discrete(model)).get_trace()
    assert recorded["z"].value.tolist() == [0, 1]
    assert list(recorded) == ["data", "x", "z", "y"]


def test_a_seed_decides_the_draws():
    args = CASES["nested plates"][1]

    def draw(source):
        return trace(infer_discrete(nested, generator=source)).get_trace(*args)["c"].value

    def seeded(number):
        return trace(seed(infer_discrete(nested), number)).get_trace(*args)["c"].value

    assert draw(Key(3)).equal(draw(Key(3)))
    assert draw(torch.Generator().manual_seed(3)).equal(draw(torch.Generator().manual_seed(3)))
    assert seeded(5).equal(seeded(5))
    assert any(not seeded(5).equal(seeded(i)) for i in range(6, 30))


def test_variables_that_never_meet_are_drawn_apart():
    def model():
        with pt.plate("draws", 2000):
            pt.sample("a", Bernoulli(0.5), infer=PARALLEL)
            pt.sample("b", Bernoulli(0.5), infer=PARALLEL)

    recorded = trace(seed(infer_discrete(model), 2)).get_trace()
    equal = int((recorded["a"].value == recorded["b"].value).sum())
    assert stats.binomtest(equal, 2000, 0.5).pvalue > FALSE_ALARM


@pytest.mark.parametrize("temperature", [0, 1])
def test_it_is_mapped_over_and_captured(no_validation, temperature):
    x, locs, weights = reals(5), reals(3, seed=1), rows(4, 3, seed=2)

    def values(weights):
        model = infer_discrete(substitute(mixture, {"weights": weights}), -2, temperature, generator=Key(1))
        return trace(model).get_trace(x, locs)["z"].value

    one_by_one = torch.stack([values(row) for row in weights])
    assert torch.vmap(values)(weights).equal(one_by_one)
    graph = make_fx(values, tracing_mode="fake", _allow_non_fake_inputs=True)(weights[0])
    assert graph(weights[2]).equal(one_by_one[2])


def test_masked_variables_are_drawn_uniformly():
    @mask(mask=False)
    def model():
        with pt.plate("draws", 2000):
            pt.sample("z", Bernoulli(0.9), infer=PARALLEL)

    drawn = int(trace(seed(infer_discrete(model), 2)).get_trace()["z"].value.sum())
    assert stats.binomtest(drawn, 2000, 0.5).pvalue > FALSE_ALARM


def test_a_support_may_begin_elsewhere_in_each_element_and_for_each_value():
    low = torch.tensor([0, 10])

    def model():
        with pt.plate("data", 2):
            a = pt.sample("a", Bernoulli(0.5), infer=PARALLEL)
            start = low + 100 * a.long()
            z = pt.sample("z", DiscreteUniform(start, start + 2), infer=PARALLEL)
            pt.sample("y", Normal(z.double(), 0.1), obs=torch.tensor([101.0, 12.0]).double())

    found = trace(infer_discrete(model, temperature=0)).get_trace()
    assert found["a"].value.tolist() == [1, 0]
    assert found["z"].value.tolist() == [101, 12]
    # exp(-50) is left of the neighbours.
    by_hand = Normal(0.0, 0.1).log_prob(torch.zeros(())).double() * 2 - 2 * torch.tensor(6.0).log().double()
    assert abs(log_density(model) - by_hand) < 1e-6


def test_marginals_have_the_variables_own_kind():
    def model():
        pt.sample("one_hot", OneHotCategorical(torch.tensor([0.2, 0.5, 0.3])), infer=PARALLEL)
        pt.sample("category", Categorical(torch.tensor([0.2, 0.5, 0.3])), infer=PARALLEL)
        with pt.plate("data", 2):
            pt.sample("count", Binomial(2, torch.tensor(0.5)), infer=PARALLEL)
            pt.sample("flag", Bernoulli(0.25).mask(torch.tensor([True, False])), infer=PARALLEL)

    marginals = compute_marginals(model)
    assert {name: type(d) for name, d in marginals.items()} == {
        "one_hot": OneHotCategorical,
        "category": Categorical,
        "count": Empirical,
        "flag": Bernoulli,
    }
    torch.testing.assert_close(marginals["one_hot"].probs, torch.tensor([0.2, 0.5, 0.3]))
    torch.testing.assert_close(marginals["category"].probs, torch.tensor([0.2, 0.5, 0.3]))
    torch.testing.assert_close(marginals["count"].prob(torch.tensor(1.0)), torch.tensor([0.5, 0.5]))
    torch.testing.assert_close(marginals["flag"].probs, torch.tensor([0.25, 0.5]))


def test_marginals_in_a_subsample_are_those_of_its_elements():
    def model():
        with pt.plate("data", 10, subsample_size=2):
            z = pt.sample("z", Bernoulli(torch.tensor(0.3, dtype=torch.float64)), infer=PARALLEL)
            pt.sample("y", Normal(z, 1.0), obs=torch.tensor([0.0, 2.0], dtype=torch.float64))

    odds = 3 / 7 * torch.tensor([-0.5, 1.5], dtype=torch.float64).exp()
    torch.testing.assert_close(compute_marginals(model)["z"].probs, odds / (1 + odds))


def test_marginals_pass_gradients():
    loc = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)

    def probability(loc):
        def model():
            z = pt.sample("z", Bernoulli(torch.tensor(0.3, dtype=torch.float64)), infer=PARALLEL)
            pt.sample("y", Normal(z * loc, 1.0), obs=torch.tensor(0.7, dtype=torch.float64))

        return compute_marginals(model, max_plate_nesting=0)["z"].probs

    assert torch.autograd.gradcheck(probability, loc)


def test_it_decorates_a_program():
    @infer_discrete(first_available_dim=-2, temperature=0)
    @pt.handlers.config_enumerate
    def model(y):
        with pt.plate("data", len(y)):
            z = pt.sample("z", Bernoulli(0.5))
            pt.sample("y", Normal(z, 0.1), obs=y)
        return z

    assert model(torch.tensor([0.1, 0.9])).tolist() == [0, 1]


def test_other_temperatures_are_refused():
    with pytest.raises(ValueError, match=r"temperature of infer_discrete must be 0 .* or 1 .*, not 0\.5"):
        infer_discrete(nested, temperature=0.5)


def test_data_that_no_value_allows_are_refused():
    def model():
        z = pt.sample("z", Bernoulli(0.5), infer=PARALLEL)
        pt.factor("never", torch.where(z == 0, -torch.inf, -torch.inf))

    with pytest.raises(ValueError, match="site 'z' has no possible value, given the data"):
        infer_discrete(model)()
