"""What a linear Gaussian state-space model is given, as the tensors that it computes with."""

import torch
from torch import Tensor

from posterity.distributions.lifted import Lifted


def matrix_sizes(transition: Tensor, observation: Tensor) -> tuple[int, int]:
    """The sizes of a state and of an observation, from F and H.

    Raises:
        TypeError: A matrix is no floating tensor.
        ValueError: One is no matrix, or they do not fit each other.
    """
    for name, matrix in (("transition_matrix", transition), ("observation_matrix", observation)):
        if not isinstance(matrix, Tensor) or not matrix.is_floating_point():
            kind = matrix.dtype if isinstance(matrix, Tensor) else type(matrix).__name__
            raise TypeError(f"{name} of LinearGaussianStateSpace must be a floating tensor, not {kind}.")
        if matrix.dim() < 2:
            raise ValueError(
                f"{name} of LinearGaussianStateSpace must be a matrix, but has shape {tuple(matrix.shape)}."
            )
    state = transition.shape[-1]
    if transition.shape[-2] != state or observation.shape[-1] != state:
        raise ValueError(
            "transition_matrix of LinearGaussianStateSpace must be square and observation_matrix have as many columns, "
            f"but their shapes are {tuple(transition.shape)} and {tuple(observation.shape)}."
        )
    return state, observation.shape[-2]


def gaussian(name: str, given: torch.distributions.Distribution, size: int) -> tuple[tuple[Tensor, int], ...]:
    """Mean and square root of the covariance of a noise, each with its event rank.

    Raises:
        TypeError: It is not normal.
        ValueError: Its events are not of that size.
    """
    d = given.base_dist if isinstance(given, Lifted) else given
    inner = d.base_dist if isinstance(d, torch.distributions.Independent) else None
    if isinstance(d, torch.distributions.MultivariateNormal):
        loc, root = d.loc, d.scale_tril
    elif isinstance(inner, torch.distributions.Normal) and len(d.event_shape) == 1:
        loc, root = inner.loc, torch.diag_embed(inner.scale)
    else:
        raise TypeError(
            f"{name} of LinearGaussianStateSpace must be a MultivariateNormal, or a Normal with to_event(1), not "
            f"{given!r}."
        )
    if d.event_shape != (size,):
        raise ValueError(
            f"{name} of LinearGaussianStateSpace must have events of size {size}, but has {tuple(d.event_shape)}."
        )
    return (loc, 1), (root, 2)


def of_steps(parts: tuple[Tensor, ...], steps: int, batch: torch.Size) -> list[Tensor]:
    """A matrix, vector and matrix, or a vector and a matrix, of so many steps and the batch."""
    ranks = (2, 1, 2)[-len(parts) :]
    aligned = [
        t.reshape(t.shape[:1] + (1,) * (len(batch) + 1 + rank - t.dim()) + t.shape[1:])
        for t, rank in zip(parts, ranks, strict=True)
    ]
    return [t.expand(steps, *batch, *t.shape[t.dim() - rank :]) for t, rank in zip(aligned, ranks, strict=True)]
