"""Independent normal numbers broken into shares of a stick: a distribution over probabilities."""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn import functional as F
from torch.types import _size

from posterity.bijectors import StickBreaking
from posterity.distributions.base import Distribution
from posterity.distributions.expectation import expectation
from posterity.distributions.fitting import fit_data
from posterity.distributions.kl import register_kl
from posterity.distributions.normal import Normal
from posterity.distributions.parameters import broadcast_parameters
from posterity.kernels import Source, normal


class LogisticNormal(Distribution):
    r"""The law of a stick of length 1 broken at logistic shares of independent normal numbers, over K = n + 1 pieces.

    Piece i takes the share $z_i = 1 / (1 + e^{-(x_i - \log(K - i))})$ of what the pieces before it have left, with
    $x_i$ normal, and the last piece is the rest: torch's convention, in which `loc` = 0 is centred. The density is that
    of the first n entries.

    Args:
        loc: Means of the normal numbers, `[*batch_shape, n]`; a number is one break.
        scale: Their standard deviations, positive; broadcasts against `loc`.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, or a value violates its constraint.

    Source: Aitchison and Shen, Logistic-Normal Distributions: Some Properties and Uses, 1980, with the
    stick-breaking map in place of theirs.

    Example:
        >>> d = LogisticNormal(torch.zeros(2), torch.ones(2))
        >>> d.log_prob(torch.full((3,), 1 / 3)), d.mean
        (tensor(1.4580), tensor([0.3602, 0.3199, 0.3199]))
    """

    arg_constraints = {  # noqa: RUF012  # declared by torch's base
        "loc": constraints.real_vector,
        "scale": constraints.independent(constraints.positive, 1),
    }
    support = constraints.simplex
    has_rsample = True

    loc: Tensor
    scale: Tensor

    def __init__(self, loc: Tensor | float, scale: Tensor | float, validate_args: bool | None = None) -> None:
        loc, scale = broadcast_parameters("LogisticNormal", loc=loc, scale=scale)
        if not loc.dim():
            loc, scale = loc.unsqueeze(-1), scale.unsqueeze(-1)
        shape = (loc.shape[-1] + 1,)
        self._initialise({"loc": loc, "scale": scale}, event_shape=shape, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value, support=True)
        breaks = StickBreaking()
        entries = self._entries().log_prob(breaks.inverse(value)).sum(-1)
        log_det: Tensor = breaks.inverse_log_det_jacobian(value)
        return entries + log_det

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws of shape `sample_shape + batch_shape + [n + 1]`, positive."""
        shape = (*sample_shape, *self.loc.shape)
        noise = normal(shape, source=generator, dtype=self.loc.dtype, device=self.loc.device)
        pieces: Tensor = StickBreaking().forward(self.loc + self.scale * noise)
        return pieces.clamp(min=torch.finfo(pieces.dtype).tiny)

    @property
    def mean(self) -> Tensor:
        """Mean, of shape `batch_shape + [n + 1]`: a product of integrals over the line."""
        return self._moment(1)

    @property
    def variance(self) -> Tensor:
        """Variance entry by entry, of shape `batch_shape + [n + 1]`; from integrals over the line."""
        return self._moment(2) - self._moment(1).square()

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`: that of the normal numbers, and an integral over the line."""
        counts = torch.arange(self.loc.shape[-1], 0, -1, dtype=self.loc.dtype, device=self.loc.device)
        log_pieces = self._mean_of_share(lambda x: F.logsigmoid(x) + counts * F.logsigmoid(-x))
        return (self._entries().entropy() + log_pieces).sum(-1)

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> Self:
        """Maximum likelihood: mean and standard deviation of the normal numbers that made the breaks.

        Args:
            data: Independent draws along dimension 0, positive, `[num_data, *batch_shape, K]`.
            weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.

        Raises:
            ValueError: An entry is zero, or a draw does not lie on the simplex.

        Example:
            >>> LogisticNormal.fit(torch.tensor([[0.2, 0.8], [0.8, 0.2]])).loc
            tensor([0.])
        """
        data, weights = fit_data("LogisticNormal", data, weights, event_rank=1)
        cls(data.new_zeros(data.shape[-1] - 1), 1.0)._check_values("data", data, cls.support)
        if not bool((data > 0).all()):
            raise ValueError("data of LogisticNormal.fit must be positive, but hold zeros, which no break gives.")
        entries: Tensor = StickBreaking().inverse(data)
        fitted = Normal.fit(entries, weights.expand(data.shape[:-1]).unsqueeze(-1).expand(entries.shape))
        return cls(fitted.loc, fitted.scale)

    def _entries(self) -> Normal:
        return Normal(self.loc, self.scale, validate_args=False)

    def _mean_of_share(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """The mean of a function of the logit of each share, of shape `batch_shape + [n]`."""
        counts = torch.arange(self.loc.shape[-1], 0, -1, dtype=self.loc.dtype, device=self.loc.device)
        logits = Normal(self.loc - counts.log(), self.scale, validate_args=False)
        # The second one cuts the line where the logistic function bends.
        return expectation(logits, function, others=(Normal(torch.zeros_like(self.loc), 1.0),))

    def _moment(self, power: int) -> Tensor:
        share = self._mean_of_share(lambda x: torch.sigmoid(x) ** power)
        rest = self._mean_of_share(lambda x: torch.sigmoid(-x) ** power)
        return F.pad(share, (0, 1), value=1.0) * F.pad(rest.cumprod(-1), (1, 0), value=1.0)


@register_kl(LogisticNormal, LogisticNormal)
def _kl_logistic_normal(p: LogisticNormal, q: LogisticNormal) -> Tensor:
    return p._entries().kl_divergence(q._entries()).sum(-1)
