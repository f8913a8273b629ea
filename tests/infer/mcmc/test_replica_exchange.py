"""Replica exchange keeps its target, and crosses between modes that a single chain never leaves."""

import math

import pytest
import torch
from scipy import stats

import posterity as pt
from posterity import distributions as dist
from posterity.infer import Potential
from posterity.infer.mcmc.gibbs import Gibbs
from posterity.infer.mcmc.metric import DiagonalMetric, Preconditioned
from posterity.infer.mcmc.random_walk_metropolis import RandomWalkMetropolis
from posterity.infer.mcmc.replica_adaptation import ReplicaTuning, equalised
from posterity.infer.mcmc.replica_evidence import replica_evidence
from posterity.infer.mcmc.replica_exchange import ReplicaExchange, ReplicaState
from posterity.infer.mcmc.target import LogDensity
from posterity.infer.mcmc.tempered import Tempered
from posterity.kernels import Key
from tests.infer import evidence
from tests.infer.mcmc.chain_checks import assert_law, keys_of, run
from tests.statistical import FALSE_ALARM, assert_mean, quantile

MODES, SHARES = (-20.0, 20.0), (0.3, 0.7)


def two_modes(z):
    """A normal mixture whose modes lie forty standard deviations apart."""
    parts = [math.log(share) - 0.5 * (z - mode).square().sum(-1) for share, mode in zip(SHARES, MODES, strict=True)]
    return torch.logaddexp(*parts)


def double(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def conjugate(x):
    z = pt.sample("z", dist.Normal(double(0.0)[0], 1.0))
    pt.sample("x", dist.Normal(z, 0.5), obs=x)


TARGET = LogDensity(two_modes, dim=1, batched=True)
INNER = RandomWalkMetropolis(log_density=two_modes)


class Regression:
    """The linear regression of `evidence`, with its two parts written for batches."""

    dim = 4

    def __init__(self):
        self.x, self.y = evidence.regression_data(self.dim)

    def log_prior_and_likelihood(self, z):
        def normal(distance, scale):
            return (-0.5 * (distance / scale).square() - math.log(scale * math.sqrt(2 * math.pi))).sum(-1)

        return normal(z, 1.0), normal(self.y - z @ self.x.mT, evidence.NOISE)

    def log_density(self, z):
        return sum(self.log_prior_and_likelihood(z))


def warmed_up(kernel, target, start, num_warmup, seed=0):
    """The adaptation and the state after a warm-up, without a driver."""
    adaptation = kernel.adaptation(target, start, num_warmup, keys_of(len(start), -1, seed))
    state = kernel.init(target, start)
    for t in range(num_warmup):
        state, info = kernel.step(target, state, adaptation.tuning, keys_of(len(start), t, seed))
        assert not adaptation.update(state, info)
    assert not adaptation.finish()
    return adaptation, state


def test_both_modes_are_visited_in_their_proportions_where_one_chain_stays():
    number, sweeps = 200, 100
    start = torch.full((number, 1), MODES[0], dtype=torch.float64)
    kernel = ReplicaExchange(INNER, num_replicas=6, max_temperature=400.0)
    adaptation, state = warmed_up(kernel, TARGET, start, 100)
    for t in range(sweeps):
        state, info = kernel.step(TARGET, state, adaptation.tuning, keys_of(number, 1000 + t))
    right = int((state.position > 0).sum())
    assert stats.binomtest(right, number, SHARES[1]).pvalue > FALSE_ALARM
    own = torch.where(state.position > 0, state.position - MODES[1], state.position - MODES[0]).squeeze(1)
    assert_law(own, stats.norm.cdf)
    assert (info.round_trips > 0).double().mean() > 0.9
    # The same kernel alone has nowhere to go.
    tuning = type(adaptation.tuning.inner)(torch.full((number,), 2.0, dtype=torch.float64))
    alone = run(INNER, TARGET, start, tuning, sweeps)[-1][0]
    assert (alone.position < 0).all()


def replicas_of(betas, number):
    """Exact draws of the conjugate model's posterior at each inverse temperature, for the datum 1."""
    precision = 1 + 4 * betas
    return 4 * betas / precision + precision.rsqrt() * torch.randn(number, len(betas), dtype=torch.float64)


def test_exact_draws_at_all_temperatures_stay_exact_at_a_bad_tuning():
    number = 10000
    target = Potential(conjugate, (double(1.0)[0],))
    kernel = ReplicaExchange(RandomWalkMetropolis(conjugate), temperatures=[1.0, 2.0, 5.0, math.inf])
    betas = kernel.first_ladder(target)
    assert betas.tolist() == [1.0, 0.5, 0.2, 0.0]
    draws = replicas_of(betas, number)
    start = kernel.init(target, draws[:, :1])
    fixed, energy = target.log_prior_and_likelihood(draws.unsqueeze(-1))
    state = start._replace(replicas=draws.unsqueeze(-1), fixed=fixed, energy=energy)
    step_size = double(9.0, 0.1, 3.0, 20.0).expand(number, -1)
    scale = torch.full((number, 4, 1), 0.7, dtype=torch.float64)
    tuning = ReplicaTuning(betas.expand(number, -1), scale, type(INNER_TUNING)(step_size))
    # Two transitions swap the even and the odd pairs.
    for t in range(2):
        state, info = kernel.step(target, state, tuning, keys_of(number, t))
    assert info.swap_accept_prob.shape == (number, 3)
    for place, beta in enumerate(betas.tolist()):
        precision = 1 + 4 * beta
        law = stats.norm(4 * beta / precision, precision**-0.5)
        assert_law(state.replicas[:, place, 0], law.cdf, comparisons=4)
    moved = (state.replicas - draws.unsqueeze(-1)).abs()
    assert (moved > 0).any(0).all()
    torch.testing.assert_close(state.log_density, target.log_density(state.position))


INNER_TUNING = (
    ReplicaExchange(INNER).adaptation(TARGET, torch.zeros(1, 1, dtype=torch.float64), 0, keys_of(1, 0)).tuning.inner
)


def test_the_ladder_is_spaced_until_all_pairs_reject_alike():
    target = Regression()
    kernel = ReplicaExchange(RandomWalkMetropolis(evidence.regression), num_replicas=8)
    start = torch.zeros(16, 4, dtype=torch.float64)
    adaptation, state = warmed_up(kernel, target, start, 200)
    ladder = adaptation.tuning.inverse_temperatures
    assert (ladder[:, 0] == 1).all()
    assert (ladder[:, -1] == 0).all()
    assert (ladder[:, 1:] < ladder[:, :-1]).all()
    infos = []
    for t in range(250):
        state, info = kernel.step(target, state, adaptation.tuning, keys_of(16, 1000 + t))
        infos.append(info)
    rejection = 1 - torch.stack([info.swap_accept_prob for info in infos]).mean((0, 1))
    assert rejection.max() - rejection.min() < 0.25
    accept_prob = torch.stack([info.replica_accept_prob for info in infos]).mean((0, 1))
    assert ((accept_prob > 0.12) & (accept_prob < 0.4)).all()
    # Each replica knows its own scales: those of the prior at the hot end.
    assert (adaptation.tuning.scale[:, -1] > 3 * adaptation.tuning.scale[:, 0]).double().mean() > 0.5
    found = replica_evidence(torch.stack([info.log_likelihood for info in infos]), ladder)
    exact = evidence.regression_evidence(target.x, target.y)
    assert found.standard_error < 0.3
    assert (found.value - exact).abs() < quantile() * found.standard_error
    assert (found.thermodynamic - exact).abs() < 5


def test_the_evidence_is_that_of_exact_draws():
    number, betas = 4000, double(1.0, 0.4, 0.1, 0.0)
    target = Potential(conjugate, (double(1.0)[0],))
    draws = replicas_of(betas, number * 2)
    _, energy = target.log_prior_and_likelihood(draws.unsqueeze(-1))
    found = replica_evidence(energy.reshape(number, 2, 4), betas.expand(2, -1))
    exact = dist.Normal(0.0, 1.25**0.5).log_prob(double(1.0)[0])
    assert found.standard_error < 0.02
    assert (found.value - exact).abs() < quantile() * found.standard_error
    # The trapezoidal rule over a coarse ladder is off by more; its sign is that of the curve.
    assert found.thermodynamic < found.value


def test_a_ladder_with_equal_rejections_stays():
    ladder = double(1.0, 0.7, 0.2, 0.0).unsqueeze(0)
    torch.testing.assert_close(equalised(ladder, torch.full((1, 3), 0.3, dtype=torch.float64)), ladder)
    moved = equalised(ladder, double(0.6, 0.0, 0.0).unsqueeze(0))
    assert (moved[0, 1:3] > 0.7).all()


def state_of(energy, transitions=0):
    """A state whose points are their places in the ladder."""
    number = energy.shape[1]
    replicas = torch.arange(number, dtype=energy.dtype).expand_as(energy).unsqueeze(-1)
    heading = torch.zeros_like(energy, dtype=torch.int64)
    heading[:, 0] = 1
    count = torch.full_like(heading[:, 0], transitions)
    return ReplicaState(replicas, torch.zeros_like(energy), energy, heading, torch.zeros_like(count), count)


def test_even_and_odd_pairs_take_turns_and_round_trips_are_counted():
    from posterity.infer.mcmc.replica_exchange import _swapped

    betas = double(1.0, 0.5, 0.25, 0.1).unsqueeze(0)
    state = state_of(double(0.0, 0.0, 0.0, 0.0).unsqueeze(0))  # of equal energies every swap is accepted
    places, trips = [], []
    for t in range(9):
        state, accept_prob = _swapped(state, betas, keys_of(1, t))
        assert (accept_prob == 1).all()
        places.append(state.replicas[0, :, 0].tolist())
        trips.append(int(state.round_trips))
    assert places[0] == [1, 0, 3, 2]
    assert places[1] == [1, 3, 0, 2]
    # Walker 0 is at the hot end after three transitions, and back at the cold one after seven.
    assert [row.index(0) for row in places] == [1, 2, 3, 3, 2, 1, 0, 0, 1]
    assert trips[:7] == [0, 0, 0, 0, 0, 0, 1]


def test_what_has_no_likelihood_is_not_carried_down():
    from posterity.infer.mcmc.replica_exchange import _swapped

    betas = double(1.0, 0.0).unsqueeze(0)
    for energies in ((-1.0, -math.inf), (-math.inf, -math.inf), (0.0, math.nan)):
        _, accept_prob = _swapped(state_of(double(*energies).unsqueeze(0)), betas, keys_of(1, 0))
        assert accept_prob.item() == 0


@pytest.mark.parametrize("whole", [True, False])
def test_a_tempered_density_and_its_gradient(whole):
    target = Potential(conjugate, (double(1.0)[0],))
    z, beta = double(0.3, -2.0).unsqueeze(-1), double(0.2, 0.0)
    tempered = Tempered(target, beta, whole=whole)
    prior, likelihood = target.log_prior_and_likelihood(z)
    expected = beta * (prior + likelihood) if whole else prior + beta * likelihood
    torch.testing.assert_close(tempered.log_density(z), expected)
    value, gradient = tempered.value_and_grad(z)
    torch.testing.assert_close(value, expected)
    slopes = [
        torch.func.grad(lambda p, t=t: t.log_density(p))(p) for p, t in zip(z, alone(target, beta, whole), strict=True)
    ]
    torch.testing.assert_close(gradient, torch.stack(slopes))
    assert tempered.dim == 1


def alone(target, beta, whole):
    return [Tempered(target, b, whole=whole) for b in beta]


def test_a_chain_does_not_depend_on_how_many_there_are():
    kernel = ReplicaExchange(INNER, num_replicas=3)
    start = torch.linspace(-3, 3, 8, dtype=torch.float64).unsqueeze(1)
    ends = []
    for number in (1, 8):
        tuning = kernel.adaptation(TARGET, start[:number], 0, keys_of(number, -1)).tuning
        state, _ = run(kernel, TARGET, start[:number], tuning, 6)[-1]
        ends.append(state.replicas[0])
    torch.testing.assert_close(*ends, rtol=0, atol=1e-8)


def test_an_interrupted_warm_up_goes_on_as_it_would_have():
    kernel = ReplicaExchange(INNER, num_replicas=3)
    start = torch.zeros(2, 1, dtype=torch.float64)

    def walk(adaptation, state, steps):
        for t in steps:
            state, info = kernel.step(TARGET, state, adaptation.tuning, keys_of(2, t))
            adaptation.update(state, info)
        return state

    first, second = (kernel.adaptation(TARGET, start, 40, keys_of(2, -1)) for _ in range(2))
    state = walk(first, kernel.init(TARGET, start), range(15))
    second.load_state_dict(first.state_dict())
    saved = ReplicaState(*(part.clone() for part in state))
    one, other = walk(first, state, range(15, 30)), walk(second, saved, range(15, 30))
    assert torch.equal(one.replicas, other.replicas)
    assert torch.equal(first.tuning.inverse_temperatures, second.tuning.inverse_temperatures)


def test_bad_input_is_refused():
    with pytest.raises(TypeError, match="inner must be a kernel, such as HMC"):
        ReplicaExchange(two_modes)
    with pytest.raises(TypeError, match="Gibbs keeps more than a position"):
        ReplicaExchange(Gibbs(model=conjugate))
    with pytest.raises(TypeError, match="either temperatures or num_replicas"):
        ReplicaExchange(INNER, num_replicas=2, temperatures=[1.0, 2.0])
    with pytest.raises(ValueError, match="num_replicas must be a whole number of at least 2, not 1"):
        ReplicaExchange(INNER, num_replicas=1)
    with pytest.raises(ValueError, match="max_temperature must be above 1, not 0.5"):
        ReplicaExchange(INNER, max_temperature=0.5)
    with pytest.raises(ValueError, match="tempering must be 'likelihood', 'density' or None, not 'all'"):
        ReplicaExchange(INNER, tempering="all")
    with pytest.raises(ValueError, match=r"temperatures must increase from 1, not \[2.0, 1.0\]"):
        ReplicaExchange(INNER, temperatures=[2.0, 1.0])
    start = torch.zeros(1, 1, dtype=torch.float64)
    with pytest.raises(ValueError, match="a whole density at infinite temperature is flat"):
        ReplicaExchange(INNER, temperatures=[1.0, math.inf]).adaptation(TARGET, start, 0, keys_of(1, 0))
    with pytest.raises(TypeError, match="LogDensity knows no prior and likelihood"):
        ReplicaExchange(INNER, tempering="likelihood").adaptation(TARGET, start, 0, keys_of(1, 0))
    whitened = Preconditioned(TARGET, DiagonalMetric(torch.ones(1, 1)))
    with pytest.raises(TypeError, match="no metric can be around it"):
        ReplicaExchange(INNER).adaptation(whitened, start, 0, keys_of(1, 0))
    with pytest.raises(ValueError, match=r"must be \[num_samples, num_chains, num_replicas\]"):
        replica_evidence(torch.zeros(20, 3), torch.zeros(1, 3))
    with pytest.raises(ValueError, match="at least 16 transitions, not 4"):
        replica_evidence(torch.zeros(4, 1, 2), torch.tensor([[1.0, 0.0]]))
    with pytest.raises(ValueError, match="the ladder must run from 1 to 0"):
        replica_evidence(torch.zeros(20, 1, 2), torch.tensor([[1.0, 0.1]]))


def test_a_kernel_without_an_acceptance_probability_can_be_inside():
    class Exact(RandomWalkMetropolis):
        """Independent draws of the tempered conjugate posterior: what a direct sampler would be."""

        target_accept = None

        def step(self, target, state, tuning, keys):
            from typing import NamedTuple

            class Info(NamedTuple):
                nothing: torch.Tensor

            return state, Info(state.log_density)

    kernel = ReplicaExchange(Exact(log_density=two_modes), num_replicas=2)
    start = torch.zeros(3, 1, dtype=torch.float64)
    tuning = kernel.adaptation(TARGET, start, 5, keys_of(3, 0)).tuning
    _, info = kernel.step(TARGET, kernel.init(TARGET, start), tuning, Key(0).fold_in(torch.arange(3)))
    assert_mean(info.accept_prob.double(), 1.0)
    assert info.num_steps.tolist() == [2, 2, 2]
