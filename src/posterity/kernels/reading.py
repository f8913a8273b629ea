"""Whether the values of tensors can be read to choose between formulas: in eager code on the CPU alone."""

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


def lies_within(x: Tensor, above: float, to: float) -> bool:
    """Whether all of a readable tensor lies above one bound and up to another; false where it holds a NaN.

    Example:
        >>> lies_within(torch.tensor([0.0, 1.0]), 0.0, 1.0), lies_within(torch.tensor([0.5, 1.0]), 0.0, 1.0)
        (False, True)
    """
    x = x.detach()
    if x.numel() == 1:
        return above < x.item() <= to
    least, greatest = torch.aminmax(x)
    return above < least.item() and greatest.item() <= to
