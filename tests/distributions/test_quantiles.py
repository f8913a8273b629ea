"""Quantiles by Newton's method are those found by halving."""

import pytest
import torch

from posterity.distributions import ExponentiallyModifiedGaussian, SkewNormal
from posterity.distributions.quantiles import continuous_quantile, log_concave_quantile

LEVELS = torch.tensor([1e-300, 1e-30, 1e-4, 0.1, 0.4999, 0.5, 0.7, 0.99, 1 - 1e-12], dtype=torch.float64)


# Tails of one kind, and of two kinds whose scales differ by factors up to 1e6.
@pytest.mark.parametrize(
    ("family", "shapes"),
    [(SkewNormal, [0.5, -50.0, 1e3, -1e6]), (ExponentiallyModifiedGaussian, [1e-3, 0.1, 5.0, 1e3])],
)
def test_newtons_method_finds_what_halving_finds(family, shapes):
    d = family(3.0, 2.0, torch.tensor(shapes, dtype=torch.float64))
    levels = LEVELS.unsqueeze(-1)
    found, halved = log_concave_quantile(d, levels), continuous_quantile(d, levels)
    # What the rounding of a cdf's logarithm, of some 10 units, moves a quantile by.
    conditioning = d.log_cdf(halved).abs().clamp(min=1).minimum(levels * 0 + 691) * levels.minimum(1 - levels)
    allowed = 3e-15 * (halved.abs() + 3) + 3e-15 * conditioning / d.prob(halved)
    assert bool(((found - halved).abs() <= allowed).all())


def test_newtons_method_in_float32_is_that_in_float64_rounded():
    parameters = torch.tensor(0.5), torch.tensor(1.5), torch.tensor([-1e6, 2.0, 1e3])
    levels = torch.tensor([[1e-30], [1e-3], [0.5], [0.875]])
    narrow = log_concave_quantile(SkewNormal(*parameters), levels)
    wide = log_concave_quantile(SkewNormal(*(p.double() for p in parameters)), levels.double())
    torch.testing.assert_close(narrow, wide.float(), rtol=3e-7, atol=3e-7)


def test_the_ends_of_the_line_have_all_and_nothing():
    d = SkewNormal(0.0, 1.0, 2.0)
    assert d.icdf(torch.tensor([0.0, 1.0])).tolist() == [-torch.inf, torch.inf]
