"""The cdf of a continuous distribution as a map from its support onto the unit interval."""

from typing import Any, cast

import torch
from torch import Tensor
from torch.distributions import constraints

from posterity.bijectors import Bijector
from posterity.distributions.base import Distribution
from posterity.distributions.bounded import scalar_base
from posterity.distributions.gumbel import Gumbel
from posterity.distributions.kumaraswamy import Kumaraswamy
from posterity.distributions.normal import Normal
from posterity.distributions.weibull import Weibull


class CDFBijector(Bijector):
    """y = P(X <= x), from the support of X onto the unit interval; its inverse is the quantile function.

    The log-det is the log density. Images stay strictly inside the interval: those that round to an end are the
    nearest number within, as with `posterity.bijectors.Sigmoid`.

    Args:
        distribution: A continuous scalar distribution, of this library or of torch's.

    Raises:
        TypeError: `distribution` is no distribution.
        ValueError: It is discrete, or its events are not scalar.

    Example:
        >>> b = CDFBijector(Normal(0.0, 1.0))
        >>> b(torch.tensor(1.0)), b.inverse(torch.tensor(0.5)), b.forward_log_det_jacobian(torch.tensor(0.0))
        (tensor(0.8413), tensor(0.), tensor(-0.9189))
    """

    codomain = constraints.unit_interval
    _increasing = 1

    def __init__(self, distribution: torch.distributions.Distribution) -> None:
        super().__init__()
        self.distribution: Distribution = scalar_base(type(self).__name__, distribution)
        if self.distribution._is_discrete():
            raise ValueError(
                f"distribution of {type(self).__name__} must be continuous, but is {distribution!r}: the cdf of a "
                "discrete one has no inverse."
            )
        self.domain = cast(constraints.Constraint, self.distribution.support)

    @property
    def batch_shape(self) -> torch.Size:
        """The batch shape of the distribution."""
        return self.distribution.batch_shape

    def _forward(self, x: Tensor) -> Tensor:
        return _inside(self.distribution.cdf(x))

    def _inverse(self, y: Tensor) -> Tensor:
        return self.distribution.icdf(_inside(y))

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return self.distribution.log_prob(x)

    def _identity(self) -> dict[str, Any]:
        names = [name for name in self.distribution.arg_constraints if name in self.distribution.__dict__]
        if not names:
            return {"distribution": self.distribution}
        shown = {name: getattr(self.distribution, name) for name in names}
        return shown if type(self) is not CDFBijector else {"distribution": type(self.distribution), **shown}


class NormalCDF(CDFBijector):
    """The normal cdf, from the line onto the unit interval: the probit link's inverse.

    Args:
        loc: Mean.
        scale: Standard deviation, positive.

    Example:
        >>> NormalCDF(0.0, 1.0).inverse(torch.tensor(0.975))
        tensor(1.9600)
    """

    def __init__(self, loc: Tensor | float, scale: Tensor | float) -> None:
        super().__init__(Normal(loc, scale))


class GumbelCDF(CDFBijector):
    """The Gumbel cdf, exp(-exp(-z)) where z = (x - loc) / scale, from the line onto the unit interval.

    Args:
        loc: Mode.
        scale: Positive.

    Example:
        >>> GumbelCDF(0.0, 1.0)(torch.tensor(0.0))
        tensor(0.3679)
    """

    def __init__(self, loc: Tensor | float, scale: Tensor | float) -> None:
        super().__init__(Gumbel(loc, scale))


class WeibullCDF(CDFBijector):
    """The Weibull cdf, 1 - exp(-(x / scale) ** concentration), from the positive half line onto the unit interval.

    Args:
        scale: Positive.
        concentration: Positive.

    Example:
        >>> WeibullCDF(1.0, 2.0)(torch.tensor(1.0))
        tensor(0.6321)
    """

    def __init__(self, scale: Tensor | float, concentration: Tensor | float) -> None:
        super().__init__(Weibull(scale, concentration))


class KumaraswamyCDF(CDFBijector):
    """The Kumaraswamy cdf, 1 - (1 - x ** concentration1) ** concentration0, from the unit interval onto itself.

    Args:
        concentration1: Positive; the exponent at 0.
        concentration0: Positive; the exponent at 1.

    Example:
        >>> KumaraswamyCDF(2.0, 1.0)(torch.tensor(0.5))
        tensor(0.2500)
    """

    def __init__(self, concentration1: Tensor | float, concentration0: Tensor | float) -> None:
        super().__init__(Kumaraswamy(concentration1, concentration0))


def _inside(y: Tensor) -> Tensor:
    info = torch.finfo(y.dtype)
    return y.clamp(info.tiny, 1 - info.eps / 2)
