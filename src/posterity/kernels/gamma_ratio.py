"""Ratios of gamma functions whose arguments differ by little, and what digamma gains over the same step."""

import torch
from torch import Tensor

# From here on the expansions below reach the precision of float64.
_LARGE = 16.0


def log_gamma_ratio(a: Tensor, b: Tensor | float) -> Tensor:
    r"""$\log\Gamma(a + b) - \log\Gamma(a)$, without the cancellation of large `a`.

    Args:
        a: Positive.
        b: Not negative; broadcasts against `a`.

    Returns:
        The logarithm, of the broadcast shape; differentiable in both.

    Source: DLMF 5.11.1 (Stirling's series), subtracted term by term.

    Example:
        >>> log_gamma_ratio(torch.tensor([2.0, 1e6]), 0.5)
        tensor([0.2847, 6.9078])
    """
    a, b = _pair(a, b)
    large, small_a, small_b, a, far_b = _branches(a, b)
    near = torch.lgamma(small_a + small_b) - torch.lgamma(small_a)
    total = a + far_b
    far = (total - 0.5) * torch.log1p(far_b / a) + far_b * (a.log() - 1) + (_stirling(total) - _stirling(a))
    return torch.where(large, far, near)


def digamma_difference(a: Tensor, b: Tensor | float) -> Tensor:
    r"""$\psi(a + b) - \psi(a)$, without the cancellation of large `a`.

    Args:
        a: Positive.
        b: Not negative; broadcasts against `a`.

    Returns:
        The difference, of the broadcast shape; differentiable in both.

    Source: DLMF 5.11.2, subtracted term by term.

    Example:
        >>> digamma_difference(torch.tensor([2.0, 1e6]), 0.5)
        tensor([2.8037e-01, 5.0000e-07])
    """
    a, b = _pair(a, b)
    large, small_a, small_b, a, far_b = _branches(a, b)
    near = torch.digamma(small_a + small_b) - torch.digamma(small_a)
    total = a + far_b
    far = torch.log1p(far_b / a) + 0.5 * far_b / a / total + (_digamma_rest(total) - _digamma_rest(a))
    return torch.where(large, far, near)


def _pair(a: Tensor, b: Tensor | float) -> tuple[Tensor, Tensor]:
    a, second = torch.broadcast_tensors(a, b if isinstance(b, Tensor) else torch.full_like(a, b))
    return a, second


def _branches(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    large = a > _LARGE
    return large, torch.where(large, 1.0, a), torch.where(large, 1.0, b), torch.where(large, a, _LARGE), b


def _stirling(z: Tensor) -> Tensor:
    w = z.square().reciprocal()
    return (1 / 12 - w * (1 / 360 - w * (1 / 1260 - w * (1 / 1680 - w * (1 / 1188 - w * 691 / 360360))))) / z


def _digamma_rest(z: Tensor) -> Tensor:
    w = z.square().reciprocal()
    return -w * (1 / 12 - w * (1 / 120 - w * (1 / 252 - w * (1 / 240 - w * (1 / 132 - w * 691 / 32760)))))
