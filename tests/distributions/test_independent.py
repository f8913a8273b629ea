"""Independent entries: joint statistics are products and sums of the entries'."""

import pytest
import torch

from posterity.distributions import Categorical, Independent, Laplace, Normal, kl_divergence
from tests.distributions.checks import assert_global_stream_untouched

BASE = Normal(torch.tensor([[0.0, 1.0, -2.0], [3.0, 0.5, 0.1]], dtype=torch.float64), 1.5)
X = torch.tensor([0.2, 1.4, -3.0], dtype=torch.float64)


def test_joint_statistics_are_products_and_sums():
    d = BASE.to_event(1)
    assert (d.batch_shape, d.event_shape) == ((2,), (3,))
    torch.testing.assert_close(d.log_prob(X), BASE.log_prob(X).sum(-1))
    torch.testing.assert_close(d.prob(X), BASE.prob(X).prod(-1))
    torch.testing.assert_close(d.cdf(X), BASE.cdf(X).prod(-1))
    torch.testing.assert_close(d.log_cdf(X), BASE.cdf(X).prod(-1).log())
    torch.testing.assert_close(d.survival_function(X), BASE.survival_function(X).prod(-1))
    torch.testing.assert_close(d.log_survival_function(X), BASE.survival_function(X).prod(-1).log())
    torch.testing.assert_close(d.entropy(), BASE.entropy().sum(-1))
    for name in ("mean", "variance", "stddev", "mode", "median"):
        assert torch.equal(getattr(d, name), getattr(BASE, name))


def test_joint_cdf_is_the_fraction_of_draws_below_in_every_entry():
    d = BASE.to_event(1)
    draws = d.sample((40_000,), generator=torch.Generator().manual_seed(1))
    for fraction, exact in (
        ((draws <= X).all(-1).double().mean(0), d.cdf(X)),
        ((draws > X).all(-1).double().mean(0), d.survival_function(X)),
    ):
        # Four binomial standard errors: beyond them once in 16000 draws of a correct one.
        assert bool(((fraction - exact).abs() < 4 * (exact * (1 - exact) / 40_000).sqrt()).all())


def test_expand_and_all_batch_dimensions_by_default():
    d = BASE.to_event()
    assert (d.batch_shape, d.event_shape) == ((), (2, 3))
    assert BASE.to_event(0) is BASE
    wide = BASE.to_event(1).expand((4, 2))
    assert wide.sample((5,)).shape == (5, 4, 2, 3)
    torch.testing.assert_close(wide.log_prob(X), BASE.to_event(1).log_prob(X).expand(4, 2))


def test_kl_sums_over_entries_of_different_families():
    other = Laplace(torch.zeros(2, 3, dtype=torch.float64), 2.0)
    expected = kl_divergence(BASE, other).sum(-1)
    torch.testing.assert_close(BASE.to_event(1).kl_divergence(other.to_event(1)), expected)


def test_a_generator_decides_the_draws_alone():
    assert_global_stream_untouched(lambda g: BASE.to_event().rsample(generator=g))


def test_refusals_say_why():
    d = BASE.to_event(1)
    with pytest.raises(NotImplementedError, match=r"icdf is undefined for events of shape \(3,\): vectors have no"):
        d.icdf(torch.tensor(0.5))
    with pytest.raises(NotImplementedError, match="does not know the base's family"):
        Independent.fit(torch.zeros(3))
    with pytest.raises(ValueError, match=r"between 0 and 2, the rank of batch_shape \(2, 3\) of Normal, but is 3"):
        BASE.to_event(3)
    with pytest.raises(TypeError, match=r"not torch.distributions.normal.Normal"):
        Independent(torch.distributions.Normal(torch.zeros(2), 1.0), 1)
    with pytest.raises(NotImplementedError, match="Categorical has no reparameterised"):
        Categorical(probs=torch.ones(3, 2)).to_event().rsample()
