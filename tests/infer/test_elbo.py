"""The evidence lower bound equals the evidence at the exact posterior; its gradients are unbiased, site by site."""

import math

import pytest
import torch
from torch.nn.functional import softplus

import posterity as pt
from posterity import distributions as dist
from posterity.infer.simulation import Pair
from tests.statistical import assert_mean

X = torch.tensor([0.3, -1.2, 2.0, 0.7], dtype=torch.float64)


def conjugate(x):
    z = pt.sample("z", dist.Normal(torch.zeros((), dtype=x.dtype), 1.5))
    with pt.plate("data", len(x)):
        pt.sample("x", dist.Normal(z, 0.8), obs=x)


def _exact_posterior():
    precision = 1 / 1.5**2 + len(X) / 0.8**2
    return X.sum() / 0.8**2 / precision, precision**-0.5


def _evidence():
    covariance = 0.8**2 * torch.eye(len(X), dtype=X.dtype) + 1.5**2
    return torch.distributions.MultivariateNormal(torch.zeros_like(X), covariance).log_prob(X)


def exact_guide(x):
    loc, scale = _exact_posterior()
    pt.sample("z", dist.Normal(loc, scale))


@pytest.mark.parametrize("options", [{}, {"closed_form_kl": False}, {"sticking_the_landing": True}])
def test_without_closed_forms_it_is_the_evidence_at_the_exact_posterior_for_every_draw(options):
    bound = -pt.infer.ELBO(5000 if not options else 3, **options).loss(conjugate, exact_guide, X)
    # With a closed-form KL the expected likelihood is what is left to chance.
    spread = 0.0 if options else _likelihood_spread() / 5000**0.5
    torch.testing.assert_close(bound, _evidence(), rtol=0, atol=1e-12 + 6 * spread)


def _likelihood_spread():
    loc, scale = _exact_posterior()
    z = loc + scale * torch.randn(20_000, 1, dtype=X.dtype)
    return float(dist.Normal(z, 0.8).log_prob(X).sum(1).std())


def _gradient_draws(objective, model, guide, parameters, count, *args):
    draws = []
    for _ in range(count):
        gradients = torch.autograd.grad(objective.loss(model, guide, *args), parameters)
        draws.append(torch.cat([g.flatten() for g in gradients]))
    return torch.stack(draws)


@pytest.mark.parametrize(
    "objective",
    [
        pt.infer.ELBO(),
        pt.infer.ELBO(3),
        pt.infer.ELBO(3, vectorized=False),
        pt.infer.ELBO(closed_form_kl=False),
        pt.infer.ELBO(2, sticking_the_landing=True),
    ],
)
def test_pathwise_gradients_are_unbiased(objective):
    loc = torch.tensor(0.2, dtype=X.dtype, requires_grad=True)
    raw = torch.tensor(-0.4, dtype=X.dtype, requires_grad=True)

    def guide(x):
        pt.sample("z", dist.Normal(loc, softplus(raw)))

    q = dist.Normal(loc, softplus(raw))
    kl = dist.kl_divergence(q, dist.Normal(torch.zeros((), dtype=X.dtype), 1.5))
    likelihood = (-((X - loc).square() + q.variance) / (2 * 0.8**2) - math.log(0.8 * (2 * math.pi) ** 0.5)).sum()
    expected = torch.cat([g.reshape(1) for g in torch.autograd.grad(kl - likelihood, (loc, raw))])
    assert_mean(_gradient_draws(objective, conjugate, guide, (loc, raw), 400, X), expected)


def test_a_one_draw_gradient_is_the_hand_written_formula():
    loc = torch.tensor(0.2, dtype=X.dtype, requires_grad=True)

    def guide(x):
        pt.sample("z", dist.Normal(loc, 0.5))

    objective = pt.infer.ELBO(closed_form_kl=False)
    pools = objective.draw_noise(Pair(conjugate, guide, (X,)))
    (noise,) = pools.values()
    z = (loc + 0.5 * noise.squeeze()).detach()
    by_hand = z / 1.5**2 - (X - z).sum() / 0.8**2
    surrogate = objective.estimate(Pair(conjugate, guide, (X,)), pools, {}).surrogate
    torch.testing.assert_close(torch.autograd.grad(surrogate, loc)[0], by_hand)


def test_sticking_the_landing_has_no_noise_at_the_exact_posterior():
    loc, scale = (torch.as_tensor(p, dtype=X.dtype).clone().requires_grad_() for p in _exact_posterior())

    def guide(x):
        pt.sample("z", dist.Normal(loc, scale))

    draws = _gradient_draws(pt.infer.ELBO(sticking_the_landing=True), conjugate, guide, (loc, scale), 10, X)
    assert draws.abs().max() < 1e-12


# Discrete sites.


def discrete(x):
    with pt.plate("data", len(x)):
        z = pt.sample("z", dist.Bernoulli(torch.tensor(0.3, dtype=x.dtype)))
        y = pt.sample("y", dist.Bernoulli(logits=z - 0.5))
        pt.sample("x", dist.Normal(2 * z + y, 1.0), obs=x)


def _discrete_loss(logits_z, logits_y):
    """The exact negative bound, summed over all values of both sites."""
    total = torch.zeros((), dtype=X.dtype)
    for z in (0.0, 1.0):
        for y in (0.0, 1.0):
            z_, y_ = torch.full_like(X, z), torch.full_like(X, y)
            q = dist.Bernoulli(logits=logits_z).log_prob(z_) + dist.Bernoulli(logits=logits_y + z_).log_prob(y_)
            p = dist.Bernoulli(torch.tensor(0.3, dtype=X.dtype)).log_prob(z_)
            p = p + dist.Bernoulli(logits=z_ - 0.5).log_prob(y_) + dist.Normal(2 * z_ + y_, 1.0).log_prob(X)
            total = total + (q.exp() * (q - p)).sum()
    return total


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("particles", [1, 4])
def test_score_function_gradients_are_unbiased_and_the_bound_is(closed, particles):
    logits_z = torch.linspace(-1, 1, 4, dtype=X.dtype).requires_grad_()
    logits_y = torch.linspace(0.5, -0.5, 4, dtype=X.dtype).requires_grad_()

    def guide(x):
        with pt.plate("data", len(x)):
            z = pt.sample("z", dist.Bernoulli(logits=logits_z))
            pt.sample("y", dist.Bernoulli(logits=logits_y + z))

    objective = pt.infer.ELBO(particles, closed_form_kl=closed)
    expected = _discrete_loss(logits_z, logits_y)
    losses, draws = [], []
    for _ in range(500):
        losses.append(objective.loss(discrete, guide, X))
        draws.append(torch.cat(torch.autograd.grad(losses[-1], (logits_z, logits_y))))
    assert_mean(torch.stack(losses).detach(), expected.detach())
    assert_mean(torch.stack(draws), torch.cat(torch.autograd.grad(expected, (logits_z, logits_y))))


def test_only_what_depends_on_a_discrete_site_weighs_on_it():
    """A term that is independent of the site adds no noise to its gradient, however large it is."""
    logit = torch.zeros((), dtype=X.dtype, requires_grad=True)

    def model(size):
        z = pt.sample("z", dist.Bernoulli(torch.tensor(0.5, dtype=X.dtype)))
        w = pt.sample("w", dist.Normal(torch.zeros((), dtype=X.dtype), 1.0))
        pt.sample("x", dist.Normal(z, 1.0), obs=X[0])
        pt.factor("large", size * w)

    def guide(size):
        pt.sample("z", dist.Bernoulli(logits=logit))
        pt.sample("w", dist.Normal(torch.zeros((), dtype=X.dtype), 1.0))

    spreads = [_gradient_draws(pt.infer.ELBO(), model, guide, (logit,), 50, size).std() for size in (0.0, 1e6)]
    assert spreads[1] < 3 * spreads[0]


def test_plates_keep_their_elements_costs_apart():
    """In a plate of many elements the gradient's noise in one does not grow with the number of the others."""

    def spread(count):
        x = torch.zeros(count, dtype=X.dtype)
        logits = torch.zeros(count, dtype=X.dtype, requires_grad=True)

        def model():
            with pt.plate("data", count):
                z = pt.sample("z", dist.Bernoulli(torch.tensor(0.5, dtype=X.dtype)))
                pt.sample("x", dist.Normal(3 * z, 1.0), obs=x)

        def guide():
            with pt.plate("data", count):
                pt.sample("z", dist.Bernoulli(logits=logits))

        return _gradient_draws(pt.infer.ELBO(), model, guide, (logits,), 60).std(0).mean()

    assert spread(200) < 2 * spread(2)


def test_a_subsample_is_scaled_to_the_whole():
    x = torch.linspace(-1, 1, 10, dtype=X.dtype)

    def model(indices):
        z = pt.sample("z", dist.Normal(torch.zeros((), dtype=X.dtype), 1.0))
        with pt.plate("data", 10, subsample=indices) as idx:
            pt.sample("x", dist.Normal(z, 1.0), obs=x[idx])

    def guide(indices):
        pt.sample("z", dist.Delta(torch.tensor(0.4, dtype=X.dtype)))

    objective = pt.infer.ELBO(closed_form_kl=False)
    parts = [objective.loss(model, guide, torch.tensor([i, i + 5])) for i in range(5)]
    torch.testing.assert_close(torch.stack(parts).mean(), objective.loss(model, guide, torch.arange(10)))


def test_kl_weight_tempers_the_latent_terms_alone():
    def guide(x):
        pt.sample("z", dist.Normal(torch.zeros((), dtype=X.dtype), 0.5))

    weight = torch.tensor(1.0, dtype=X.dtype)
    objective = pt.infer.ELBO(kl_weight=weight)
    losses = []
    for value in (0.0, 0.5, 1.0):
        weight.fill_(value)
        losses.append(objective.loss(conjugate, guide, X, generator=torch.Generator().manual_seed(0)))
    kl = dist.kl_divergence(dist.Normal(0.0, 0.5), dist.Normal(0.0, 1.5)).double()
    torch.testing.assert_close(losses[1] - losses[0], 0.5 * kl, rtol=1e-6, atol=0)
    torch.testing.assert_close(losses[2] - losses[0], kl, rtol=1e-6, atol=0)


@pytest.mark.parametrize("number", [0, -1, 1.5, True])
def test_a_number_of_particles_that_is_none_is_refused(number):
    with pytest.raises(ValueError, match="num_particles of ELBO must be a whole number of at least 1"):
        pt.infer.ELBO(number)


def test_a_negative_weight_is_refused():
    with pytest.raises(ValueError, match="kl_weight of ELBO must not be negative"):
        pt.infer.ELBO(kl_weight=-0.1)


def test_scores_weigh_terms_that_an_earlier_call_did_not_have():
    logit = torch.tensor(0.0, dtype=X.dtype, requires_grad=True)

    def chain(length):
        z = pt.sample("z", dist.Bernoulli(torch.tensor(0.5, dtype=X.dtype)))
        for t in range(length):
            pt.sample(f"x_{t}", dist.Normal(3 * z, 1.0), obs=3.0)

    def guide(length):
        pt.sample("z", dist.Bernoulli(logits=logit))

    # At q = p = 1/2 a draw of 1 gains 9/2 a term over one of 0; the others are the baseline of each particle, so that
    # a pair of unlike draws gives the exact gradient and a pair of like ones 0.
    bound = pt.infer.ELBO(2)
    gradients = set()
    for length in (1, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4):
        (gradient,) = torch.autograd.grad(bound.loss(chain, guide, length), logit)
        if length == 4:
            gradients.add(round(float(gradient), 6))
    assert gradients == {0.0, -9.0}


def test_what_is_summed_out_follows_the_arguments():
    def model(flag):
        w = pt.sample("w", dist.Normal(torch.zeros((), dtype=X.dtype), 1.0))
        if flag:
            z = pt.sample("z", dist.Bernoulli(torch.tensor(0.3, dtype=X.dtype)), infer={"enumerate": "parallel"})
            pt.sample("x", dist.Normal(w + z, 1.0), obs=1.0)

    def guide(flag):
        pt.sample("w", dist.Delta(pt.param("loc", torch.zeros((), dtype=X.dtype))))

    svi = pt.infer.SVI(model, guide, torch.optim.SGD, {"lr": 0.0}, seed=0, progress=False, compile=False)
    first, _, again = svi.step(True), svi.step(False), svi.step(True)
    assert first == again
