"""Bounds of importance weights: they tighten, and their gradients are those of the bounds."""

import functools
import itertools

import pytest
import torch
from torch.nn.functional import softplus

import posterity as pt
from posterity import distributions as dist
from posterity.infer.simulation import Pair
from tests.statistical import assert_mean, quantile

X = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64)
ZERO = torch.zeros((), dtype=torch.float64)


def model():
    z = pt.sample("z", dist.Normal(ZERO, 1.5))
    with pt.plate("data", len(X)):
        pt.sample("x", dist.Normal(z, 0.8), obs=X)


def guide():
    pt.sample("z", dist.Normal(ZERO - 0.5, 0.7))


def _evidence():
    covariance = 0.8**2 * torch.eye(len(X), dtype=X.dtype) + 1.5**2
    return float(torch.distributions.MultivariateNormal(torch.zeros_like(X), covariance).log_prob(X))


def _bounds(objective, count=500):
    return -torch.stack([objective.loss(model, guide).detach() for _ in range(count)])


def test_the_bound_tightens_with_the_number_of_draws():
    bounds = [_bounds(pt.infer.IWAE(k)) for k in (1, 4, 40)]
    means = [float(b.mean()) for b in bounds]
    errors = [float(b.std()) / len(b) ** 0.5 for b in bounds]
    for i in (0, 1):
        assert means[i + 1] - means[i] > quantile() * (errors[i] ** 2 + errors[i + 1] ** 2) ** 0.5
    assert means[2] < _evidence() + quantile() * errors[2]


def test_renyis_bound_falls_with_alpha_from_the_iwae_to_the_elbo():
    generator = torch.Generator()
    losses = {}
    for alpha in (0.0, 0.5, 0.999999):
        losses[alpha] = pt.infer.RenyiELBO(alpha, 8).loss(model, guide, generator=generator.manual_seed(1))
    iwae = pt.infer.IWAE(8).loss(model, guide, generator=generator.manual_seed(1))
    elbo = pt.infer.ELBO(8, closed_form_kl=False).loss(model, guide, generator=generator.manual_seed(1))
    torch.testing.assert_close(losses[0.0], iwae)
    torch.testing.assert_close(losses[0.999999], elbo, rtol=1e-4, atol=0)
    assert losses[0.0] < losses[0.5] < losses[0.999999]


@pytest.mark.parametrize("vectorized", [True, False])
def test_particles_at_once_and_one_by_one_are_the_same(vectorized):
    generator = torch.Generator().manual_seed(3)
    here = pt.infer.IWAE(4, vectorized=vectorized).loss(model, guide, generator=generator)
    there = pt.infer.IWAE(4).loss(model, guide, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(here, there)


def _gradients(objective, program, guide, parameters, count):
    found = []
    for _ in range(count):
        gradients = torch.autograd.grad(objective.loss(program, guide), parameters)
        found.append(torch.cat([g.flatten() for g in gradients]))
    return torch.stack(found)


def test_doubly_reparameterized_gradients_have_the_same_mean_and_less_noise_in_the_guide():
    shift = torch.tensor(0.1, dtype=X.dtype, requires_grad=True)
    loc = torch.tensor(0.5, dtype=X.dtype, requires_grad=True)
    raw = torch.tensor(0.3, dtype=X.dtype, requires_grad=True)

    def learnt_model():
        z = pt.sample("z", dist.Normal(ZERO, 1.5))
        with pt.plate("data", len(X)):
            pt.sample("x", dist.Normal(z + shift, 0.8), obs=X)

    def learnt_guide():
        pt.sample("z", dist.Normal(loc, softplus(raw)))

    parameters = (shift, loc, raw)
    plain = _gradients(pt.infer.IWAE(20), learnt_model, learnt_guide, parameters, 600)
    better = _gradients(pt.infer.IWAE(20, doubly_reparameterized=True), learnt_model, learnt_guide, parameters, 600)
    error = ((plain.var(0) + better.var(0)) / 600).sqrt()
    assert bool(((plain.mean(0) - better.mean(0)).abs() < quantile(3) * error).all())
    assert bool((better.std(0)[1:] < 0.7 * plain.std(0)[1:]).all())


# Discrete latents, small enough to list.

PRIOR = torch.tensor([0.5, 0.3, 0.2], dtype=X.dtype)
PLACES = torch.tensor([-1.0, 0.5, 2.0], dtype=X.dtype)


def mixture():
    k = pt.sample("k", dist.Categorical(PRIOR))
    pt.sample("x", dist.Normal(PLACES[k], 1.0), obs=X[0])


def _log_weights(logits):
    q = logits.log_softmax(0)
    return dist.Normal(PLACES, 1.0).log_prob(X[0]) + PRIOR.log() - q, q


def test_vimco_is_unbiased_against_the_sum_over_all_draws():
    logits = torch.tensor([0.2, -0.1, 0.4], dtype=X.dtype, requires_grad=True)
    log_weights, q = _log_weights(logits)
    exact = torch.zeros((), dtype=X.dtype)
    for draws in itertools.product(range(3), repeat=3):
        index = torch.tensor(draws)
        bound = log_weights[index].logsumexp(0) - torch.log(torch.tensor(3.0, dtype=X.dtype))
        exact = exact + q[index].sum().exp() * bound
    (expected,) = torch.autograd.grad(-exact, logits)

    def learnt_guide():
        pt.sample("k", dist.Categorical(logits=logits))

    objective = pt.infer.VIMCO(3)
    assert_mean(-torch.stack([objective.loss(mixture, learnt_guide).detach() for _ in range(500)]), exact.detach())
    assert_mean(_gradients(objective, mixture, learnt_guide, (logits,), 800), expected)


def test_reweighted_wake_sleep_leads_the_guide_to_the_posterior():
    logits = torch.zeros(3, dtype=X.dtype, requires_grad=True)

    def learnt_guide():
        pt.sample("k", dist.Categorical(logits=logits))

    optimizer = torch.optim.Adam([logits], lr=0.05)
    objective = pt.infer.ReweightedWakeSleep(20)
    average = torch.zeros(3, dtype=X.dtype)
    for step in range(600):
        optimizer.zero_grad()
        objective.loss(mixture, learnt_guide).backward()
        optimizer.step()
        if step >= 300:
            average += logits.detach().softmax(0) / 300
    posterior = (_log_weights(torch.zeros(3, dtype=X.dtype))[0]).softmax(0)
    assert (average - posterior).abs().max() < 0.05


def test_the_sleep_phase_learns_from_dreams():
    weight = torch.zeros((), dtype=X.dtype, requires_grad=True)

    def dreamer(observations):
        z = pt.sample("z", dist.Normal(ZERO, 1.0))
        pt.sample("x", dist.Normal(z, 0.5), obs=observations["x"])

    def recognition(observations):
        pt.sample("z", dist.Normal(weight * observations["x"], 0.447))

    optimizer = torch.optim.Adam([weight], lr=0.05)
    objective = pt.infer.ReweightedWakeSleep(16, insomnia=0.0)
    for _ in range(300):
        optimizer.zero_grad()
        objective.loss(dreamer, recognition, observations={"x": X[0]}).backward()
        optimizer.step()
    assert abs(float(weight.detach()) - 0.8) < 0.1  # E[z | x] = x / (1 + 0.5^2)


def test_errors():
    def discrete_guide():
        pt.sample("k", dist.Categorical(PRIOR))

    for objective in (pt.infer.IWAE(3), pt.infer.RenyiELBO(0.5)):
        with pytest.raises(ValueError, match=r"needs gradients through the guide's draws.*'k'.*VIMCO"):
            objective.loss(mixture, discrete_guide)
    with pytest.raises(ValueError, match="at least 2"):
        pt.infer.VIMCO(1)
    with pytest.raises(ValueError, match="at least 2"):
        pt.infer.ReweightedWakeSleep(1)
    with pytest.raises(ValueError, match="insomnia"):
        pt.infer.ReweightedWakeSleep(2, insomnia=1.5)
    with pytest.raises(ValueError, match="not 1"):
        pt.infer.RenyiELBO(1.0)
    with pytest.raises(ValueError, match="keyword argument observations"):
        pt.infer.ReweightedWakeSleep(2, insomnia=0.5).loss(mixture, discrete_guide)


ROWS = torch.tensor([[0.3, 1.0], [-1.2, 0.5], [2.0, -0.4]], dtype=torch.float64)


def rows_model(x, full_size=None):
    with pt.plate("rows", full_size or len(x), subsample_size=len(x)):
        z = pt.sample("z", dist.Normal(ZERO, 1.5))
        on = pt.sample("on", dist.Bernoulli(ZERO + 0.3))
        with pt.plate("columns", 2, dim=-2):
            pt.sample("x", dist.Normal(z + on, 0.8), obs=x.T)


class _Draws:
    """What each particle draws for each row, in the order of the particles."""

    def __init__(self, rows):
        generator = torch.Generator().manual_seed(0)
        self.noise = torch.randn(4, len(ROWS), dtype=ROWS.dtype, generator=generator)[:, rows]
        self.coins = torch.randint(2, (4, len(ROWS)), generator=generator).to(ROWS)[:, rows]
        self.begin()

    def begin(self):
        self.turns, self.coin_turns = itertools.count(), itertools.count()


class _GivenNormal(dist.Normal):
    def rsample(self, sample_shape=(), *, generator=None):
        return self.loc + self.scale * self.draws.noise[next(self.draws.turns) % 4]


class _GivenCoin(dist.Bernoulli):
    def sample(self, sample_shape=(), *, generator=None):
        return self.draws.coins[next(self.draws.coin_turns) % 4]


def rows_guide(slope, coin, draws):
    def guide(x, full_size=None):
        with pt.plate("rows", full_size or len(x), subsample_size=len(x)):
            normal = _GivenNormal(slope * x.sum(-1), 0.7)
            normal.draws = draws
            pt.sample("z", normal)
            if coin is not None:
                bernoulli = _GivenCoin(logits=coin * x.sum(-1))
                bernoulli.draws = draws
                pt.sample("on", bernoulli)

    return guide


def without_coin(x, full_size=None):
    with pt.plate("rows", full_size or len(x), subsample_size=len(x)):
        z = pt.sample("z", dist.Normal(ZERO, 1.5))
        with pt.plate("columns", 2, dim=-2):
            pt.sample("x", dist.Normal(z, 0.8), obs=x.T)


def _estimate(objective, model, coins, rows, **kwargs):
    slope = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    coin = torch.tensor(-0.5, dtype=torch.float64, requires_grad=True) if coins else None
    draws = _Draws(rows)
    guide = rows_guide(slope, coin, draws)
    pools = objective.draw_noise(Pair(model, guide, (ROWS[rows],), kwargs))
    draws.begin()
    found = objective.estimate(Pair(model, guide, (ROWS[rows],), kwargs), pools, {})
    roots = [root for root in (slope, coin) if root is not None]
    return torch.stack([found.loss, *torch.autograd.grad(found.surrogate, roots)]).detach()


@pytest.mark.parametrize(
    ("make", "coins"),
    [
        (functools.partial(pt.infer.IWAE, 4), False),
        (functools.partial(pt.infer.IWAE, 4, doubly_reparameterized=True), False),
        (functools.partial(pt.infer.RenyiELBO, 0.5, 4), False),
        (functools.partial(pt.infer.VIMCO, 4), True),
        (functools.partial(pt.infer.ReweightedWakeSleep, 4), True),
    ],
    ids=["IWAE", "DReG", "Renyi", "VIMCO", "RWS"],
)
def test_with_a_plate_bound_and_gradient_are_the_sums_of_those_of_each_datum_alone(make, coins):
    model = rows_model if coins else without_coin
    make = functools.partial(make, vectorized=False)
    expected = sum(_estimate(make(), model, coins, [n]) for n in range(3))
    torch.testing.assert_close(_estimate(make(plate="rows"), model, coins, [0, 1, 2]), expected)
    # Of a subsample, each element stands for four of the plate.
    torch.testing.assert_close(_estimate(make(plate="rows"), model, coins, [0, 1, 2], full_size=12), 4 * expected)


@pytest.mark.parametrize("make", [pt.infer.IWAE, pt.infer.VIMCO, pt.infer.ReweightedWakeSleep])
def test_with_a_plate_particles_at_once_and_one_by_one_are_the_same(make):
    def guide(x):
        with pt.plate("rows", len(x)):
            pt.sample("z", dist.Normal(x.sum(-1), 0.7))

    losses = [
        make(4, plate="rows", vectorized=vectorized).loss(
            without_coin, guide, ROWS, generator=torch.Generator().manual_seed(3)
        )
        for vectorized in (True, False)
    ]
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize("vectorized", [True, False])
def test_all_draws_of_a_bound_are_about_the_same_subsample(vectorized):
    x = torch.linspace(-3.0, 3.0, 20, dtype=torch.float64)

    # The exact posterior: each draw's weight is then the evidence of the elements, and the bound is it exactly.
    def program(observed):
        def run():
            with pt.plate("rows", 20, subsample_size=4) as rows:
                if observed:
                    z = pt.sample("z", dist.Normal(ZERO, 1.0))
                    pt.sample("x", dist.Normal(z, 1.0), obs=x[rows])
                else:
                    pt.sample("z", dist.Normal(x[rows] / 2, 0.5**0.5))

        return run

    objective = pt.infer.IWAE(6, plate="rows", vectorized=vectorized)
    pools = objective.draw_noise(Pair(program(True), program(False)), torch.Generator().manual_seed(0))
    loss = objective.estimate(Pair(program(True), program(False)), pools, {}).loss
    order = next(pool for name, pool in pools.items() if name.startswith("shared_uniform"))[0, :20].argsort()
    evidence = dist.Normal(ZERO, 2**0.5).log_prob(x[order[:4]]).sum() * 5
    torch.testing.assert_close(-loss, evidence)


def test_a_site_outside_of_the_plate_is_refused():
    with pytest.raises(ValueError, match="site 'z' does not stand in plate 'data', whose elements are therefore not"):
        pt.infer.IWAE(2, plate="data").loss(model, guide)


def test_a_site_to_be_summed_out_inside_of_the_plate_is_refused():
    marked = pt.handlers.config_enumerate(lambda x: _coins(x))
    with pytest.raises(ValueError, match="site 'on' is marked to be summed out, which an objective with plate='rows'"):
        pt.infer.VIMCO(2, plate="rows").loss(marked, lambda x: None, ROWS)


def _coins(x):
    with pt.plate("rows", len(x)):
        on = pt.sample("on", dist.Bernoulli(ZERO + 0.3))
        pt.sample("x", dist.Normal(on, 1.0), obs=x[:, 0])


def test_a_plate_is_given_by_its_name():
    with pytest.raises(TypeError, match="plate of VIMCO must be the name of a plate, not 5"):
        pt.infer.VIMCO(3, plate=5)
