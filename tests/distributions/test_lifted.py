"""Torch's own distributions, taken into mixtures."""

import pytest
import torch

import posterity.distributions
from posterity.distributions import (
    Categorical,
    Independent,
    Laplace,
    Mixture,
    MixtureSameFamily,
    Normal,
    TransformedDistribution,
)
from posterity.distributions.lifted import Lifted, lift

td = torch.distributions


def test_torchs_classes_become_ours():
    assert type(lift(td.Normal(0.0, 1.0))) is Normal
    assert type(lift(td.Laplace(0.0, 1.0))) is Laplace
    assert type(lift(td.Categorical(torch.ones(2)))) is Categorical
    assert type(lift(td.Independent(td.Normal(torch.zeros(2), 1.0), 1))) is Independent
    composed = lift(td.TransformedDistribution(td.Normal(0.0, 1.0), [td.ExpTransform()]))
    assert type(composed) is TransformedDistribution
    mixed = lift(td.MixtureSameFamily(td.Categorical(torch.ones(2)), td.Normal(torch.zeros(2), 1.0)))
    assert type(mixed) is MixtureSameFamily
    ours = Normal(0.0, 1.0)
    assert lift(ours) is ours
    with pytest.raises(TypeError, match="this is a float"):
        lift(1.0)


def torchs_distributions():
    """One of each of torch's classes that has parameters of its own."""
    scale_tril = torch.tensor([[1.0, 0.0], [0.5, 2.0]])
    one, two = torch.tensor(1.3), torch.tensor(2.7)
    return [
        td.Bernoulli(probs=torch.tensor(1e-12)), td.Beta(one, two), td.Binomial(5, logits=one), td.Cauchy(one, two),
        td.Chi2(two), td.Dirichlet(torch.ones(3)), td.Exponential(two), td.FisherSnedecor(one, two),
        td.Gamma(one, two), td.Geometric(torch.tensor(0.3)), td.Gumbel(one, two), td.HalfCauchy(two),
        td.HalfNormal(two), td.InverseGamma(one, two), td.Kumaraswamy(one, two), td.LogNormal(one, two),
        td.Multinomial(4, torch.ones(3)), td.MultivariateNormal(torch.zeros(2), scale_tril @ scale_tril.mT),
        td.NegativeBinomial(3, logits=one), td.OneHotCategorical(torch.ones(3)), td.Pareto(one, two), td.Poisson(two),
        td.StudentT(two, one, two), td.Uniform(one, two), td.VonMises(one, two), td.Weibull(one, two),
        td.LowRankMultivariateNormal(torch.zeros(2), scale_tril, torch.ones(2)),
        td.ContinuousBernoulli(torch.tensor(0.3)), td.LKJCholesky(3, two), td.Wishart(torch.tensor(4.0), torch.eye(2)),
    ]  # fmt: skip


@pytest.mark.parametrize("theirs", torchs_distributions(), ids=lambda d: type(d).__name__)
def test_a_leaf_of_the_same_name_has_the_same_density(theirs):
    ours = lift(theirs)
    assert type(ours) is getattr(posterity.distributions, type(theirs).__name__, Lifted)
    assert (ours.batch_shape, ours.event_shape) == (theirs.batch_shape, theirs.event_shape)
    x = theirs.sample((4,))
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x), rtol=1e-4, atol=1e-4)


def test_the_parameter_that_was_given_is_taken():
    # Torch clamps what it converts.
    assert float(lift(td.Categorical(probs=torch.tensor([1.0, 0.0]))).prob(torch.tensor(1))) == 0


def test_a_mixture_of_torchs_distributions():
    parts = [td.Gamma(torch.tensor([2.0, 3.0]), 1.0), td.Exponential(torch.tensor([0.5, 2.0]))]
    with pytest.raises(ValueError, match=r"share their support"):
        Mixture([parts[0], Normal(0.0, 1.0)])
    d = Mixture([parts[1], td.Exponential(1.0)])
    x = torch.tensor([0.3, 4.0])
    torch.testing.assert_close(d.cdf(x), (parts[1].cdf(x) + td.Exponential(1.0).cdf(x)) / 2)
    torch.testing.assert_close(d.cdf(d.icdf(0.7)), torch.full((2,), 0.7))
    torch.testing.assert_close(Mixture([parts[1]]).entropy(), parts[1].entropy(), rtol=1e-5, atol=1e-5)
    assert d.sample((4,)).shape == (4, 2)
    stacked = MixtureSameFamily(td.Categorical(torch.ones(2)), td.Gamma(torch.tensor([2.0, 4.0]), 1.0))
    assert float(stacked.mean) == 3


def test_what_torch_lacks_is_refused_by_name():
    # A user's own class is not torch's: its overrides are kept.
    class Heavy(td.StudentT):
        pass

    d = lift(Heavy(3.0))
    assert isinstance(d, Lifted)
    with pytest.raises(NotImplementedError, match=r"torch.distributions.Heavy has no cdf"):
        d.cdf(torch.tensor(0.0))
    with pytest.raises(NotImplementedError, match=r"sampler of torch.distributions.Heavy takes no generator"):
        d.sample(generator=torch.Generator())
