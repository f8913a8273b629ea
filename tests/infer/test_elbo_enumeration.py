"""Marked discrete sites are summed out of every objective, as by hand."""

import pytest
import torch

import posterity as pt
from posterity import distributions as dist
from posterity.infer.capture import can_compile
from posterity.infer.simulation import Pair

X = torch.tensor([-2.0, 2.1, 1.9, -1.8, 0.2], dtype=torch.float64)
WEIGHTS = torch.tensor([0.4, 0.6], dtype=torch.float64)


def mixture(x):
    loc = pt.sample("loc", dist.Normal(torch.tensor([-1.0, 1.0], dtype=x.dtype), 1.0).to_event(1))
    with pt.plate("data", len(x)):
        z = pt.sample("z", dist.Categorical(WEIGHTS), infer={"enumerate": "parallel"})
        pt.sample("x", dist.Normal(loc[z], 0.5), obs=x)


def by_hand(x):
    """The same model with the sum written out."""
    loc = pt.sample("loc", dist.Normal(torch.tensor([-1.0, 1.0], dtype=x.dtype), 1.0).to_event(1))
    with pt.plate("data", len(x)):
        parts = dist.Normal(loc, 0.5).log_prob(x[:, None]) + WEIGHTS.log()
        pt.factor("x", parts.logsumexp(-1))


def guide(x):
    where = pt.param("where", torch.tensor([-1.5, 1.2], dtype=x.dtype))
    pt.sample("loc", dist.Normal(where, 0.3).to_event(1))


@pytest.mark.parametrize(
    "objective",
    [
        pt.infer.ELBO(),
        pt.infer.ELBO(3),
        pt.infer.ELBO(2, vectorized=False, closed_form_kl=False),
        pt.infer.IWAE(4),
        pt.infer.IWAE(4, doubly_reparameterized=True),
        pt.infer.RenyiELBO(0.5, 4),
        pt.infer.VIMCO(3),
        pt.infer.ReweightedWakeSleep(3),
    ],
    ids=lambda objective: type(objective).__name__,
)
def test_every_objective_is_that_of_the_sum_written_out(objective):
    loc = torch.tensor([-1.5, 1.2], dtype=X.dtype, requires_grad=True)

    def point(x):
        pt.sample("loc", dist.Normal(loc, 0.3).to_event(1))

    pools = objective.draw_noise(Pair(by_hand, point, (X,)))
    objective.draw_noise(Pair(mixture, point, (X,)))
    losses, gradients = [], []
    for program in (mixture, by_hand):
        estimate = objective.estimate(Pair(program, point, (X,)), pools, {})
        losses.append(estimate.loss)
        gradients.append(torch.autograd.grad(estimate.surrogate, loc)[0])
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.skipif(not can_compile(), reason="no C++ compiler")
def test_compiled_steps_are_the_eager_ones():
    runs = [
        pt.infer.SVI(mixture, guide, seed=3, progress=False, compile=c, loss=pt.infer.ELBO(2)).run(5, X).losses
        for c in (False, True)
    ]
    torch.testing.assert_close(runs[0], runs[1], rtol=1e-8, atol=1e-10)


def test_what_the_guide_enumerates_is_averaged_exactly():
    logits = torch.linspace(-1, 1, len(X), dtype=X.dtype)

    def assigned(x):
        with pt.plate("data", len(x)):
            z = pt.sample("z", dist.Bernoulli(WEIGHTS[1]))
            pt.sample("x", dist.Normal(2 * z - 1, 0.5), obs=x)

    def enumerating(x):
        with pt.plate("data", len(x)):
            pt.sample("z", dist.Bernoulli(logits=logits), infer={"enumerate": "parallel"})

    q = logits.sigmoid()
    expected = torch.zeros((), dtype=X.dtype)
    for z, weight, prob in ((0.0, WEIGHTS[0], 1 - q), (1.0, WEIGHTS[1], q)):
        expected = expected + (prob * (prob.log() - weight.log() - dist.Normal(2 * z - 1, 0.5).log_prob(X))).sum()
    torch.testing.assert_close(pt.infer.ELBO().loss(assigned, enumerating, X), expected)


def test_a_divergence_is_averaged_over_what_the_guide_enumerates():
    def model():
        z = pt.sample("z", dist.Bernoulli(0.5))
        pt.sample("x", dist.Normal(2 * z - 1, 1.0))

    def enumerating():
        z = pt.sample("z", dist.Bernoulli(0.2), infer={"enumerate": "parallel"})
        pt.sample("x", dist.Normal(3 * z - 1, 1.0))

    kl = dist.kl_divergence(dist.Bernoulli(0.2), dist.Bernoulli(0.5)) + 0.2 * 0.5
    objective = pt.infer.ELBO(4000)
    losses = [objective.loss(model, enumerating) for _ in range(2)]
    # What is left to chance is the difference of two normals' log densities, whose deviation is 1 at z = 1.
    assert all(abs(float(loss - kl)) < 6 * 0.2 / 4000**0.5 for loss in losses)


def test_a_score_that_depends_on_what_the_guide_enumerates_is_refused():
    def model():
        z = pt.sample("z", dist.Bernoulli(0.5))
        pt.sample("w", dist.Bernoulli(logits=z))

    def enumerating():
        z = pt.sample("z", dist.Bernoulli(0.2), infer={"enumerate": "parallel"})
        pt.sample("w", dist.Bernoulli(logits=2 * z))

    with pytest.raises(NotImplementedError, match="site 'w' of the guide.*enumerate it too"):
        pt.infer.ELBO().loss(model, enumerating)


def test_importance_weights_do_not_take_a_guide_that_enumerates():
    def enumerating(x):
        guide(x)
        with pt.plate("data", len(x)):
            pt.sample("z", dist.Categorical(WEIGHTS), infer={"enumerate": "parallel"})

    with pytest.raises(ValueError, match="'z' does not let through"):
        pt.infer.IWAE(3).loss(mixture, enumerating, X)
