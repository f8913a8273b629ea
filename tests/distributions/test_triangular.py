"""What is particular about the triangular distribution: its parameters' order and the likelihood with many maxima."""

import pytest
import torch

from posterity.distributions import Triangular


def test_parameters_out_of_order_are_refused():
    with pytest.raises(ValueError, match="high of Triangular must satisfy GreaterThan"):
        Triangular(1.0, 0.0, 0.5)
    with pytest.raises(ValueError, match="peak of Triangular must satisfy Interval"):
        Triangular(0.0, 1.0, 1.5)


@pytest.mark.parametrize("seed", range(3))
def test_no_triangle_of_a_grid_is_more_likely_than_the_fitted_one(seed):
    generator = torch.Generator().manual_seed(seed)
    data = Triangular(torch.tensor(0.0).double(), 1.0, 0.3).sample((40,), generator=generator)
    best = Triangular.fit(data).log_prob(data).mean()
    low = data.min() - torch.linspace(0.001, 0.4, 25).double()
    high = data.max() + torch.linspace(0.001, 0.4, 25).double()
    others = Triangular(low[:, None, None], high[:, None], data)
    assert float(others.log_prob(data[:, None, None, None]).mean(0).max()) <= float(best) + 1e-7


def test_equal_draws_have_no_best_triangle():
    with pytest.raises(ValueError, match=r"data of Triangular.fit must hold two different draws"):
        Triangular.fit(torch.ones(3))
