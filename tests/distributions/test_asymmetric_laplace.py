"""What is particular about fitting the asymmetric Laplace distribution: data whose likelihood has no maximum."""

import pytest
import torch

from posterity.distributions import AsymmetricLaplace


def test_data_that_pile_up_at_an_end_are_refused():
    with pytest.raises(ValueError, match=r"data of AsymmetricLaplace.fit have no maximum of the likelihood"):
        AsymmetricLaplace.fit(torch.tensor([0.0, 0.0, 0.1, 1.0, 3.0]))
