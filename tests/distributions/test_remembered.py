"""What is kept of a distribution's parameters is what would be computed anew."""

import copy
import pickle

import pytest
import torch

from posterity.distributions import Beta, Chi2, FisherSnedecor, Gamma, StudentT
from posterity.distributions.remembered import remembered

FAMILIES = {
    Beta: ("concentration1", "concentration0"),
    Chi2: ("df",),
    FisherSnedecor: ("df1", "df2"),
    Gamma: ("concentration", "rate"),
    StudentT: ("df", "loc", "scale"),
}
of_each = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)


def made(family, value, **options):
    return family(**{name: torch.full((3,), value, **options) for name in FAMILIES[family]})


@of_each
def test_densities_follow_what_is_written_to_a_parameter(family):
    d, x = made(family, 2.0), torch.tensor([0.2, 0.5, 0.7])
    d.log_prob(x)
    for name in FAMILIES[family]:
        getattr(d, name).mul_(1.5)
        getattr(d, name)[1] = 4.0
    fresh = family(**{name: getattr(d, name).clone() for name in FAMILIES[family]})
    assert torch.equal(d.log_prob(x), fresh.log_prob(x))


@of_each
def test_densities_follow_a_parameter_that_is_replaced_or_expanded(family):
    d, x = made(family, 2.0), torch.tensor([0.2, 0.5, 0.7])
    before = d.log_prob(x)
    assert torch.equal(d.expand((2, 3)).log_prob(x), before.expand(2, 3))
    for name in FAMILIES[family]:
        setattr(d, name, torch.full((3,), 3.0))
    assert torch.equal(d.log_prob(x), made(family, 3.0).log_prob(x))


@of_each
def test_gradients_are_recorded_after_a_density_without_them(family):
    d, x = made(family, 2.0, requires_grad=True), torch.tensor([0.2, 0.5, 0.7])
    with torch.no_grad():
        plain = d.log_prob(x)
    for _ in range(2):
        value = d.log_prob(x)
        slopes = torch.autograd.grad(value.sum(), [getattr(d, name) for name in FAMILIES[family]])
        torch.testing.assert_close(value, plain)
        assert all(bool((slope != 0).any()) for slope in slopes)


@of_each
def test_what_inference_mode_made_is_not_kept(family):
    d, x = made(family, 2.0), torch.tensor([0.2, 0.5, 0.7], requires_grad=True)
    with torch.inference_mode():
        d.log_prob(x.detach())
        inner = made(family, 2.0)
    for distribution in (d, inner):
        assert not distribution.log_prob(x.detach()).isnan().any()
    (slope,) = torch.autograd.grad(d.log_prob(x).sum(), x)
    assert slope.isfinite().all()


@of_each
def test_copies_and_pickles_hold_the_parameters_alone(family):
    d, x = made(family, 2.0), torch.tensor([0.2, 0.5, 0.7])
    size = len(pickle.dumps(d))
    expected = d.log_prob(x)
    assert len(pickle.dumps(d)) == size
    assert torch.equal(copy.deepcopy(d).log_prob(x), expected)


def test_nothing_is_made_twice_of_the_same_numbers():
    calls = []

    def make(x):
        calls.append(None)
        return x.log()

    owner, x = Gamma(torch.ones(2), torch.ones(2)), torch.ones(2)
    first = remembered(owner, make, x)
    assert remembered(owner, make, x) is first
    x.add_(1.0)
    assert torch.equal(remembered(owner, make, x), x.log())
    remembered(owner, make, x.clone())
    assert len(calls) == 3
    remembered(Gamma(x, x), make, x)
    assert len(calls) == 4
