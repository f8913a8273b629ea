"""The ordered logistic distribution over ranks: a logistic variable between cut points."""

from typing import NoReturn

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import logsigmoid
from torch.types import _size

from posterity.bijectors.constraints import ordered
from posterity.distributions.base import Distribution
from posterity.distributions.quantiles import integer_quantile
from posterity.kernels import Source, log1mexp
from posterity.kernels.samplers import exponential


class OrderedLogistic(Distribution):
    r"""The rank among cut points c of a logistic variable around a predictor: $P(X \le k) = \sigma(c_k - predictor)$.

    Args:
        predictor: Centre of the logistic variable; its shape broadcasts against the batch of `cutpoints`.
        cutpoints: Ascending, `[*batch_shape, K - 1]`; they divide the line into the K ranks 0, ..., K - 1.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: A parameter is neither a number nor a real tensor.
        ValueError: Shapes do not broadcast, or cut points do not ascend.

    Source: McCullagh, Regression Models for Ordinal Data, 1980, https://doi.org/10.1111/j.2517-6161.1980.tb01109.x

    Example:
        >>> d = OrderedLogistic(torch.tensor(1.0), torch.tensor([-1.0, 1.0]))
        >>> d.prob(torch.arange(3)), d.mode
        (tensor([0.1192, 0.3808, 0.5000]), tensor(2.))
    """

    arg_constraints = {"predictor": constraints.real, "cutpoints": ordered}  # noqa: RUF012  # declared by torch's base
    has_enumerate_support = True

    predictor: Tensor
    cutpoints: Tensor

    def __init__(self, predictor: Tensor | float, cutpoints: Tensor, validate_args: bool | None = None) -> None:
        self._initialise({"predictor": predictor, "cutpoints": cutpoints}, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        """The ranks 0, ..., K - 1."""
        return constraints.integer_interval(0, self.cutpoints.shape[-1])

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of the ranks `value`, of shape `sample_shape + batch_shape`."""
        rank = self._checked_value(value, support=True)
        upper, lower = self._cut_above(rank), self._cut_above(rank - 1)
        # The difference of two sigmoids, of which neither may be small, nor both near 1.
        return self._inside_only(rank, logsigmoid(upper) + logsigmoid(-lower) + log1mexp(upper - lower))

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value)."""
        return torch.sigmoid(self._cut_above(self._checked_value(value)))

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(X <= value)."""
        return logsigmoid(self._cut_above(self._checked_value(value)))

    def survival_function(self, value: Tensor) -> Tensor:
        """P(X > value)."""
        return torch.sigmoid(-self._cut_above(self._checked_value(value)))

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(X > value)."""
        return logsigmoid(-self._cut_above(self._checked_value(value)))

    def icdf(self, value: Tensor) -> Tensor:
        """The least rank whose cdf reaches the probability `value` in [0, 1]."""
        return integer_quantile(self, self._checked_level(value))

    def sample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Ranks of shape `sample_shape + batch_shape`, among the cut points, of logistic draws."""
        with torch.no_grad():
            shape = self._extended_shape(sample_shape)
            # A ratio of exponential numbers is a logistic one's exponential, with both tails resolved.
            pair = exponential((2, *shape), source=generator, like=self.predictor).to(self.predictor.dtype).log()
            drawn = self.predictor + (pair[0] - pair[1])
            return (drawn.unsqueeze(-1) > self.cutpoints).sum(-1).to(self.predictor.dtype)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All ranks, `[K, *batch_shape]`, or `[K, 1, ...]` without `expand`."""
        like = self.predictor
        ranks = torch.arange(self.cutpoints.shape[-1] + 1, dtype=like.dtype, device=like.device)
        ranks = ranks.reshape((-1,) + (1,) * len(self.batch_shape))
        return ranks.expand((-1, *self.batch_shape)) if expand else ranks

    @classmethod
    def fit(cls, data: Tensor, weights: Tensor | None = None) -> NoReturn:
        """Refused: predictor and cut points may move together without a change."""
        raise NotImplementedError(
            "OrderedLogistic.fit has no single answer: predictor and cutpoints can move together without a change of "
            "the likelihood. Fit a Categorical to the ranks, or a regression to predictors."
        )

    def _cut_above(self, rank: Tensor) -> Tensor:
        """The cut above each rank less the predictor; infinite below the first rank and from the last one on."""
        cuts = self.cutpoints
        last = cuts.shape[-1] - 1
        index = rank.floor()
        shape = torch.broadcast_shapes(index.shape, self.batch_shape)
        inside = (index >= 0) & (index <= last)
        place = torch.where(inside, index, 0).long().expand(shape).unsqueeze(-1)
        cut = cuts.expand(*shape, last + 1).gather(-1, place).squeeze(-1) - self.predictor
        beyond = torch.where(index < 0, -torch.inf, torch.where(index > last, torch.inf, torch.nan))
        return torch.where(inside, cut, beyond)
