"""What is particular to distributions of directions: the uniform one, the plane, great sizes and concentrations."""

import math

import mpmath
import pytest
import torch

from posterity.distributions import PowerSpherical, VonMisesFisher
from posterity.kernels import Key
from tests.statistical import assert_mean

families = pytest.mark.parametrize("family", [VonMisesFisher, PowerSpherical])


def _axis(size, dtype=torch.float64):
    return torch.eye(size, dtype=dtype)[0]


def _log_area(size):
    return math.log(2) + size / 2 * math.log(math.pi) - math.lgamma(size / 2)


@families
@pytest.mark.parametrize("size", [2, 3, 50])
def test_concentration_zero_is_uniform(family, size):
    d = family(_axis(size), 0.0)
    x = torch.nn.functional.normalize(torch.randn(5, size, dtype=torch.float64), dim=-1)
    for value in (d.log_prob(x), d.log_prob(-d.loc)):
        torch.testing.assert_close(value, torch.full_like(value, -_log_area(size)))
    assert float(d.entropy()) == pytest.approx(_log_area(size))
    torch.testing.assert_close(d.mean, torch.zeros(size, dtype=torch.float64))
    torch.testing.assert_close(d.covariance_matrix, torch.eye(size, dtype=torch.float64) / size)
    # KL to the uniform distribution is what entropy lacks to the greatest.
    p = family(_axis(size), 7.0)
    assert float(p.kl_divergence(VonMisesFisher(_axis(size), 0.0))) == pytest.approx(
        _log_area(size) - float(p.entropy())
    )


def test_in_the_plane_it_is_von_mises():
    angle = torch.linspace(-3, 3, 7, dtype=torch.float64)
    d = VonMisesFisher(torch.tensor([math.cos(0.3), math.sin(0.3)], dtype=torch.float64), 2.5)
    exact = torch.distributions.VonMises(torch.tensor(0.3).double(), torch.tensor(2.5).double()).log_prob(angle)
    # torch's Bessel function is a polynomial of single precision.
    torch.testing.assert_close(d.log_prob(torch.stack([angle.cos(), angle.sin()], -1)), exact, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("size", [2, 3, 17, 1000])
@pytest.mark.parametrize("concentration", [1e-6, 0.5, 30.0, 1e5])
def test_normalisers_agree_with_exact_values(size, concentration):
    with mpmath.workdps(40):
        order, kappa = mpmath.mpf(size) / 2 - 1, mpmath.mpf(concentration)
        bessel = mpmath.log(mpmath.besseli(order, kappa)) - kappa - order * mpmath.log(kappa)
        exact = -float(mpmath.mpf(size) / 2 * mpmath.log(2 * mpmath.pi) + bessel)
        ratio = mpmath.besseli(order + 1, kappa) / mpmath.besseli(order, kappa)
        entropy = float(kappa * (1 - ratio)) - exact
    d = VonMisesFisher(_axis(size), concentration)
    assert float(d.log_prob(d.loc)) == pytest.approx(exact, rel=1e-11)
    assert float(d.entropy()) == pytest.approx(entropy, rel=1e-10, abs=1e-10)


@families
def test_gradients_of_the_normaliser_agree_with_finite_differences(family):
    concentration = torch.tensor([1e-4, 5e-4, 0.3, 40.0], dtype=torch.float64, requires_grad=True)
    x = torch.nn.functional.normalize(torch.randn(4, 3, dtype=torch.float64), dim=-1)
    assert torch.autograd.gradcheck(lambda k: family(_axis(3), k).log_prob(x), concentration)
    assert torch.autograd.gradcheck(lambda k: family(_axis(3), k).entropy(), concentration)


@families
def test_great_concentrations_keep_their_digits_in_single_precision(family):
    kappa = 1e8
    offset = torch.tensor([0.0, 1e-4, -2e-4])
    x = _axis(3, torch.float32) + offset
    gain = family(_axis(3, torch.float32), kappa).log_prob(x) - family(_axis(3, torch.float32), kappa).log_prob(
        _axis(3, torch.float32)
    )
    # (1 + t)^kappa with t = 1 - v is e^(-kappa v / 2) here.
    share = 1.0 if family is VonMisesFisher else 0.5
    assert float(gain) == pytest.approx(-share * kappa * float(offset.double().square().sum()) / 2, rel=1e-5)
    draws = family(_axis(3, torch.float32), kappa).sample((2000,))
    angle = draws[:, 1:].double().norm(dim=-1)
    # kappa * angle^2 / 2 is exponential (with half the concentration for the power), of mean and deviation 1.
    scaled = share * kappa * angle.square() / 2
    assert abs(float(scaled.mean()) - 1) < 5 / math.sqrt(2000)


@families
def test_gradients_stay_on_the_sphere(family):
    loc = torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64, requires_grad=True)
    x = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    (slope,) = torch.autograd.grad(family(loc, 3.0).log_prob(x), loc)
    assert float(slope @ loc.detach()) == pytest.approx(0, abs=1e-12)
    assert float(slope @ x) > 0


def test_the_opposite_direction_of_a_power_has_density_zero():
    d = PowerSpherical(_axis(3), 2.0)
    assert float(d.log_prob(-d.loc)) == -math.inf
    assert float(d.log_prob(d.loc)) == pytest.approx(math.log(3 / (4 * math.pi)))


def test_kl_from_a_power_is_the_mean_log_ratio():
    p = PowerSpherical(_axis(4), 5.0)
    q = VonMisesFisher(torch.full((4,), 0.5, dtype=torch.float64), 3.0)
    x = p.sample((20_000,), generator=torch.Generator().manual_seed(0))
    ratio = p.log_prob(x) - q.log_prob(x)
    assert abs(float(ratio.mean() - p.kl_divergence(q))) < 5 * float(ratio.std()) / math.sqrt(len(x))


@families
def test_the_score_of_the_fit_vanishes(family):
    data = family(torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64), 6.0).sample((300,))
    fitted = family.fit(data)
    loc, concentration = fitted.loc.clone().requires_grad_(), fitted.concentration.clone().requires_grad_()
    for slope in torch.autograd.grad(family(loc, concentration).log_prob(data).mean(), (loc, concentration)):
        torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-6)


@families
def test_what_is_no_direction_is_refused(family):
    name = family.__name__
    with pytest.raises(ValueError, match=f"data of {name}.fit must be unit vectors"):
        family.fit(torch.ones(4, 3))
    with pytest.raises(ValueError, match=f"data of {name}.fit must not all be one direction"):
        family.fit(torch.eye(3)[:1].expand(4, 3))
    with pytest.raises(ValueError, match=rf"loc of {name} must have at least two entries, but its shape is \(1,\)"):
        family(torch.ones(1), 1.0)


def test_opposite_directions_fit_the_uniform_distribution():
    d = VonMisesFisher.fit(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    assert float(d.concentration) == 0
    assert float(d.loc.norm()) == 1


@pytest.mark.parametrize("size", [2, 3, 6])
def test_draws_move_along_their_quantiles(size):
    # The mean of the cosines moves as the mean length does, and none of them falls.
    kappa = torch.full((20_000,), 2.5, dtype=torch.float64, requires_grad=True)
    draws = VonMisesFisher(_axis(size), kappa).rsample(generator=torch.Generator().manual_seed(4))
    (slopes,) = torch.autograd.grad(draws[:, 0].sum(), kappa)
    one = torch.tensor(2.5, dtype=torch.float64, requires_grad=True)
    (exact,) = torch.autograd.grad(VonMisesFisher(_axis(size), one).mean[0], one)
    assert_mean(slopes, exact)
    assert bool((slopes >= 0).all())


def test_gradients_of_draws_map():
    def height(kappa):
        return VonMisesFisher(_axis(3), kappa).rsample((5,), generator=Key(1))[..., 0].sum()

    kappa = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    (eager,) = torch.autograd.grad(height(kappa), kappa)
    mapped = torch.vmap(torch.func.grad(height))(kappa.detach().expand(2))
    torch.testing.assert_close(mapped, eager.expand(2))
