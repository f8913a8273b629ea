"""From vectors onto the simplex of one more entry.

Log-dets are those of the chart that leaves out the last entry: the Jacobian of the first K - 1. That is the measure
under which torch's Dirichlet states its density, and torch's `StickBreakingTransform` its log-dets.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from posterity.bijectors import constraints
from posterity.bijectors.base import Bijector
from posterity.bijectors.softplus import softplus


class StickBreaking(Bijector):
    """Each entry takes a logistic share of what those before it have left: from R^(K-1) onto the simplex in R^K.

    With the shares z_i = sigmoid(x_i - log(K - i)), y_i = z_i (1 - y_1 - ... - y_{i-1}), and the last entry is what is
    left; zeros give the centre. (Stan Reference Manual, "Unit simplex". The log-det is the sum of log y over all K
    entries, because what is left telescopes.)

    Example:
        >>> import torch
        >>> from posterity.bijectors import StickBreaking
        >>> StickBreaking()(torch.zeros(3))
        tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """

    domain = constraints.real_vector
    codomain = constraints.simplex

    def _forward(self, x: Tensor) -> Tensor:
        return self._log_forward(x).exp()

    def _inverse(self, y: Tensor) -> Tensor:
        log_left = _log(y.flip(-1).cumsum(-1).flip(-1)[..., 1:])
        return _log(y[..., :-1]) - log_left + _log_counts(log_left)

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return self._log_forward(x).sum(-1)

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return -_log(y).sum(-1)

    def _forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_y = self._log_forward(x)
        return log_y.exp(), log_y.sum(-1)

    def _log_forward(self, x: Tensor) -> Tensor:
        x = x - _log_counts(x)
        log_left = F.pad(-softplus(x).cumsum(-1), (1, 0))
        return log_left + F.pad(-softplus(-x), (0, 1))

    def _forward_event_shape(self, shape: torch.Size) -> torch.Size:
        return torch.Size([shape[0] + 1])

    def _inverse_event_shape(self, shape: torch.Size) -> torch.Size:
        return _without_last("StickBreaking", shape)


class SoftmaxCentered(Bijector):
    """y = softmax([x, 0]): from R^(K-1) onto the simplex in R^K, with the last entry as the reference.

    Example:
        >>> import torch
        >>> from posterity.bijectors import SoftmaxCentered
        >>> SoftmaxCentered()(torch.zeros(3))
        tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """

    domain = constraints.real_vector
    codomain = constraints.simplex

    def _forward(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, 1)).softmax(-1)

    def _inverse(self, y: Tensor) -> Tensor:
        log_y = _log(y)
        return log_y[..., :-1] - log_y[..., -1:]

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, 1)).log_softmax(-1).sum(-1)

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return -_log(y).sum(-1)

    def _forward_event_shape(self, shape: torch.Size) -> torch.Size:
        return torch.Size([shape[0] + 1])

    def _inverse_event_shape(self, shape: torch.Size) -> torch.Size:
        return _without_last("SoftmaxCentered", shape)


def _log(y: Tensor) -> Tensor:
    """log(y), finite where y has rounded to 0."""
    return y.clamp(min=torch.finfo(y.dtype).tiny).log()


def _log_counts(x: Tensor) -> Tensor:
    """log(K - i) for i = 1 to K - 1: how many entries come after."""
    return torch.arange(x.shape[-1], 0, -1, dtype=x.dtype, device=x.device).log()


def _without_last(owner: str, shape: torch.Size) -> torch.Size:
    if not shape[0]:
        raise ValueError(f"output of {owner} must have at least one entry: a simplex in R^0 is empty.")
    return torch.Size([shape[0] - 1])
