"""Masked distributions: what is masked counts for nothing and is not looked at."""

import math

import pytest
import torch

from posterity.distributions import Categorical, Exponential, MaskedDistribution, Normal
from tests.distributions.checks import assert_global_stream_untouched

MASK = torch.tensor([True, False, True])
D = Exponential(torch.tensor([1.0, 2.0, 3.0]))


def test_masked_values_count_for_nothing_whatever_they_are():
    x = torch.tensor([0.5, math.nan, 2.0])
    expected = torch.where(MASK, D.log_prob(torch.tensor([0.5, 1.0, 2.0])), 0)
    assert torch.equal(D.mask(MASK).log_prob(x), expected)
    assert torch.equal(D.mask(MASK).log_prob(torch.tensor([0.5, -7.0, 2.0])), expected)
    assert D.mask(False).log_prob(torch.tensor(math.nan)).tolist() == [0, 0, 0]
    assert torch.equal(D.mask(True).log_prob(torch.ones(3)), D.log_prob(torch.ones(3)))
    with pytest.raises(ValueError, match="value of Exponential must satisfy"):
        D.mask(MASK).log_prob(torch.tensor([-0.5, 1.0, 2.0]))


def test_masked_values_send_no_gradient():
    rate = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    lp = Exponential(rate).mask(MASK).log_prob(torch.tensor([0.5, math.nan, 2.0]))
    (slope,) = torch.autograd.grad(lp.sum(), rate)
    torch.testing.assert_close(slope, torch.tensor([0.5, 0.0, 1 / 3 - 2]))


def test_entropy_and_kl_are_masked_on_either_side():
    q = Exponential(torch.ones(3))
    exact = torch.where(MASK, D.kl_divergence(q), 0)
    assert torch.equal(D.mask(MASK).entropy(), torch.where(MASK, D.entropy(), 0))
    for p, other in ((D.mask(MASK), q.mask(True)), (D.mask(MASK), q), (D, q.mask(MASK))):
        assert torch.equal(p.kl_divergence(other), exact)
        assert torch.equal(torch.distributions.kl_divergence(p, other), exact)


def test_everything_else_is_the_bases():
    d, x = D.mask(MASK), torch.tensor(0.7)
    for name in ("cdf", "log_cdf", "survival_function", "log_survival_function", "icdf"):
        assert torch.equal(getattr(d, name)(x), getattr(D, name)(x))
    for name in ("mean", "variance", "mode", "median", "stddev", "support", "has_rsample"):
        ours, base = getattr(d, name), getattr(D, name)
        assert torch.equal(ours, base) if isinstance(ours, torch.Tensor) else ours == base
    assert_global_stream_untouched(lambda g: d.rsample((4,), generator=g))
    listed = Categorical(torch.ones(3, 4)).mask(MASK)
    assert torch.equal(listed.enumerate_support(), Categorical(torch.ones(3, 4)).enumerate_support())


def test_masks_broadcast_and_expand_with_the_batch():
    wide = Normal(0.0, 1.0).mask(MASK)
    assert wide.batch_shape == (3,)
    assert wide.expand((2, 3)).log_prob(torch.zeros(3)).shape == (2, 3)
    vectors = Normal(torch.zeros(3, 2), 1.0).to_event(1).mask(MASK)
    assert vectors.log_prob(torch.full((3, 2), math.nan).where(~MASK.unsqueeze(-1), 0.0))[1] == 0
    assert "mask of shape (3,)" in repr(wide)


def test_what_is_no_mask_is_refused():
    with pytest.raises(ValueError, match=r"mask and batch must broadcast.*mask \(3,\), batch_shape \(2,\)"):
        Normal(torch.zeros(2), 1.0).mask(MASK)
    with pytest.raises(
        TypeError, match="mask of MaskedDistribution must be True, False or a bool tensor, not torch.float32"
    ):
        D.mask(torch.ones(3))
    with pytest.raises(TypeError, match="must be a posterity distribution, not torch"):
        MaskedDistribution(torch.distributions.Normal(0.0, 1.0), True)
    with pytest.raises(NotImplementedError, match="MaskedDistribution.fit does not know the base's family"):
        MaskedDistribution.fit(torch.zeros(3))
