"""The mode of a scalar distribution, searched for where it has no closed form."""

import torch
from torch import Tensor

from posterity.distributions.base import Distribution
from posterity.distributions.masses import mass_table

_SECTIONS = 60


def search_mode(d: Distribution) -> Tensor:
    """Where the density or mass is greatest, of shape `batch_shape`.

    Of a discrete distribution the first of the most probable values. Of a continuous one the best of its landmarks,
    refined between the two beside it by golden sections, to the root of the dtype's precision; a peak narrower than
    the gap between landmarks can be missed.

    Source: Kiefer, Sequential Minimax Search for a Maximum, 1953, https://doi.org/10.1090/S0002-9939-1953-0055639-3
    """
    with torch.no_grad():
        if d._is_discrete():
            values, masses = mass_table(d)
            rank = len(d.event_shape)
            best = masses.argmax(0, keepdim=True)
            index = best.reshape(best.shape + (1,) * rank).expand(1, *d.batch_shape, *d.event_shape)
            return values.gather(0, index).squeeze(0)
        points = d._landmarks().sort(0).values
        best = d.log_prob(points).argmax(0, keepdim=True)
        start = points.gather(0, best).squeeze(0)
        left = points.gather(0, (best - 1).clamp(min=0)).squeeze(0)
        right = points.gather(0, (best + 1).clamp(max=len(points) - 1)).squeeze(0)
        ratio = (5**0.5 - 1) / 2
        for _ in range(_SECTIONS):
            a, b = right - ratio * (right - left), left + ratio * (right - left)
            lower_is_better = d.log_prob(a) > d.log_prob(b)
            left, right = torch.where(lower_is_better, left, a), torch.where(lower_is_better, b, right)
        found = left.lerp(right, 0.5)
        return torch.where(d.log_prob(found) > d.log_prob(start), found, start)
