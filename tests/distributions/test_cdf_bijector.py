"""A distribution's cdf as a map onto the unit interval."""

import pytest
import torch

from posterity.bijectors import Chain, Invert
from posterity.distributions import (
    CDFBijector,
    Gumbel,
    GumbelCDF,
    Kumaraswamy,
    KumaraswamyCDF,
    Laplace,
    Logistic,
    Normal,
    NormalCDF,
    Poisson,
    Uniform,
    Weibull,
    WeibullCDF,
    kl_divergence,
)

NAMED = [
    (NormalCDF, Normal, (0.3, 1.7)),
    (GumbelCDF, Gumbel, (0.3, 1.7)),
    (WeibullCDF, Weibull, (1.2, 1.7)),
    (KumaraswamyCDF, Kumaraswamy, (1.2, 1.7)),
]


@pytest.mark.parametrize(("bijector", "family", "arguments"), NAMED, ids=lambda a: getattr(a, "__name__", ""))
def test_the_map_is_the_cdf_and_its_log_det_the_log_density(bijector, family, arguments):
    tensors = [torch.tensor(a, dtype=torch.float64) for a in arguments]
    b, d = bijector(*tensors), family(*tensors)
    u = torch.tensor([1e-6, 0.2, 0.5, 0.99], dtype=torch.float64)
    x = d.icdf(u)
    torch.testing.assert_close(b(x), u)
    torch.testing.assert_close(b.inverse(u), x)
    slope = torch.func.vmap(torch.func.grad(b))(x)
    torch.testing.assert_close(b.forward_log_det_jacobian(x), slope.log())
    torch.testing.assert_close(b.inverse_log_det_jacobian(u), -slope.log())
    assert b.sign == 1
    assert b == bijector(*tensors)
    assert b != bijector(tensors[0], tensors[1] + 1)
    assert bijector.__name__ in repr(b)


def test_a_variable_and_its_own_cdf_are_uniform():
    d = Laplace(torch.tensor([0.0, 2.0], dtype=torch.float64), 1.5)
    uniform = CDFBijector(d)(d)
    torch.testing.assert_close(
        uniform.log_prob(torch.tensor(0.3).double()), torch.zeros(2).double(), atol=1e-14, rtol=0
    )
    torch.testing.assert_close(uniform.mean, torch.full((2,), 0.5).double())
    back = CDFBijector(d).inv(Uniform(torch.zeros(2).double(), 1.0))
    torch.testing.assert_close(kl_divergence(back, d), torch.zeros(2).double(), atol=1e-8, rtol=0)


def test_one_distribution_becomes_another_by_way_of_the_unit_interval():
    # The logistic quantile of the normal cdf: the normal distribution mapped to the logistic one.
    b = Chain([NormalCDF(0.0, 1.0), Invert(CDFBijector(Logistic(0.0, 1.0)))])
    d = b(Normal(0.0, 1.0))
    x = torch.tensor([-2.0, 0.0, 3.0])
    torch.testing.assert_close(d.log_prob(x), Logistic(0.0, 1.0).log_prob(x))


def test_images_stay_inside_and_batches_broadcast():
    b = NormalCDF(torch.zeros(2), torch.ones(3, 1))
    assert b.batch_shape == (3, 2)
    y = b(torch.tensor(50.0))
    assert bool((y < 1).all())
    assert bool(b.inverse(y).isfinite().all())
    assert y.shape == (3, 2)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: CDFBijector(Poisson(1.0)), ValueError, "distribution of CDFBijector must be continuous"),
        (lambda: CDFBijector(1.0), TypeError, "CDFBijector must be a distribution, not float"),
        (lambda: CDFBijector(Normal(torch.zeros(2), 1.0).to_event(1)), ValueError, "must have scalar events"),
        (lambda: NormalCDF(0.0, -1.0), ValueError, "scale of Normal must satisfy"),
    ],
)
def test_what_has_no_invertible_cdf_is_refused_by_name(make, error, message):
    with pytest.raises(error, match=message):
        make()
