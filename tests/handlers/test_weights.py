import pytest
import torch

import posterity as pt

dist, handle = pt.distributions, pt.handlers
data = torch.tensor([0.5, -1.0, 2.0])


def model():
    pt.sample("y", dist.Normal(torch.zeros(3), 1.0), obs=data)


def density(program):
    return handle.trace(program).get_trace().log_prob_sum()


terms = dist.Normal(0.0, 1.0).log_prob(data)


class TestScale:
    def test_it_multiplies(self):
        torch.testing.assert_close(density(handle.scale(model, scale=2.5)), 2.5 * terms.sum())

    def test_nested_ones_multiply(self):
        torch.testing.assert_close(density(handle.scale(handle.scale(model, 2.0), 3.0)), 6.0 * terms.sum())

    def test_a_tensor_scales_entry_by_entry(self):
        weights = torch.tensor([1.0, 0.0, 2.0])
        torch.testing.assert_close(density(handle.scale(model, weights)), (weights * terms).sum())

    def test_it_goes_together_with_a_subsample(self):
        def subsampled():
            with handle.scale(scale=0.5), pt.plate("data", 6, subsample_size=3):
                pt.sample("y", dist.Normal(0.0, 1.0), obs=data)

        torch.testing.assert_close(density(subsampled), terms.sum())

    @pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
    def test_a_factor_that_is_not_positive_is_refused(self, scale):
        with pytest.raises(ValueError, match="scale: the factor must be positive"):
            handle.scale(model, scale)


class TestMask:
    seen = torch.tensor([True, False, True])

    def test_it_drops_entries(self):
        torch.testing.assert_close(density(handle.mask(model, mask=self.seen)), terms[0] + terms[2])

    @pytest.mark.parametrize(("mask", "expected"), [(True, terms.sum()), (False, torch.tensor(0.0))])
    def test_it_drops_all_or_nothing(self, mask, expected):
        torch.testing.assert_close(density(handle.mask(model, mask=mask)), expected)

    @pytest.mark.parametrize(
        ("inner", "outer", "kept"),
        [
            (seen, True, [0, 2]),
            (True, seen, [0, 2]),
            (seen, False, []),
            (False, seen, []),
            (seen, ~seen, []),
            (seen, torch.tensor([True, True, False]), [0]),
        ],
    )
    def test_nested_ones_must_all_be_true(self, inner, outer, kept):
        torch.testing.assert_close(density(handle.mask(handle.mask(model, inner), outer)), terms[kept].sum())

    def test_what_is_masked_may_be_missing(self):
        loc = torch.tensor(0.5, requires_grad=True)

        def with_gap():
            gap = torch.tensor([1.0, torch.nan, 2.0])
            pt.sample("y", dist.Normal(loc, 1.0).expand((3,)), obs=gap)

        density(handle.mask(with_gap, mask=self.seen)).backward()
        torch.testing.assert_close(loc.grad, torch.tensor(1.0 + 2.0 - 2 * 0.5))

    def test_it_broadcasts_against_the_batch(self):
        def rows():
            pt.sample("y", dist.Normal(torch.zeros(2, 3), 1.0), obs=data.expand(2, 3))

        torch.testing.assert_close(density(handle.mask(rows, mask=self.seen)), 2 * (terms[0] + terms[2]))
        torch.testing.assert_close(density(handle.mask(rows, mask=torch.tensor([[True], [False]]))), terms.sum())

    @pytest.mark.parametrize("shape", [(3, 1), (2,)])
    def test_one_that_would_spread_or_does_not_fit_is_refused(self, shape):
        def one():
            pt.sample("y", dist.Normal(torch.zeros(3), 1.0), obs=data)

        for weighted in (handle.mask(one, torch.ones(shape).bool()), handle.scale(one, torch.ones(shape))):
            with pytest.raises(ValueError, match=r"site 'y': the (mask|scale) of shape .* batch_shape \(3,\)"):
                density(weighted)

    def test_draws_go_on(self):
        with handle.mask(mask=False):
            assert pt.sample("x", dist.Normal(torch.zeros(3), 1.0)).shape == (3,)

    @pytest.mark.parametrize("mask", [torch.ones(3), 1, None])
    def test_a_mask_that_is_not_boolean_is_refused(self, mask):
        with pytest.raises(TypeError, match="mask: the mask must be True, False or a bool tensor, not"):
            handle.mask(model, mask=mask)
