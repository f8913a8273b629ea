"""What the number of trials and a temperature may be."""

import pytest
import torch

from posterity.distributions import Multinomial, RelaxedOneHotCategorical


@pytest.mark.parametrize(
    ("family", "name"), [(Multinomial, "total_count"), (RelaxedOneHotCategorical, "temperature")], ids=["count", "heat"]
)
def test_a_parameter_beside_the_weights_is_a_number_or_a_real_tensor_of_their_device(family, name):
    probs = torch.full((2,), 0.5)
    for bad in ("1", None, 1j, torch.ones((), dtype=torch.complex64)):
        with pytest.raises(TypeError, match=f"{name} of {family.__name__} must be a number or a real tensor, not"):
            family(**{name: bad}, probs=probs)
    with pytest.raises(ValueError, match=f"must live on one device, but {name} is on meta"):
        family(**{name: torch.ones((), device="meta")}, probs=probs)
