"""Cholesky factors of correlations: torch's map where that is accurate, and finite where that is not."""

import pytest
import torch
from torch.distributions.transforms import CorrCholeskyTransform

from posterity.bijectors import CorrCholesky


@pytest.mark.parametrize("size", [2, 3, 6])
def test_it_is_the_map_of_torch(size):
    x = torch.randn(5, size * (size - 1) // 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ours, theirs = CorrCholesky(), CorrCholeskyTransform()
    # torch keeps tanh off 1 by float64's eps, and subtracts squares from 1.
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(
        ours.forward_log_det_jacobian(x), theirs.log_abs_det_jacobian(x, theirs(x)), rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_correlations_that_round_to_one_have_accurate_preimages(dtype):
    # Rows up to three entries wide: all of L stays above the smallest number.
    x = 18 * torch.randn(200, 6, dtype=dtype, generator=torch.Generator().manual_seed(1)).clamp(-1.3, 1.3)
    bijector = CorrCholesky()
    y = bijector(x)
    assert bool((y[:, 1, 0].abs() == 1).any())
    # The exponent, a sum of up to 3 numbers of order |x|, is off by eps times itself; asinh takes its difference.
    bound = 16 * torch.finfo(dtype).eps * (1 + 3 * 18 * 1.3)
    assert float((bijector.inverse(y) - x).abs().max()) <= bound
    total = bijector.forward_log_det_jacobian(x) + bijector.inverse_log_det_jacobian(y)
    assert float(total.abs().max()) <= 6 * 4 * bound


def test_beyond_the_smallest_number_it_stays_a_factor_with_a_finite_preimage():
    bijector, x = CorrCholesky(), torch.full((6,), 300.0)
    y = bijector(x)
    assert bool(bijector.codomain.check(y))
    assert bool(bijector.inverse(y).isfinite().all())


def test_one_variable_has_no_correlations():
    bijector = CorrCholesky()
    y, log_det = bijector.forward_and_log_det(torch.zeros(3, 0))
    assert torch.equal(y, torch.ones(3, 1, 1))
    assert torch.equal(log_det, torch.zeros(3))
    assert bijector.inverse(y).shape == (3, 0)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"CorrCholesky has 4 entries, .* 3 or 6"):
        CorrCholesky()(torch.zeros(4))
    with pytest.raises(ValueError, match="must be square matrices"):
        CorrCholesky().inverse(torch.zeros(2, 3))
