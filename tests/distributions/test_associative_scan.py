"""Prefix products against a loop."""

import pytest
import torch

from posterity.distributions.associative_scan import associative_scan, reduce
from posterity.distributions.log_semiring import log_matmul, log_sum, log_vecmat


def product(earlier, later):
    return (earlier[0] @ later[0],)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 16, 31])
def test_products_of_matrices_are_in_order(size):
    m = torch.randn(size, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(size))
    forward, backward = [m[0]], [m[-1]]
    for t in range(1, size):
        forward.append(forward[-1] @ m[t])
        backward.append(m[-1 - t] @ backward[-1])
    torch.testing.assert_close(associative_scan(product, (m,))[0], torch.stack(forward))
    torch.testing.assert_close(associative_scan(product, (m,), reverse=True)[0], torch.stack(backward[::-1]))
    torch.testing.assert_close(reduce(product, (m,))[0], forward[-1].unsqueeze(0))


def test_products_of_logarithms_keep_what_is_small():
    a = torch.tensor([[-800.0, 0.0], [-torch.inf, -torch.inf]], dtype=torch.float64)
    b = torch.tensor([[0.0, 0.0], [-900.0, -torch.inf]], dtype=torch.float64)
    # Beside the greatest entries of row and column, these sums would underflow.
    expected = torch.tensor([[-800.0, -800.0], [-torch.inf, -torch.inf]], dtype=torch.float64)
    torch.testing.assert_close(log_matmul(a, b), expected)
    torch.testing.assert_close(log_vecmat(a[0], b), expected[0])


def test_gradients_of_impossible_sums_are_zero():
    terms = torch.tensor([[-torch.inf, -torch.inf], [0.0, -torch.inf]], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(log_sum(terms, -1).sum(), terms)
    assert slope.tolist() == [[0, 0], [1, 0]]
