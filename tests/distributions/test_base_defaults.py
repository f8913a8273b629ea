"""What a leaf inherits: statistics from a density alone, against the closed forms that it does not have."""

import math

import pytest
import torch
from scipy import stats
from torch.distributions import constraints

from posterity import kernels
from posterity.distributions import BetaBinomial, Distribution, Gumbel, Normal


class BareNormal(Distribution):
    """A density and two moments: cdf and quantiles are integrated and searched for."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True

    def __init__(self, loc, scale, validate_args=None):
        self._initialise({"loc": loc, "scale": scale}, validate_args=validate_args)

    def log_prob(self, value):
        z = (self._checked_value(value, support=True) - self.loc) / self.scale
        return -0.5 * z.square() - self.scale.log() - 0.5 * math.log(2 * math.pi)

    @property
    def mean(self):
        return self.loc

    @property
    def variance(self):
        return self.scale.square()


class BareGumbel(Gumbel):
    """A cdf and its complement alone: quantiles are searched for, moments integrated."""

    icdf = Distribution.icdf
    mean, variance, mode, entropy = Distribution.mean, Distribution.variance, Distribution.mode, Distribution.entropy
    rsample = Distribution.rsample


class BarePoisson(Distribution):
    """Masses alone."""

    arg_constraints = {"rate": constraints.positive}
    support = constraints.nonnegative_integer

    def __init__(self, rate, validate_args=None):
        self._initialise({"rate": rate}, validate_args=validate_args)

    def log_prob(self, value):
        k = self._checked_value(value, support=True)
        return k * self.rate.log() - self.rate - torch.lgamma(k + 1)


class PoissonWithTails(BarePoisson):
    """Masses and tails."""

    def cdf(self, value):
        return torch.special.gammaincc(value.floor().clamp(min=-1) + 1, self.rate) * (value >= 0)

    def survival_function(self, value):
        k = value.floor().clamp(min=0)
        return torch.where(value >= 0, torch.special.gammainc(k + 1, self.rate), 1)


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_an_integrated_cdf_keeps_relative_accuracy_in_both_tails():
    d, exact = BareNormal(double(0.5, -3.0), double(2.0, 0.1)), Normal(double(0.5, -3.0), double(2.0, 0.1))
    x = exact.icdf(double(1e-200, 1e-30, 1e-9, 0.01, 0.3, 0.5, 0.8, 0.999).unsqueeze(-1))
    torch.testing.assert_close(d.cdf(x), exact.cdf(x), rtol=1e-9, atol=0)
    mirrored = 2 * d.loc - x
    torch.testing.assert_close(d.survival_function(mirrored), exact.survival_function(mirrored), rtol=1e-9, atol=0)
    assert d.cdf(torch.tensor(-math.inf)).tolist() == [0, 0]
    assert d.cdf(torch.tensor(math.inf)).tolist() == [1, 1]
    assert d.survival_function(torch.tensor(math.inf)).tolist() == [0, 0]


def test_gradients_of_an_integrated_cdf_are_those_of_the_closed_form():
    x, loc, scale = (double(v).requires_grad_() for v in (0.7, 0.1, 1.3))
    assert torch.autograd.gradcheck(lambda x, m, s: BareNormal(m, s).cdf(x), (x, loc, scale))
    assert torch.autograd.gradcheck(lambda x, m, s: BareNormal(m, s).survival_function(x), (x, loc, scale))


def test_quantiles_are_found_to_the_last_bits():
    p = double(1e-300, 1e-12, 0.1, 0.5, 0.9, 1 - 1e-12)
    exact = stats.gumbel_r(0.3, 1e-5).ppf(p.numpy())
    d = BareGumbel(double(0.3), 1e-5)
    torch.testing.assert_close(d.icdf(p), torch.tensor(exact), rtol=1e-14, atol=0)
    assert [float(d.icdf(0.0)), float(d.icdf(1.0))] == [-math.inf, math.inf]
    single = BareGumbel(0.3, 1.0).icdf(torch.tensor([0.0, 1e-30, 0.5, 1.0]))
    assert single.dtype == torch.float32
    torch.testing.assert_close(
        single[1:3].double(), torch.tensor(stats.gumbel_r(0.3).ppf([1e-30, 0.5])), rtol=1e-6, atol=0
    )


def test_quantiles_of_an_integrated_cdf():
    p = double(1e-20, 0.02, 0.5, 0.97)
    torch.testing.assert_close(
        BareNormal(double(1.0), 2.0).icdf(p), Normal(double(1.0), 2.0).icdf(p), rtol=1e-8, atol=0
    )


def test_gradients_of_a_searched_quantile_are_implicit():
    p, loc, scale = (double(v).requires_grad_() for v in (0.2, 0.1, 1.3))
    assert torch.autograd.gradcheck(lambda p, m, s: BareGumbel(m, s).icdf(p), (p, loc, scale))
    assert torch.autograd.gradcheck(lambda p, m, s: BareNormal(m, s).icdf(p), (p, loc, scale), rtol=1e-5)


def test_searching_works_under_vmap_and_in_compiled_graphs():
    scales = torch.tensor([0.5, 1.0, 2.0])
    together = torch.vmap(lambda s: BareGumbel(0.0, s).icdf(0.3))(scales)
    torch.testing.assert_close(together, Gumbel(0.0, scales).icdf(0.3))
    compiled = torch.compile(lambda s: BareGumbel(0.0, s).icdf(0.3), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(scales), together)


def test_moments_mode_and_entropy_are_integrated():
    d, exact = BareGumbel(double(0.5, -1.0), double(2.0, 0.1)), Gumbel(double(0.5, -1.0), double(2.0, 0.1))
    for name in ("mean", "variance", "stddev"):
        torch.testing.assert_close(getattr(d, name), getattr(exact, name), rtol=1e-8, atol=0)
    torch.testing.assert_close(d.entropy(), exact.entropy(), rtol=1e-8, atol=0)
    torch.testing.assert_close(d.mode, exact.mode, rtol=0, atol=1e-7)


def test_draws_by_inversion_follow_the_distribution_and_carry_gradients():
    d = BareGumbel(0.5, 2.0)
    for generator in (torch.Generator().manual_seed(1), kernels.Key(1)):
        assert stats.kstest(d.sample((5000,), generator=generator).numpy(), stats.gumbel_r(0.5, 2).cdf).pvalue > 1e-6
    scale = torch.tensor(2.0, requires_grad=True)
    draw = BareGumbel(0.5, scale).rsample(generator=kernels.Key(3))
    (slope,) = torch.autograd.grad(draw, scale)
    assert float(slope) == pytest.approx(float(draw.detach() - 0.5) / 2, rel=1e-5)


# torch's incomplete gamma function has a relative error of 1e-9.
@pytest.mark.parametrize(("family", "tolerance"), [(BarePoisson, 1e-11), (PoissonWithTails, 1e-8)])
def test_masses_are_summed(family, tolerance):
    rates = [0.02, 3.5, 40.0]
    d, exact = family(double(*rates)), stats.poisson(rates)
    k = torch.arange(0, 90, 7, dtype=torch.float64).unsqueeze(-1)
    torch.testing.assert_close(d.cdf(k), torch.tensor(exact.cdf(k.numpy())), rtol=tolerance, atol=1e-300)
    torch.testing.assert_close(d.survival_function(k), torch.tensor(exact.sf(k.numpy())), rtol=tolerance, atol=1e-300)
    assert d.cdf(double(-1.0)).tolist() == [0, 0, 0]
    assert d.cdf(double(2.5)).tolist() == d.cdf(double(2.0)).tolist()
    p = double(1e-10, 0.2, 0.5, 0.77, 1 - 1e-9).unsqueeze(-1)
    assert d.icdf(p).tolist() == exact.ppf(p.numpy()).tolist()
    torch.testing.assert_close(d.mean, double(*rates))
    torch.testing.assert_close(d.variance, double(*rates))
    assert d.mode.tolist() == [0, 3, 39]  # both 39 and 40 are modes: the first
    torch.testing.assert_close(d.entropy(), double(*(stats.poisson(r).entropy() for r in rates)))


def test_sums_have_gradients_and_draws_follow():
    rate = double(3.5).requires_grad_()
    assert torch.autograd.gradcheck(lambda r: BarePoisson(r).entropy(), (rate,))
    assert torch.autograd.gradcheck(lambda r: BarePoisson(r).cdf(double(2.0)), (rate,))
    draws = PoissonWithTails(3.5).sample((4000,), generator=torch.Generator().manual_seed(0))
    counts = torch.bincount(draws.long(), minlength=9)[:9].double()
    expected = torch.tensor(stats.poisson(3.5).pmf(range(9))) * 4000
    assert stats.chi2.sf(float(((counts - expected).square() / expected).sum()), 9) > 1e-6


def test_a_sum_out_of_reach_is_an_error():
    with pytest.raises(ArithmeticError, match="a mass of only 0 on its 65536 least values"):
        BarePoisson(double(1e6)).cdf(double(3.0))


def test_kl_is_infinite_where_the_other_excludes_what_this_allows():
    p, q = BareNormal(double(0.0), 1.0), torch.distributions.Exponential(double(1.0))
    assert float(p.kl_divergence(q)) == math.inf
    both = BarePoisson(double(2.0)).kl_divergence(BarePoisson(double(3.0, 2.0)))
    torch.testing.assert_close(both, double(2 * math.log(2 / 3) + 1, 0.0), rtol=1e-12, atol=1e-15)


def test_fit_climbs_the_likelihood_of_each_batch_element():
    data = stats.gumbel_r.rvs([1.0, -20.0], [2.0, 0.01], size=(400, 2), random_state=0)
    d = Gumbel.fit(torch.tensor(data))
    for i in range(2):
        loc, scale = stats.gumbel_r.fit(data[:, i])
        assert float(d.loc[i]) == pytest.approx(loc, rel=1e-5)
        assert float(d.scale[i]) == pytest.approx(scale, rel=1e-4)
    slopes = torch.autograd.grad(
        Gumbel(loc := d.loc.requires_grad_(), scale := d.scale.requires_grad_())
        .log_prob(torch.tensor(data))
        .mean(0)
        .sum(),
        (loc, scale),
    )
    assert all(bool((slope * d.scale < 1e-8).all()) for slope in slopes)


def test_a_likelihood_without_a_maximum_is_an_error():
    with pytest.raises(ArithmeticError, match=r"Gumbel.fit did not converge.*may have no maximum"):
        Gumbel.fit(torch.ones(5))


def test_what_is_undefined_or_out_of_reach_is_refused_with_the_reason():
    class Sphere(Distribution):
        arg_constraints = {"loc": constraints.real_vector}
        support = constraints.real_vector

        def __init__(self, loc):
            self._initialise({"loc": loc}, event_shape=loc.shape[-1:])

    d = Sphere(torch.zeros(2, 3))
    assert (d.batch_shape, d.event_shape) == ((2,), (3,))
    for name in ("cdf", "survival_function", "icdf"):
        with pytest.raises(NotImplementedError, match=f"Sphere.{name} is undefined .* vectors have no order"):
            getattr(d, name)(torch.zeros(3))
    for name in ("mean", "variance", "mode"):
        with pytest.raises(NotImplementedError, match=f"Sphere.{name} has no closed form"):
            getattr(d, name)
    with pytest.raises(NotImplementedError, match=r"Sphere.entropy has no closed form"):
        d.entropy()
    with pytest.raises(NotImplementedError, match="Sphere has no reparameterised draws"):
        d.sample()


def test_a_density_without_landmarks_is_refused_by_name():
    class Lost(BareNormal):
        mean = Distribution.mean

    with pytest.raises(NotImplementedError, match=r"Lost has no closed form .* the class needs _landmarks\(\)"):
        Lost(0.0, 1.0).cdf(0.0)


def test_log_tails_have_their_gradient_where_both_tails_are_one_half():
    concentration = torch.ones((), dtype=torch.float64, requires_grad=True)
    d = BetaBinomial(concentration, 1.0, 5)
    (slope,) = torch.autograd.grad(d.log_cdf(torch.tensor(2.0, dtype=torch.float64)), concentration)
    step = 1e-6
    ends = [BetaBinomial(torch.tensor(1.0 + s, dtype=torch.float64), 1.0, 5).log_cdf(2.0) for s in (-step, step)]
    assert float(slope) == pytest.approx(float(ends[1] - ends[0]) / (2 * step), rel=1e-6)


def test_a_log_tail_at_nan_is_nan():
    assert BetaBinomial(1.0, 1.0, 5).log_cdf(torch.tensor(math.nan)).isnan()


@pytest.mark.parametrize("value", [1j, torch.tensor(1j)])
def test_complex_values_are_refused(value):
    with pytest.raises(TypeError, match="value of BetaBinomial must be a real tensor or a number, not"):
        BetaBinomial(1.0, 1.0, 5).log_prob(value)
