"""Kalman filtering and smoothing as products of one element for each step, taken in logarithmic depth.

Shapes throughout: matrices `[num_steps, *ones, *batch, n, m]`, vectors `[num_steps, *sample, *batch, n]`; steps come
first, and covariances carry no sample dimensions, because they do not depend on the data.

Source: Särkkä and García-Fernández, Temporal Parallelization of Bayesian Smoothers, 2021, lemmas 7 to 10,
https://doi.org/10.1109/TAC.2020.2976316
"""

from typing import NamedTuple

import torch
from torch import Tensor

from posterity.distributions.associative_scan import Elements, associative_scan


class Transition(NamedTuple):
    """x' = matrix x + offset + noise, one for each step."""

    matrix: Tensor
    offset: Tensor
    covariance: Tensor


class Observation(NamedTuple):
    """y = matrix x + offset + noise, one for each step."""

    matrix: Tensor
    offset: Tensor
    covariance: Tensor


class Moments(NamedTuple):
    """Means `[num_steps, ..., n]` and covariances `[num_steps, ..., n, n]`."""

    mean: Tensor
    covariance: Tensor


def marginals(first: Moments, transition: Transition) -> Moments:
    """Means and covariances of the states at all steps; `first` has one step, `transition` one less than there are."""
    shape = torch.broadcast_shapes(transition.matrix.shape[:-2], transition.covariance.shape[:-2])
    if shape[0] == 0:
        return first
    elements = (transition.matrix, transition.offset, transition.covariance)
    matrices, offsets, covariances = associative_scan(_then, elements)
    means = _times(matrices, first.mean) + offsets
    spread = matrices @ first.covariance @ matrices.mT + covariances
    return Moments(_joined(first.mean, means, 1), _joined(first.covariance, spread, 2))


def paths(first: Tensor, transition: Transition, noise: Tensor) -> Tensor:
    """States of all steps from the first state `[1, ..., n]` and the noise of each transition."""
    if noise.shape[0] == 0:
        return first
    offsets = transition.offset + noise
    matrices, offsets = associative_scan(_follow, (transition.matrix, offsets))
    return _joined(first, _times(matrices, first) + offsets, 1)


def filtered(first: Moments, transition: Transition, observation: Observation, value: Tensor) -> Moments:
    """Moments of the state at each step given the observations up to it.

    Args:
        first: The prior of the first state.
        transition: One step less than there are.
        observation: Rows of `matrix` for missing entries are 0.
        value: Observations; missing ones equal the offset.
    """
    start = _updated(first, Observation(*(part[:1] for part in observation)), value[:1])
    if value.shape[0] == 1:
        return start
    rest = Observation(*(part[1:] for part in observation))
    h, f, q = rest.matrix, transition.matrix, transition.covariance
    hq = h @ q
    weighted = _solve(hq @ h.mT + rest.covariance, torch.cat([hq, h @ f], -1))
    gain, evidence = weighted[..., : q.shape[-1]].mT, weighted[..., q.shape[-1] :].mT
    residual = value[1:] - rest.offset - _times(h, transition.offset)
    kept = _identity_like(q) - gain @ h
    elements = (
        kept @ f,
        transition.offset + _times(gain, residual),
        _joseph(kept, q, gain, rest.covariance),
        _times(evidence, residual),
        _symmetric(evidence @ h @ f),
    )
    # The first element knows its state: nothing before it matters.
    zeros = torch.zeros_like(elements[0][:1] * start.covariance)
    opening = (zeros, start.mean, start.covariance, torch.zeros_like(start.mean), zeros)
    joined = tuple(_joined(a, b, rank) for a, b, rank in zip(opening, elements, (2, 1, 2, 1, 2), strict=True))
    _, means, covariances, _, _ = associative_scan(_filter_product, joined)
    return Moments(means, covariances)


def smoothed(filtered_states: Moments, transition: Transition) -> Moments:
    """Moments of the state at each step given all observations (Rauch, Tung and Striebel 1965)."""
    mean, covariance = filtered_states
    if mean.shape[0] == 1:
        return filtered_states
    m, p = mean[:-1], covariance[:-1]
    f, q = transition.matrix, transition.covariance
    fp = f @ p
    gain = _solve(fp @ f.mT + q, fp).mT
    kept = _identity_like(p) - gain @ f
    elements = (
        gain,
        m - _times(gain, _times(f, m) + transition.offset),
        _joseph(kept, p, gain, q),
    )
    zeros = torch.zeros_like(gain[:1])
    closing = (zeros, mean[-1:], covariance[-1:])
    joined = tuple(_joined(a, b, rank) for a, b, rank in zip(elements, closing, (2, 1, 2), strict=True))
    _, means, covariances = associative_scan(_smooth_product, joined, reverse=True)
    return Moments(means, covariances)


def predicted(first: Moments, transition: Transition, filtered_states: Moments) -> Moments:
    """Moments of the state at each step given the observations before it."""
    mean, covariance = filtered_states.mean[:-1], filtered_states.covariance[:-1]
    if mean.shape[0] == 0:
        return first
    f = transition.matrix
    spread = _symmetric(f @ covariance @ f.mT + transition.covariance)
    return Moments(_joined(first.mean, _times(f, mean) + transition.offset, 1), _joined(first.covariance, spread, 2))


def _updated(prior: Moments, observation: Observation, value: Tensor) -> Moments:
    h, p = observation.matrix, prior.covariance
    hp = h @ p
    gain = _solve(hp @ h.mT + observation.covariance, hp).mT
    kept = _identity_like(p) - gain @ h
    mean = prior.mean + _times(gain, value - observation.offset - _times(h, prior.mean))
    return Moments(mean, _joseph(kept, p, gain, observation.covariance))


def _then(earlier: Elements, later: Elements) -> Elements:
    (a, b, c), (a2, b2, c2) = earlier, later
    return a2 @ a, _times(a2, b) + b2, _symmetric(a2 @ c @ a2.mT) + c2


def _follow(earlier: Elements, later: Elements) -> Elements:
    (a, b), (a2, b2) = earlier, later
    return a2 @ a, _times(a2, b) + b2


def _filter_product(earlier: Elements, later: Elements) -> Elements:
    (a, b, c, eta, j), (a2, b2, c2, eta2, j2) = earlier, later
    inverse = torch.linalg.inv(_identity_like(c) + c @ j2)
    onwards = a2 @ inverse
    # The transpose of the inverse is that of I + j2 c.
    backwards = a.mT @ inverse.mT
    return (
        onwards @ a,
        _times(onwards, b + _times(c, eta2)) + b2,
        _symmetric(onwards @ c @ a2.mT) + c2,
        _times(backwards, eta2 - _times(j2, b)) + eta,
        _symmetric(backwards @ j2 @ a) + j,
    )


def _smooth_product(earlier: Elements, later: Elements) -> Elements:
    (e, g, s), (e2, g2, s2) = earlier, later
    return e @ e2, _times(e, g2) + g, _symmetric(e @ s2 @ e.mT) + s


def _joseph(kept: Tensor, covariance: Tensor, gain: Tensor, noise: Tensor) -> Tensor:
    """A sum of two squares, which stays positive semidefinite in rounding (Bucy and Joseph 1968)."""
    return _symmetric(kept @ covariance @ kept.mT + gain @ noise @ gain.mT)


def _solve(positive_definite: Tensor, right: Tensor) -> Tensor:
    return torch.cholesky_solve(right, torch.linalg.cholesky(_symmetric(positive_definite)))


def _symmetric(matrix: Tensor) -> Tensor:
    return 0.5 * (matrix + matrix.mT)


def _identity_like(matrix: Tensor) -> Tensor:
    return torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def _joined(first: Tensor, rest: Tensor, rank: int) -> Tensor:
    """Two runs of steps one after the other, their batches broadcast."""
    batch = torch.broadcast_shapes(first.shape[1 : first.dim() - rank], rest.shape[1 : rest.dim() - rank])
    return torch.cat([part.expand(part.shape[0], *batch, *part.shape[part.dim() - rank :]) for part in (first, rest)])
