"""NaN where a matrix has no factor or inverse, for log densities at points that a sampler is to turn down."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode
from torch.linalg import LinAlgError  # type: ignore[attr-defined]  # torch does not list it
from torch.overrides import TorchFunctionMode

_Result = TypeVar("_Result")


def nan_where_singular(function: Callable[[], _Result]) -> _Result:
    """Call a function, in which factors and inverses of matrices that have none are NaN rather than an error.

    Of a batch, such as the points that `torch.vmap` runs over, only those entries are NaN. `torch.linalg.cholesky`,
    `inv` and `solve` under all their names are meant; code that asks for `info` itself sees no difference.
    Eager code pays for it only where it has failed, by a second call; in a graph that is being captured there is no
    check left that could fail.

    Args:
        function: Takes nothing, and has no effects.

    Raises:
        LinAlgError: Something else has failed, such as the eigenvalues of a matrix that is not finite.

    Example:
        >>> nan_where_singular(lambda: torch.linalg.cholesky(torch.tensor([[[4.0]], [[-1.0]]])))
        tensor([[[2.]],
        <BLANKLINE>
                [[nan]]])
    """
    if get_proxy_mode() is None:
        try:
            return function()
        except LinAlgError:
            pass
    with _WithoutChecks():
        return function()


class _WithoutChecks(TorchFunctionMode):
    """Replaces functions that check a factorisation by those that say how it went."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        replacement = _REPLACED.get(func)
        return (replacement or func)(*args, **(kwargs or {}))


def _cholesky(A: Tensor, *, upper: bool = False) -> Tensor:  # noqa: N803  # torch's name
    factor, info = torch.linalg.cholesky_ex(A, upper=upper)
    return _where_done(info, factor, 2)


def _old_cholesky(input: Tensor, upper: bool = False) -> Tensor:  # noqa: A002  # torch's name
    return _cholesky(input, upper=upper)


def _inv(A: Tensor) -> Tensor:  # noqa: N803
    inverse, info = torch.linalg.inv_ex(A)
    return _where_done(info, inverse, 2)


def _old_inverse(input: Tensor) -> Tensor:  # noqa: A002
    return _inv(input)


def _solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:  # noqa: N803
    solution, info = torch.linalg.solve_ex(A, B, left=left)
    # A vector, or a batch of them, has one axis fewer than a matrix.
    is_vector = B.dim() == 1 or (A.dim() - 1 == B.dim() and A.shape[:-1] == B.shape)
    return _where_done(info, solution, 1 if is_vector else 2)


def _where_done(info: Tensor, value: Tensor, rank: int) -> Tensor:
    return torch.where(info.reshape(info.shape + (1,) * rank) == 0, value, torch.nan)


_REPLACED: dict[Any, Callable[..., Any]] = {
    torch.linalg.cholesky: _cholesky,
    torch.cholesky: _old_cholesky,
    torch.Tensor.cholesky: _old_cholesky,
    torch.linalg.inv: _inv,
    torch.inverse: _old_inverse,
    torch.Tensor.inverse: _old_inverse,
    torch.linalg.solve: _solve,
}
