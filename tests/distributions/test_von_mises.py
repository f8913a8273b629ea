"""What is particular about the von Mises distribution: the circle, and the cut that the cdf makes into it."""

import math

import pytest
import torch

from posterity.distributions import VonMises


@pytest.mark.parametrize("loc", [-3.0, 0.4, 40.0])
def test_the_density_repeats_with_each_turn(loc):
    d = VonMises(torch.tensor(loc, dtype=torch.float64), 3.0)
    x = torch.linspace(-3.1, 3.1, 9, dtype=torch.float64)
    for turns in (-3, 1, 7):
        torch.testing.assert_close(d.log_prob(x + 2 * math.pi * turns), d.log_prob(x), rtol=0, atol=1e-13)
    torch.testing.assert_close(VonMises(d.loc + 2 * math.pi, 3.0).cdf(x), d.cdf(x), rtol=0, atol=1e-14)


def test_the_cdf_and_the_draws_keep_to_one_turn():
    d = VonMises(torch.tensor([-3.0, 0.4, 40.0]), 0.5)
    assert d.cdf(torch.tensor([-4.0, -math.pi, -100.0])).tolist() == [0.0, 0.0, 0.0]
    assert d.survival_function(4.0).tolist() == [0.0, 0.0, 0.0]
    draws = d.sample((1000,), generator=torch.Generator().manual_seed(0))
    assert bool(d.support.check(draws).all())


def test_a_density_at_no_number_is_refused():
    with pytest.raises(ValueError, match=r"value of VonMises must satisfy Real"):
        VonMises(0.0, 1.0).log_prob(torch.tensor(math.nan))


def test_a_fit_does_not_depend_on_how_angles_are_named():
    data = torch.tensor([2.9, -3.0, 3.1, -2.7, 2.2], dtype=torch.float64)
    turned = data + 2 * math.pi * torch.tensor([0, 1, -2, 3, 0], dtype=torch.float64)
    first, second = VonMises.fit(data), VonMises.fit(turned)
    torch.testing.assert_close(second.loc, first.loc, rtol=1e-14, atol=0)
    torch.testing.assert_close(second.concentration, first.concentration, rtol=1e-12, atol=0)


def test_a_narrow_fit_in_float32_keeps_its_concentration():
    data = torch.tensor([0.5, 0.5 + 2.0**-12, 0.5 - 2.0**-12])
    # Nearly a normal distribution: one over the mean square, 3 * 2^24 / 2; the next term is one part in 2^24.
    torch.testing.assert_close(VonMises.fit(data).concentration, torch.tensor(1.5 * 2.0**24), rtol=1e-5, atol=0)
