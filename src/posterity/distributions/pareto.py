"""The Pareto distribution: a power law above a threshold."""

from typing import Self

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.constant_data import refuse_constant
from posterity.distributions.cumulative_hazard import CumulativeHazard
from posterity.distributions.fitting import fit_data
from posterity.distributions.kl import register_kl
from posterity.distributions.power_landmarks import power_landmarks
from posterity.distributions.tail_noise import exponential_noise
from posterity.kernels import Source
from posterity.kernels.elementwise import in_blocks
from posterity.kernels.logarithms import log_growth
from posterity.kernels.tracing import expm1


class Pareto(CumulativeHazard):
    r"""The Pareto distribution, with density $\alpha\, scale^\alpha / x^{\alpha + 1}$ on $x \ge scale$.

    Args:
        scale: Lower end of the support, positive; any shape that broadcasts against `alpha`.
        alpha: Power of the tail, positive.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, or a value violates its constraint.

    Source: Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions, volume 1, chapter 20.

    Example:
        >>> d = Pareto(2.0, 3.0)
        >>> d.mean, d.survival_function(2e6)
        (tensor(3.), tensor(1.0000e-18))
    """

    arg_constraints = {"scale": constraints.positive, "alpha": constraints.positive}  # noqa: RUF012  # declared by torch's base
    has_rsample = True

    scale: Tensor
    alpha: Tensor

    def __init__(self, scale: Tensor | float, alpha: Tensor | float, validate_args: bool | None = None) -> None:
        self._initialise({"scale": scale, "alpha": alpha}, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> constraints.Constraint:
        """From `scale` on."""
        return constraints.greater_than_eq(self.scale)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value, support=True)
        return self._inside_only(value, in_blocks(_log_density, value, self.scale, self.alpha))

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which lies the probability `value` in [0, 1]."""
        return self.scale * (-torch.log1p(-self._checked_level(value)) / self.alpha).exp()

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws `scale * exp(noise / alpha)` of exponential noise, of shape `sample_shape + batch_shape`; finite."""
        draws = self.scale * (exponential_noise(self, sample_shape, generator) / self.alpha).exp()
        return draws.clamp(max=torch.finfo(draws.dtype).max)

    @property
    def mean(self) -> Tensor:
        """`alpha * scale / (alpha - 1)`, infinite for `alpha` up to 1."""
        return self.alpha * self.scale / (self.alpha - 1).clamp(min=0)

    @property
    def variance(self) -> Tensor:
        """Infinite for `alpha` up to 2."""
        return (self.scale / (self.alpha - 1)).square() * self.alpha / (self.alpha - 2).clamp(min=0)

    @property
    def mode(self) -> Tensor:
        """`scale`."""
        return self.scale

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`."""
        return self.scale.log() - self.alpha.log() + 1 + 1 / self.alpha

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """Maximum likelihood: the least of the data, and one over the mean log ratio to it.

        Args:
            data: Independent draws along dimension 0, `[num_data, *batch_shape]`.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.

        Raises:
            ValueError: A draw is not positive, or the draws of one batch element are all equal: the likelihood then
                has no maximum.

        Example:
            >>> d = Pareto.fit(torch.tensor([1.0, 2.0, 4.0]))
            >>> d.scale, d.alpha
            (tensor(1.), tensor(1.4427))
        """
        data, weights = fit_data("Pareto", data, weights)
        cls(data.new_ones(()), 1.0)._check_values("data", data, constraints.positive)
        refuse_constant("Pareto", data, weights)
        scale = torch.where(weights > 0, data, torch.inf).amin(0)
        mean_log = (weights * log_growth(torch.where(weights > 0, data, scale), scale)).sum(0)
        return cls(scale, 1 / mean_log)

    def _landmarks(self) -> Tensor:
        return power_landmarks(self)

    def _hazard(self, value: Tensor) -> Tensor:
        value = torch.maximum(self._checked_value(value), self.scale)
        return self.alpha * log_growth(value, self.scale)


def _log_density(value: Tensor, scale: Tensor, alpha: Tensor) -> Tensor:
    return alpha.log() - value.log() - alpha * log_growth(value, scale)


@register_kl(Pareto, Pareto)
def _kl_pareto_pareto(p: Pareto, q: Pareto) -> Tensor:
    log_ratio = (q.alpha / p.alpha).log()
    divergence = expm1(log_ratio) - log_ratio + q.alpha * (p.scale.log() - q.scale.log())
    return torch.where(p.scale < q.scale, torch.inf, divergence)
