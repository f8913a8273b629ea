"""The log density of the gamma distribution, without the cancellation of its large terms."""

import torch
from torch import Tensor

from posterity.kernels.elementwise import elementwise
from posterity.kernels.incomplete_gamma import log_excess, usable_arguments, with_edges
from posterity.kernels.incomplete_gamma_integral import log_density_scale


@elementwise(
    lambda concentration, x, value: log_excess(concentration, x),
    lambda concentration, x, value: torch.where(concentration == 1, -torch.ones_like(x), (concentration - 1) / x - 1),
)
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
    usable, a, y = usable_arguments(concentration, x)
    inside = log_density_scale(a, y) + a.log() - y.log()
    infinity = torch.full_like(x, float("inf"))
    at_zero = torch.where(concentration < 1, infinity, torch.where(concentration == 1, 0.0, -infinity))
    return with_edges(inside, usable, concentration, x, at_zero, -float("inf"))
