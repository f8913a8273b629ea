"""The deep Markov model."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import posterity as pt
from posterity import distributions as dist
from posterity.kernels import Key
from posterity.networks import DeepMarkovModel
from posterity.networks.state_path import StatePath
from tests.statistical import assert_mean, assert_same_distribution

LENGTHS = torch.tensor([6, 4, 1])

MATRIX, NOISE = torch.tensor([[0.8, 0.3], [-0.3, 0.7]]), torch.tensor([0.5, 0.4])
SEEN, SEEN_NOISE = torch.tensor([[1.0, 0.5], [0.0, 1.0], [-1.0, 0.3]]), 0.6
START = torch.tensor([1.0, -0.5])


class Linear(nn.Module):
    """A linear transition with constant noise."""

    def forward(self, state):
        return state @ MATRIX.to(state).T, NOISE.to(state)


class Seen(nn.Module):
    def forward(self, state):
        return state @ SEEN.to(state).T


def linear_gaussian(**options):
    dmm = DeepMarkovModel(
        3, 2, transition=Linear(), emission=Seen(), rnn_size=16, likelihood=lambda loc: dist.Normal(loc, SEEN_NOISE),
        **options,
    )  # fmt: skip
    with torch.no_grad():
        dmm.start.copy_(START)
    dmm.start.requires_grad_(False)
    return dmm


def kalman(num_steps):
    return dist.LinearGaussianStateSpace(
        num_steps, MATRIX, dist.Normal(torch.zeros(2), NOISE).to_event(1), SEEN,
        dist.Normal(torch.zeros(3), torch.full((3,), SEEN_NOISE)).to_event(1),
        dist.Normal(MATRIX @ START, NOISE).to_event(1),
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained():
    """A guide trained on the linear model, and sequences of it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        dmm, space = linear_gaussian(), kalman(5)
        optimizer = torch.optim.Adam([p for p in dmm.parameters() if p.requires_grad], lr=1e-2, fused=True)
        for _ in range(300):
            optimizer.zero_grad()
            dmm.loss(space.sample((64,))).backward()
            optimizer.step()
        return dmm, space, space.sample((4,))


def test_the_likelihood_of_a_linear_model_is_the_kalman_filter_s(trained):
    dmm, space, x = trained
    exact = space.log_prob(x)
    # Importance sampling is unbiased before the logarithm.
    estimates = torch.stack([dmm.log_likelihood(x, num_importance_samples=200) for _ in range(50)])
    ratio = (estimates - exact).exp().double()
    off = (ratio.mean(0) - 1) / (ratio.std(0) / len(ratio) ** 0.5)
    assert (off.abs() < 4).all()
    assert (ratio.std(0) < 0.5).all()


def test_the_bound_lies_below_the_likelihood_and_near_it_after_training(trained):
    dmm, space, x = trained
    bounds = torch.stack([-dmm.loss(x).detach() for _ in range(200)]).double()
    exact = space.log_prob(x).mean().item()
    error = bounds.std().item() / len(bounds) ** 0.5
    assert bounds.mean() < exact + 4.9 * error
    assert bounds.mean() > exact - 0.5


def test_the_bound_is_the_same_in_the_language_and_in_closed_form(trained):
    dmm, _, x = trained
    objective = pt.infer.ELBO()
    in_language = torch.stack([objective.loss(dmm.model, dmm.guide, x).detach() / len(x) for _ in range(100)])
    in_closed_form = torch.stack([dmm.loss(x).detach() for _ in range(400)])
    difference = in_language.mean() - in_closed_form.mean()
    error = (in_language.var() / 100 + in_closed_form.var() / 400).sqrt()
    assert difference.abs() < 4.9 * error


def test_the_gradient_in_closed_form_has_less_variance(trained):
    dmm, _, x = trained
    objective = pt.infer.ELBO()
    parameters = list(dmm.combiner.parameters())

    def variance(loss):
        gradients = [torch.cat([g.flatten() for g in torch.autograd.grad(loss(), parameters)]) for _ in range(40)]
        return torch.stack(gradients).var(0).sum()

    assert variance(lambda: dmm.loss(x)) < variance(lambda: objective.loss(dmm.model, dmm.guide, x) / len(x))


def test_filtering_is_the_kalman_filter_s(trained):
    dmm, space, x = trained
    exact = space.filter(x)
    runs = [dmm.filter(x, num_particles=1000) for _ in range(20)]
    assert_mean(torch.stack([run.mean for run in runs]), exact.mean.double())
    assert_mean(torch.stack([run.variance for run in runs]), exact.covariance.diagonal(dim1=-2, dim2=-1).double())
    likelihoods = torch.stack([run.log_likelihood for run in runs])
    assert_mean((likelihoods - space.log_prob(x)).exp(), 1.0)


def test_smoothing_is_near_the_kalman_smoother_s(trained):
    dmm, space, x = trained
    paths = dmm.smooth(x, num_samples=2000)
    exact = space.smooth(x)
    spread = exact.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    # As near as the guide came: the bound is within half a nat.
    assert ((paths.mean(0) - exact.mean) / spread).abs().mean() < 0.3


def test_a_forecast_has_the_moments_of_the_model(trained):
    dmm, _, x = trained
    last = dmm.smooth(x, num_samples=20_000)[:, :, -1].mean(0)
    ahead = dmm.forecast(x, 2, num_samples=20_000)
    assert_mean_close = (ahead.mean(0)[:, 1] - last @ MATRIX.T @ MATRIX.T @ SEEN.T).abs()
    assert (assert_mean_close < 6 * ahead[:, :, 1].std(0) / 20_000**0.5).all()
    typical = dmm.forecast(x, 2, num_samples=20_000, draw=False)
    noise = ahead.var(0) - typical.var(0)
    torch.testing.assert_close(noise, torch.full_like(noise, SEEN_NOISE**2), rtol=0.25, atol=0)


def test_generated_sequences_are_those_of_the_model():
    x = linear_gaussian().generate(4000, 3)
    assert_mean(x, kalman(3).mean.double())
    assert_same_distribution(x[:, 2, 0], kalman(3).sample((4000,))[:, 2, 0])


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_what_stands_in_the_padding_does_not_matter(likelihood):
    dmm = DeepMarkovModel(5, 3, likelihood=likelihood, hidden_size=8, rnn_size=8)
    x = torch.rand(3, 6, 5).round()
    other = torch.where((torch.arange(6) < LENGTHS.unsqueeze(-1)).unsqueeze(-1), x, torch.nan)
    losses = [dmm.loss(data, LENGTHS, generator=torch.Generator().manual_seed(0)) for data in (x, other)]
    assert torch.equal(*losses)
    gradients = torch.autograd.grad(losses[1], list(dmm.parameters()), allow_unused=True)
    assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)


def test_longer_padding_changes_nothing_that_the_bound_is_made_of():
    dmm = DeepMarkovModel(5, 3, hidden_size=8, rnn_size=8).double()
    x = torch.rand(1, 4, 5).round().double()
    one, other = dmm._checked(x, None), dmm._checked(F.pad(x, (0, 0, 0, 3)), torch.tensor([4]))
    path = dmm._posterior(other).rsample()
    for distribution_of in (dmm._posterior, lambda seen: dmm._prior(1, seen.x.shape[1], seen.counted)):
        short, long = distribution_of(one).log_prob(path[:, :4]), distribution_of(other).log_prob(path)
        torch.testing.assert_close(short, long)
    short = dmm._observed(path[:, :4], None).log_prob(one.x)
    torch.testing.assert_close(short, dmm._observed(path, other.counted).log_prob(other.x))


def test_a_path_has_the_density_of_its_steps():
    loc_of = nn.Linear(2, 2).double()

    def step(state, context):
        return loc_of(state) + context, 0.5 + context.exp()

    context = torch.randn(4, 3, 2, dtype=torch.float64)
    path = StatePath(step, torch.zeros(2).double(), 3, 4, context)
    value = path.rsample((5,))
    expected, before = 0.0, torch.zeros(2).double()
    for t in range(3):
        expected = expected + dist.Normal(*step(before, context[:, t])).log_prob(value[:, :, t]).sum(-1)
        before = value[:, :, t]
    torch.testing.assert_close(path.log_prob(value), expected)
    assert path.expand((2, 4)).rsample().shape == (2, 4, 3, 2)


def test_svi_trains_it():
    x = torch.rand(10, 4, 5).round() * torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0])
    lengths = torch.tensor([4, 3, 2, 1, 4, 4, 4, 3, 3, 3])
    dmm = DeepMarkovModel(5, 2, hidden_size=8, rnn_size=8)
    svi = pt.infer.SVI(dmm.model, dmm.guide, torch.optim.Adam, {"lr": 2e-2}, seed=0, compile=False)
    losses = svi.run(80, x, lengths, num_data=30).losses
    assert losses[-10:].mean() < 0.8 * losses[:10].mean()


def test_many_particles_run_as_one():
    dmm = DeepMarkovModel(5, 2, hidden_size=8, rnn_size=8)
    x = torch.rand(3, 6, 5).round()
    bound = -pt.infer.IWAE(20, plate="data").loss(dmm.model, dmm.guide, x, LENGTHS)
    below = -pt.infer.ELBO(20).loss(dmm.model, dmm.guide, x, LENGTHS)
    assert below < bound


def test_the_weight_of_the_divergence():
    dmm = DeepMarkovModel(5, 2, hidden_size=8, rnn_size=8)
    x = torch.rand(3, 6, 5).round()

    def loss(weight):
        return dmm.loss(x, LENGTHS, kl_weight=weight, generator=torch.Generator().manual_seed(0))

    torch.testing.assert_close(loss(1.0) - loss(0.0), 2 * (loss(0.5) - loss(0.0)))
    assert loss(1.0) > loss(0.0)


def test_bayesian_networks_inside_share_one_draw_and_count_their_divergence():
    dmm = pt.bayesianize(DeepMarkovModel(5, 2, hidden_size=8, rnn_size=8))
    x = torch.rand(3, 6, 5).round()
    seeds = [torch.Generator().manual_seed(0) for _ in range(2)]
    with pt.nn.shared_draw(dmm):
        one, ten = (dmm.loss(x, LENGTHS, num_data=n, generator=g) for n, g in zip((1, 10), seeds, strict=True))
    torch.testing.assert_close(one - ten, 0.9 * pt.nn.kl_divergence(dmm), rtol=1e-3, atol=0)
    with pytest.raises(ValueError, match="num_data must be the size of the training set, got None"):
        dmm.loss(x, LENGTHS)
    with pytest.raises(ValueError, match="asked after pt.transform.deterministic"):
        dmm.log_likelihood(x, LENGTHS)
    assert pt.transform.deterministic(dmm).log_likelihood(x, LENGTHS, 5).shape == (3,)


def test_keys_give_the_same_draws_again():
    dmm = DeepMarkovModel(5, 2, hidden_size=8, rnn_size=8)
    x = torch.rand(3, 6, 5).round()
    for ask in (
        lambda key: dmm.generate(2, 3, generator=key),
        lambda key: dmm.forecast(x, 2, LENGTHS, generator=key),
        lambda key: dmm.log_likelihood(x, LENGTHS, 10, generator=key),
        lambda key: dmm.filter(x, LENGTHS, 10, generator=key).mean,
    ):
        assert torch.equal(ask(Key(3)), ask(Key(3)))
        assert not torch.equal(ask(Key(3)), ask(Key(4)))


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"latent_size": 0}, ValueError, "latent_size must be a whole number of at least 1"),
        ({"obs_size": 2.5}, ValueError, "obs_size must be a whole number"),
        ({"rnn_size": 0}, ValueError, "rnn_size must be"),
        ({"transition": 3}, TypeError, "transition must be a torch.nn.Module, got int"),
        ({"emission": len}, TypeError, "emission must be a torch.nn.Module"),
        ({"likelihood": "cauchy"}, ValueError, "likelihood must be one of"),
    ],
)
def test_bad_arguments_are_refused(options, kind, message):
    with pytest.raises(kind, match=message):
        DeepMarkovModel(**{"obs_size": 3, "latent_size": 2} | options)


@pytest.mark.parametrize(
    ("x", "lengths", "kind", "message"),
    [
        (torch.zeros(3, 5), None, ValueError, r"\[batch, time, obs_size=5\], got \[3, 5\]"),
        (torch.zeros(3, 6, 4), None, ValueError, r"got \[3, 6, 4\]"),
        ([1.0], None, ValueError, "got a list"),
        (torch.full((3, 6, 5), torch.nan), LENGTHS, ValueError, "NaN or infinite values within the lengths"),
        (
            torch.full((3, 6, 5), 7.0),
            LENGTHS,
            ValueError,
            "outside of the likelihood's support; they lie between 7 and 7",
        ),
        (torch.zeros(3, 6, 5), torch.tensor([7, 1, 1]), ValueError, "lengths must be from 1 to 6"),
        (torch.zeros(3, 6, 5), torch.ones(3), TypeError, "lengths must be a tensor of whole numbers"),
    ],
)
def test_bad_sequences_are_refused_before_any_work(x, lengths, kind, message):
    dmm = DeepMarkovModel(5, 2, hidden_size=4, rnn_size=4)
    for ask in (dmm.loss, dmm.log_likelihood, dmm.filter, dmm.smooth, dmm.model):
        with pytest.raises(kind, match=message):
            ask(x, lengths)


def test_numbers_out_of_range_are_refused():
    dmm = DeepMarkovModel(5, 2, hidden_size=4, rnn_size=4)
    x = torch.zeros(3, 6, 5)
    with pytest.raises(ValueError, match="kl_weight must be zero or positive and finite, got -1"):
        dmm.loss(x, kl_weight=-1)
    with pytest.raises(ValueError, match="num_importance_samples must be a whole number of at least 1, got 0"):
        dmm.log_likelihood(x, num_importance_samples=0)
    with pytest.raises(ValueError, match="num_particles must be"):
        dmm.filter(x, num_particles=0)
    with pytest.raises(ValueError, match="num_samples must be"):
        dmm.smooth(x, num_samples=0)
    with pytest.raises(ValueError, match="length must be"):
        dmm.generate(1, 0)
    with pytest.raises(ValueError, match="steps must be"):
        dmm.forecast(x, 0)


def test_networks_that_do_not_fit_are_refused():
    x = torch.zeros(3, 6, 5)
    with pytest.raises(
        ValueError, match=r"transition must return \(loc, scale\) of the shape of the states, .*got Tensor"
    ):
        DeepMarkovModel(5, 2, transition=nn.Linear(2, 2)).loss(x)
    with pytest.raises(ValueError, match=r"describe observations of shape \[4\], .* \[obs_size\] = \[5\]"):
        DeepMarkovModel(5, 2, emission=nn.Linear(2, 4)).loss(x)


def test_the_log_likelihood_of_a_step_without_dynamics_is_that_of_its_marginal():
    # With one step and a flat emission there is nothing to integrate over.
    dmm = DeepMarkovModel(2, 1, hidden_size=4, rnn_size=4)
    nn.init.zeros_(dmm.emission[-1].weight)
    nn.init.zeros_(dmm.emission[-1].bias)
    found = dmm.log_likelihood(torch.ones(1, 1, 2), num_importance_samples=5000)
    torch.testing.assert_close(found, torch.tensor([-2 * math.log(2)]), atol=0.1, rtol=0)


def test_padding_need_not_be_within_the_likelihoods_support():
    model = DeepMarkovModel(2, 3, likelihood=lambda o: pt.distributions.LogNormal(o, 1.0), hidden_size=8, rnn_size=8)
    x, lengths = torch.rand(4, 5, 2) + 0.1, torch.tensor([5, 3, 1, 4])
    x[1, 3:] = -7.0
    model.loss(x, lengths).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
