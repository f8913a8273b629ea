"""A potential is the model's log joint density on unconstrained space, Jacobians included."""

import math
import warnings

import pytest
import torch
from torch import nn
from torch.distributions import constraints

import posterity as pt
from posterity import distributions as dist
from posterity.handlers import config_enumerate, mask, scale
from posterity.infer import Potential
from posterity.infer.capture import can_compile
from posterity.infer.initialization import init_to_value
from posterity.kernels import Key


def double(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def assert_density(potential, by_hand, points):
    """The log density and its gradient, at each point and in a batch, are those of a function written by hand."""
    expected = torch.stack([by_hand(z) for z in points])
    slopes = torch.stack([torch.func.grad(by_hand)(z) for z in points])
    torch.testing.assert_close(potential.log_density(points), expected)
    values, gradients = potential.value_and_grad(points)
    torch.testing.assert_close(values, expected)
    torch.testing.assert_close(gradients, slopes)
    value, gradient = potential.value_and_grad(points[0])
    torch.testing.assert_close(value, expected[0])
    torch.testing.assert_close(gradient, slopes[0])


def assert_round_trip(potential, points):
    values = potential.constrain(points)
    torch.testing.assert_close(potential.unconstrain(values), points)
    one = potential.constrain(points[0])
    torch.testing.assert_close(potential.unconstrain(one), points[0])


def test_a_positive_variable_counts_with_its_jacobian():
    def model(x):
        rate = pt.sample("rate", dist.Gamma(double(3.0)[0], 2.0))
        pt.sample("x", dist.Exponential(rate), obs=x)

    def by_hand(z):  # rate = exp(z), of which the log Jacobian is z
        prior = 3 * math.log(2.0) - math.lgamma(3.0) + 2 * z[0] - 2 * z[0].exp()
        return prior + z[0] + (z[0] - 1.5 * z[0].exp())

    potential = Potential(model, (double(1.5)[0],))
    points = double(-1.0, 0.3, 2.0).unsqueeze(-1)
    assert (potential.dim, potential.dtype) == (1, torch.float64)
    assert_density(potential, by_hand, points)
    assert_round_trip(potential, points)


def test_a_simplex_counts_with_the_jacobian_of_its_free_coordinates():
    concentration = double(2.0, 3.0, 4.0)

    def model(counts):
        p = pt.sample("p", dist.Dirichlet(concentration))
        pt.sample("counts", dist.Multinomial(10, p), obs=counts)

    counts = double(2.0, 3.0, 5.0)
    potential = Potential(model, (counts,))

    def by_hand(z):
        def free(z):
            return potential.constrain(z)["p"][:-1]

        p = potential.constrain(z)["p"]
        constant = torch.lgamma(concentration.sum()) - torch.lgamma(concentration).sum()
        constant = constant + math.lgamma(11) - torch.lgamma(counts + 1).sum()
        jacobian = torch.func.jacfwd(free)(z)
        return constant + ((concentration - 1 + counts) * p.log()).sum() + torch.linalg.slogdet(jacobian)[1]

    points = torch.randn(4, 2, dtype=torch.float64)
    torch.testing.assert_close(potential.constrain(points)["p"].sum(-1), torch.ones(4, dtype=torch.float64))
    assert_density(potential, by_hand, points)
    assert_round_trip(potential, points)


def test_a_correlation_factor_counts_with_the_jacobian_of_its_free_entries():
    def model():
        pt.sample("factor", dist.LKJCholesky(3, double(2.0)[0]))

    potential = Potential(model)
    rows, columns = torch.tril_indices(3, 3, -1)
    reference = torch.distributions.LKJCholesky(3, double(2.0)[0])

    def by_hand(z):
        def free(z):
            return potential.constrain(z)["factor"][rows, columns]

        factor = potential.constrain(z)["factor"]
        jacobian = torch.func.jacfwd(free)(z)
        # The density of torch's own, without its check of the support.
        order = torch.arange(2, 4, dtype=z.dtype)
        unnormalised = ((2 * 1.0 + 3 - order) * factor.diagonal()[1:].log()).sum()
        return unnormalised + constant + torch.linalg.slogdet(jacobian)[1]

    identity = torch.eye(3, dtype=torch.float64)
    constant = reference.log_prob(identity)
    points = torch.randn(4, 3, dtype=torch.float64)
    factors = potential.constrain(points)["factor"]
    torch.testing.assert_close((factors @ factors.mT).diagonal(dim1=-2, dim2=-1), torch.ones(4, 3, dtype=torch.float64))
    assert_density(potential, by_hand, points)
    assert_round_trip(potential, points)


def test_an_interval_may_depend_on_another_variable():
    def model():
        width = pt.sample("width", dist.Exponential(double(1.0)[0]))
        part = pt.sample("part", dist.Uniform(0.0, width))
        pt.deterministic("rest", width - part)

    def by_hand(z):  # width = exp(z0); part = width sigmoid(z1)
        logistic = nn.functional.logsigmoid(z[1]) + nn.functional.logsigmoid(-z[1])
        return (-z[0].exp() + z[0]) + (-z[0]) + (z[0] + logistic)

    potential = Potential(model)
    points = torch.randn(5, 2, dtype=torch.float64)
    assert_density(potential, by_hand, points)
    assert_round_trip(potential, points)
    values = potential.constrain(points, deterministic=True)
    torch.testing.assert_close(values["part"], points[:, 0].exp() * points[:, 1].sigmoid())
    torch.testing.assert_close(values["rest"], values["width"] - values["part"])


def test_discrete_variables_are_summed_out():
    x = double(-1.0, 0.5, 2.0)

    def model(x):
        loc = pt.sample("loc", dist.Normal(double(0.0)[0], 3.0))
        with pt.plate("data", len(x)):
            z = pt.sample("z", dist.Bernoulli(double(0.3)[0]), infer={"enumerate": "parallel"})
            pt.sample("x", dist.Normal(loc + 2 * z, 1.0), obs=x)

    def normal(at, loc, scale):
        return -((at - loc) ** 2) / (2 * scale**2) - math.log(scale) - math.log(2 * math.pi) / 2

    def by_hand(z):
        parts = [math.log(0.7) + normal(x, z[0], 1.0), math.log(0.3) + normal(x, z[0] + 2, 1.0)]
        return normal(z[0], 0.0, 3.0) + torch.stack(parts).logsumexp(0).sum()

    points = double(-2.0, 0.1, 1.0).unsqueeze(-1)
    potential = Potential(model, (x,))
    assert_density(potential, by_hand, points)
    prior, likelihood = potential.log_prior_and_likelihood(points)
    torch.testing.assert_close(prior, normal(points[:, 0], 0.0, 3.0))
    torch.testing.assert_close(prior + likelihood, potential.log_density(points))


def test_prior_and_likelihood_are_the_two_parts_whatever_scales_and_factors_say():
    def model():
        with scale(scale=2.0):
            a = pt.sample("a", dist.Normal(double(0.0)[0], 1.0))
        with mask(mask=False):
            b = pt.sample("b", dist.Normal(double(0.0)[0], 1.0))
        pt.factor("bonus", 3 * a)
        pt.sample("x", dist.Normal(a + b, 1.0), obs=double(1.0)[0])

    def standard(x):
        return -(x**2) / 2 - math.log(2 * math.pi) / 2

    z = double(0.5, -0.7)
    potential = Potential(model)
    prior, rest = potential.log_prior_and_likelihood(z)
    torch.testing.assert_close(prior, standard(z[0]) + standard(z[1]))
    density = 2 * standard(z[0]) + 3 * z[0] + standard(1 - z.sum())
    torch.testing.assert_close(potential.log_density(z), density)
    torch.testing.assert_close(prior + rest, density)


def test_what_is_data_elsewhere_is_no_flat_direction():
    x = double(1.0, math.nan, 3.0)

    def model(x):
        with pt.plate("data", 3):
            pt.sample("x", dist.Normal(torch.zeros(3, dtype=torch.float64), 1.0), obs=x, obs_mask=~x.isnan())

    potential = Potential(model, (x,))
    _, gradient = potential.value_and_grad(torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(gradient, -torch.ones(3, dtype=torch.float64))


def test_a_model_that_branches_on_values_runs_point_by_point():
    def model():
        x = pt.sample("x", dist.Normal(double(0.0)[0], 1.0))
        pt.factor("kink", -x if x > 0 else x)

    potential = Potential(model)
    points = double(-1.0, 2.0).unsqueeze(-1)
    expected = -points[:, 0].square() / 2 - math.log(2 * math.pi) / 2 - points[:, 0].abs()
    torch.testing.assert_close(potential.log_density(points), expected)
    assert not potential.vectorized


def test_dtypes_of_sites_are_kept():
    def model():
        pt.sample("a", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pt.sample("b", dist.Exponential(double(1.0)[0]))

    potential = Potential(model)
    values = potential.constrain(torch.zeros(3, dtype=torch.float64))
    assert potential.dtype == torch.float64
    assert (values["a"].dtype, values["b"].dtype) == (torch.float32, torch.float64)
    assert potential.shapes == {"a": torch.Size([2]), "b": torch.Size([])}


def test_batches_have_any_number_of_dimensions():
    potential = Potential(lambda: pt.sample("p", dist.Dirichlet(torch.ones(3).double())))
    z = torch.randn(2, 4, 2, dtype=torch.float64)
    assert potential.constrain(z)["p"].shape == (2, 4, 3)
    torch.testing.assert_close(potential.log_density(z)[1, 2], potential.log_density(z[1, 2]))
    assert_round_trip(potential, z)


def test_parameters_keep_the_value_of_the_first_run():
    def model():
        loc = pt.param("loc", lambda: torch.rand((), dtype=torch.float64))
        width = pt.param("width", double(1.0)[0], constraint=constraints.positive)
        pt.sample("x", dist.Normal(loc, width))

    potential = Potential(model)
    z = double(0.3)
    assert torch.equal(potential.log_density(z), potential.log_density(z))


def test_initial_points_are_seeded_and_of_finite_density():
    potential = Potential(lambda: pt.sample("x", dist.Gamma(torch.full((3,), 2.0), 1.0).to_event(1)))
    points = [potential.initial_points(5, source=torch.Generator().manual_seed(0)) for _ in range(2)]
    assert torch.equal(*points)
    assert points[0].shape == (5, 3)
    assert potential.log_density(points[0]).isfinite().all()


@pytest.mark.skipif(not can_compile(), reason="no C++ compiler")
def test_the_captured_potential_is_the_eager_one():
    def model(x):
        width = pt.sample("width", dist.HalfNormal(double(1.0)[0]))
        with pt.plate("data", len(x)):
            pt.sample("x", dist.Normal(0.0, width), obs=x)

    potential = Potential(model, (double(0.3, -1.0),))
    example = torch.zeros(4, 1, dtype=torch.float64)
    captured = potential.capture(example)
    points = torch.randn(4, 1, dtype=torch.float64)
    for compiled, eager in zip(captured(points), potential.value_and_grad(points), strict=True):
        torch.testing.assert_close(compiled, eager)


def coin():
    return pt.sample("coin", dist.Bernoulli(0.5))


def drawn():
    pt.sample("x", dist.Normal(coin(), 1.0))


def test_discrete_variables_that_are_not_marked_are_named():
    with pytest.raises(ValueError, match=r"discrete latent variables, which have no gradient: 'coin' \(Bernoulli\)"):
        Potential(drawn)
    assert Potential(config_enumerate(drawn)).dim == 1


def test_an_impossible_start_names_the_site():
    def model():
        x = pt.sample("x", dist.Normal(0.0, 1.0))
        pt.sample("y", dist.Normal(x, 1.0), obs=math.inf)

    with pytest.raises(ValueError, match="site 'y'"):
        Potential(model)


def test_a_nan_names_the_site():
    def model():
        x = pt.sample("x", dist.Normal(0.0, 1.0))
        pt.factor("bad", x * math.nan)

    with pytest.raises(ValueError, match="site 'bad'"):
        Potential(model)


def test_a_value_out_of_support_at_the_start_names_the_site():
    def model():
        pt.sample("x", dist.HalfNormal(1.0))

    with pytest.raises(ValueError) as caught:
        Potential(model, init=init_to_value(values={"x": -1.0}))
    assert "'x'" in "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])])


def test_a_model_without_variables_is_refused():
    with pytest.raises(ValueError, match="no continuous latent variable"):
        Potential(lambda: pt.sample("x", dist.Normal(0.0, 1.0), obs=0.0))


def test_a_random_subsample_is_refused_and_a_given_one_is_not():
    def model(indices):
        loc = pt.sample("loc", dist.Normal(0.0, 1.0))
        with pt.plate("data", 10, subsample_size=2, subsample=indices):
            pt.sample("x", dist.Normal(loc, 1.0), obs=torch.zeros(2))

    with pytest.raises(ValueError, match="plate 'data' takes a new random subsample of 2 of its 10"):
        Potential(model, (None,))
    potential = Potential(model, (torch.tensor([0, 1]),))
    torch.testing.assert_close(potential.log_density(torch.zeros(1)), torch.tensor(-11 * math.log(2 * math.pi) / 2))


def test_a_density_that_changes_from_run_to_run_is_refused():
    def model():
        pt.sample("x", dist.Normal(torch.randn(()), 1.0))

    with pytest.raises(ValueError, match="at one run of the model"):
        Potential(model)


def test_values_of_other_sites_or_shapes_are_refused():
    potential = Potential(lambda: pt.sample("x", dist.HalfNormal(torch.ones(2)).to_event(1)))
    with pytest.raises(ValueError, match="the values are of 'y', but the latent variables are 'x'"):
        potential.unconstrain({"y": torch.ones(2)})
    with pytest.raises(ValueError, match=r"site 'x' has shape \(3,\), which does not end with the site's, \(2,\)"):
        potential.unconstrain({"x": torch.ones(3)})
    with pytest.raises(ValueError, match="unconstrain: site 'x'"):
        potential.unconstrain({"x": -torch.ones(2)})
    with pytest.raises(ValueError, match=r"a point of this model has 2 numbers, but the (tensor.s )?shape is"):
        potential.log_density(torch.zeros(3))
    with pytest.raises(ValueError, match="'x' on unconstrained space has shape"):
        potential.flatten({"x": torch.zeros(3)})
    with pytest.raises(TypeError, match="must be a program"):
        Potential("model")


def test_a_model_that_branches_on_values_warns_once_that_it_is_slow():
    def branching():
        z = pt.sample("z", dist.Normal(0.0, 1.0))
        pt.sample("x", dist.Normal(z if z > 0 else 2 * z, 1.0), obs=torch.tensor(0.5))

    potential = Potential(branching, source=Key(0))
    points = torch.tensor([[0.5], [-0.5]])
    with pytest.warns(UserWarning, match="one after the other, which is slow, .* branches on values"):
        found = potential.log_density(points)
    assert not potential.vectorized
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = potential.log_density(points)
    assert torch.equal(found, again)
    torch.testing.assert_close(found[1], potential.log_density(points[1]))
