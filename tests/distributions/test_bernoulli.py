"""What is particular about the Bernoulli and geometric distributions: certain events, many elements, exact draws."""

import pytest
import torch
from scipy import stats

from posterity.distributions import Bernoulli, Geometric, RelaxedBernoulli
from tests.statistical import FALSE_ALARM

NAMES = ("cdf", "log_cdf", "survival_function", "log_survival_function")


@pytest.mark.parametrize("name", NAMES)
def test_tails_of_a_number_that_is_none_are_none(name):
    d = Bernoulli(probs=torch.tensor(0.3), validate_args=False)
    tails = getattr(d, name)(torch.tensor([-1.0, 0.0, 1.0, torch.nan]))
    assert tails.isnan().tolist() == [False, False, False, True]


@pytest.mark.parametrize("family", [Bernoulli, Geometric])
@pytest.mark.parametrize("given", ["probs", "logits"])
def test_many_elements_have_the_density_of_few(family, given):
    generator = torch.Generator().manual_seed(0)
    probs = torch.rand(150_001, generator=generator).clamp(1e-6, 1 - 1e-6)
    parameter = probs if given == "probs" else probs.logit()
    value = (torch.rand(150_001, generator=generator) < probs).float()
    many = family(**{given: parameter}).log_prob(value)
    few = [family(**{given: p}).log_prob(v) for p, v in zip(parameter.split(9_999), value.split(9_999), strict=True)]
    # Vectorised loops end differently: a rounding or two.
    torch.testing.assert_close(many, torch.cat(few), rtol=4e-7, atol=0)


@pytest.mark.parametrize("given", [{"probs": [0.0, 1.0, 0.5]}, {"logits": [-torch.inf, torch.inf, 0.0]}])
def test_certain_events_have_a_density(given):
    parameters = {name: torch.tensor(v) for name, v in given.items()}
    half = -0.6931472
    d = Bernoulli(**parameters, validate_args=False)
    assert d.log_prob(torch.tensor([0.0, 1.0, 1.0])).tolist() == pytest.approx([0, 0, half])
    assert d.log_prob(torch.tensor([1.0, 0.0, 0.0])).tolist() == pytest.approx([-torch.inf, -torch.inf, half])


@pytest.mark.parametrize("given", [{"probs": 0.3}, {"logits": -0.8472979}])
def test_the_density_is_linear_in_a_value_that_has_a_gradient(given):
    value = torch.tensor([0.0, 1.0], requires_grad=True)
    Bernoulli(**{name: torch.tensor(v) for name, v in given.items()}).log_prob(value).sum().backward()
    # The log odds.
    assert value.grad.tolist() == pytest.approx([-0.8472979] * 2, rel=1e-6)


@pytest.mark.parametrize("shape", [(), (1,), (3,)])
def test_draws_have_no_gradient_and_the_parameters_shape(shape):
    probs = torch.full(shape, 0.3, requires_grad=True)
    for family in (Bernoulli, Geometric):
        draws = family(probs=probs).sample((5,), generator=torch.Generator().manual_seed(0))
        assert draws.shape == (5, *shape)
        assert not draws.requires_grad
        assert draws.dtype == probs.dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("probs", [0.01, 0.4, 0.99])
def test_frequencies_are_probabilities(probs, dtype):
    draws = Bernoulli(probs=torch.tensor(probs, dtype=dtype)).sample(
        (100_000,), generator=torch.Generator().manual_seed(2)
    )
    assert draws.dtype == dtype
    assert set(draws.unique().tolist()) == {0.0, 1.0}
    assert stats.binomtest(int(draws.sum()), draws.numel(), probs).pvalue > FALSE_ALARM


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_relaxed_density_at_the_ends_does_not_depend_on_whether_gradients_are_recorded(temperature):
    x = torch.tensor([0.0, 1.0, 1e-30, 0.5])
    recorded = RelaxedBernoulli(torch.tensor(temperature, requires_grad=True), probs=0.3).log_prob(x)
    plain = RelaxedBernoulli(torch.tensor(temperature), probs=0.3).log_prob(x)
    torch.testing.assert_close(plain, recorded.detach(), rtol=2e-6, atol=2e-6)
    # At an end the density has the power temperature - 1 of the distance.
    assert bool(plain[:2].isfinite().all()) == (temperature == 1.0)
