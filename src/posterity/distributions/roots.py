"""The positive root of an increasing function, for likelihoods whose maximum solves one equation."""

from collections.abc import Callable

import torch
from torch import Tensor

_LOG_LARGEST, _HALVINGS = 28.0, 64


def positive_root(owner: str, function: Callable[[Tensor], Tensor], target: Tensor) -> Tensor:
    """The x > 0 at which an increasing `function` has the value `target`, to the last bits of float64.

    Args:
        owner: The distribution, for the error message.
        function: Elementwise; what it is given is float64 and has the shape of `target`.
        target: Values of the function.

    Raises:
        ArithmeticError: Below 1e12 the function does not reach a target: the likelihood has no maximum.

    Example:
        >>> positive_root("Test", torch.log, torch.tensor(0.0, dtype=torch.float64))
        tensor(1., dtype=torch.float64)
    """
    target = target.double()
    low, high = torch.full_like(target, -_LOG_LARGEST), torch.full_like(target, _LOG_LARGEST)
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        short = function(middle.exp()) < target
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    if not bool((high < 0.99 * _LOG_LARGEST).all()):
        raise ArithmeticError(
            f"{owner}.fit found no maximum of the likelihood: it rises on as the draws are taken to be less and less "
            "random. Are they all alike?"
        )
    return high.exp()
