"""Metrics learnt from draws and from the gradients of the log density there."""

from typing import Literal

import torch
from torch import Tensor

from posterity.infer.mcmc.metric import DenseMetric, DiagonalMetric, LowRankMetric, Metric

MetricKind = Literal["diagonal", "dense", "low_rank"]

# Scales may move by so much at once: a window of few draws cannot know more.
_LARGEST_CHANGE = 1e8
# A low-rank metric stretches only directions whose variance differs from the diagonal's by more than this factor.
_CUTOFF = 2.0
_LARGEST_RANK = 32


def unit_metric(kind: MetricKind, position: Tensor) -> Metric:
    """The metric of no knowledge, for positions `[num_chains, dim]`."""
    num_chains, dim = position.shape
    ones = torch.ones_like(position)
    if kind == "dense":
        eye = torch.eye(dim, dtype=position.dtype, device=position.device)
        return DenseMetric(eye.expand(num_chains, dim, dim).contiguous())
    if kind == "low_rank":
        return LowRankMetric(ones, position.new_zeros(num_chains, dim, 0), position.new_ones(num_chains, 0))
    return DiagonalMetric(ones)


def estimate(metric: Metric, draws: Tensor, gradients: Tensor | None) -> Metric:
    r"""A metric of the same kind, from what a window has seen.

    The diagonal one minimises the Fisher divergence between the target and a normal law: its variances are the
    standard deviations of the draws over those of the gradients. For a normal target with independent coordinates that
    is exact from two draws on, wherever they are.

    Args:
        metric: The metric in which the draws were made.
        draws: Positions in its whitened space, `[num_chains, num_draws, dim]`.
        gradients: Gradients there, likewise; None: the kernel knows none, and variances of draws are taken.

    Returns:
        The new metric. Coordinates of which the window does not tell anything finite keep their scales.

    Source: Seyboldt, Carlson and Carpenter (2026), "Preconditioning Hamiltonian Monte Carlo by minimizing Fisher
    Divergence".
    """
    draws = draws.double()
    gradients = None if gradients is None else gradients.double()
    relative = _relative_scales(draws, gradients)
    if isinstance(metric, DiagonalMetric):
        return DiagonalMetric(metric.scale * relative.to(metric.scale.dtype))
    if isinstance(metric, DenseMetric):
        dtype = metric.factor.dtype
        slopes = None if gradients is None else gradients * relative.unsqueeze(1)
        factor = _dense_factor(draws / relative.unsqueeze(1), slopes)
        own = metric.factor.double() @ (relative.unsqueeze(-1) * factor)
        return DenseMetric(torch.where(own.isfinite().all(-1).all(-1)[:, None, None], own.to(dtype), metric.factor))
    assert isinstance(metric, LowRankMetric)
    return _low_rank(metric, draws, gradients)


def _relative_scales(draws: Tensor, gradients: Tensor | None) -> Tensor:
    """What the scales are to be multiplied with, `[num_chains, dim]`."""
    spread = draws.std(1)
    if gradients is not None:
        scale = (spread / gradients.std(1)).sqrt()
    else:
        # With few draws a variance is uncertain by so much; shrink it towards what is.
        number = draws.shape[1]
        scale = ((number * spread.square() + 5 * 1.0) / (number + 5)).sqrt()
    good = scale.isfinite() & (scale > 0)
    return torch.where(good, scale.clamp(1 / _LARGEST_CHANGE, _LARGEST_CHANGE), 1.0)


def _dense_factor(draws: Tensor, slopes: Tensor | None) -> Tensor:
    """Cholesky factors of covariances, `[num_chains, dim, dim]`, from draws and gradients of about unit scale.

    With gradients it is the covariance that minimises the Fisher divergence, the geometric mean of the draws'
    covariance and the inverse of the gradients': as both are regularised alike, directions that a short window has not
    seen keep their scales. Without, the draws' covariance is shrunk towards the identity, the more the fewer there are.
    """
    number, dim = draws.shape[1:]
    eye = torch.eye(dim, dtype=draws.dtype, device=draws.device)
    rows = draws - draws.mean(1, keepdim=True)
    if slopes is None:
        covariance = _oracle_shrunk(rows.mT @ rows / max(number - 1, 1), number, eye)
        good = covariance.isfinite().all(-1).all(-1)
    else:
        pulled = slopes - slopes.mean(1, keepdim=True)
        good = rows.isfinite().all(-1).all(-1) & pulled.isfinite().all(-1).all(-1)
        parts = (_regularised(torch.where(good[:, None, None], own, 0.0), number, eye) for own in (rows, pulled))
        spread, steepness = parts
        covariance = _geometric_mean(spread, torch.linalg.inv(steepness))
    factor, failed = torch.linalg.cholesky_ex(torch.where(good[:, None, None], covariance, eye))
    return torch.where((good & ~failed.bool())[:, None, None], factor, torch.nan)


def _oracle_shrunk(covariance: Tensor, number: int, eye: Tensor) -> Tensor:
    """Covariances of draws, shrunk towards a multiple of the identity by as much as is best for a normal law.

    Source: Chen, Wiesel, Eldar and Hero (2010), "Shrinkage Algorithms for MMSE Covariance Estimation", equation 23.
    """
    dim = len(eye)
    trace = covariance.diagonal(dim1=-2, dim2=-1).sum(-1)
    square = covariance.square().sum((-2, -1))
    above = (1 - 2 / dim) * square + trace.square()
    below = (number + 1 - 2 / dim) * (square - trace.square() / dim)
    share = torch.where(below > above, above / below, 1.0)[:, None, None]
    return (1 - share) * covariance + share * (trace / dim)[:, None, None] * eye


def _low_rank(metric: LowRankMetric, draws: Tensor, gradients: Tensor | None) -> LowRankMetric:
    """Scales by the diagonal rule, and directions of what correlation is left.

    In the plane that draws and gradients span, the covariance that minimises the Fisher divergence is the geometric
    mean of the draws' covariance and the inverse of the gradients'.
    """
    precise = LowRankMetric(*(part.double() for part in metric))
    points = precise.forward(draws.transpose(0, 1)).transpose(0, 1)
    slopes = None if gradients is None else _on_target_space(precise, gradients)
    scale = _relative_scales(points, slopes)
    number, dim = points.shape[1:]
    whitened = ((points - points.mean(1, keepdim=True)) / scale.unsqueeze(1)).nan_to_num(0, 0, 0)
    pulled = None
    if slopes is not None:
        pulled = ((slopes - slopes.mean(1, keepdim=True)) * scale.unsqueeze(1)).nan_to_num(0, 0, 0)
    rank = min(_LARGEST_RANK, dim, number)
    directions, stretch = [], []
    for c in range(points.shape[0]):  # chains are few, windows rare
        basis, variances = _principal(whitened[c], None if pulled is None else pulled[c])
        away = variances.log().abs()
        chosen = away.topk(min(rank, len(away))).indices
        keep = (away[chosen] > torch.log(torch.tensor(_CUTOFF, dtype=away.dtype))) & variances[chosen].isfinite()
        own = torch.where(keep, variances[chosen].sqrt(), 1.0)
        columns = torch.nn.functional.pad(basis[:, chosen], (0, rank - len(chosen)))
        directions.append(columns)
        stretch.append(torch.nn.functional.pad(own, (0, rank - len(chosen)), value=1.0))
    dtype = metric.scale.dtype
    return LowRankMetric(scale.to(dtype), torch.stack(directions).to(dtype), torch.stack(stretch).to(dtype))


def _on_target_space(metric: LowRankMetric, gradients: Tensor) -> Tensor:
    """Gradients of whitened space, taken back: `L^-T g`."""
    along = (1 / metric.stretch - 1).unsqueeze(-1) * (metric.directions.mT @ gradients.mT)
    return (gradients.mT + metric.directions @ along).mT / metric.scale.unsqueeze(1)


def _principal(draws: Tensor, slopes: Tensor | None) -> tuple[Tensor, Tensor]:
    """An orthonormal basis `[dim, k]` of the plane that the rows span, and the variances along it."""
    number = draws.shape[0]
    rows = draws if slopes is None else torch.cat([draws, slopes])
    basis = torch.linalg.svd(rows.mT, full_matrices=False)[0]
    basis = basis[:, : min(rows.shape)]
    eye = torch.eye(basis.shape[1], dtype=draws.dtype, device=draws.device)
    covariance = _regularised(draws @ basis, number, eye)
    if slopes is None:
        middle = covariance
    else:
        middle = _geometric_mean(covariance, torch.linalg.inv(_regularised(slopes @ basis, number, eye)))
    variances, rotation = torch.linalg.eigh(middle)
    return basis @ rotation, variances.clamp(min=1e-12)


def _regularised(rows: Tensor, number: int, eye: Tensor) -> Tensor:
    return (rows.mT @ rows + 5 * eye) / (number + 5)


def _geometric_mean(a: Tensor, b: Tensor) -> Tensor:
    """The geometric mean of two symmetric positive matrices."""
    values, vectors = torch.linalg.eigh(a)
    root = vectors @ (values.clamp(min=1e-12).sqrt().unsqueeze(-1) * vectors.mT)
    inverse = vectors @ (values.clamp(min=1e-12).rsqrt().unsqueeze(-1) * vectors.mT)
    inner, turned = torch.linalg.eigh(inverse @ b @ inverse)
    middle = turned @ (inner.clamp(min=1e-12).sqrt().unsqueeze(-1) * turned.mT)
    mean: Tensor = root @ middle @ root
    return mean
