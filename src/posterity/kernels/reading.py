"""Whether the values of tensors can be read to choose between formulas: in eager code on the CPU alone."""

import math

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter


def readable(*tensors: Tensor) -> bool:
    """Whether these are tensors of one precision, float32 or float64, whose values cost nothing to read.

    Not so while a graph is made, under `torch.func`, on devices that would have to be waited for, and for empty
    tensors, which have no extremes.

    Example:
        >>> readable(torch.ones(2)), readable(torch.ones(2), torch.ones(2).double())
        (True, False)
    """
    if torch.compiler.is_compiling() or torch._C._functorch.peek_interpreter_stack() is not None:
        return False
    for t in tensors:
        if type(t) not in (Tensor, Parameter) or t.dtype is not tensors[0].dtype or not t.is_cpu or t.numel() == 0:
            return False
    return tensors[0].dtype in (torch.float32, torch.float64)


def records_gradient(*tensors: Tensor) -> bool:
    """Whether derivatives of what is computed of these may be asked for, in reverse or in forward mode.

    Example:
        >>> records_gradient(torch.ones(2)), records_gradient(torch.ones(2, requires_grad=True))
        (False, True)
    """
    if forward_ad._current_level >= 0:
        return True
    return torch.is_grad_enabled() and any(t.requires_grad for t in tensors)


def is_constant(x: Tensor) -> bool:
    """Whether nobody differentiates with respect to `x`, or maps over it by `torch.func`: whether it is data.

    Example:
        >>> is_constant(torch.ones(2)), is_constant(torch.ones(2, requires_grad=True))
        (True, False)
    """
    if torch.compiler.is_compiling():
        return not x.requires_grad
    return not (torch._C._functorch.is_functorch_wrapped_tensor(x) or records_gradient(x))


def may_hold_nan(x: Tensor) -> bool:
    """Whether a readable tensor holds a NaN; also where it holds infinities of both signs.

    Example:
        >>> may_hold_nan(torch.ones(2)), may_hold_nan(torch.tensor([1.0, torch.nan]))
        (False, True)
    """
    return math.isnan(x.item() if x.numel() == 1 else x.detach().sum().item())


def lies_within(x: Tensor, above: float, to: float) -> bool:
    """Whether all of a readable tensor lies above one bound and up to another; false where it holds a NaN.

    Example:
        >>> lies_within(torch.tensor([0.0, 1.0]), 0.0, 1.0), lies_within(torch.tensor([0.5, 1.0]), 0.0, 1.0)
        (False, True)
    """
    if x.numel() == 1:
        return above < x.item() <= to
    if to == math.inf:
        return above < x.detach().min().item()
    least, greatest = torch.aminmax(x.detach())
    return above < least.item() and greatest.item() <= to


def all_finite(x: Tensor) -> bool:
    """Whether no entry of a readable tensor is infinite or NaN, and their sum is finite: a NaN shows in the sum.

    Example:
        >>> all_finite(torch.ones(2)), all_finite(torch.tensor([1.0, float("nan")]))
        (True, False)
    """
    total = x.item() if x.numel() == 1 else x.detach().sum().item()
    return total - total == 0
