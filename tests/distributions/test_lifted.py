"""Torch's own distributions, taken into mixtures."""

import pytest
import torch

from posterity.distributions import Categorical, Independent, Laplace, Mixture, MixtureSameFamily, Normal
from posterity.distributions.lifted import Lifted, lift

td = torch.distributions


def test_torchs_classes_become_ours():
    assert type(lift(td.Normal(0.0, 1.0))) is Normal
    assert type(lift(td.Laplace(0.0, 1.0))) is Laplace
    assert type(lift(td.Categorical(torch.ones(2)))) is Categorical
    assert type(lift(td.Independent(td.Normal(torch.zeros(2), 1.0), 1))) is Independent
    ours = Normal(0.0, 1.0)
    assert lift(ours) is ours
    with pytest.raises(TypeError, match="this is a float"):
        lift(1.0)


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
    d = lift(td.StudentT(3.0))
    assert isinstance(d, Lifted)
    with pytest.raises(NotImplementedError, match=r"torch.distributions.StudentT has no cdf"):
        d.cdf(torch.tensor(0.0))
    with pytest.raises(NotImplementedError, match=r"sampler of torch.distributions.StudentT takes no generator"):
        d.sample(generator=torch.Generator())
