"""Gibbs sampling keeps joint posteriors of discrete and continuous variables, as brute force shows of small models."""

import itertools
import math

import pytest
import torch
from scipy import stats
from torch.fx.experimental.proxy_tensor import make_fx

import posterity as pt
from posterity import distributions as dist
from posterity.infer.mcmc.gibbs import Gibbs
from posterity.infer.mcmc.kernel import Kernel, Tuning
from posterity.infer.mcmc.mcmc import MCMC
from posterity.infer.mcmc.metric import DiagonalMetric, Preconditioned
from posterity.infer.mcmc.random_walk_metropolis import RandomWalkMetropolis
from posterity.infer.mcmc.replica_exchange import ReplicaExchange
from posterity.infer.mcmc.target import LogDensity
from posterity.infer.run_at_point import RunAtPoint
from posterity.kernels import Key
from posterity.runtime import without_validation
from tests.statistical import FALSE_ALARM, assert_mean, assert_same_distribution


def double(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def run(kernel, target, state, tuning, num_steps, seed=0, chains=None):
    chains = torch.arange(len(state.position)) if chains is None else chains
    keys = Key(seed).fold_in(chains)
    info = None
    for t in range(num_steps):
        state, info = kernel.step(target, state, tuning, keys.fold_in(t))
    return state, info


def steps(number, size=1.0):
    return Tuning(torch.full((number,), size, dtype=torch.float64))


def mixture(x):
    weights = pt.sample("weights", dist.Dirichlet(double(1.0, 2.0, 3.0)))
    with pt.plate("components", 3):
        loc = pt.sample("loc", dist.Normal(double(0.0)[0], 3.0))
    with pt.plate("data", len(x)):
        z = pt.sample("z", dist.Categorical(weights))
        pt.sample("x", dist.Normal(loc[z], 1.0), obs=x)


def two_in_a_plate(x):
    p = pt.sample("p", dist.Beta(double(2.0)[0], 2.0))
    with pt.plate("data", len(x)):
        a = pt.sample("a", dist.Bernoulli(p))
        b = pt.sample("b", dist.Bernoulli(0.2 + 0.5 * a))
        pt.sample("x", dist.Normal(a - 2 * b, 1.0), obs=x)


def global_choice(x):
    a = pt.sample("a", dist.Bernoulli(double(0.4)[0]))
    b = pt.sample("b", dist.Categorical(torch.stack([double(0.2, 0.3, 0.5), double(0.6, 0.3, 0.1)])[a.long()]))
    scale = pt.sample("scale", dist.HalfNormal(1 + double(1.0)[0]))
    with pt.plate("data", len(x)):
        pt.sample("x", dist.Normal(b + a, scale), obs=x)


def nested(x):
    loc = pt.sample("loc", dist.Normal(double(0.0)[0], 1.0))
    with pt.plate("groups", x.shape[1], dim=-1):
        z = pt.sample("z", dist.Bernoulli(double(0.3)[0]))
        with pt.plate("members", x.shape[0], dim=-2):
            own = pt.sample("own", dist.Bernoulli(0.3 + 0.4 * z))
            pt.sample("x", dist.Normal(loc + z + 2 * own, 1.0), obs=x)


def moving_support(x):
    """A discrete variable that a continuous one's support depends on."""
    n = pt.sample("n", dist.DiscreteUniform(double(1.0)[0], 4.0))
    u = pt.sample("u", dist.Uniform(double(0.0)[0], n))
    pt.sample("x", dist.Normal(u, 0.5), obs=x)


def vectors(x):
    kind = pt.sample("kind", dist.OneHotCategorical(double(0.2, 0.3, 0.5)))
    flags = pt.sample("flags", dist.Bernoulli(double(0.2, 0.5, 0.7)).to_event(1))
    with pt.plate("rows", 2):
        pairs = pt.sample("pairs", dist.Bernoulli(torch.full((2, 3), 0.4, dtype=torch.float64)).to_event(1))
        loc = pt.sample("loc", dist.Normal((kind * flags).sum() + pairs.sum(-1), 1.0))
        pt.sample("x", dist.Normal(loc, 1.0), obs=x)


def false_plate(x):
    """A plate whose elements are not independent, whatever it says."""
    loc = pt.sample("loc", dist.Normal(double(0.0)[0], 1.0))
    with pt.plate("data", len(x)):
        z = pt.sample("z", dist.Bernoulli(double(0.3)[0]))
        pt.sample("x", dist.Normal(loc + z.cumsum(0), 1.0), obs=x)


def summed_outside(x):
    with pt.plate("data", 4):
        z = pt.sample("z", dist.Bernoulli(double(0.3)[0]))
        y = pt.sample("y", dist.Normal(z, 1.0))
    pt.sample("x", dist.Normal(z.sum() + y.mean(), 1.0), obs=x)


def with_enumeration(x):
    loc = pt.sample("loc", dist.Normal(double(0.0)[0], 1.0))
    with pt.plate("data", len(x)):
        a = pt.sample("a", dist.Bernoulli(double(0.4)[0]))
        b = pt.sample("b", dist.Bernoulli(0.3 + 0.2 * a), infer={"enumerate": "parallel"})
        pt.sample("x", dist.Normal(loc + a + 2 * b, 1.0), obs=x)


def factors_and_masks(x):
    with pt.plate("data", len(x)):
        z = pt.sample("z", dist.Bernoulli(double(0.3)[0]))
        with pt.handlers.scale(scale=2.5), pt.handlers.mask(mask=x > 0):
            loc = pt.sample("loc", dist.Normal(z, 1.0))
        pt.factor("bonus", 0.7 * z * loc)
        pt.sample("x", dist.Normal(loc - z, 1.0), obs=x)


X = double(-1.0, 0.5, 2.0, 3.0)
MODELS = {
    "mixture": (mixture, X, {"z": 1}),
    "two_in_a_plate": (two_in_a_plate, X, {"a": 1, "b": 1}),
    "global_choice": (global_choice, X, {"a": 1, "b": 1}),
    "nested": (nested, torch.stack([X, X + 1]), {"z": 1, "own": 1}),
    "moving_support": (moving_support, X[1], {"n": 1}),
    "vectors": (vectors, X[:2], {"kind": 1, "flags": 3, "pairs": 3}),
    "false_plate": (false_plate, X, {"z": 4}),
    "summed_outside": (summed_outside, X[1], {"z": 4}),
    "with_enumeration": (with_enumeration, X, {"a": 4}),
    "factors_and_masks": (factors_and_masks, X, {"z": 1}),
}


def kernel_of(model, **options):
    return Gibbs(RandomWalkMetropolis(model), **options)


def target_of(kernel, *args):
    return kernel.potential(args, {}, Key(0))


def all_choices(potential):
    """Every joint value of the discrete variables, `[number, num_choices]`."""
    ranges = [range(site.num_values) for site in potential.sites for _ in range(site.size)]
    return torch.tensor(list(itertools.product(*ranges)))


@pytest.mark.parametrize("name", MODELS)
def test_scores_are_the_joint_log_density_with_one_element_changed(name):
    model, x, num_turns = MODELS[name]
    potential = target_of(kernel_of(model), x)
    assert potential.scores.num_turns == num_turns
    z = potential.initial_points(2, source=Key(3)) + 0.3
    choices = potential.first_choices(z)
    start = 0
    for site in potential.sites:
        turns = potential.scores.turns[site.name]
        places = torch.arange(start, start + site.size)
        for element in range(site.size):
            group = places[turns == turns[element]]
            candidates = choices.expand(site.num_values, *choices.shape).clone()
            candidates[:, :, group] = torch.arange(site.num_values)[:, None, None]
            scores = potential.scores(z, candidates, [site])[:, :, element]
            alone = choices.expand(site.num_values, *choices.shape).clone()
            alone[:, :, start + element] = torch.arange(site.num_values)[:, None]
            joint = torch.stack(
                [
                    torch.stack([potential.run(p, c, RunAtPoint.log_density) for p, c in zip(z, row, strict=True)])
                    for row in alone
                ]
            )
            torch.testing.assert_close(scores - scores[:1], joint - joint[:1])
        start += site.size


def test_three_hundred_assignments_take_one_run_of_the_model_for_all_their_values():
    calls = []

    def counted(x):
        calls.append(1)
        mixture(x)

    kernel = kernel_of(counted)
    x = torch.linspace(-3, 3, 300, dtype=torch.float64)
    target = target_of(kernel, x)
    z = target.initial_points(2, source=Key(1))
    state = kernel.init(target, z)
    calls.clear()
    kernel.step(target, state, steps(2), Key(0).fold_in(torch.arange(2)))
    assert len(calls) == 3  # the scores; the inner kernel's start; its proposal


def assert_posterior(draws, log_weights):
    """Indices of joint values against their log probabilities, by a chi-squared test."""
    expected = log_weights.softmax(0) * len(draws)
    counts = torch.bincount(draws, minlength=len(expected)).double()
    rare = expected < 5
    if rare.any():
        counts = torch.cat([counts[~rare], counts[rare].sum()[None]])
        expected = torch.cat([expected[~rare], expected[rare].sum()[None]])
    if expected[-1] < 1e-9:
        assert counts[-1] == 0
        counts, expected = counts[:-1], expected[:-1]
    assert stats.chisquare(counts.numpy(), expected.numpy(), sum_check=False).pvalue > FALSE_ALARM


def indices(potential, choices):
    """The place of each row among `all_choices`."""
    sizes = torch.tensor([site.num_values for site in potential.sites for _ in range(site.size)])
    strides = sizes.flip(0).cumprod(0).flip(0) // sizes
    return (choices * strides).sum(-1)


def dependent(x):
    """Three discrete variables that all hang together, in a plate and outside."""
    a = pt.sample("a", dist.Categorical(double(0.5, 0.3, 0.2)))
    with pt.plate("data", 2):
        b = pt.sample("b", dist.Bernoulli(double(0.2, 0.5, 0.9)[a]))
        c = pt.sample("c", dist.Categorical(torch.stack([double(0.6, 0.3, 0.1), double(0.1, 0.2, 0.7)])[b.long()]))
        pt.sample("x", dist.Normal(c + b - a, 1.0), obs=x)
    pt.sample("sum", dist.Normal(b.sum(), 0.7), obs=double(1.0)[0])


OPTIONS = list(itertools.product(["exact", "metropolised"], ["systematic", "random"]))


@pytest.mark.parametrize(("method", "scan"), OPTIONS)
def test_a_purely_discrete_posterior_is_kept_and_reached(method, scan):
    kernel = Gibbs(model=dependent, method=method, scan=scan)
    potential = target_of(kernel, double(0.3, 1.0))
    grid = all_choices(potential)
    log_weights = potential.given(grid).log_density(torch.zeros(len(grid), 0, dtype=torch.float64))
    number = 8000
    exact = torch.multinomial(log_weights.softmax(0), number, replacement=True)
    assert_posterior(exact, log_weights)
    state = kernel.init(potential, torch.zeros(number, 0, dtype=torch.float64), potential.values(grid[exact]))
    state, info = run(kernel, potential, state, None, 1)
    assert (info.num_changed > 0).any()
    assert_posterior(indices(potential, state.choices), log_weights)
    # From a single point, after a few sweeps.
    far = {"a": torch.full((1000,), 2), "b": torch.zeros(1000, 2), "c": torch.full((1000, 2), 2)}
    state = kernel.init(potential, torch.zeros(1000, 0, dtype=torch.float64), far)
    state, _ = run(kernel, potential, state, None, 10, seed=1)
    assert_posterior(indices(potential, state.choices), log_weights)


def selected(x):
    """A discrete variable that selects a continuous one; all is known in closed form."""
    z = pt.sample("z", dist.Bernoulli(double(0.3)[0]))
    loc = pt.sample("loc", dist.Normal(3 * z, 1.0))
    pt.sample("x", dist.Normal(loc, 1.0), obs=x)


def draws_of_selected(x, number):
    evidence = torch.stack([dist.Normal(double(loc)[0], 2**0.5).log_prob(x) for loc in (0.0, 3.0)])
    odds = (double(0.7, 0.3).log() + evidence).softmax(0)
    z = torch.bernoulli(odds[1].expand(number))
    return z, (3 * z + x) / 2 + 0.5**0.5 * torch.randn(number, dtype=torch.float64), odds[1]


@pytest.mark.parametrize(("method", "scan"), OPTIONS[::3])
def test_a_joint_posterior_with_a_continuous_variable_is_kept(method, scan):
    x, number = double(1.3)[0], 10000
    z, loc, odds = draws_of_selected(x, number)
    kernel = kernel_of(selected, method=method, scan=scan)
    target = target_of(kernel, x)
    state = kernel.init(target, loc.unsqueeze(-1), {"z": z})
    state, info = run(kernel, target, state, steps(number, 2.5), 3)
    assert info.accept_prob.shape == info.num_changed.shape == (number,)
    draws = kernel.draw(target, state)
    assert_mean(draws["z"], float(odds))
    _, fresh, _ = draws_of_selected(x, number)
    assert_same_distribution(draws["loc"], fresh)
    for value in (0, 1):
        # Given z the posterior of loc is normal.
        own = draws["loc"][draws["z"] == value]
        assert stats.kstest(own.numpy(), stats.norm(float(3 * value + x) / 2, 0.5**0.5).cdf).pvalue > FALSE_ALARM


def test_a_support_that_depends_on_a_discrete_variable_is_kept():
    x, number = double(0.5)[0], 10000
    upper = torch.arange(1, 5, dtype=torch.float64)
    # Exact draws of (n, u): rejection from the prior by the likelihood.
    n = torch.randint(1, 5, (20 * number,)).double()
    u = torch.rand(20 * number, dtype=torch.float64) * n
    keep = torch.rand(20 * number) < (-0.5 * ((x - u) / 0.5) ** 2).exp()
    n, u = n[keep][:number], u[keep][:number]
    kernel = kernel_of(moving_support)
    target = target_of(kernel, x)
    z = (u / n).logit().unsqueeze(-1)
    state, _ = run(kernel, target, kernel.init(target, z, {"n": n}), steps(len(n), 2.0), 2)
    draws = kernel.draw(target, state)
    inside = stats.norm(float(x), 0.5)
    masses = torch.tensor(inside.cdf(upper.numpy()) - inside.cdf(0)) / upper
    assert_posterior(draws["n"].long() - 1, masses.log())
    assert (draws["u"] < draws["n"]).all()
    assert_same_distribution(draws["u"], u)


def counts(x):
    rate = pt.sample("rate", dist.Gamma(double(3.0)[0], 1.0))
    n = pt.sample("n", dist.Poisson(rate))
    k = pt.sample("k", dist.Binomial(n, double(0.5)[0]))
    pt.sample("x", dist.Normal(k, 1.0), obs=x)


def test_counts_take_a_random_walk_that_keeps_their_posterior():
    x, number = double(2.0)[0], 5000
    rate = torch.distributions.Gamma(double(3.0)[0], 1.0).sample((40 * number,))
    n = torch.poisson(rate)
    k = torch.binomial(n, torch.full_like(n, 0.5))
    keep = torch.rand(40 * number) < (-0.5 * (x - k) ** 2).exp()
    rate, n, k = (v[keep][:number] for v in (rate, n, k))
    kernel = kernel_of(counts)
    target = target_of(kernel, x)
    assert [site.table is None for site in target.sites] == [True, True]
    state = kernel.init(target, rate.log().unsqueeze(-1), {"n": n, "k": k})
    state, info = run(kernel, target, state, steps(len(n)), 3)
    assert info.num_changed.double().mean() > 0.3
    draws = kernel.draw(target, state)
    assert (draws["k"] <= draws["n"]).all()
    for name, before in (("n", n), ("k", k), ("rate", rate)):
        table = torch.stack([torch.bincount(v.long().clamp(max=9), minlength=10) for v in (before, draws[name])])
        table = table[:, table.sum(0) > 10]
        assert stats.chi2_contingency(table.numpy()).pvalue > FALSE_ALARM, name


def conjugate(x):
    loc = pt.sample("loc", dist.Normal(double(0.0)[0], 2.0))
    with pt.plate("data", len(x)):
        z = pt.sample("z", dist.Bernoulli(double(0.3)[0]))
        pt.sample("x", dist.Normal(loc + 3 * z, 1.0), obs=x)


def draw_loc(key, values):
    precision = len(X) + 0.25
    mean = (X - 3 * values["z"]).sum() / precision
    return dist.Normal(mean, precision**-0.5).sample(generator=key)


def test_functions_of_the_users_update_a_conjugate_block():
    kernel = Gibbs(model=conjugate, updates={"loc": draw_loc})
    target = target_of(kernel, X)
    number = 5000
    # The discrete posterior, loc integrated out.
    grid = all_choices(target).double()
    covariance = torch.eye(4, dtype=torch.float64) + 4.0
    joint = torch.distributions.MultivariateNormal(3 * grid, covariance).log_prob(X)
    log_weights = joint + grid.sum(1) * math.log(0.3) + (4 - grid.sum(1)) * math.log(0.7)
    state = kernel.init(target, torch.zeros(number, 1, dtype=torch.float64))
    state, _ = run(kernel, target, state, None, 20)
    draws = kernel.draw(target, state)
    assert_posterior(indices(target, draws["z"].long()), log_weights)
    mean = ((X - 3 * grid).sum(1) / 4.25) @ log_weights.softmax(0)
    assert_mean(draws["loc"], float(mean))


def test_functions_of_the_users_update_a_discrete_variable():
    def flip_fair(key, values):
        log_odds = -0.5 * ((X - values["loc"] - 3) ** 2 - (X - values["loc"]) ** 2) + math.log(0.3 / 0.7)
        return dist.Bernoulli(logits=log_odds).sample(generator=key)

    own = Gibbs(RandomWalkMetropolis(conjugate))
    users = Gibbs(RandomWalkMetropolis(conjugate), updates={"z": flip_fair})
    target = target_of(own, X)
    start = torch.zeros(20000, 1, dtype=torch.float64)
    ours, theirs = (
        kernel.draw(target, run(kernel, target, kernel.init(target, start), steps(20000), 1, seed)[0])["z"]
        for seed, kernel in enumerate((own, users))
    )
    for one, other in zip(ours.unbind(1), theirs.unbind(1), strict=True):
        table = torch.stack([torch.bincount(v.long(), minlength=2) for v in (one, other)])
        assert stats.chi2_contingency(table.numpy()).pvalue > FALSE_ALARM


@pytest.mark.parametrize("scan", ["systematic", "random"])
def test_a_chain_does_not_depend_on_how_many_there_are(scan):
    kernel = kernel_of(vectors, scan=scan)
    target = target_of(kernel, X[:2])
    z = target.initial_points(8, source=Key(1))
    many = kernel.init(target, z)
    one = kernel.init(target, z[:1])
    assert torch.equal(one.choices, many.choices[:1])
    many, _ = run(kernel, target, many, steps(8), 3)
    one, _ = run(kernel, target, one, steps(1), 3)
    assert torch.equal(one.choices, many.choices[:1])
    torch.testing.assert_close(one.position, many.position[:1], rtol=0, atol=1e-8)


def test_a_captured_step_is_the_eager_one():
    kernel = kernel_of(two_in_a_plate)
    target = target_of(kernel, X)
    state = kernel.init(target, target.initial_points(3, source=Key(1)))
    keys = Key(5).fold_in(torch.arange(3))

    def flat(position, log_density, choices, step_size, data):
        own = type(state)(position, log_density, choices)
        new, info = kernel.step(target, own, Tuning(step_size), Key(data))
        return [*new, *info]

    inputs = (*state, steps(3).step_size, keys.data)
    with without_validation():
        graph = make_fx(flat, tracing_mode="fake", _allow_non_fake_inputs=True)(*inputs)
    for captured, eager in zip(graph(*inputs), flat(*inputs), strict=True):
        torch.testing.assert_close(captured, eager, rtol=0, atol=1e-8)


def test_a_metric_around_the_model_changes_neither_density_nor_draws():
    kernel = kernel_of(mixture)
    target = target_of(kernel, X)
    z = target.initial_points(2, source=Key(1))
    plain = kernel.init(target, z)
    whitened = Preconditioned(target, DiagonalMetric(torch.full_like(z, 2.0)))
    state = kernel.moved(whitened, plain, z / 2)
    assert torch.equal(state.choices, plain.choices)
    torch.testing.assert_close(state.log_density, plain.log_density)
    state, _ = run(kernel, whitened, state, steps(2), 1)
    draws = kernel.draw(whitened, state)
    assert torch.equal(draws["z"], kernel.draw(target, kernel.init(target, 2 * state.position, draws))["z"])


def test_a_model_whose_course_depends_on_a_value_runs_chain_by_chain():
    def branching(x):
        z = pt.sample("z", dist.Bernoulli(double(0.3)[0]))
        loc = pt.sample("loc", dist.Normal(double(0.0)[0], 1.0))
        pt.sample("x", dist.Normal(loc + 3.0 if z > 0 else loc, 1.0), obs=x)

    x, number = double(2.0)[0], 60
    kernel = kernel_of(branching)
    target = target_of(kernel, x)
    loc = torch.zeros(number, 1, dtype=torch.float64)
    state = kernel.init(target, loc)
    state, _ = run(kernel, target, state, steps(number, 1e-9), 1)
    odds = torch.stack([dist.Normal(double(m)[0], 1.0).log_prob(x) for m in (0.0, 3.0)]) + double(0.7, 0.3).log()
    probability = float(odds.softmax(0)[1])
    successes = int(state.choices.sum())
    assert stats.binomtest(successes, number, probability).pvalue > FALSE_ALARM


@pytest.mark.filterwarnings("ignore:MCMC")  # so few draws are no sample
def test_the_driver_gives_draws_of_all_variables():
    def model(x):
        conjugate(x)
        pt.deterministic("number", torch.ones(()) * 4)

    mcmc = MCMC(kernel_of(model), num_warmup=30, num_samples=20, num_chains=2, seed=0, progress=False, compile=False)
    mcmc.run(X)
    draws = mcmc.get_samples(group_by_chain=True)
    assert {name: tuple(value.shape) for name, value in draws.items()} == {
        "loc": (2, 20),
        "z": (2, 20, 4),
        "number": (2, 20),
    }
    assert ((draws["z"] == 0) | (draws["z"] == 1)).all()
    assert draws["z"].std(1).max() > 0
    assert mcmc.get_extra_fields()["num_changed"].shape == (40,)


def test_float32_models_stay_float32():
    def model(x):
        loc = pt.sample("loc", dist.Normal(0.0, 1.0))
        with pt.plate("data", len(x)):
            z = pt.sample("z", dist.Bernoulli(0.5))
            pt.sample("x", dist.Normal(loc + z, 1.0), obs=x)

    kernel = kernel_of(model)
    target = target_of(kernel, torch.zeros(3))
    state, _ = run(kernel, target, kernel.init(target, torch.zeros(2, 1)), Tuning(torch.ones(2)), 2)
    assert kernel.draw(target, state)["loc"].dtype == state.log_density.dtype == torch.float32


def test_what_cannot_be_sampled_is_refused():
    kernel = kernel_of(mixture)
    with pytest.raises(TypeError, match="inner must be a kernel, such as HMC"):
        Gibbs(mixture)
    with pytest.raises(TypeError, match="the model is the inner kernel's"):
        Gibbs(RandomWalkMetropolis(mixture), model=mixture)
    with pytest.raises(TypeError, match="the model is the inner kernel's"):
        Gibbs(RandomWalkMetropolis(log_density=lambda z: z.sum()))
    with pytest.raises(TypeError, match="Gibbs: give either a model"):
        Gibbs()
    with pytest.raises(TypeError, match="ReplicaExchange keeps more than a position"):
        Gibbs(ReplicaExchange(RandomWalkMetropolis(mixture)))
    with pytest.raises(ValueError, match="method must be 'exact' or 'metropolised', not 'fast'"):
        kernel_of(mixture, method="fast")
    with pytest.raises(ValueError, match="scan must be 'systematic' or 'random', not 'both'"):
        kernel_of(mixture, scan="both")
    with pytest.raises(TypeError, match=r"updates\['z'\] must be callable, not a int"):
        kernel_of(mixture, updates={"z": 1})
    with pytest.raises(
        ValueError, match="updates has 'y', which is no latent variable; these are 'weights', 'loc', 'z'"
    ):
        target_of(kernel_of(mixture, updates={"y": draw_loc}), X)
    with pytest.raises(ValueError, match="nothing moves 'weights', 'loc'"):
        target_of(Gibbs(model=mixture), X)
    with pytest.raises(TypeError, match="the target must be the model itself"):
        kernel.init(LogDensity(lambda z: z.sum(), dim=1), torch.zeros(1, 1))

    def continuous():
        pt.sample("y", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match="no discrete latent variable to update"):
        target_of(kernel_of(continuous))

    def vector():
        pt.sample("y", dist.Multinomial(5, torch.ones(3) / 3))

    with pytest.raises(ValueError, match="site 'y': the values of its Multinomial are vectors that cannot be listed"):
        target_of(Gibbs(model=vector))


def test_values_that_do_not_fit_are_refused():
    kernel = kernel_of(mixture)
    target = target_of(kernel, X)
    z = target.initial_points(2, source=Key(1))
    with pytest.raises(ValueError, match="the value of discrete site 'z' is missing"):
        kernel.init(target, z, {})
    with pytest.raises(ValueError, match=r"'z' has shape \(2, 3\), but must end with \(4,\)"):
        kernel.init(target, z, {"z": torch.zeros(2, 3)})
    with pytest.raises(ValueError, match="site 'z' is given a value that is none of its 3 values"):
        kernel.init(target, z, {"z": torch.full((2, 4), 3)})
    wide = kernel_of(mixture, updates={"loc": lambda key, values: values["loc"][:2]})
    with pytest.raises(
        ValueError, match=r"updates\['loc'\] returned a value of shape \(2,\), but the site's is \(3,\)"
    ):
        run(wide, target, wide.init(target, z), steps(2), 1)
    number = kernel_of(mixture, updates={"loc": lambda key, values: 1.0})
    with pytest.raises(TypeError, match=r"updates\['loc'\] must return a tensor, not a float"):
        run(number, target, number.init(target, z), steps(2), 1)
    moved = Gibbs(RandomWalkMetropolis(moving_support), updates={"u": lambda key, values: values["u"]})
    target = target_of(moved, X[1])
    with pytest.raises(ValueError, match="the support of site 'u' depends on other variables"):
        run(moved, target, moved.init(target, target.initial_points(1)), steps(1), 1)


def test_a_start_without_possible_discrete_values_is_an_error():
    def model():
        z = pt.sample("z", dist.Bernoulli(double(0.5)[0]))
        loc = pt.sample("loc", dist.Normal(z, 1.0))
        pt.factor("wall", torch.where(loc > 2, -math.inf, 0.0))

    kernel = kernel_of(model)
    target = target_of(kernel)
    with pytest.raises(ValueError, match="no discrete values with a finite log density were found in 100 draws"):
        kernel.init(target, torch.full((1, 1), 3.0, dtype=torch.float64))


def test_the_step_size_of_the_kernel_inside_is_tuned_as_it_is_alone():
    kernel = kernel_of(selected)
    target = target_of(kernel, double(1.0)[0])
    keys = Key(0).fold_in(torch.arange(4))
    start = torch.zeros(4, 1, dtype=torch.float64)
    adaptation = kernel.adaptation(target, start, 20, keys)
    before = adaptation.tuning.step_size.clone()
    state, info = kernel.step(target, kernel.init(target, start), adaptation.tuning, keys)
    adaptation.update(state, info)
    assert (adaptation.tuning.step_size != before).all()
    assert isinstance(kernel, Kernel)
