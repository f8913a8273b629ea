"""The full-rank normal guide."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from posterity.bijectors import Bijector, ScaleMatvecTriL, Shift
from posterity.bijectors.softplus import softplus
from posterity.distributions import MultivariateNormal, Normal, TransformedDistribution
from posterity.infer.guides.joint import AutoGaussian
from posterity.infer.guides.latent import Latent
from posterity.infer.guides.scales import check_scale, inverse_softplus, raw_scale
from posterity.infer.initialization import Strategy, init_to_median


class AutoMultivariateNormal(AutoGaussian):
    r"""One normal distribution with any covariance over all latent variables, on unconstrained space.

    The Cholesky factor of the covariance is $D (I + L)$, with D the diagonal of the scales and L strictly lower
    triangular, so that each row of L is learnt in units of its own scale.

    Args:
        model: The model.
        init: Where the mean starts; a strategy of `posterity.infer.initialization`.
        init_scale: Where the standard deviations on unconstrained space start; correlations start at zero.

    Attributes:
        loc: The mean on unconstrained space, `[num_entries]`.
        raw_scale: Inverse softplus of D's diagonal, `[num_entries]`.
        raw_tril: L, `[num_entries, num_entries]`; only what lies below the diagonal counts.

    Raises:
        TypeError: `model` or `init` is not callable.
        ValueError: `init_scale` is not positive.

    Source: Kucukelbir et al. (2017), "Automatic Differentiation Variational Inference", section 2.4.

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     with pt.plate("two", 2):
        ...         pt.sample("x", pt.distributions.Normal(0.0, 1.0))
        >>> AutoMultivariateNormal(model, init_scale=0.5).setup().get_posterior().covariance_matrix
        tensor([[0.2500, 0.0000],
                [0.0000, 0.2500]], grad_fn=...)
    """

    def __init__(self, model: Callable[..., Any], *, init: Strategy = init_to_median, init_scale: float = 0.1) -> None:
        super().__init__(model, init=init)
        self.init_scale = check_scale(type(self).__name__, init_scale)

    def get_posterior(self) -> MultivariateNormal:
        """The distribution of the vector on unconstrained space, with the present parameters."""
        return MultivariateNormal(self.loc, scale_tril=self._factor(), validate_args=False)

    @classmethod
    def of_factor(
        cls, model: Callable[..., Any], latents: dict[str, Latent], loc: Tensor, scale_tril: Tensor
    ) -> "AutoMultivariateNormal":
        """The guide, set up, of a known mean and Cholesky factor of the covariance.

        Args:
            model: The model.
            latents: Those of a guide of the same model that is set up.
            loc: `[num_entries]`.
            scale_tril: `[num_entries, num_entries]`.
        """
        guide = cls(model)
        guide._set_up_vector(loc)
        scale = scale_tril.diagonal()
        with torch.no_grad():
            guide.raw_scale.copy_(inverse_softplus(scale))
            guide.raw_tril.copy_((scale_tril / scale.unsqueeze(-1)).tril(-1))
        guide.latents = dict(latents)
        return guide

    def _drawn_from(self) -> TransformedDistribution:
        """Noise through an affine map that remembers it, so that a draw's density takes no triangular solve."""
        noise = Normal(self.loc.new_zeros(()), 1.0, validate_args=False).expand(self.loc.shape).to_event(1)
        affine: list[Bijector] = [ScaleMatvecTriL(self._factor()), Shift(self.loc)]
        return TransformedDistribution(noise, [part.with_cache() for part in affine], validate_args=False)

    def _factor(self) -> Tensor:
        """The Cholesky factor of the covariance."""
        scale = softplus(self.raw_scale)
        return scale.unsqueeze(-1) * self.raw_tril.tril(-1) + scale.diag_embed()

    def _set_up_vector(self, start: Tensor) -> None:
        self.loc = nn.Parameter(start.clone())
        self.raw_scale = nn.Parameter(raw_scale(self.init_scale, start))
        self.raw_tril = nn.Parameter(start.new_zeros(len(start), len(start)))
