"""Log-determinant and distances under a covariance: derivatives of every kind, in every nesting."""

import pytest
import torch
from torch import Tensor

from posterity.kernels import Key, normal
from posterity.kernels.covariance_density import log_det, squared_distances

N, NUM = 4, 3


def real(*shape: int, seed: int = 0) -> Tensor:
    return normal(shape, source=Key(seed), dtype=torch.float64)


def covariance_of(root: Tensor) -> Tensor:
    return root @ root.mT + torch.eye(N, dtype=root.dtype, device=root.device)


def both(root: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    covariance = covariance_of(root)
    factor = torch.linalg.cholesky_ex(covariance)[0]
    return log_det(covariance, factor), squared_distances(covariance, factor, columns)


def directly(root: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    covariance = covariance_of(root)
    distances = (columns * torch.linalg.solve(covariance, columns)).sum(-2)
    return torch.logdet(covariance), distances


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_values_and_first_derivatives_are_those_of_the_definition(batch: tuple[int, ...]) -> None:
    arguments = [real(*batch, N, N).requires_grad_(), real(*batch, N, NUM, seed=1).requires_grad_()]
    weights = [real(*batch, seed=2), real(*batch, NUM, seed=3)]
    gradients = []
    for function in (both, directly):
        values = function(*arguments)
        total = sum((value * weight).sum() for value, weight in zip(values, weights, strict=True))
        gradients.append((*values, *torch.autograd.grad(total, arguments)))
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)


def test_the_gradient_with_respect_to_the_covariance_is_symmetric() -> None:
    covariance = covariance_of(real(N, N)).requires_grad_()
    factor = torch.linalg.cholesky(covariance)
    total = log_det(covariance, factor) + squared_distances(covariance, factor, real(N, NUM)).sum()
    (gradient,) = torch.autograd.grad(total, covariance)
    torch.testing.assert_close(gradient, gradient.mT)


def test_first_and_second_derivatives_by_differences() -> None:
    arguments = (real(N, N).requires_grad_(), real(N, NUM, seed=1).requires_grad_())
    assert torch.autograd.gradcheck(both, arguments, check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(both, arguments)


def test_only_the_columns_move() -> None:
    root = real(N, N)
    moving = real(N, NUM, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda columns: both(root, columns)[1], (moving,), check_forward_ad=True)


def test_mapped_and_differentiated() -> None:
    roots, columns = real(5, N, N), real(5, N, NUM, seed=1)

    def total(root: Tensor, own: Tensor) -> Tensor:
        return both(root, own)[0] + both(root, own)[1].sum()

    for transform in (torch.func.grad, torch.func.hessian):
        mapped = torch.vmap(transform(total))(roots, columns)
        single = torch.stack([transform(total)(root, own) for root, own in zip(roots, columns, strict=True)])
        torch.testing.assert_close(mapped, single)


def test_in_a_compiled_graph() -> None:
    arguments = (real(N, N).requires_grad_(), real(N, NUM, seed=1))
    compiled = torch.compile(both, fullgraph=True, backend="aot_eager")
    for function in (both, compiled):
        value = sum(part.sum() for part in function(*arguments))
        (gradient,) = torch.autograd.grad(value, arguments[0])
        if function is both:
            expected = gradient
    torch.testing.assert_close(gradient, expected)


def test_on_the_meta_device() -> None:
    half, distances = both(torch.empty(2, N, N, device="meta"), torch.empty(2, N, NUM, device="meta"))
    assert (half.shape, distances.shape) == ((2,), (2, NUM))
