"""What a likelihood shows of its data."""

import torch

from posterity.networks import DiscretizedLogisticLikelihood


def test_whole_numbers_are_shown_as_medians_which_lie_where_the_density_does():
    likelihood = DiscretizedLogisticLikelihood(17)
    outputs = torch.linspace(-4, 4, 41).unsqueeze(0)
    data = likelihood(outputs)
    shown = likelihood.typical(data)
    assert (shown - 16 * outputs.sigmoid()).abs().max() <= 0.5 + 1e-4
    # Half of the mass lies at or below a median, half at or above it.
    draws = data.sample((20_000,))
    # 82 shares at a false alarm of 1e-6 altogether: 5.7 standard deviations of at most 0.5 / sqrt(20000).
    bound = 0.5 - 5.7 * 0.5 / 20_000**0.5
    assert ((draws <= shown).double().mean(0) >= bound).all()
    assert ((draws >= shown).double().mean(0) >= bound).all()
