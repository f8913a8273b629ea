"""The chi-squared distribution: sums of squares of standard normal variables."""

from typing import Self

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.gamma import Gamma, ModerateTerms, _kl_gamma_gamma, moderate_terms
from posterity.distributions.kl import register_kl
from posterity.distributions.location_scale import is_spare
from posterity.distributions.remembered import remembered
from posterity.kernels import Source
from posterity.kernels.samplers import standard_gamma


class Chi2(Gamma, torch.distributions.Chi2):
    r"""The chi-squared distribution with density $x^{df/2-1} e^{-x/2} / (2^{df/2} \Gamma(df/2))$: Gamma(df / 2, 1/2).

    Args:
        df: Degrees of freedom, positive.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: `df` is neither a number nor a real tensor.
        ValueError: It is not positive.

    Source: Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions, volume 1, chapter 18.

    Example:
        >>> d = Chi2(3.0)
        >>> d.mean, d.survival_function(100.0)
        (tensor(3.), tensor(1.5542e-21))
    """

    # A plain attribute, in front of torch's read-only property.
    df: Tensor = None  # type: ignore[assignment]

    def __init__(self, df: Tensor | float, validate_args: bool | None = None) -> None:
        self._initialise({"df": df}, validate_args=validate_args)

    @property
    def concentration(self) -> Tensor:  # type: ignore[override]
        """`df / 2`."""
        return remembered(self, _half, self.df)

    @property
    def rate(self) -> Tensor:  # type: ignore[override]
        """One half."""
        return remembered(self, _one_half, self.df)

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Twice a gamma draw, with the gradient of its quantile, of shape `sample_shape + batch_shape`; finite."""
        half = standard_gamma(self.concentration, tuple(sample_shape), source=generator)
        info = torch.finfo(half.dtype)
        # A sum, because torch takes longer for a product with a number.
        return half.add_(half).clamp_(info.tiny, info.max) if is_spare() else (half + half).clamp(info.tiny, info.max)

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """Maximum likelihood, by the search of `Distribution.fit`, whose arguments and errors it has.

        Raises:
            ValueError: A draw is not positive: under few degrees of freedom the density is infinite at 0.

        Example:
            >>> Chi2.fit(torch.tensor([1.0, 2.0, 3.0])).df
            tensor(2.7338)
        """
        return super(Gamma, cls).fit(data, weights)

    @classmethod
    def _fit_start(cls, data: Tensor, weights: Tensor) -> dict[str, Tensor]:
        cls(data.new_ones(()))._check_values("data", data, constraints.positive)
        return {"df": (weights * data).sum(0).abs().clamp(min=1e-3)}

    def _moderate_terms(self) -> ModerateTerms | None:
        return remembered(self, _terms, self.df)


def _terms(df: Tensor) -> ModerateTerms | None:
    return moderate_terms(_half(df), _one_half(df))


def _half(df: Tensor) -> Tensor:
    return 0.5 * df


def _one_half(df: Tensor) -> Tensor:
    return torch.full_like(df, 0.5)


register_kl(Chi2, Chi2)(_kl_gamma_gamma)
register_kl(Chi2, Gamma)(_kl_gamma_gamma)
register_kl(Gamma, Chi2)(_kl_gamma_gamma)
