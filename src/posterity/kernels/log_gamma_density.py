"""The log density of the gamma distribution, without the cancellation of its large terms."""

import torch
from torch import Tensor

from posterity.kernels.elementwise import elementwise
from posterity.kernels.incomplete_gamma import log_excess, usable_arguments, with_edges
from posterity.kernels.incomplete_gamma_integral import log_density_scale
from posterity.kernels.reading import lies_within, readable, records_gradient

# Up to here the rounding of a log(a), the largest term, keeps the result within 2.5e-6 and 8e-14 of 1 + |result|.
_MODERATE = {torch.float32: 10.0, torch.float64: 50.0}


def log_gamma_density(concentration: Tensor, x: Tensor) -> Tensor:
    r"""$\log(x^{a-1} e^{-x} / \Gamma(a))$, the log density of a Gamma(a, 1).

    Args:
        concentration: a > 0, broadcasts with `x`.
        x: x >= 0.

    Returns:
        The log density, of the broadcast shape; NaN for negative or NaN arguments.

    Raises:
        TypeError: No argument is a tensor, or one is complex.

    Source: Loader (2000), Fast and accurate computation of binomial probabilities: the saddle point form.

    Example:
        >>> log_gamma_density(torch.tensor([1.0, 1e8]), torch.tensor([2.0, 1e8]))
        tensor([ -2.0000, -10.1293])
    """
    if (
        readable(concentration, x)
        and lies_within(concentration, 0.0, _MODERATE[x.dtype])
        and lies_within(x, 0.0, torch.finfo(x.dtype).max)
    ):
        if records_gradient(concentration, x):
            return (concentration - 1) * x.log() - x - concentration.lgamma()
        return torch.sub(concentration, 1).mul(x.log()).sub_(x).sub_(concentration.lgamma())
    return _saddle_point(concentration, x)


@elementwise(
    lambda concentration, x, value: log_excess(concentration, x),
    lambda concentration, x, value: torch.where(concentration == 1, -torch.ones_like(x), (concentration - 1) / x - 1),
)
def _saddle_point(concentration: Tensor, x: Tensor) -> Tensor:
    usable, a, y = usable_arguments(concentration, x)
    inside = log_density_scale(a, y) + a.log() - y.log()
    infinity = torch.full_like(x, float("inf"))
    at_zero = torch.where(concentration < 1, infinity, torch.where(concentration == 1, 0.0, -infinity))
    return with_edges(inside, usable, concentration, x, at_zero, -float("inf"))
