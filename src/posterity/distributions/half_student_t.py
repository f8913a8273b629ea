"""The half Student's t-distribution: absolute values of t, a weakly informative prior of scales."""

import math

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.power_landmarks import power_landmarks
from posterity.distributions.student_t import log_t_density, standard_t, t_entropy, t_start
from posterity.kernels import (
    Source,
    betainc,
    betaincc,
    betaincinv,
    log_betainc,
    log_betaincc,
    student_t_cdf,
    student_t_icdf,
    student_t_log_cdf,
)
from posterity.kernels.incomplete_beta import widened


class HalfStudentT(Distribution):
    r"""The distribution of $scale\,|T|$ for T from Student's t-distribution.

    Args:
        df: Degrees of freedom, positive; any shape that broadcasts against `scale`.
        scale: Positive.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, or a value violates its constraint.

    Source: Psarakis and Panaretos (1990), The folded t distribution; Gelman (2006), Prior distributions for variance
    parameters in hierarchical models.

    Example:
        >>> d = HalfStudentT(3.0, 2.0)
        >>> d.mean, d.survival_function(1e6)
        (tensor(2.2053), tensor(1.7643e-17))
    """

    arg_constraints = {"df": constraints.positive, "scale": constraints.positive}  # noqa: RUF012  # declared by torch's base
    support = constraints.nonnegative
    has_rsample = True

    df: Tensor
    scale: Tensor

    def __init__(self, df: Tensor | float, scale: Tensor | float = 1.0, validate_args: bool | None = None) -> None:
        self._initialise({"df": df, "scale": scale}, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value, support=True)
        return self._inside_only(value, log_t_density(self.df, value / self.scale) + math.log(2) - self.scale.log())

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value); 0 below the support."""
        half, u, complement, dtype = self._squared(value)
        return betainc(torch.full_like(half, 0.5), half, u, complement).to(dtype)

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value)."""
        half, u, complement, dtype = self._squared(value)
        return log_betainc(torch.full_like(half, 0.5), half, u, complement).to(dtype)

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value); 1 below the support."""
        half, u, complement, dtype = self._squared(value)
        near = betaincc(torch.full_like(half, 0.5), half, u, complement).to(dtype)
        return torch.where(u < 0.5, near, 2 * student_t_cdf(self.df, -self._standardised(value)))

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value), finite where the probability itself underflows; 0 below the support."""
        half, u, complement, dtype = self._squared(value)
        near = log_betaincc(torch.full_like(half, 0.5), half, u, complement).to(dtype)
        far = student_t_log_cdf(self.df, -self._standardised(value)) + math.log(2)
        return torch.where(u < 0.5, near, far)

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which lies the probability `value` in [0, 1]."""
        level = self._checked_level(value)
        df, p = torch.broadcast_tensors(widened(self.df), widened(level))
        low = p < 0.25
        # Near 0 the level does not survive the sum 1 + p.
        u = betaincinv(torch.full_like(df, 0.5), 0.5 * df, torch.where(low, p, 0.1))
        near = (df * u / (1 - u)).sqrt()
        far = -student_t_icdf(df, 0.5 - 0.5 * torch.where(low, 0.5, p))
        z = torch.where(p == 0, 0, torch.where(low, near, far)).to(self.scale.dtype)
        return self.scale * z

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Absolute values of draws from Student's t, of shape `sample_shape + batch_shape`; finite."""
        draws = self.scale * standard_t(0.5 * self.df, self._extended_shape(sample_shape), generator).abs()
        return draws.clamp(max=torch.finfo(draws.dtype).max)

    @property
    def mean(self) -> Tensor:
        """`2 * scale * sqrt(df) / ((df - 1) * B(df / 2, 1 / 2))`, infinite for `df` up to 1."""
        return 2 * self.scale * self._height() * (self.df / (self.df - 1).clamp(min=0))

    @property
    def variance(self) -> Tensor:
        """Infinite for `df` up to 2."""
        df = self.df
        # The second moment, less the mean's square, over df / (df - 1).
        mean = 2 * self._height() * (df / (df - 1).clamp(min=torch.finfo(df.dtype).eps))
        finite = df / (df - 2).clamp(min=torch.finfo(df.dtype).eps) - mean.square()
        return torch.where(df > 2, self.scale.square() * finite, torch.inf)

    @property
    def mode(self) -> Tensor:
        """0."""
        return torch.zeros_like(self.scale)

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`."""
        return t_entropy(self.df) + self.scale.log() - math.log(2)

    @classmethod
    def _fit_start(cls, data: Tensor, weights: Tensor) -> dict[str, Tensor]:
        if not torch._is_all_true((weights * data).sum(0) != 0):
            raise ValueError("data of HalfStudentT.fit must not be all 0: the likelihood has no maximum then.")
        start = t_start(data, weights, torch.zeros_like((weights * data).sum(0)))
        return {name: start[name] for name in ("df", "scale")}

    def _landmarks(self) -> Tensor:
        return power_landmarks(self)

    def _height(self) -> Tensor:
        """The density of the standard t-distribution at 0."""
        return log_t_density(self.df, torch.zeros_like(self.df)).exp()

    def _standardised(self, value: Tensor) -> Tensor:
        return (self._checked_value(value) / self.scale).clamp(min=0)

    def _squared(self, value: Tensor) -> tuple[Tensor, Tensor, Tensor, torch.dtype]:
        """Half of df, the beta variable and its complement, in double precision, and the dtype asked."""
        z = self._standardised(value)
        df, wide = torch.broadcast_tensors(widened(self.df), widened(z))
        # Numbers whose square would underflow or overflow stand for themselves no more.
        square = wide.clamp(1e-150, 1e150).square() / df
        u = torch.where(wide > 0, square / (1 + square), 0)
        return 0.5 * df, u, 1 / (1 + square), z.dtype
