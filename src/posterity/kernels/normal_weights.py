"""Normal noise, and weights with factorised normal posteriors, by native code: one pass over memory for each.

Torch spends most of what a Bayesian network's training step costs more than an ordinary one on drawing the noise and on
elementwise operations with temporary tensors; the functions here take less than half of that time. Graphs of
torch.compile hold them as custom operators. Where `suits` says no, torch's own operations do the work.
"""

import ctypes
import functools
import math
from collections.abc import Sequence
from functools import cache
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Parameter
from torch.utils._python_dispatch import _get_current_dispatch_mode

from posterity.kernels.random import Key, KeyStream, Source, normal

# Elements from which native code is worth its price: a second or two of compiling once on a machine, and loading the
# library once a process. The choice goes by size (and by who looks at the operations), so that the same
# program takes the same way each time.
WORTHWHILE = 1 << 15


def suits(*tensors: Tensor) -> bool:
    """Whether native code takes these: tensors of one shape, of many float32 elements, on the CPU.

    It does in eager code and in graphs of `torch.compile`, not under `torch.func`, and not without a C++ compiler. The
    first tensors that are large enough wait for the library to be built, a second or two once on a machine.
    """
    for t in tensors:
        if not _is_large(t.shape, t.dtype, t.device) or not t.is_contiguous() or t.shape != tensors[0].shape:
            return False
        if not torch.compiler.is_compiling() and type(t) not in (Tensor, Parameter):
            return False
    return _is_plain() and is_available()


def noise(shape: Sequence[int], *, source: Source, dtype: torch.dtype, device: torch.device) -> Tensor:
    """`posterity.kernels.normal`, by native code where that is worthwhile: the numbers of a key drawn from the source.

    Example:
        >>> noise((2, 3), source=None, dtype=torch.float32, device=torch.device("cpu")).shape
        torch.Size([2, 3])
    """
    batched = isinstance(source, Key) and source.data.dim() != 1
    if batched or not (_is_large(shape, dtype, device) and _is_plain() and is_available()):
        return normal(shape, source=source, dtype=dtype, device=device)
    key, size = _key(source, device), list(shape)
    if torch.compiler.is_compiling():
        return cast(Tensor, _normal_operator(key.data, key.stream, size))
    return _normal(key.data, key.stream, size)


def weights(loc: Tensor | None, rho: Tensor, source: Source) -> Tensor:
    """`loc + softplus(rho) * noise` of tensors that `suits` takes; no `loc` is zero."""
    key = _key(source, rho.device)
    arguments = loc, rho, key.data, key.stream, torch.is_grad_enabled() and rho.requires_grad
    if torch.compiler.is_compiling():
        return cast(Tensor, _weights_operator(*arguments)[0])
    run = _Weights.apply if torch.is_grad_enabled() else _weights
    return cast(Tensor, run(*arguments)[0])


def softplus(rho: Tensor) -> Tensor:
    """`torch.nn.functional.softplus` of a tensor that `suits` takes."""
    with_slope = torch.is_grad_enabled() and rho.requires_grad
    if torch.compiler.is_compiling():
        return cast(Tensor, _softplus_operator(rho, with_slope)[0])
    run = _Softplus.apply if with_slope else _softplus
    return cast(Tensor, run(rho, with_slope)[0])


def divergence(loc: Tensor, rho: Tensor, prior_loc: Tensor | None, prior_scale: Tensor) -> Tensor:
    """KL(Normal(loc, softplus(rho)) || Normal(prior_loc, prior_scale)), summed, of tensors that `suits` takes.

    Args:
        loc: Means.
        rho: Scales before softplus.
        prior_loc: Of their shape; None for zero.
        prior_scale: One number. No gradients reach the prior.
    """
    if torch.compiler.is_compiling():
        return cast(Tensor, _divergence_operator(loc, rho, prior_loc, prior_scale))
    run = _Divergence.apply if torch.is_grad_enabled() else _divergence
    return cast(Tensor, run(loc, rho, prior_loc, prior_scale))


def is_available() -> bool:
    """Whether native code can be had on this machine; it is built at the first question."""
    return _functions() is not None


# Dynamo cannot trace the building, and takes the answer for a constant. So says torch.compiler.assume_constant_result,
# which would import the whole of Dynamo here.
is_available._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _is_large(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> bool:
    # The counter's words have 32 bits.
    return dtype is torch.float32 and device.type == "cpu" and WORTHWHILE <= math.prod(shape) < 2**31


def _is_plain() -> bool:
    """Whether nothing but autograd's reverse mode, or the compiler, looks at the operations."""
    if torch.compiler.is_compiling():
        return True
    return (
        torch._C._functorch.peek_interpreter_stack() is None
        and torch.autograd.forward_ad._current_level < 0
        and _get_current_dispatch_mode() is None
    )


def _key(source: Source, device: torch.device) -> Key:
    if isinstance(source, KeyStream):
        return source.key(device)
    if isinstance(source, Key):
        if source.data.dim() != 1:
            raise ValueError(f"weights are drawn by one key, not by a batch of {list(source.data.shape[:-1])}")
        return Key(source.data.contiguous(), stream=source.stream)
    words = torch.randint(-(2**31), 2**31 - 1, (2,), generator=source, dtype=torch.int32, device=device)
    return Key(words)


def _normal(key: Tensor, stream: int, size: Sequence[int]) -> Tensor:
    out = torch.empty(size, dtype=torch.float32, device=key.device)
    _native().fill_normal(out.data_ptr(), out.numel(), key.data_ptr(), stream, torch.get_num_threads())
    return out


def _weights(loc: Tensor | None, rho: Tensor, key: Tensor, stream: int, with_slope: bool) -> tuple[Tensor, Tensor]:
    value, slope = _room(rho, with_slope)
    _native().draw_weights(
        _address(loc),
        rho.data_ptr(),
        value.data_ptr(),
        slope.data_ptr() or None,
        rho.numel(),
        key.data_ptr(),
        stream,
        torch.get_num_threads(),
    )
    return value, slope


def _softplus(rho: Tensor, with_slope: bool) -> tuple[Tensor, Tensor]:
    value, slope = _room(rho, with_slope)
    _native().fill_softplus(
        rho.data_ptr(), value.data_ptr(), slope.data_ptr() or None, rho.numel(), torch.get_num_threads()
    )
    return value, slope


def _divergence(loc: Tensor, rho: Tensor, prior_loc: Tensor | None, prior_scale: Tensor) -> Tensor:
    total = _native().normal_kl(
        loc.data_ptr(),
        rho.data_ptr(),
        _address(prior_loc),
        prior_scale.item(),
        rho.numel(),
        torch.get_num_threads(),
    )
    return loc.new_tensor(total)


def _divergence_slopes(
    loc: Tensor, rho: Tensor, prior_loc: Tensor | None, prior_scale: Tensor, factor: Tensor
) -> tuple[Tensor, Tensor]:
    by_loc, by_rho = torch.empty_like(loc), torch.empty_like(rho)
    _native().normal_kl_slopes(
        loc.data_ptr(),
        rho.data_ptr(),
        _address(prior_loc),
        prior_scale.item(),
        factor.item(),
        by_loc.data_ptr(),
        by_rho.data_ptr(),
        rho.numel(),
        torch.get_num_threads(),
    )
    return by_loc, by_rho


def _room(rho: Tensor, with_slope: bool) -> tuple[Tensor, Tensor]:
    """Memory for a value and its derivative by rho; none for one that nobody wants, whose address is zero."""
    return torch.empty_like(rho), torch.empty_like(rho) if with_slope else rho.new_empty(0)


def _address(t: Tensor | None) -> int | None:
    return None if t is None else t.data_ptr()


def _keep_slope(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(inputs[0] if len(inputs) == 2 else inputs[1], output[1])


def _slope(ctx: Any) -> Tensor:
    """The derivative by rho; differentiable itself where a second derivative is asked for."""
    rho, slope = ctx.saved_tensors
    if not torch.is_grad_enabled():
        return cast(Tensor, slope)
    logistic: Tensor = torch.sigmoid(rho)
    noise: Tensor = slope.detach() / logistic.detach().clamp(min=torch.finfo(rho.dtype).tiny)
    return logistic * noise


def _weights_backward(ctx: Any, grad: Tensor | None, _: Any) -> tuple[Tensor | None, ...]:
    by_loc = grad if ctx.needs_input_grad[0] else None
    by_rho = grad * _slope(ctx) if grad is not None and ctx.needs_input_grad[1] else None
    return by_loc, by_rho, None, None, None


def _softplus_backward(ctx: Any, grad: Tensor | None, _: Any) -> tuple[Tensor | None, ...]:
    return None if grad is None else grad * _slope(ctx), None


def _keep_inputs(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _divergence_backward(ctx: Any, grad: Tensor, slopes: Any = _divergence_slopes) -> tuple[Tensor | None, ...]:
    loc, rho, prior_loc, prior_scale = ctx.saved_tensors
    if not torch.is_grad_enabled():
        return *slopes(loc, rho, prior_loc, prior_scale, grad), None, None
    scale, precision = F.softplus(rho), prior_scale.square().reciprocal()
    shift = loc if prior_loc is None else loc - prior_loc
    return grad * precision * shift, grad * torch.sigmoid(rho) * (precision * scale - 1 / scale), None, None


class _Weights(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
        output = _weights(*arguments)
        _keep_slope(ctx, arguments, output)
        return output

    backward = staticmethod(_weights_backward)


class _Softplus(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
        output = _softplus(*arguments)
        _keep_slope(ctx, arguments, output)
        return output

    backward = staticmethod(_softplus_backward)


class _Divergence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        output = _divergence(*arguments)
        _keep_inputs(ctx, arguments, output)
        return output

    backward = staticmethod(_divergence_backward)


def _one_by_one(operator: Any, info: Any, in_dims: Sequence[Any], *arguments: Any) -> tuple[Any, Any]:
    """What `vmap` makes of an operator."""

    def of(i: int, argument: Any, dim: Any) -> Any:
        return argument.select(dim, i).contiguous() if isinstance(dim, int) else argument

    results = [operator(*map(functools.partial(of, i), arguments, in_dims)) for i in range(info.batch_size)]
    if isinstance(results[0], Tensor):
        return torch.stack(results), 0
    return tuple(torch.stack(parts) for parts in zip(*results, strict=True)), tuple(0 for _ in results[0])


# The same for graphs of torch.compile. Calling these in eager code would take torch tens of microseconds more.
_normal_operator = torch.library.custom_op("posterity::normal", _normal, mutates_args=())
_weights_operator = torch.library.custom_op("posterity::normal_weights", _weights, mutates_args=())
_softplus_operator = torch.library.custom_op("posterity::softplus", _softplus, mutates_args=())
_divergence_operator = torch.library.custom_op("posterity::normal_divergence", _divergence, mutates_args=())
_divergence_slopes_operator = torch.library.custom_op(
    "posterity::normal_divergence_slopes", _divergence_slopes, mutates_args=()
)

_normal_operator.register_fake(lambda key, stream, size: key.new_empty(size, dtype=torch.float32))
_weights_operator.register_fake(lambda loc, rho, key, stream, with_slope: _room(rho, with_slope))
_softplus_operator.register_fake(_room)
_divergence_operator.register_fake(lambda loc, rho, prior_loc, prior_scale: loc.new_empty(()))
_divergence_slopes_operator.register_fake(
    lambda loc, rho, prior_loc, prior_scale, factor: (torch.empty_like(loc), torch.empty_like(rho))
)
for _each in (
    _normal_operator,
    _weights_operator,
    _softplus_operator,
    _divergence_operator,
    _divergence_slopes_operator,
):
    _each.register_vmap(functools.partial(_one_by_one, _each))
_weights_operator.register_autograd(_weights_backward, setup_context=_keep_slope)
_softplus_operator.register_autograd(_softplus_backward, setup_context=_keep_slope)
_divergence_operator.register_autograd(
    functools.partial(_divergence_backward, slopes=_divergence_slopes_operator), setup_context=_keep_inputs
)


def _native() -> ctypes.CDLL:
    functions = _functions()
    assert functions is not None
    return functions


@cache
def _functions() -> ctypes.CDLL | None:
    from torch._inductor.cpp_builder import _is_clang, get_cpp_compiler

    from posterity.kernels.native.library import library

    # Without these, loops with roots or conditions are not vectorised.
    flags = ["-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"]
    try:
        if not _is_clang(get_cpp_compiler()):
            flags.append("-ftree-loop-vectorize")
        functions = library("posterity.kernels.native", "normal_weights", tuple(flags))
    except (RuntimeError, OSError):
        return None
    pointer, size, word, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32, ctypes.c_float
    signatures = {
        "fill_words": (pointer, pointer, size, pointer, word),
        "fill_normal": (pointer, size, pointer, word, word),
        "draw_weights": (pointer, pointer, pointer, pointer, size, pointer, word, word),
        "fill_softplus": (pointer, pointer, pointer, size, word),
        "normal_kl": (pointer, pointer, pointer, number, size, word),
        "normal_kl_slopes": (pointer, pointer, pointer, number, number, pointer, pointer, size, word),
    }
    for name, types in signatures.items():
        getattr(functions, name).argtypes, getattr(functions, name).restype = types, None
    functions.normal_kl.restype = ctypes.c_double
    return functions
