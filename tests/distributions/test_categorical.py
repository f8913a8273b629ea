"""The categorical distribution against scipy, with classes of probability zero."""

import math

import pytest
import torch
from scipy import stats

from posterity import kernels
from posterity.distributions import Categorical
from tests.distributions.checks import FALSE_ALARM, assert_global_stream_untouched

WEIGHTS = torch.tensor([0.0, 0.2, 0.5, 0.0, 0.3, 0.0], dtype=torch.float64)
EXACT = stats.rv_discrete(values=(range(6), WEIGHTS.tolist()))


@pytest.fixture(params=["probs", "logits"])
def d(request):
    return Categorical(probs=2 * WEIGHTS) if request.param == "probs" else Categorical(logits=WEIGHTS.log() + 7)


def test_masses_and_tails_agree_with_scipy(d):
    k = torch.arange(6)
    tiny = {"rtol": 1e-12, "atol": 1e-15}
    torch.testing.assert_close(d.prob(k), torch.tensor(EXACT.pmf(k.numpy())), **tiny)
    torch.testing.assert_close(d.cdf(k), torch.tensor(EXACT.cdf(k.numpy())), **tiny)
    torch.testing.assert_close(d.survival_function(k), torch.tensor(EXACT.sf(k.numpy())), **tiny)
    torch.testing.assert_close(d.log_cdf(k).exp(), d.cdf(k), **tiny)
    torch.testing.assert_close(d.log_survival_function(k).exp(), d.survival_function(k), **tiny)
    assert float(d.log_prob(torch.tensor(0))) == -math.inf
    assert float(d.cdf(torch.tensor(-1))) == 0
    assert float(d.cdf(torch.tensor(2.5))) == pytest.approx(0.7)


def test_log_tails_keep_probabilities_that_vanish_beside_one():
    d = Categorical(logits=torch.tensor([0.0, -200.0, -300.0]))
    assert float(d.log_survival_function(torch.tensor(0))) == pytest.approx(-200)
    assert float(d.log_survival_function(torch.tensor(1))) == pytest.approx(-300)


def test_quantiles_agree_with_scipy(d):
    p = torch.tensor([1e-9, 0.1, 0.19, 0.21, 0.5, 0.69, 0.71, 0.99], dtype=torch.float64)
    assert d.icdf(p).tolist() == EXACT.ppf(p.numpy()).tolist()
    assert int(d.median) == EXACT.median()
    # Levels 0 and 1 belong to the least and the greatest index that have any mass.
    assert (int(d.icdf(0.0)), int(d.icdf(1.0))) == (1, 4)


def test_moments_mode_and_entropy(d):
    assert float(d.mean) == pytest.approx(EXACT.mean())
    assert float(d.variance) == pytest.approx(EXACT.var())
    assert int(d.mode) == 2
    assert float(d.entropy()) == pytest.approx(EXACT.entropy())


@pytest.mark.parametrize("kind", ["probs", "logits"])
def test_entropy_and_kl_have_finite_gradients_beside_zero_probabilities(kind):
    raw = WEIGHTS.clone() if kind == "probs" else WEIGHTS.log()
    raw.requires_grad_()
    d = Categorical(**{kind: raw})
    (gradient,) = torch.autograd.grad(d.entropy() + d.kl_divergence(Categorical(probs=torch.ones(6).double())), raw)
    assert bool(gradient.isfinite().all())


def test_kl_agrees_with_scipy_and_is_infinite_where_the_other_excludes_a_class(d):
    other = torch.tensor([0.1, 0.3, 0.2, 0.1, 0.2, 0.1], dtype=torch.float64)
    exact = stats.entropy(WEIGHTS.numpy(), other.numpy())
    assert float(d.kl_divergence(Categorical(probs=other))) == pytest.approx(exact)
    assert float(d.cross_entropy(Categorical(probs=other))) == pytest.approx(exact + EXACT.entropy())
    assert float(Categorical(probs=other).kl_divergence(d)) == math.inf
    with pytest.raises(ValueError, match="equally many classes, but p has 6 and q 2"):
        d.kl_divergence(Categorical(probs=torch.ones(2)))


def test_draws_follow_the_weights_and_never_an_excluded_class(d):
    for generator in (torch.Generator().manual_seed(4), kernels.Key(4)):
        counts = torch.bincount(d.sample((30_000,), generator=generator), minlength=6)
        possible = WEIGHTS > 0
        assert int(counts[~possible].sum()) == 0
        test = stats.chisquare(counts[possible].numpy(), 30_000 * WEIGHTS[possible].numpy())
        assert test.pvalue > FALSE_ALARM


def test_uniform_noise_at_either_end_draws_a_possible_class(monkeypatch):
    ends = torch.tensor([0.0, 1 - 2**-53, 1.0], dtype=torch.float64)
    monkeypatch.setattr("posterity.distributions.categorical.uniform", lambda shape, **kwargs: ends)
    assert Categorical(probs=WEIGHTS).sample((3,)).tolist() == [1, 4, 4]


def test_each_batch_element_draws_from_its_own_weights():
    d = Categorical(probs=torch.eye(4).reshape(2, 2, 4))
    assert torch.equal(d.sample((3, 5)), torch.arange(4).reshape(2, 2).expand(3, 5, 2, 2))
    assert d.sample((0,)).shape == (0, 2, 2)


def test_a_generator_decides_the_draws_alone():
    d = Categorical(probs=torch.ones(50))
    assert_global_stream_untouched(lambda g: d.sample((20,), generator=g))


def test_draws_differ_under_vmap_and_follow_each_its_own_weights():
    weights = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    draws = torch.vmap(lambda w: Categorical(probs=w).sample((64,)), randomness="different")(weights)
    assert set(draws[0].tolist()) == {0, 1}
    assert set(draws[1].tolist()) == {2}


def test_fit_counts():
    data = torch.tensor([[0, 1], [0, 1], [2, 1], [0, 0]])
    d = Categorical.fit(data, num_classes=4)
    torch.testing.assert_close(d.probs, torch.tensor([[0.75, 0, 0.25, 0], [0.25, 0.75, 0, 0]]))
    with pytest.raises(ValueError, match=r"must lie in 0, ..., 1, but range from 0 to 2"):
        Categorical.fit(data, num_classes=2)
    with pytest.raises(TypeError, match=r"tensor of class indices, not torch.float32"):
        Categorical.fit(torch.zeros(3))
    with pytest.raises(ValueError, match=r"draws along dimension 0, but its shape is \(0,\)"):
        Categorical.fit(torch.zeros(0, dtype=torch.long))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "exactly one"),
        ({"probs": torch.ones(2), "logits": torch.ones(2)}, ValueError, "exactly one"),
        ({"probs": [0.5, 0.5]}, TypeError, "probs of Categorical must be a real tensor, not list"),
        ({"logits": torch.tensor(1.0)}, ValueError, r"classes in its last dimension, but its shape is \(\)"),
        (
            {"probs": torch.tensor([1.0, -1.0])},
            ValueError,
            "probs of Categorical must satisfy NonNegativeWeights",
        ),
        ({"probs": torch.zeros(2)}, ValueError, "positive, finite sum"),
        (
            {"logits": torch.tensor([0.0, math.nan])},
            ValueError,
            "logits of Categorical must satisfy LogWeights",
        ),
        ({"logits": torch.full((2,), -math.inf)}, ValueError, "not all minus infinity"),
    ],
)
def test_wrong_weights_are_refused_by_name(arguments, error, message):
    with pytest.raises(error, match=message):
        Categorical(**arguments)


def test_a_class_beyond_the_last_is_refused(d):
    with pytest.raises(ValueError, match=r"value of Categorical must satisfy .* holds tensor\(6"):
        d.log_prob(torch.tensor([0, 6]))


def test_reparameterised_draws_are_refused_with_the_reason(d):
    with pytest.raises(NotImplementedError, match="Categorical has no reparameterised draws"):
        d.rsample()
