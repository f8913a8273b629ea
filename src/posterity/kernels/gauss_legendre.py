"""Gauss-Legendre quadrature of elementwise integrals, by a fixed number of nodes."""

import functools
from collections.abc import Callable

import numpy as np
from torch import Tensor


def gauss_legendre(integrand: Callable[[Tensor], Tensor], length: Tensor, num_nodes: int) -> Tensor:
    """The integral of a function from 0 to `length`, for each element of `length`.

    Args:
        integrand: Takes the nodes, `[*shape, num_nodes]`, and returns the values there, of the same shape.
        length: Upper limits, `[*shape]`, of either sign.
        num_nodes: Polynomials up to the degree `2 * num_nodes - 1` are integrated exactly.

    Returns:
        The integrals, `[*shape]`.

    Source: DLMF 3.5(v).

    Example:
        >>> import torch
        >>> gauss_legendre(lambda t: t.square(), torch.tensor([1.0, 3.0]), 4)
        tensor([0.3333, 9.0000])
    """
    nodes, weights = _rule(num_nodes)
    values = integrand(length.unsqueeze(-1) * length.new_tensor(nodes))
    return length * (values * length.new_tensor(weights)).sum(-1)


@functools.cache
def _rule(num_nodes: int) -> tuple[list[float], list[float]]:
    nodes, weights = np.polynomial.legendre.leggauss(num_nodes)
    return ((1 + nodes) / 2).tolist(), (weights / 2).tolist()
