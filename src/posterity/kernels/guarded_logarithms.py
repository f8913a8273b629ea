"""Products with a logarithm whose gradients hold at 0 log 0 too, where those of torch's are NaN."""

import torch
from torch import Tensor

from posterity.kernels.elementwise import elementwise


@elementwise(lambda x, y, value: torch.log(y), lambda x, y, value: _ratio(x, y))
def xlogy(x: Tensor, y: Tensor) -> Tensor:
    """`x log y`, and 0 where x = 0, whatever y is; the derivative in y is x / y, and 0 where x = 0.

    Example:
        >>> torch.func.grad(xlogy, argnums=1)(torch.tensor(0.0), torch.tensor(0.0))
        tensor(0.)
    """
    value: Tensor = torch.special.xlogy(x, y)
    return value


@elementwise(lambda x, y, value: torch.log1p(y), lambda x, y, value: _ratio(x, 1 + y))
def xlog1py(x: Tensor, y: Tensor) -> Tensor:
    """`x log(1 + y)`, and 0 where x = 0, whatever y is; the derivative in y is x / (1 + y), and 0 where x = 0.

    Example:
        >>> torch.func.grad(xlog1py, argnums=1)(torch.tensor(0.0), torch.tensor(-1.0))
        tensor(0.)
    """
    value: Tensor = torch.special.xlog1py(x, y)
    return value


def _ratio(x: Tensor, y: Tensor) -> Tensor:
    return torch.where(x == 0, 0, x / torch.where(x == 0, 1, y))
