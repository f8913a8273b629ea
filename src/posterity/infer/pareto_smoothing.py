"""Pareto-smoothed importance weights, and the tail's shape, which says how far an estimate by them can be trusted."""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class SmoothedWeights(NamedTuple):
    """Importance weights whose tail is smoothed.

    Attributes:
        log_weights: Normalised, so that the weights sum to 1, `[num_draws]`.
        pareto_k: The shape of the tail's Pareto distribution. Above 0.7 the estimate cannot be trusted; NaN where
            there are too few draws to tell.
    """

    log_weights: Tensor
    pareto_k: float


def pareto_smooth(log_weights: Tensor) -> SmoothedWeights:
    r"""Replace the largest importance weights by the expected order statistics of a Pareto distribution fitted to them.

    Args:
        log_weights: Logarithms of the weights, up to a constant, `[num_draws]`; minus infinity is a weight of 0.

    Returns:
        The normalised weights and the tail's shape.

    Raises:
        ValueError: The weights are no vector, or none of them is positive and finite.

    Source: Vehtari, Simpson, Gelman, Yao and Gabry (2024), "Pareto smoothed importance sampling"; the fit is that of
    Zhang and Stephens (2009), "A new and efficient estimation method for the generalized Pareto distribution".

    Example:
        >>> smoothed = pareto_smooth(torch.zeros(100))
        >>> smoothed.log_weights.exp().sum()
        tensor(1.)
    """
    if log_weights.dim() != 1:
        raise ValueError(f"pareto_smooth: log_weights must be a vector, not of shape {tuple(log_weights.shape)}")
    if not bool(log_weights.isfinite().any()) or bool((log_weights.isnan() | (log_weights == math.inf)).any()):
        raise ValueError("pareto_smooth: log_weights must be numbers or minus infinity, not all minus infinity")
    raw = log_weights.detach().double()
    raw = raw - raw.max()
    tail_size = math.ceil(min(0.2 * len(raw), 3 * len(raw) ** 0.5))
    k = math.nan
    if tail_size >= 5:
        ordered, places = raw.sort()
        # The cut-off is the largest weight that is not in the tail; it must not be 0.
        cutoff = ordered[-tail_size - 1].clamp(min=math.log(torch.finfo(torch.float64).tiny)).exp()
        tail = ordered[-tail_size:].exp() - cutoff
        if bool(tail[-1] > tail[0]) and bool(tail[0] >= 0):
            k, sigma = fit_generalized_pareto(tail)
            levels = (torch.arange(tail_size, dtype=raw.dtype, device=raw.device) + 0.5) / tail_size
            excess = -torch.log1p(-levels) if k == 0 else torch.expm1(-k * torch.log1p(-levels)) / k
            smooth = (cutoff + sigma * excess).log().clamp(max=0)
            raw = raw.index_copy(0, places[-tail_size:], smooth)
        else:
            k = -math.inf  # all weights of the tail are equal
    normalised = raw - raw.logsumexp(0)
    return SmoothedWeights(normalised.to(log_weights.dtype), k)


def fit_generalized_pareto(excesses: Tensor) -> tuple[float, float]:
    """Shape and scale of the generalized Pareto distribution of positive numbers, by an empirical Bayes estimate.

    The shape is drawn a little towards 1/2 as by ten observations of it, which steadies it for short tails.

    Args:
        excesses: In ascending order, `[number]`.

    Source: Zhang and Stephens (2009), equations 6 to 8; Vehtari et al. (2024), appendix G.
    """
    x, n = excesses.double(), len(excesses)
    grid_size = 30 + int(n**0.5)
    at = torch.arange(1, grid_size + 1, dtype=x.dtype, device=x.device)
    quartile = x[int(n / 4 + 0.5) - 1].clamp(min=torch.finfo(x.dtype).tiny)
    theta = 1 / x[-1] + (1 - (grid_size / (at - 0.5)).sqrt()) / (3 * quartile)
    shape = torch.log1p(-theta.unsqueeze(-1) * x).mean(-1)
    profile = n * (torch.log(-theta / shape) - shape - 1)
    best = float((profile.softmax(0) * theta).sum())
    k = float(torch.log1p(-best * x).mean())
    sigma = -k / best
    return (n * k + 10 * 0.5) / (n + 10), sigma
