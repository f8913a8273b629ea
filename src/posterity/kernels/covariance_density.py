r"""Log-determinant and distances under a covariance, differentiated by its inverse rather than through its factor.

With $\alpha = \Sigma^{-1} x$ the derivatives with respect to $\Sigma$ are $\Sigma^{-1}$ and $-\alpha \alpha^T$, which
take about a quarter of the time. Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006,
equations 5.9, A.14 and A.15.
"""

from typing import Any

import torch
from torch import Tensor

from posterity.kernels.elementwise import UNKNOWN_TO_DYNAMO, meet_dynamo


def log_det(covariance: Tensor, factor: Tensor) -> Tensor:
    """The log-determinant of a covariance.

    Args:
        covariance: `[*batch, n, n]`.
        factor: Its lower Cholesky factor, `[*batch, n, n]`. What it is computed from gets its derivatives through
            `covariance` alone.

    Returns:
        `[*batch]`.

    Example:
        >>> covariance = torch.tensor([[4.0]], requires_grad=True)
        >>> torch.autograd.grad(log_det(covariance, covariance.detach().sqrt()), covariance)
        (tensor([[0.2500]]),)
    """
    if torch.compiler.is_dynamo_compiling():
        meet_dynamo()
    return _log_det(covariance, factor)


def squared_distances(covariance: Tensor, factor: Tensor, columns: Tensor) -> Tensor:
    r"""$x^T \Sigma^{-1} x$ for the columns x of a matrix.

    Args:
        covariance: $\Sigma$, `[*batch, n, n]`.
        factor: Its lower Cholesky factor, as in `log_det`.
        columns: `[*batch, n, num]`.

    Returns:
        `[*batch, num]`.

    Example:
        >>> squared_distances(torch.tensor([[4.0]]), torch.tensor([[2.0]]), torch.tensor([[6.0, 2.0]]))
        tensor([9., 1.])
    """
    if torch.compiler.is_dynamo_compiling():
        meet_dynamo()
    return _squared_distances(covariance, factor, columns)


def _log_det(covariance: Tensor, factor: Tensor) -> Tensor:
    result: Tensor = _LogDet.apply(covariance, factor)  # type: ignore[no-untyped-call]
    return result


def _squared_distances(covariance: Tensor, factor: Tensor, columns: Tensor) -> Tensor:
    result: Tensor = _SquaredDistances.apply(covariance, factor, columns)  # type: ignore[no-untyped-call]
    return result


UNKNOWN_TO_DYNAMO.extend([_log_det, _squared_distances])


class _LogDet(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(covariance: Tensor, factor: Tensor) -> Tensor:
        return 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])
        ctx.save_for_forward(inputs[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,), (factor,) = gradients, ctx.saved_tensors
        return gradient[..., None, None] * torch.cholesky_inverse(factor), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:
        factor: Tensor
        (along, _), (factor,) = tangents, ctx.saved_tensors
        if along is None:
            return torch.zeros_like(factor[..., 0, 0])
        return (torch.cholesky_inverse(factor) * along).sum((-2, -1))


class _SquaredDistances(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(covariance: Tensor, factor: Tensor, columns: Tensor) -> Tensor:
        whitened: Tensor = torch.linalg.solve_triangular(factor, columns, upper=False)
        return whitened.square().sum(-2)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])
        ctx.save_for_forward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        (gradient,), solved = gradients, _solved(*ctx.saved_tensors)
        weighted = solved * gradient.unsqueeze(-2)
        for_covariance = -weighted @ solved.mT if ctx.needs_input_grad[0] else None
        return for_covariance, None, 2 * weighted if ctx.needs_input_grad[2] else None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:
        (along_covariance, _, along_columns), solved = tangents, _solved(*ctx.saved_tensors)
        change: Tensor = torch.zeros_like(solved)
        if along_columns is not None:
            change = change + 2 * along_columns
        if along_covariance is not None:
            change = change - along_covariance @ solved
        return (solved * change).sum(-2)


def _solved(factor: Tensor, columns: Tensor) -> Tensor:
    whitened = torch.linalg.solve_triangular(factor, columns, upper=False)
    solved: Tensor = torch.linalg.solve_triangular(factor.mT, whitened, upper=True)
    return solved
