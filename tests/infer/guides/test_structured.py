"""AutoStructured: the covariance of a hierarchy, exactly; shapes of plates and events; what cannot depend on what."""

import math

import pytest
import torch

import posterity as pt
from posterity.handlers import trace
from posterity.infer import AutoStructured
from tests.infer.guides.fitting import bound, fit, inverse_softplus
from tests.statistical import assert_mean, assert_variance

dist = pt.distributions
X = torch.tensor([1.0, -0.5, 2.0, 0.3], dtype=torch.float64)


def hierarchy(subsample_size=None):
    """mu ~ N(0, 1), z_i ~ N(mu, 1), x_i ~ N(z_i, 1)."""
    mu = pt.sample("mu", dist.Normal(X.new_zeros(()), 1.0))
    with pt.plate("data", 4, subsample_size=subsample_size) as taken:
        z = pt.sample("z", dist.Normal(mu, 1.0))
        pt.sample("x", dist.Normal(z, 1.0), obs=X[taken])


def exact(guide):
    """The parameters at which the guide is the hierarchy's posterior."""
    variance = 1 / (1 + 4 / 2)
    mean = variance * X.sum() / 2
    with torch.no_grad():
        guide.loc["mu"].fill_(mean)
        guide.raw_scale["mu"].copy_(inverse_softplus(X.new_full((1,), math.sqrt(variance))))
        guide.loc["z"].copy_((mean + X.unsqueeze(-1)) / 2)
        guide.raw_scale["z"].copy_(inverse_softplus(X.new_full((4, 1), math.sqrt(0.5))))
        guide.weight["z<mu"].fill_(0.5)
    return guide, mean, variance


def test_the_bound_at_the_exact_posterior_of_a_hierarchy_is_the_evidence_at_every_draw():
    guide, _, _ = exact(AutoStructured(hierarchy).setup())
    marginal = 2 * torch.eye(4, dtype=torch.float64) + 1
    evidence = torch.distributions.MultivariateNormal(torch.zeros_like(X), marginal).log_prob(X)
    for _ in range(3):
        torch.testing.assert_close(bound(hierarchy, guide), evidence, rtol=1e-12, atol=0)


def test_quantiles_are_those_of_the_exact_posterior():
    guide, mean, variance = exact(AutoStructured(hierarchy).setup())
    found = guide.quantiles([0.5, 0.9])
    z = 1.2815515655446004
    torch.testing.assert_close(found["mu"], torch.stack([mean, mean + z * math.sqrt(variance)]))
    middle = (mean + X) / 2
    torch.testing.assert_close(found["z"], torch.stack([middle, middle + z * math.sqrt(0.5 + variance / 4)]))


def test_training_finds_the_dependence():
    guide = fit(hierarchy, AutoStructured(hierarchy), steps=400)
    _, mean, variance = exact(AutoStructured(hierarchy).setup())
    assert abs(guide.loc["mu"].item() - mean) < 0.1 * math.sqrt(variance)
    torch.testing.assert_close(guide.weight["z<mu"].detach(), X.new_full((4, 1, 1), 0.5), rtol=0, atol=0.1)


def test_of_a_subsample_the_same_elements_take_part_in_guide_and_model():
    def model():
        return hierarchy(subsample_size=2)

    guide, mean, _ = exact(AutoStructured(model).setup())
    drawn = trace(guide).get_trace()
    again = trace(pt.handlers.replay(model, drawn)).get_trace()
    assert drawn["z"].value.shape == (2,)
    assert torch.equal(drawn["data"].value, again["data"].value)
    assert torch.equal(again["x"].value, X[drawn["data"].value])
    expected = (mean + X[drawn["data"].value]) / 2 + 0.5 * (drawn["mu"].value - mean)
    torch.testing.assert_close(drawn["z_unconstrained"].distribution.base_dist.loc.squeeze(-1), expected)
    assert drawn["z_unconstrained"].scale == again["z"].scale == 2


def crossed():
    """Sites in each of two crossed plates, in both, in none; with batches and events of their own."""
    one = torch.ones((), dtype=torch.float64)
    pt.sample("free", dist.Normal(0 * one, 1.0).expand((2, 1)).to_event(1))
    rows, columns = pt.plate("rows", 3, dim=-2), pt.plate("columns", 4, dim=-1)
    with rows:
        pt.sample("row", dist.Dirichlet(torch.ones(3, dtype=torch.float64)))
    with columns:
        pt.sample("column", dist.Gamma(one, 1.0).expand((5, 1, 1)))
    with rows, columns:
        pt.sample("cell", dist.Normal(0 * one, 1.0).expand((2,)).to_event(1))


@pytest.mark.parametrize("kind", ["normal", "mvn"])
def test_the_moments_of_draws_are_those_that_the_quantiles_tell(kind):
    guide = AutoStructured(crossed, conditionals=kind).setup()
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    draws = guide.sample_posterior((3000,), generator=0)
    assert {name: tuple(value.shape[1:]) for name, value in draws.items()} == {
        "free": (2, 1), "row": (3, 1, 3), "column": (5, 1, 4), "cell": (3, 4, 2),
    }  # fmt: skip
    at = guide.quantiles([0.5, 0.8413447460685429])
    for name in ("free", "cell"):
        assert_mean(draws[name], at[name][0])
        assert_variance(draws[name], (at[name][1] - at[name][0]).square())
    assert_mean(draws["column"].log(), at["column"][0].log())
    assert_variance(draws["column"].log(), (at["column"][1] / at["column"][0]).log().square())


def test_weights_join_the_same_elements_of_common_plates_and_all_of_others():
    guide = AutoStructured(crossed).setup()
    shapes = {name: tuple(guide.weight[name].shape) for name in ("row<free", "column<row", "cell<row", "cell<column")}
    assert shapes == {
        "row<free": (3, 1, 2, 2),  # two numbers of the simplex, on both of free
        "column<row": (1, 1, 4, 5, 6),  # each of the columns' 5 numbers, on the 3 rows' 2
        "cell<row": (3, 4, 2, 2),
        "cell<column": (3, 4, 2, 5),
    }


def test_a_delta_is_a_function_of_those_before_it():
    guide = AutoStructured(hierarchy, conditionals={"z": "delta"}).setup()
    with torch.no_grad():
        guide.weight["z<mu"].fill_(2.0)
    draws = guide.sample_posterior((10,))
    expected = guide.loc["z"].squeeze(-1) + 2 * (draws["mu"].unsqueeze(-1) - guide.loc["mu"])
    torch.testing.assert_close(draws["z"], expected.detach())
    assert "z" not in guide.raw_scale


def test_dependencies_can_be_chosen():
    guide = AutoStructured(crossed, dependencies={"cell": {"row": "linear"}}).setup()
    assert guide.upstream == {"free": [], "row": [], "column": [], "cell": ["row"]}


def test_what_only_a_subsample_is_seen_of_is_depended_on_inside_its_plate_alone():
    def model():
        with pt.plate("data", 4, subsample_size=2):
            pt.sample("z", dist.Normal(torch.zeros(()), 1.0))
            pt.sample("inside", dist.Normal(torch.zeros(()), 1.0))
        pt.sample("outside", dist.Normal(torch.zeros(()), 1.0))

    assert AutoStructured(model).setup().upstream == {"z": [], "inside": ["z"], "outside": []}
    with pytest.raises(ValueError, match="'outside' cannot depend on 'z', which stands in a subsampled plate"):
        AutoStructured(model, dependencies={"outside": ["z"]}).setup()


def test_a_site_cannot_depend_on_a_later_one():
    with pytest.raises(ValueError, match="site 'mu' cannot depend on 'z', which does not come before it"):
        AutoStructured(hierarchy, dependencies={"mu": ["z"]}).setup()


@pytest.mark.parametrize("option", ["conditionals", "dependencies"])
def test_options_for_a_site_that_is_not_there_are_refused(option):
    value = {"nu": "normal"} if option == "conditionals" else {"nu": []}
    with pytest.raises(ValueError, match=f"{option} of AutoStructured name site 'nu', but the latent sites are mu, z"):
        AutoStructured(hierarchy, **{option: value}).setup()


def test_unknown_options_are_refused():
    with pytest.raises(ValueError, match="conditionals of AutoStructured must be 'normal', 'mvn' or 'delta', not 'no'"):
        AutoStructured(hierarchy, conditionals="no")
    with pytest.raises(ValueError, match="dependencies of AutoStructured must be 'linear' or a mapping"):
        AutoStructured(hierarchy, dependencies="quadratic")
