"""The normal guide of low rank."""

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from posterity.bijectors.softplus import softplus
from posterity.distributions import LowRankMultivariateNormal
from posterity.infer.guides.joint import AutoGaussian
from posterity.infer.guides.scales import check_scale, raw_scale
from posterity.infer.initialization import Strategy, init_to_median
from posterity.infer.sources import source_here
from posterity.kernels import normal


class AutoLowRankMultivariateNormal(AutoGaussian):
    r"""One normal distribution over all latent variables whose covariance is a diagonal plus a matrix of low rank.

    The covariance is $D (I + W W^T) D$, with D the diagonal of the scales; its cost is linear in the number of entries.
    W starts at random, with rows of length 1 on average: at zero its gradient would vanish.

    Args:
        model: The model.
        init: Where the mean starts; a strategy of `posterity.infer.initialization`.
        init_scale: About where the standard deviations on unconstrained space start.
        rank: Columns of W; by default the square root of the number of entries, rounded up.

    Attributes:
        loc: The mean on unconstrained space, `[num_entries]`.
        raw_scale: Inverse softplus of D's diagonal, `[num_entries]`.
        factor: W, `[num_entries, rank]`.

    Raises:
        TypeError: `model` or `init` is not callable.
        ValueError: `init_scale` or `rank` is not positive.

    Source: Ong, Nott and Smith (2018), "Gaussian variational approximation with a factor covariance structure".

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     with pt.plate("nine", 9):
        ...         pt.sample("x", pt.distributions.Normal(0.0, 1.0))
        >>> AutoLowRankMultivariateNormal(model).setup().get_posterior().cov_factor.shape
        torch.Size([9, 3])
    """

    def __init__(
        self,
        model: Callable[..., Any],
        *,
        init: Strategy = init_to_median,
        init_scale: float = 0.1,
        rank: int | None = None,
    ) -> None:
        super().__init__(model, init=init)
        self.init_scale = check_scale(type(self).__name__, init_scale)
        if rank is not None and (isinstance(rank, bool) or not isinstance(rank, int) or rank < 1):
            raise ValueError(f"rank of {type(self).__name__} must be a whole number of at least 1, not {rank!r}")
        self.rank = rank

    def get_posterior(self) -> LowRankMultivariateNormal:
        """The distribution of the vector on unconstrained space, with the present parameters."""
        scale = softplus(self.raw_scale)
        return LowRankMultivariateNormal(
            self.loc, cov_factor=scale.unsqueeze(-1) * self.factor, cov_diag=scale.square(), validate_args=False
        )

    def _set_up_vector(self, start: Tensor) -> None:
        rank = math.isqrt(len(start) - 1) + 1 if self.rank is None else self.rank
        noise = normal((len(start), rank), source=source_here(), dtype=start.dtype, device=start.device)
        self.loc = nn.Parameter(start.clone())
        self.raw_scale = nn.Parameter(raw_scale(self.init_scale / math.sqrt(2), start))
        self.factor = nn.Parameter(noise / math.sqrt(rank))
