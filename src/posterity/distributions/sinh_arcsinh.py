"""The sinh-arcsinh distribution: the normal with an asymmetry and tails of a chosen weight."""

import torch
from torch import Tensor
from torch.distributions import constraints

from posterity.distributions.warped_normal import WarpedNormal
from posterity.kernels.elementwise import elementwise


class SinhArcsinh(WarpedNormal):
    r"""The distribution of $loc + scale \sinh(tailweight (\sinh^{-1} Z + skewness))$ for a standard normal $Z$.

    It is the normal distribution where `skewness` is 0 and `tailweight` 1.

    Args:
        loc: The centre.
        scale: The unit of length, positive.
        skewness: Positive values move mass to the right.
        tailweight: Positive; above 1 the tails are heavier than the normal's, below 1 lighter.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, or a value violates its constraint.

    Source: Jones and Pewsey, Sinh-Arcsinh Distributions, 2009, https://doi.org/10.1093/biomet/asp053

    Example:
        >>> d = SinhArcsinh(loc=0.0, scale=1.0, skewness=0.5, tailweight=1.0)
        >>> d.median, d.cdf(0.0)
        (tensor(0.5211), tensor(0.3012))
    """

    arg_constraints = {  # noqa: RUF012  # declared by torch's base
        "loc": constraints.real,
        "scale": constraints.positive,
        "skewness": constraints.real,
        "tailweight": constraints.positive,
    }
    support = constraints.real

    loc: Tensor
    scale: Tensor
    skewness: Tensor
    tailweight: Tensor

    def __init__(
        self,
        loc: Tensor | float,
        scale: Tensor | float,
        skewness: Tensor | float = 0.0,
        tailweight: Tensor | float = 1.0,
        validate_args: bool | None = None,
    ) -> None:
        parameters = {"loc": loc, "scale": scale, "skewness": skewness, "tailweight": tailweight}
        self._initialise(parameters, validate_args=validate_args)

    def _from_normal(self, z: Tensor) -> Tensor:
        return self.loc + self.scale * torch.sinh(self.tailweight * (torch.asinh(z) + self.skewness))

    def _to_normal(self, value: Tensor) -> Tensor:
        return torch.sinh(self._bend((value - self.loc) / self.scale))

    def _log_slope(self, value: Tensor) -> Tensor:
        # Finite, so that the two logarithms do not cancel to NaN at infinity.
        y = ((value - self.loc) / self.scale).nan_to_num(torch.nan)
        bent = self._bend(y).abs()
        log_cosh = bent + torch.log1p(0.5 * torch.expm1(-2 * bent))
        return log_cosh - torch.hypot(y, torch.ones_like(y)).log() - (self.tailweight * self.scale).log()

    def _bend(self, y: Tensor) -> Tensor:
        return _arcsinh(y) / self.tailweight - self.skewness


@elementwise(lambda x, value: torch.hypot(x, torch.ones_like(x)).reciprocal())
def _arcsinh(x: Tensor) -> Tensor:
    """`torch.asinh`, whose own derivative squares its argument and so underflows to 0 far out."""
    return x.asinh()
