"""The constant density: 0 where its support is, and nothing that would need its integral."""

import warnings

import pytest
import torch
from torch.distributions import constraints

from posterity import distributions as dist
from posterity.bijectors import constraints as own_constraints
from posterity.distributions import ImproperUniform, Normal
from posterity.infer import MCMC, NUTS, Potential
from posterity.ppl import plate, sample
from posterity.runtime import without_validation
from tests.distributions.catalogue.entry import ask

INF, NAN = torch.inf, torch.nan


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_log_density_is_zero_on_the_support_in_the_values_dtype(dtype):
    d = ImproperUniform(constraints.positive, (3,), (2,))
    value = torch.ones(4, 1, 2, dtype=dtype)
    for checked in (d.log_prob(value), _unchecked(d, value)):
        assert torch.equal(checked, torch.zeros(4, 3, dtype=dtype))


def test_values_outside_are_refused_or_impossible():
    d = ImproperUniform(constraints.interval(0.0, 2.0))
    with pytest.raises(ValueError, match=r"value of ImproperUniform must satisfy Interval.*holds tensor\(3"):
        d.log_prob(torch.tensor([1.0, 3.0]))
    values = torch.tensor([-1.0, 0.5, 3.0, -INF, INF, NAN])
    torch.testing.assert_close(_unchecked(d, values), torch.tensor([-INF, 0.0, -INF, -INF, -INF, NAN]), equal_nan=True)


def test_one_entry_outside_makes_a_vector_impossible():
    d = ImproperUniform(constraints.positive, (), (2,))
    values = torch.tensor([[1.0, 2.0], [-1.0, 2.0], [1.0, NAN], [1.0, INF]])
    torch.testing.assert_close(_unchecked(d, values), torch.tensor([0.0, -INF, NAN, -INF]), equal_nan=True)


def test_a_support_of_vectors_is_not_looked_at_without_checks():
    d = ImproperUniform(own_constraints.ordered, (), (2,))
    with pytest.raises(ValueError, match="value of ImproperUniform must satisfy"):
        d.log_prob(torch.tensor([2.0, 1.0]))
    assert _unchecked(d, torch.tensor([2.0, 1.0])) == 0


def test_the_support_spans_the_event():
    d = ImproperUniform(constraints.simplex, (4,), (2, 3))
    assert (d.batch_shape, d.event_shape, d.support.event_dim) == ((4,), (2, 3), 2)
    assert d.log_prob(torch.full((2, 3), 1 / 3)).tolist() == [0.0] * 4
    assert d.expand((5, 4)).log_prob(torch.full((2, 3), 1 / 3)).shape == (5, 4)
    assert d.to_event(1).log_prob(torch.full((4, 2, 3), 1 / 3)) == 0
    assert repr(ImproperUniform(constraints.real, (4,))) == "ImproperUniform(Real(), batch_shape=(4,), event_shape=())"


def test_it_follows_vmap_graphs_and_devices():
    d, values = ImproperUniform(constraints.positive), torch.tensor([1.0, -1.0])
    expected = torch.tensor([0.0, -INF])
    with without_validation():
        assert torch.equal(torch.vmap(d.log_prob)(values), expected)
        compiled = torch.compile(d.log_prob, fullgraph=True, backend="aot_eager")
        assert torch.equal(compiled(values), expected)
    assert d.log_prob(torch.ones(3, device="meta")).device.type == "meta"
    assert _unchecked(d, torch.ones(3, device="meta")).device.type == "meta"


def test_starts_have_the_dtype_of_the_bounds():
    def model():
        sample("z", ImproperUniform(constraints.greater_than(torch.tensor(2.0, dtype=torch.float64))))

    assert Potential(model).dtype == torch.float64


@pytest.mark.parametrize(
    "statistic",
    [
        *("cdf", "log_cdf", "survival_function", "log_survival_function", "icdf", "mean", "variance", "stddev"),
        *("mode", "median", "entropy", "sample", "rsample"),
    ],
)
def test_what_needs_the_integral_is_refused_with_the_reason(statistic):
    with pytest.raises(NotImplementedError, match="is undefined: the density is constant and does not integrate"):
        ask(ImproperUniform(constraints.real), statistic)


def test_divergences_and_fits_are_refused_with_the_reason():
    d = ImproperUniform(constraints.real)
    for compare in (d.kl_divergence, d.cross_entropy):
        with pytest.raises(NotImplementedError, match="is undefined: the density is constant"):
            compare(Normal(0.0, 1.0))
    with pytest.raises(NotImplementedError, match="ImproperUniform.fit is undefined: it has no parameter"):
        ImproperUniform.fit(torch.ones(3))


def test_bad_arguments_are_named():
    with pytest.raises(TypeError, match="support of ImproperUniform must be a constraint, such as .*, not float"):
        ImproperUniform(1.0)
    with pytest.raises(ValueError, match="support of ImproperUniform must be known"):
        ImproperUniform(constraints.dependent)
    with pytest.raises(ValueError, match=r"event_shape of ImproperUniform must have at least the 1 dim.*but is \(\)"):
        ImproperUniform(constraints.simplex)
    with pytest.raises(ValueError, match=r"value of shape \(3,\) does not fit ImproperUniform"):
        ImproperUniform(constraints.real, (), (2,)).log_prob(torch.zeros(3))


def test_a_potential_adds_the_jacobian_alone():
    def model():
        with plate("numbers", 3):
            sample("z", ImproperUniform(constraints.positive))

    points = torch.tensor([[0.5, -1.0, 2.0]])
    torch.testing.assert_close(Potential(model).log_density(points), points.sum(-1))


def test_chains_draw_from_a_flat_prior_s_posterior():
    def model(x):
        loc = sample("loc", ImproperUniform(constraints.real))
        with plate("data", len(x)):
            sample("x", dist.Normal(loc, 1.0), obs=x)

    x = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    mcmc = MCMC(NUTS(model), 100, 200, 2, seed=0, compile=False, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # so few draws are not enough
        mcmc.run(x)
    found = mcmc.summary()["loc"]
    # The posterior is normal, with mean 7 / 3 and variance 1 / 3; five standard errors are a false alarm of 6e-7.
    assert (found["mean"] - 7 / 3).abs() < 5 * found["mcse_mean"]
    assert (found["sd"] - 3**-0.5).abs() < 5 * found["mcse_sd"]


def _unchecked(d, value):
    with without_validation():
        return d.log_prob(value)
