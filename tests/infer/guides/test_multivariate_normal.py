"""The normal guides of full and of low rank: correlated posteriors recovered, the bound at them exact."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import posterity as pt
from posterity.handlers import trace
from posterity.infer import AutoLowRankMultivariateNormal, AutoMultivariateNormal
from posterity.infer.simulation import Pair
from posterity.kernels import Key
from tests.infer.guides.fitting import bound, fit, inverse_softplus, regression, regression_model

dist = pt.distributions


@pytest.mark.parametrize(
    ("make", "tolerance"),
    [(AutoMultivariateNormal, 0.1), (lambda model: AutoLowRankMultivariateNormal(model, rank=2), 0.2)],
)
def test_training_recovers_a_correlated_posterior_within_a_tenth_of_its_spread(make, tolerance):
    known = regression()
    guide = fit(regression_model, make(regression_model), known.x, known.y, steps=400)
    posterior = guide.get_posterior()
    spread = known.covariance.diagonal().sqrt()
    assert known.covariance[0, 1] / (spread[0] * spread[1]) < -0.5
    assert ((posterior.mean - known.mean) / spread).abs().max() < 0.1
    off = (posterior.covariance_matrix - known.covariance) / (spread * spread.unsqueeze(-1))
    assert off.abs().max() < tolerance


def test_the_bound_at_the_exact_posterior_is_the_evidence_at_every_draw():
    known = regression()
    guide = AutoMultivariateNormal(regression_model).setup(known.x, known.y)
    factor = torch.linalg.cholesky(known.covariance)
    with torch.no_grad():
        guide.loc.copy_(known.mean)
        guide.raw_scale.copy_(inverse_softplus(factor.diagonal()))
        guide.raw_tril.copy_(factor / factor.diagonal().unsqueeze(-1))
    torch.testing.assert_close(guide.get_posterior().covariance_matrix, known.covariance)
    for _ in range(3):
        value = bound(regression_model, guide, known.x, known.y)
        torch.testing.assert_close(value, known.log_evidence, rtol=1e-11, atol=0)


def test_the_low_rank_covariance_is_the_scaled_sum_of_identity_and_outer_product():
    def model():
        pt.sample("z", dist.Normal(torch.zeros(2, dtype=torch.float64), 1.0).to_event(1))

    guide = AutoLowRankMultivariateNormal(model, rank=1).setup()
    with torch.no_grad():
        guide.raw_scale.copy_(inverse_softplus(torch.tensor([1.0, 2.0])))
        guide.factor.copy_(torch.tensor([[1.0], [0.5]]))
    expected = torch.tensor([[2.0, 1.0], [1.0, 5.0]], dtype=torch.float64)
    torch.testing.assert_close(guide.get_posterior().covariance_matrix, expected)


@pytest.mark.parametrize(("size", "rank"), [(1, 1), (2, 2), (9, 3), (10, 4)])
def test_the_default_rank_is_the_root_of_the_size_rounded_up(size, rank):
    guide = AutoLowRankMultivariateNormal(lambda: pt.sample("z", dist.Normal(torch.zeros(size), 1.0))).setup()
    assert guide.factor.shape == (size, rank)


def test_the_low_rank_guide_starts_at_about_init_scale():
    guide = AutoLowRankMultivariateNormal(
        lambda: pt.sample("z", dist.Normal(torch.zeros(400), 1.0)), init_scale=0.3
    ).setup()
    # The mean of 400 variances 0.045 (1 + chi2_20 / 20), each with a standard deviation of 0.045 / 10**0.5.
    variance = guide.get_posterior().variance.mean().item()
    assert abs(variance - 0.09) < 5 * 0.045 / math.sqrt(10 * 400)


@pytest.mark.parametrize("make", [AutoMultivariateNormal, AutoLowRankMultivariateNormal])
def test_quantiles_are_those_of_the_marginals(make):
    def model():
        pt.sample("a", dist.Normal(torch.zeros(2, dtype=torch.float64), 1.0))
        pt.sample("b", dist.Gamma(torch.tensor(2.0, dtype=torch.float64), 1.0))

    guide = make(model).setup()
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter.copy_(torch.randn_like(parameter))
    posterior = guide.get_posterior()
    found = guide.quantiles([0.05, 0.95])
    levels = torch.tensor([[0.05], [0.95]], dtype=torch.float64)
    expected = torch.distributions.Normal(posterior.mean, posterior.variance.sqrt()).icdf(levels)
    torch.testing.assert_close(found["a"], expected[:, :2].detach())
    torch.testing.assert_close(found["b"], expected[:, 2].exp().detach())


@pytest.mark.parametrize("rank", [0, 1.5, True])
def test_a_rank_that_is_no_positive_whole_number_is_refused(rank):
    with pytest.raises(ValueError, match="rank of AutoLowRankMultivariateNormal must be a whole number"):
        AutoLowRankMultivariateNormal(lambda: None, rank=rank)


class Operations(TorchDispatchMode):
    """The names of the operations that run."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.add(str(function))
        return function(*args, **(kwargs or {}))

    @property
    def solve(self):
        return any("triangular" in name for name in self.names)


def _correlated(size=4):
    """A guide of correlated entries, in float64."""

    def model():
        pt.sample("z", dist.Normal(torch.zeros(size, dtype=torch.float64), 1.0).to_event(1))

    guide = AutoMultivariateNormal(model).setup()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model, guide


def _latent(guide, key=7):
    with pt.handlers.seed(rng_seed=Key(key)):
        return trace(guide).get_trace()["_auto_latent"]


def test_a_draws_density_and_its_total_derivative_take_no_solve_and_are_those_of_one():
    _, guide = _correlated()
    weights = torch.arange(1.0, 5.0, dtype=torch.float64)

    def derivatives(value, log_prob):
        # Something of the draw itself comes along: both ways of the parameters into the loss are there.
        return torch.autograd.grad(log_prob + (weights * value).sin().sum(), list(guide.parameters()))

    with Operations() as operations:
        site = _latent(guide)
        log_prob = site.log_prob()
        found = derivatives(site.value, log_prob)
    assert not operations.solve
    posterior = guide.get_posterior()
    noise = torch.linalg.solve_triangular(
        posterior.scale_tril, (site.value - posterior.loc).unsqueeze(-1), upper=False
    ).detach()
    value = posterior.loc + (posterior.scale_tril @ noise).squeeze(-1)
    with Operations() as operations:
        expected = posterior.log_prob(value)
    assert operations.solve
    torch.testing.assert_close(log_prob, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found, derivatives(value, expected), rtol=1e-10, atol=1e-10)


def test_at_a_value_that_it_did_not_give_out_the_density_is_solved_for():
    _, guide = _correlated()
    site = _latent(guide)
    fixed = site.value.detach()
    with Operations() as operations:
        again = trace(pt.handlers.substitute(guide, {"_auto_latent": fixed})).get_trace()["_auto_latent"].log_prob()
        own = site.distribution.log_prob(fixed)
    assert operations.solve
    expected = guide.get_posterior().log_prob(fixed)
    scores = [torch.autograd.grad(value, list(guide.parameters())) for value in (again, own, expected)]
    for value, score in zip((again, own), scores, strict=False):
        torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(score, scores[-1], rtol=1e-10, atol=1e-10)


def test_sticking_the_landing_has_no_gradient_at_the_exact_posterior():
    known = regression()
    guide = AutoMultivariateNormal(regression_model).setup(known.x, known.y)
    factor = torch.linalg.cholesky(known.covariance)
    with torch.no_grad():
        guide.loc.copy_(known.mean)
        guide.raw_scale.copy_(inverse_softplus(factor.diagonal()))
        guide.raw_tril.copy_((factor / factor.diagonal().unsqueeze(-1)).tril(-1))
    plain, landed = (
        torch.autograd.grad(
            pt.infer.ELBO(4, sticking_the_landing=sticks).loss(regression_model, guide, known.x, known.y),
            list(guide.parameters()),
        )
        for sticks in (False, True)
    )
    assert max(gradient.abs().max() for gradient in plain) > 0.01
    assert max(gradient.abs().max() for gradient in landed) < 1e-9


def test_particles_at_once_are_particles_in_turn_and_none_takes_a_solve():
    model, guide = _correlated()
    pair = Pair(model, guide)
    pools = pt.infer.ELBO(3).draw_noise(pair, torch.Generator().manual_seed(0))
    losses, gradients = [], []
    for vectorized in (True, False):
        objective = pt.infer.ELBO(3, vectorized=vectorized)
        objective.draw_noise(pair)
        with Operations() as operations:
            estimate = objective.estimate(pair, pools, {})
            gradients.append(torch.autograd.grad(estimate.surrogate, list(guide.parameters())))
        assert not operations.solve
        losses.append(estimate.loss)
    torch.testing.assert_close(*losses, rtol=1e-10, atol=0)
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)


def test_draws_of_a_plate_masked_and_scaled_have_the_densities_of_the_posterior():
    _, guide = _correlated()
    keep = torch.tensor([True, False, True])
    with pt.plate("draws", 3, dim=-1), pt.handlers.mask(mask=keep), pt.handlers.scale(scale=2.0):
        site = _latent(guide)
    assert site.value.shape == (3, 4)
    expected = 2 * torch.where(keep, guide.get_posterior().log_prob(site.value.detach()), 0.0)
    torch.testing.assert_close(site.weighted(site.log_prob()), expected, rtol=1e-10, atol=1e-10)
