"""Sums and matrix products of numbers that are known by their logarithms."""

import torch
from torch import Tensor


def log_sum(log_terms: Tensor, dim: int) -> Tensor:
    """`logsumexp` whose gradient is 0, not NaN, where all terms are minus infinity.

    Example:
        >>> log_sum(torch.full((2,), -torch.inf), 0)
        tensor(-inf)
    """
    largest = log_terms.detach().amax(dim, keepdim=True)
    largest = torch.where(largest.isfinite(), largest, 0)
    total = (log_terms - largest).exp().sum(dim)
    some = total > 0
    return torch.where(some, torch.where(some, total, 1).log() + largest.squeeze(dim), -torch.inf)


def log_matmul(log_a: Tensor, log_b: Tensor) -> Tensor:
    """The logarithm of the matrix product of two matrices of non-negative numbers, given by their logarithms.

    Every entry is a sum of its own, so that none underflows beside a greater one.

    Args:
        log_a: `[*batch, n, k]`.
        log_b: `[*batch, k, m]`.

    Example:
        >>> log_matmul(torch.zeros(1, 2), torch.tensor([[0.0], [-torch.inf]]))
        tensor([[0.]])
    """
    return log_sum(log_a.unsqueeze(-1) + log_b.unsqueeze(-3), -2)


def log_vecmat(log_vector: Tensor, log_matrix: Tensor) -> Tensor:
    """The logarithm of a row vector times a matrix, `[*batch, k]` and `[*batch, k, m]` to `[*batch, m]`."""
    return log_sum(log_vector.unsqueeze(-1) + log_matrix, -2)
