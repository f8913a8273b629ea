"""Enumerated log densities and bounds against sums over assignments by hand."""

import math

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

import posterity as pt
from posterity.distributions import Bernoulli, Binomial, Categorical, HiddenMarkovModel, Normal, OneHotCategorical
from posterity.handlers import config_enumerate, enumerate_sites, trace
from posterity.infer.enumerated_factors import varies_along
from posterity.infer.enumeration import (
    enumerated_elbo,
    enumerated_log_density,
    enumerated_terms,
    enumerated_traces,
    log_density,
)
from tests.infer.enumerable import (
    PARALLEL,
    coupled,
    factorial,
    hidden_markov,
    joint,
    mixture,
    nested,
    reals,
    rows,
)

CASES = {
    "hidden Markov model": (
        hidden_markov,
        (reals(4), rows(3, seed=1), rows(3, 3, seed=2), reals(3, seed=3)),
        {f"x_{t}": 3 for t in range(4)},
        None,
    ),
    "nested plates": (
        nested,
        (reals(2, 2), rows(2, seed=1), rows(2, 2, seed=2), reals(2, 2, seed=3)),
        {"a": 2, "b": 2, "c": 2},
        {"a": (), "b": (2,), "c": (2, 2)},
    ),
    "coupled variables": (
        coupled,
        (reals(), rows(3, 3, seed=1), rows(3, 3, 2, seed=2), reals(2, seed=3)),
        {"a": 3, "b": 3, "c": 3, "d": 2},
        None,
    ),
    "factorial chains": (
        factorial,
        (reals(3), rows(2, 2, 2, seed=1), reals(2, 2, seed=3)),
        {f"{name}_{t}": 2 for t in range(3) for name in "wx"},
        None,
    ),
}


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def close(actual, expected, terms=100):
    """Sums of about so many numbers of the size of the result, in the precision that they have."""
    eps = torch.finfo(actual.dtype).eps
    return bool((actual - expected).abs() <= terms * eps * (1 + expected.abs()))


def test_the_density_is_the_sum_over_all_assignments(case):
    model, args, sizes, shapes = case
    _, densities = joint(model, sizes, shapes, args)
    assert close(log_density(model, args), densities.logsumexp(0))


def test_gradients_are_those_of_the_sum_over_all_assignments(case):
    model, args, sizes, shapes = case
    args = tuple(arg.clone().requires_grad_() for arg in args)
    by_hand = torch.autograd.grad(joint(model, sizes, shapes, args)[1].logsumexp(0), args)
    for ours, theirs in zip(torch.autograd.grad(log_density(model, args), args), by_hand, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_gradients_are_finite_differences():
    y, initial, transition, locs = CASES["hidden Markov model"][1]

    def density(locs):
        return log_density(hidden_markov, (y, initial, transition, locs), max_plate_nesting=0)

    assert torch.autograd.gradcheck(density, locs.clone().requires_grad_())
    assert torch.autograd.gradgradcheck(density, locs.clone().requires_grad_())


def test_a_mixture_is_the_weighted_sum_of_its_densities():
    x, locs, weights = reals(7), reals(3, seed=1), rows(3, seed=2)
    by_hand = (Normal(locs, 1.0).log_prob(x[:, None]) + weights.log()).logsumexp(-1).sum()
    found = log_density(mixture, (x, locs), values={"weights": weights})
    assert close(found, by_hand + math.log(2.0))  # the Dirichlet's density on the triangle is 2


def test_a_chain_is_the_hidden_markov_model():
    y, initial, transition, locs = reals(60), rows(4, seed=1), rows(4, 4, seed=2), reals(4, seed=3)
    d = HiddenMarkovModel(Categorical(initial), Categorical(transition), Normal(locs, 1.0), num_steps=60)
    assert close(log_density(hidden_markov, (y, initial, transition, locs)), d.log_prob(y), terms=1000)


def test_many_chains_in_a_plate_are_hidden_markov_models():
    y, initial, transition, locs = reals(6, 20), rows(3, seed=1), rows(3, 3, seed=2), reals(3, seed=3)

    def model():
        x = None
        with pt.plate("chains", 6):
            for t in pt.markov(range(20)):
                x = pt.sample(f"x_{t}", Categorical(initial if t == 0 else transition[x]), infer=PARALLEL)
                pt.sample(f"y_{t}", Normal(locs[x], 1.0), obs=y[:, t])

    d = HiddenMarkovModel(Categorical(initial), Categorical(transition), Normal(locs, 1.0), num_steps=20)
    assert close(log_density(model), d.log_prob(y).sum(), terms=1000)


def test_a_chain_of_second_order_sees_two_turns_back():
    second = rows(2, 2, 2, seed=4)

    def model():
        a, b = torch.tensor(0), torch.tensor(0)
        for t in pt.markov(range(5), history=2):
            a, b = b, pt.sample(f"x_{t}", Categorical(pt.ppl.Vindex(second)[a, b]), infer=PARALLEL)
            pt.sample(f"y_{t}", Normal(b.double(), 1.0), obs=torch.tensor(0.5 * t).double())

    _, densities = joint(model, {f"x_{t}": 2 for t in range(5)})
    assert close(log_density(model), densities.logsumexp(0))


def test_masked_turns_of_a_chain_count_for_nothing():
    y, initial, transition, locs = reals(3, 6), rows(3, seed=1), rows(3, 3, seed=2), reals(3, seed=3)
    lengths = torch.tensor([6, 2, 4])

    def model():
        x = None
        with pt.plate("chains", 3):
            for t in pt.markov(range(6)):
                with pt.handlers.mask(mask=t < lengths):
                    x = pt.sample(f"x_{t}", Categorical(initial if t == 0 else transition[x]), infer=PARALLEL)
                    pt.sample(f"y_{t}", Normal(locs[x], 1.0), obs=y[:, t])

    expected = sum(
        log_density(hidden_markov, (y[i, :n], initial, transition, locs)) for i, n in enumerate(lengths.tolist())
    )
    assert close(log_density(model), expected)


def test_chains_of_several_lengths_emit_vectors():
    transition, flips = rows(3, 3, seed=2), rows(3, 4, 2, seed=3)[..., 0]
    sequences = (reals(2, 5, 4) > 0).double()
    lengths = torch.tensor([5, 3])

    def model():
        tones = pt.plate("tones", 4, dim=-1)
        with pt.plate("sequences", 2, dim=-2):
            x = 0
            for t in pt.markov(range(5)):
                with pt.handlers.mask(mask=(t < lengths).unsqueeze(-1)):
                    x = pt.sample(f"x_{t}", Categorical(transition[x]), infer=PARALLEL)
                    with tones:
                        pt.sample(f"y_{t}", Bernoulli(flips[x.squeeze(-1)]), obs=sequences[:, t])

    emission = Bernoulli(flips).to_event(1)
    first, chain = Categorical(transition[0]), Categorical(transition)
    whole = HiddenMarkovModel(first, chain, emission, num_steps=5).log_prob(sequences[0])
    short = HiddenMarkovModel(first, chain, emission, num_steps=3).log_prob(sequences[1, :3])
    assert close(log_density(model), whole + short)


def test_missing_categories_are_summed_out():
    probs, locs = rows(3, seed=1), reals(3, seed=3)
    seen, obs, y = torch.tensor([True, False, True, False]), torch.tensor([2, 0, 1, 0]), reals(4)

    def model():
        with pt.plate("data", 4):
            z = pt.sample("z", Categorical(probs), obs=obs, obs_mask=seen, infer=PARALLEL)
            pt.sample("y", Normal(locs[z], 1.0), obs=y)

    each = probs.log() + Normal(locs, 1.0).log_prob(y[:, None])
    expected = torch.where(seen, each.gather(-1, obs[:, None]).squeeze(-1), each.logsumexp(-1)).sum()
    assert close(log_density(model), expected)


def test_a_subsample_is_scaled_after_the_sum_over_its_own_variables():
    x, weights = reals(3), rows(2, seed=1)

    def model():
        with pt.plate("data", 12, subsample_size=3):
            z = pt.sample("z", Categorical(weights), infer=PARALLEL)
            pt.sample("x", Normal(z.double(), 1.0), obs=x)

    local = (weights.log() + Normal(torch.arange(2.0).double(), 1.0).log_prob(x[:, None])).logsumexp(-1)
    assert close(log_density(model), 4 * local.sum())


def test_a_subsample_stands_for_the_whole_plate_where_a_variable_is_outside_of_it():
    x, weights = reals(3), rows(2, seed=1)

    def model(loop):
        z = pt.sample("z", Categorical(weights), infer=PARALLEL)
        data = pt.plate("data", 12, subsample_size=3)
        if loop:
            for turn, i in enumerate(data):
                pt.sample(f"x_{i}", Normal(z.double(), 1.0), obs=x[turn])
        else:
            with data:
                pt.sample("x", Normal(z.double(), 1.0), obs=x)

    likelihood = Normal(torch.arange(2.0).double(), 1.0).log_prob(x[:, None]).sum(0)
    expected = (weights.log() + 4 * likelihood).logsumexp(0)
    assert close(log_density(model, (False,)), expected)
    assert close(log_density(model, (True,)), expected)


def test_turns_of_a_subsampled_loop_are_scaled_after_the_sum_over_their_own_variables():
    x, weights = reals(3), rows(2, seed=1)

    def model():
        for turn, i in enumerate(pt.plate("data", 12, subsample_size=3)):
            z = pt.sample(f"z_{i}", Categorical(weights), infer=PARALLEL)
            pt.sample(f"x_{i}", Normal(z.double(), 1.0), obs=x[turn])

    local = (weights.log() + Normal(torch.arange(2.0).double(), 1.0).log_prob(x[:, None])).logsumexp(-1)
    assert close(log_density(model), 4 * local.sum())


def test_a_loop_over_a_plate_and_its_batch_dimension_agree():
    x, weights = reals(4), rows(3, seed=1)

    def looped():
        for i in pt.plate("data", 4):
            z = pt.sample(f"z_{i}", Categorical(weights), infer=PARALLEL)
            pt.sample(f"x_{i}", Normal(z.double(), 1.0), obs=x[i])

    def batched():
        with pt.plate("data", 4):
            z = pt.sample("z", Categorical(weights), infer=PARALLEL)
            pt.sample("x", Normal(z.double(), 1.0), obs=x)

    assert close(log_density(looped), log_density(batched))


def test_two_plates_in_one_another_that_cross_can_be_summed_with_loops():
    locs = reals(2, 2, seed=3)

    def model():
        across = pt.plate("across", 2)
        x = [pt.sample(f"x_{i}", Bernoulli(0.3), infer=PARALLEL) for i in across]
        y = [pt.sample(f"y_{j}", Bernoulli(0.6), infer=PARALLEL) for j in range(2)]
        for i in range(2):
            for j in range(2):
                loc = pt.ppl.Vindex(locs)[x[i].long(), y[j].long()]
                pt.sample(f"z_{i}{j}", Normal(loc, 1.0), obs=torch.tensor(0.1 * i + j).double())

    _, densities = joint(model, {"x_0": 2, "x_1": 2, "y_0": 2, "y_1": 2})
    found = log_density(model)
    assert abs(found - densities.logsumexp(0)) < 1e-6  # the probabilities are in float32


def test_a_scale_around_all_is_pulled_out_of_the_sum():
    def model():
        z = pt.sample("z", Bernoulli(torch.tensor(0.3, dtype=torch.float64)), infer=PARALLEL)
        pt.sample("x", Normal(z, 1.0), obs=torch.tensor(0.2, dtype=torch.float64))

    assert close(log_density(pt.handlers.scale(model, scale=2.5)), 2.5 * log_density(model))


def test_weights_of_data_are_pulled_out_of_each_sum():
    x, weights, probs = reals(4), torch.tensor([1.0, 0.5, 2.0, 3.0], dtype=torch.float64), rows(2, seed=1)

    def model():
        with pt.plate("data", 4), pt.handlers.scale(scale=weights):
            z = pt.sample("z", Categorical(probs), infer=PARALLEL)
            pt.sample("x", Normal(z.double(), 1.0), obs=x)

    local = (probs.log() + Normal(torch.arange(2.0).double(), 1.0).log_prob(x[:, None])).logsumexp(-1)
    assert close(log_density(model), (weights * local).sum())


@pytest.mark.parametrize("impossible", [0, 1])
def test_an_impossible_value_has_no_gradient(impossible):
    loc = torch.tensor(0.3, requires_grad=True)

    def model():
        z = pt.sample("z", Bernoulli(torch.tensor(1.0 - impossible)), infer=PARALLEL)
        pt.sample("x", Normal(loc * z, 1.0), obs=torch.tensor(1.0))

    density = log_density(model)
    density.backward()
    assert density.isfinite()
    assert loc.grad == (0.7 if not impossible else 0.0) or abs(loc.grad - 0.7) < 1e-6


def test_the_density_of_an_impossible_observation_is_zero_and_its_gradient_finite():
    transition = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    locs = reals(2).requires_grad_()

    def model():
        x = pt.sample("x", Categorical(transition[0]), infer=PARALLEL)
        y = pt.sample("y", Categorical(transition[x]), infer=PARALLEL)
        pt.sample("z", Normal(locs[y], 1.0), obs=torch.tensor(0.0, dtype=torch.float64))
        pt.factor("never", torch.where(x == 0, -torch.inf, 0.0).double())

    density = log_density(model)
    assert density == -torch.inf
    assert torch.autograd.grad(density, locs)[0].isfinite().all()


def test_supports_may_be_vectors_counts_and_single_points():
    def model():
        one_hot = pt.sample(
            "one_hot", OneHotCategorical(torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)), infer=PARALLEL
        )
        count = pt.sample("count", Binomial(2, torch.tensor(0.4, dtype=torch.float64)), infer=PARALLEL)
        pt.sample("single", Categorical(torch.ones(1).double()), infer=PARALLEL)
        pt.sample(
            "y", Normal(one_hot @ torch.arange(3.0).double() + count, 1.0), obs=torch.tensor(1.3, dtype=torch.float64)
        )

    places = torch.arange(3.0).double() + torch.arange(3.0).double()[:, None]
    weights = (
        torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
        * torch.tensor([0.36, 0.48, 0.16], dtype=torch.float64)[:, None]
    )
    expected = (
        (weights.log() + Normal(places, 1.0).log_prob(torch.tensor(1.3, dtype=torch.float64))).flatten().logsumexp(0)
    )
    assert close(log_density(model), expected)


def test_all_discrete_variables_can_be_enumerated_without_a_mark():
    def model():
        z = pt.sample("z", Bernoulli(torch.tensor(0.3, dtype=torch.float64)))
        pt.sample("x", Normal(z.double(), 1.0), obs=torch.tensor(0.2, dtype=torch.float64))

    marked = config_enumerate(model)
    expected = joint(model, {"z": 2})[1].logsumexp(0)
    assert close(log_density(model, enumerate_all=True), expected)
    assert close(log_density(marked), expected)


def test_without_variables_it_is_the_density_of_the_trace():
    def model():
        pt.sample("x", Normal(torch.zeros(3), 1.0), obs=torch.ones(3))

    assert log_density(model) == trace(model).get_trace().log_prob_sum()
    assert enumerated_log_density(trace(enumerate_sites(model)).get_trace()) == log_density(model)


def test_values_come_from_a_trace_with_its_subsample():
    def model():
        with pt.plate("data", 10, subsample_size=3) as index:
            x = pt.sample("x", Normal(index.double(), 1.0))
            z = pt.sample("z", Bernoulli(0.5 * torch.ones(()).double()), infer=PARALLEL)
            pt.sample("y", Normal(x + z, 1.0), obs=torch.zeros(3).double())

    recorded = trace(pt.handlers.block(model, hide=["z", "y"])).get_trace()
    x = recorded["x"].value
    local = (Normal(x[:, None] + torch.arange(2.0), 1.0).log_prob(torch.zeros(()).double()) - math.log(2)).logsumexp(-1)
    expected = 10 / 3 * (Normal(recorded["data"].value.double(), 1.0).log_prob(x) + local).sum()
    assert close(log_density(model, values=recorded), expected)


def test_batches_of_values_are_mapped_over(no_validation):
    x, locs, weights = reals(5), reals(4, 3, seed=1), rows(4, 3, seed=2)

    def density(locs, weights):
        return log_density(mixture, (x, locs), values={"weights": weights})

    together = torch.vmap(density)(locs, weights)
    torch.testing.assert_close(together, torch.stack([density(a, b) for a, b in zip(locs, weights, strict=True)]))


def test_a_graph_can_be_captured_with_fake_tensors(no_validation):
    y, initial, transition, locs = CASES["hidden Markov model"][1]

    def gradient(locs):
        return torch.func.grad_and_value(lambda locs: log_density(hidden_markov, (y, initial, transition, locs)))(locs)

    graph = make_fx(gradient, tracing_mode="fake", _allow_non_fake_inputs=True)(locs)
    for captured, eager in zip(graph(2 * locs), gradient(2 * locs), strict=True):
        torch.testing.assert_close(captured, eager)


def test_no_memory_is_made_on_the_cpu(no_validation):
    args = [arg.to("meta") for arg in CASES["hidden Markov model"][1]]
    assert log_density(hidden_markov, args).device.type == "meta"


# Bounds.


def two_steps(q_first=None, q_second=None):
    first, second, y = rows(2, seed=1), rows(2, 3, seed=2), reals(3)

    def model():
        a = pt.sample("a", Categorical(first), infer=PARALLEL)
        with pt.plate("data", 3):
            b = pt.sample("b", Categorical(second[a]), infer=PARALLEL)
            pt.sample("y", Normal((a + b).double(), 1.0), obs=y)

    def guide():
        a = pt.sample("a", Categorical(q_first), infer=PARALLEL)
        if q_second is not None:
            with pt.plate("data", 3):
                pt.sample("b", Categorical(q_second[a]), infer=PARALLEL)

    return model, guide


def test_the_bound_of_a_guide_without_variables_is_the_log_density():
    model, args, _, _ = CASES["nested plates"]
    assert close(enumerated_elbo(*enumerated_traces(model, lambda *args: None, args)), log_density(model, args))


def test_the_bound_averages_over_the_guide_by_hand():
    q_first, q_second = rows(2, seed=5), rows(2, 3, seed=6)
    model, guide = two_steps(q_first, q_second)
    shapes = {"a": (), "b": (3,)}
    _, p = joint(model, {"a": 2, "b": 3}, shapes)
    _, q = joint(guide, {"a": 2, "b": 3}, shapes)
    assert close(enumerated_elbo(*enumerated_traces(model, guide)), (q.exp() * (p - q)).sum())


def test_the_bound_averages_over_the_guide_what_is_summed_out_in_the_model():
    q_first = rows(2, seed=5)
    model, guide = two_steps(q_first)
    _, p = joint(model, {"a": 2, "b": 3}, {"a": (), "b": (3,)})
    p = p.reshape(2, -1).logsumexp(-1)
    assert close(enumerated_elbo(*enumerated_traces(model, guide)), (q_first * (p - q_first.log())).sum())


def test_the_bound_of_the_exact_posterior_is_the_evidence():
    y, initial, transition, locs = reals(2), rows(2, seed=1), rows(2, 2, seed=2), reals(2, seed=3)
    every, p = joint(hidden_markov, {"x_0": 2, "x_1": 2}, args=(y, initial, transition, locs))
    assert every[1] == {"x_0": 0, "x_1": 1}
    posterior = p.softmax(0).reshape(2, 2)

    def guide(*args):
        a = pt.sample("x_0", Categorical(posterior.sum(1)), infer=PARALLEL)
        pt.sample("x_1", Categorical(posterior[a]), infer=PARALLEL)

    args = (y, initial, transition, locs)
    assert close(enumerated_elbo(*enumerated_traces(hidden_markov, guide, args)), p.logsumexp(0))


def test_the_gradient_of_the_bound_in_the_guide_is_that_by_hand():
    logits = reals(2, seed=5).requires_grad_()
    model, guide = two_steps(logits.softmax(-1))
    (ours,) = torch.autograd.grad(enumerated_elbo(*enumerated_traces(model, guide)), logits)
    p = joint(model, {"a": 2, "b": 3}, {"a": (), "b": (3,)})[1].reshape(2, -1).logsumexp(-1)
    q = logits.softmax(-1)
    (theirs,) = torch.autograd.grad((q * (p - q.log())).sum(), logits)
    torch.testing.assert_close(ours, theirs)


def test_a_continuous_variable_of_the_guide_may_depend_on_an_enumerated_one():
    def model():
        z = pt.sample("z", Bernoulli(torch.tensor(0.5, dtype=torch.float64)))
        pt.sample("x", Normal(2 * z - 1, 1.0))

    def guide():
        z = pt.sample("z", Bernoulli(torch.tensor(0.2, dtype=torch.float64)), infer=PARALLEL)
        pt.sample("x", Normal(2 * z - 1, 1.0))

    # The guide's x is the model's, so that only z is left: KL(0.2 || 0.5).
    expected = 0.2 * math.log(0.5 / 0.2) + 0.8 * math.log(0.5 / 0.8)
    assert abs(enumerated_elbo(*enumerated_traces(model, guide)) - expected) < 1e-14


def test_a_chain_in_the_guide_is_averaged_over():
    y, initial, transition, locs = CASES["hidden Markov model"][1]
    q_initial, q_transition = rows(3, seed=7), rows(3, 3, seed=8)

    def guide(y, *args):
        x = None
        for t in pt.markov(range(len(y))):
            x = pt.sample(f"x_{t}", Categorical(q_initial if t == 0 else q_transition[x]), infer=PARALLEL)

    args, sizes = (y, initial, transition, locs), {f"x_{t}": 3 for t in range(4)}
    p, q = joint(hidden_markov, sizes, args=args)[1], joint(guide, sizes, args=args)[1]
    assert close(enumerated_elbo(*enumerated_traces(hidden_markov, guide, args)), (q.exp() * (p - q)).sum())


def test_values_that_the_guide_excludes_may_cost_infinitely_much():
    def model():
        z = pt.sample("z", Bernoulli(torch.tensor(0.0)))
        pt.sample("x", Normal(z, 1.0), obs=torch.tensor(0.0))

    def guide():
        pt.sample("z", Bernoulli(torch.tensor(0.0)), infer=PARALLEL)

    assert enumerated_elbo(*enumerated_traces(model, guide)) == Normal(0.0, 1.0).log_prob(torch.tensor(0.0))


def test_subsampled_terms_of_the_guide_are_scaled():
    q = rows(2, seed=5)

    def model():
        with pt.plate("data", 6, subsample_size=2):
            z = pt.sample("z", Bernoulli(torch.tensor(0.5, dtype=torch.float64)))
            pt.sample("x", Normal(z, 1.0), obs=torch.tensor([0.3, 0.4], dtype=torch.float64))

    def guide():
        with pt.plate("data", 6, subsample_size=2):
            pt.sample("z", Bernoulli(q[1]), infer=PARALLEL)

    likelihood = Normal(torch.arange(2.0).double(), 1.0).log_prob(torch.tensor([[0.3], [0.4]], dtype=torch.float64))
    expected = 3 * (q * (likelihood - math.log(2) - q.log())).sum()
    assert close(enumerated_elbo(*enumerated_traces(model, guide)), expected)


def test_a_subsample_is_scaled_where_guide_and_model_both_have_variables_in_it():
    q, first, second, y = rows(2, seed=5), rows(2, seed=6), rows(2, 3, seed=7), reals(2)

    def model():
        with pt.plate("data", 6, subsample_size=2):
            g = pt.sample("g", Categorical(first))
            b = pt.sample("b", Categorical(second[g]), infer=PARALLEL)
            pt.sample("y", Normal(b.double(), 1.0), obs=y)

    def guide():
        with pt.plate("data", 6, subsample_size=2):
            pt.sample("g", Categorical(q), infer=PARALLEL)

    inner = (second.log() + Normal(torch.arange(3.0).double(), 1.0).log_prob(y[:, None, None])).logsumexp(-1)
    expected = 3 * (q * (inner + first.log() - q.log())).sum()
    assert close(enumerated_elbo(*enumerated_traces(model, guide)), expected)


def test_the_terms_keep_the_plates_at_their_dimensions():
    model, guide = two_steps(rows(2, seed=5), rows(2, 3, seed=6))
    terms = enumerated_terms(*enumerated_traces(model, guide))
    shapes = {(term.sites, term.from_guide): (tuple(term.value.shape), [p.name for p in term.plates]) for term in terms}
    assert shapes == {
        (("a",), False): ((), []),
        (("b",), False): ((3,), ["data"]),
        (("y",), False): ((3,), ["data"]),
        (("a",), True): ((), []),
        (("b",), True): ((3,), ["data"]),
    }


def test_the_bound_and_its_gradient_can_be_captured_and_mapped_over(no_validation):
    model, _ = two_steps()

    def bound(logits):
        def guide():
            pt.sample("a", Categorical(logits=logits), infer=PARALLEL)

        return enumerated_elbo(*enumerated_traces(model, guide))

    logits = reals(4, 2, seed=5)
    gradient = torch.func.grad(bound)
    one_by_one = torch.stack([gradient(row) for row in logits])
    torch.testing.assert_close(torch.vmap(gradient)(logits), one_by_one)
    graph = make_fx(gradient, tracing_mode="fake", _allow_non_fake_inputs=True)(logits[0])
    torch.testing.assert_close(graph(logits[1]), one_by_one[1])


def test_a_bound_without_variables_is_that_of_the_traces():
    def model():
        with pt.plate("data", 3):
            pt.sample("x", Normal(0.0, 1.0))

    def guide():
        with pt.plate("data", 3):
            pt.sample("x", Normal(1.0, 2.0))

    p, q = enumerated_traces(model, guide)
    assert enumerated_elbo(p, q) == p.log_prob_sum() - q.log_prob_sum()


def test_sites_know_along_which_variables_they_differ():
    def model():
        z = pt.sample("z", Bernoulli(0.5), infer=PARALLEL)
        pt.sample("x", Normal(z, 1.0), obs=torch.tensor(0.0))
        pt.sample("y", Normal(0.0, 1.0))

    recorded = trace(enumerate_sites(model)).get_trace()
    assert [varies_along(recorded[name]) for name in "zxy"] == [{"z"}, {"z"}, set()]
    assert varies_along(trace(model).get_trace()["x"]) == set()


# Errors.


def test_scales_that_differ_are_refused():
    def model():
        z = pt.sample("z", Bernoulli(0.3), infer=PARALLEL)
        with pt.handlers.scale(scale=2.0):
            pt.sample("x", Normal(z, 1.0), obs=torch.tensor(0.2))

    with pytest.raises(ValueError, match=r"'z' and 'x' hang together .* different scales, 1\.0 and 2\.0"):
        log_density(model)


def test_a_scale_along_a_plate_that_a_variable_is_not_in_is_refused():
    weights = torch.tensor([1.0, 2.0])

    def model():
        z = pt.sample("z", Bernoulli(0.3), infer=PARALLEL)
        with pt.plate("data", 2):
            pt.sample("x", Normal(z, 1.0), obs=torch.zeros(2))

    with pytest.raises(ValueError, match="the scale of site 'z' has 2 elements in dim -1, which is no plate"):
        log_density(pt.handlers.scale(model, scale=weights))


def test_a_site_outside_of_its_variables_plate_is_refused():
    def model():
        with pt.plate("data", 2):
            z = pt.sample("z", Bernoulli(0.3), infer=PARALLEL)
        pt.sample("x", Normal(z, 1.0), obs=torch.tensor(0.0))

    with pytest.raises(ValueError, match="site 'x' depends on 'z', which is inside plate 'data'"):
        log_density(model)


def test_a_latent_variable_without_a_value_that_depends_on_an_enumerated_one_is_refused():
    def model():
        z = pt.sample("z", Bernoulli(0.3), infer=PARALLEL)
        pt.sample("x", Normal(z, 1.0))

    with pytest.raises(
        ValueError, match="site 'x' is latent, has no value given, and was drawn once for each value of 'z'"
    ):
        log_density(model)


def test_an_enumerated_batch_without_a_plate_is_refused():
    def model():
        pt.sample("z", Bernoulli(torch.tensor([0.3, 0.4])), infer=PARALLEL)

    with pytest.raises(
        ValueError, match="enumerated site 'z' has 2 elements in dim -1 of its batch, which is no plate"
    ):
        log_density(model)


def test_an_observed_value_that_depends_on_a_chain_that_has_ended_is_refused():
    def model():
        for t in pt.markov(range(2)):
            x = pt.sample(f"x_{t}", Bernoulli(0.3), infer=PARALLEL)
        pt.sample("y", Normal(0.0, 1.0), obs=x)

    with pytest.raises(ValueError, match="site 'y' has a log density with 2 elements in dim -2, which no enumerated"):
        log_density(model)


def test_a_variable_of_the_model_that_couples_those_of_the_guide_is_refused():
    def model():
        a = pt.sample("a", Bernoulli(0.3), infer=PARALLEL)
        with pt.plate("data", 2):
            pt.sample("g", Bernoulli(0.1 + 0.5 * a))

    def guide():
        with pt.plate("data", 2):
            pt.sample("g", Bernoulli(0.4), infer=PARALLEL)

    with pytest.raises(NotImplementedError, match="'a' cannot be summed out: .*'data'"):
        enumerated_elbo(*enumerated_traces(model, guide))


def test_a_scale_along_a_plate_that_another_variable_is_not_in_is_refused():
    def model():
        data = pt.plate("data", 2)
        with data:
            b = pt.sample("b", Bernoulli(0.3), infer=PARALLEL)
        a = pt.sample("a", Bernoulli(0.3), infer=PARALLEL)
        with data:
            pt.sample("x", Normal(a + b, 1.0), obs=torch.zeros(2))

    with pytest.raises(ValueError, match="the scale of site 'b' differs along plate 'data', which 'a' is not in"):
        log_density(pt.handlers.scale(model, scale=torch.tensor([1.0, 2.0])))


def test_crossing_plates_are_refused():
    def model():
        across, down = pt.plate("across", 2, dim=-1), pt.plate("down", 3, dim=-2)
        with across:
            x = pt.sample("x", Bernoulli(0.3), infer=PARALLEL)
        with down:
            y = pt.sample("y", Bernoulli(0.3), infer=PARALLEL)
        with across, down:
            pt.sample("z", Normal(x + y, 1.0), obs=torch.zeros(3, 2))

    with pytest.raises(NotImplementedError, match=r"cannot be summed out.*'across', 'down'.*exponential"):
        log_density(model)
