"""Hidden Markov models against the sum over every path."""

import itertools
import math

import pytest
import torch
from scipy import stats

from posterity import kernels
from posterity.distributions import Categorical, HiddenMarkovModel, Normal, Poisson, markov_chain
from tests.distributions.checks import assert_global_stream_untouched
from tests.statistical import assert_mean, assert_variance

STATES, STEPS = 3, 5
BATCH = (2,)


def parameters(time_varying=False, batch=BATCH, states=STATES, steps=STEPS):
    generator = torch.Generator().manual_seed(0)

    def rand(*shape):
        return torch.rand(*batch, *shape, generator=generator, dtype=torch.float64) + 0.1

    if time_varying:
        return rand(states), rand(steps - 1, states, states), 3 * rand(steps, states)
    return rand(states), rand(states, states), 3 * rand(states)


def build(initial, transition, loc, steps=STEPS, time_varying=False):
    return HiddenMarkovModel(
        Categorical(initial), Categorical(transition), Normal(loc, 0.7), steps, time_varying, time_varying
    )


def joint(d, x, time_varying, seen=None):
    """Log of the joint density of the observations and each path, `[num_paths, *batch]`, and the paths."""
    paths = list(itertools.product(range(STATES), repeat=STEPS))
    initial, transition = d.initial_distribution.logits, d.transition_distribution.logits
    each = []
    for path in paths:
        total = initial[..., path[0]]
        for t in range(STEPS):
            if t:
                a = transition[..., t - 1, :, :] if time_varying else transition
                total = total + a[..., path[t - 1], path[t]]
            loc = d.observation_distribution.loc
            loc = loc[..., t, path[t]] if time_varying else loc[..., path[t]]
            if seen is None or seen[t]:
                total = total + Normal(loc, 0.7).log_prob(x[..., t])
        each.append(total)
    return torch.stack(each), torch.tensor(paths)


@pytest.fixture(params=[(False, 16), (True, 16), (False, 0), (True, 0)], ids=lambda p: f"varying={p[0]},scan={p[1]}")
def case(request, monkeypatch):
    time_varying, limit = request.param
    monkeypatch.setattr(markov_chain, "_MAX_STATES_IN_PARALLEL", limit)
    d = build(*parameters(time_varying), time_varying=time_varying)
    return d, d.sample((4,), generator=kernels.Key(0)), time_varying


def test_everything_agrees_with_the_sum_over_all_paths(case):
    d, x, time_varying = case
    assert (d.batch_shape, d.event_shape, x.shape) == (BATCH, (STEPS,), (4, *BATCH, STEPS))
    for seen in (None, [True, False, False, True, False]):
        mask = None if seen is None else ~torch.tensor(seen)
        given = x if mask is None else torch.where(mask, torch.nan, x)
        log_joint, paths = joint(d, x, time_varying, seen)
        torch.testing.assert_close(d.log_prob(given, mask), log_joint.logsumexp(0), rtol=1e-12, atol=0)
        assert torch.equal(d.posterior_mode(given, mask), paths[log_joint.argmax(0)])
        weights = log_joint.softmax(0)
        occupied = torch.nn.functional.one_hot(paths, STATES).double()
        marginals = torch.einsum("n...,ntk->...tk", weights, occupied)
        torch.testing.assert_close(d.posterior_marginals(given, mask).probs, marginals, rtol=1e-10, atol=1e-14)


def test_moments_are_those_of_the_paths(case):
    d, _, time_varying = case
    log_prior, paths = joint(d, torch.zeros(STEPS), time_varying, [False] * STEPS)
    loc = d.observation_distribution.loc
    loc = loc if time_varying else loc.unsqueeze(-2).expand(*BATCH, STEPS, STATES)
    along = torch.stack([loc[..., t, :][..., paths[:, t]] for t in range(STEPS)], -1).movedim(-2, 0)
    weights = log_prior.exp().unsqueeze(-1)
    mean = (weights * along).sum(0)
    torch.testing.assert_close(d.mean, mean)
    torch.testing.assert_close(d.variance, (weights * (along - mean).square()).sum(0) + 0.49)
    draws = d.sample((4000,), generator=kernels.Key(5))
    assert_mean(draws, mean)
    assert_variance(draws, d.variance)


def test_posterior_paths_follow_their_weights(case):
    d, x, time_varying = case
    drawn = d.posterior_sample(x[:1], (6000,), generator=kernels.Key(1))
    assert drawn.shape == (6000, 1, *BATCH, STEPS)
    weights = joint(d, x[0], time_varying)[0].softmax(0)
    for b in range(BATCH[0]):
        index = (drawn[:, 0, b] * STATES ** torch.arange(STEPS - 1, -1, -1)).sum(-1)
        counts = torch.bincount(index, minlength=STATES**STEPS).double()
        likely = weights[:, b] > 0.002
        observed = torch.cat([counts[likely], counts[~likely].sum(0, keepdim=True)])
        expected = 6000 * torch.cat([weights[likely, b], weights[~likely, b].sum(0, keepdim=True)])
        assert stats.chi2.sf(((observed - expected) ** 2 / expected).sum(), len(expected) - 1) > 1e-6


def test_a_path_that_is_impossible_has_no_weight_and_no_nan_gradient():
    # Left to right: no way back.
    transition = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]], requires_grad=True)
    d = HiddenMarkovModel(
        Categorical(torch.tensor([1.0, 0.0, 0.0])), Categorical(transition), Categorical(torch.eye(3)), 4
    )
    x = torch.tensor([[0, 1, 1, 2], [0, 1, 0, 2]])
    log_prob = d.log_prob(x)
    assert log_prob.tolist() == pytest.approx([math.log(0.125), -math.inf])
    (slope,) = torch.autograd.grad(log_prob[0], transition, retain_graph=True)
    assert bool(slope.isfinite().all())
    assert bool(torch.autograd.grad(log_prob[1], transition)[0].isfinite().all())


def test_gradients(case):
    _, x, time_varying = case

    def log_prob(*given):
        return build(*given, time_varying=time_varying).log_prob(x[0])

    given = tuple(p.requires_grad_() for p in parameters(time_varying))
    assert torch.autograd.gradcheck(log_prob, given)


def test_a_thousand_steps_in_float32():
    initial, transition, loc = parameters(batch=(), states=4)
    long = [
        HiddenMarkovModel(
            Categorical(initial.to(dtype)), Categorical(transition.to(dtype)), Normal(loc.to(dtype), 0.1), 1000
        )
        for dtype in (torch.float32, torch.float64)
    ]
    x = long[1].sample(generator=kernels.Key(2))
    single, double = long[0].log_prob(x.float()), long[1].log_prob(x)
    # A thousand densities, each with a few roundings of a standardised distance, add at random and in log depth.
    assert float((single - double).abs()) < 1000 * 60 * torch.finfo(torch.float32).eps
    probs = long[0].posterior_marginals(x.float()).probs
    torch.testing.assert_close(probs, long[1].posterior_marginals(x).probs.float(), rtol=0, atol=1e-3)


def test_emissions_of_vectors_and_counts():
    loc = torch.randn(3, 2, generator=torch.Generator().manual_seed(1))
    d = HiddenMarkovModel(Categorical(torch.ones(3)), Categorical(torch.ones(3, 3)), Normal(loc, 1.0).to_event(1), 4)
    assert d.event_shape == (4, 2)
    assert d.sample((5,)).shape == (5, 4, 2)
    assert d.mean.shape == (4, 2)
    # Steps are independent where all transitions are equal.
    x = d.sample(generator=kernels.Key(3))
    each = d.observation_distribution.log_prob(x.unsqueeze(-2)).logsumexp(-1) - math.log(3)
    torch.testing.assert_close(d.log_prob(x), each.sum())
    counts = HiddenMarkovModel(
        Categorical(torch.ones(2)), Categorical(torch.eye(2) + 0.1), Poisson(torch.tensor([1.0, 50.0])), 6
    )
    assert counts.posterior_mode(torch.tensor([0.0, 1, 2, 40, 60, 55])).tolist() == [0, 0, 0, 1, 1, 1]
    one = HiddenMarkovModel(Categorical(torch.ones(2)), Categorical(torch.ones(2, 2)), Normal(torch.zeros(2), 1.0), 1)
    torch.testing.assert_close(one.log_prob(torch.zeros(1)), Normal(0.0, 1.0).log_prob(torch.tensor(0.0)))
    assert one.posterior_marginals(torch.zeros(1)).probs.shape == (1, 2)


def test_batches_expand():
    d = build(*parameters())
    wide = d.expand((3, *BATCH))
    x = wide.sample(generator=kernels.Key(0))
    assert x.shape == (3, *BATCH, STEPS)
    torch.testing.assert_close(wide.log_prob(x), d.log_prob(x))
    assert wide.mean.shape == (3, *BATCH, STEPS)
    assert d.posterior_sample(x, (2,)).shape == (2, 3, *BATCH, STEPS)
    assert_global_stream_untouched(lambda g: d.sample((3,), generator=g))
    torch.testing.assert_close(d.to_event(1).log_prob(x), d.log_prob(x).sum(-1))


def test_compiles_and_maps():
    def both(initial, transition, loc, x):
        d = build(initial, transition, loc)
        return d.log_prob(x), d.posterior_marginals(x).probs

    given = parameters()
    x = build(*given).sample(generator=kernels.Key(0))
    eager = both(*given, x)
    torch.compiler.reset()
    for a, b in zip(torch.compile(both, fullgraph=True, backend="aot_eager")(*given, x), eager, strict=True):
        torch.testing.assert_close(a, b)
    for a, b in zip(torch.vmap(both)(*given, x), eager, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"initial_distribution": Normal(0.0, 1.0)}, TypeError, "initial_distribution .* a Categorical, not Normal"),
        ({"num_steps": 0}, ValueError, "num_steps of HiddenMarkovModel must be a positive integer, but is 0"),
        ({"transition_distribution": Categorical(torch.ones(3, 2))}, ValueError, "is over 2 states, but"),
        ({"transition_distribution": Categorical(torch.ones(2, 3))}, ValueError, r"ends with \(3,\), the states"),
        ({"observation_distribution": Normal(0.0, 1.0)}, ValueError, r"batch shape is \(\)"),
        ({"time_varying_transition_distribution": True}, ValueError, r"ends with \(3, 3\), the steps and the states"),
        ({"initial_distribution": Categorical(torch.ones(2, 3)),
          "observation_distribution": Normal(torch.zeros(4, 3), 1.0)}, ValueError, "batch shapes in HiddenMarkovModel"),
    ],
)  # fmt: skip
def test_what_is_no_model_is_refused_by_name(change, error, message):
    given = {
        "initial_distribution": Categorical(torch.ones(3)),
        "transition_distribution": Categorical(torch.ones(3, 3)),
        "observation_distribution": Normal(torch.zeros(3), 1.0),
        "num_steps": 4,
    }
    with pytest.raises(error, match=message):
        HiddenMarkovModel(**{**given, **change})


def test_masks_and_refusals():
    d = build(*parameters())
    with pytest.raises(TypeError, match="mask of HiddenMarkovModel must be a bool tensor, True where data are missing"):
        d.log_prob(torch.zeros(STEPS), torch.zeros(STEPS))
    with pytest.raises(ValueError, match=r"mask of shape \(7, 1, 1\) does not fit observations of shape \(2, 5\)"):
        d.log_prob(torch.zeros(STEPS), torch.zeros(7, 1, 1, dtype=torch.bool))
    with pytest.raises(ValueError, match="value of shape"):
        d.log_prob(torch.zeros(STEPS + 1))
    with pytest.raises(NotImplementedError, match="maximise the sum of log_prob"):
        HiddenMarkovModel.fit(torch.zeros(3))
    with pytest.raises(NotImplementedError, match="entropy has no closed form"):
        d.entropy()
    everything = torch.ones(STEPS, dtype=torch.bool)
    torch.testing.assert_close(d.log_prob(torch.full((STEPS,), torch.nan), everything), torch.zeros(BATCH).double())
