"""What is particular to the random walk: its number of steps."""

import pytest
import torch

from posterity.distributions import GaussianRandomWalk, MultivariateNormal


def test_it_is_a_normal_vector_with_the_covariance_of_a_walk():
    d = GaussianRandomWalk(torch.tensor([0.3, 2.0], dtype=torch.float64), 4)
    flat = MultivariateNormal(d.mean, d.covariance_matrix)
    x = torch.randn(5, 1, 4, dtype=torch.float64)
    torch.testing.assert_close(d.log_prob(x), flat.log_prob(x))
    torch.testing.assert_close(d.entropy(), flat.entropy())
    torch.testing.assert_close(d.variance, flat.variance)
    other = GaussianRandomWalk(torch.tensor(1.0, dtype=torch.float64), 4)
    dense = MultivariateNormal(other.mean, other.covariance_matrix)
    torch.testing.assert_close(d.kl_divergence(other), flat.kl_divergence(dense))


@pytest.mark.parametrize("num_steps", [0, 2.0])
def test_a_number_of_steps_that_is_none_is_refused(num_steps):
    with pytest.raises(ValueError, match="num_steps of GaussianRandomWalk must be a positive integer, but is"):
        GaussianRandomWalk(1.0, num_steps)
