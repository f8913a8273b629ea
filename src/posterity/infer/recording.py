"""Record which functions a graph compiled by Inductor calls, and with which memory.

All that is known of Inductor's private parts stands here: the module that it generates looks up its kernels, its
allocator and torch's operations by name at each call. Whatever else is met ends the recording.
"""

import ctypes
import struct
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from posterity.infer.capture import CAPTURING
from posterity.infer.native import thin_product

# As in `native/replay.cpp`.
MOST_ARGUMENTS = 128
MOST_OPERANDS = 16
KERNEL, OPERATION, OPERATION_WITH_NUMBERS, DISPATCHED = range(4)

# Whoever works on more memory gains nothing, and would have to keep all of it.
MOST_BYTES = 2**28

Module = types.ModuleType


class NotReplayableError(Exception):
    """A graph does something that cannot be recorded; the message says what."""


class Call(NamedTuple):
    """A call of a native function.

    Attributes:
        function: Its address.
        kind: How it is called: `KERNEL` and so on.
        arguments: The addresses that it gets.
        numbers: Two numbers that it gets after them.
    """

    function: int
    kind: int
    arguments: tuple[int, ...]
    numbers: tuple[float, float] = (0.0, 0.0)


class Recording(NamedTuple):
    """What one call of a compiled graph did.

    Attributes:
        calls: In their order.
        result: What it returned.
        buffers: The memory that it allocated.
        kept: What else must live as long as the calls do.
    """

    calls: list[Call]
    result: Any
    buffers: list[Tensor]
    kept: list[Any]


@contextmanager
def generated_modules() -> Iterator[list[Module]]:
    """The modules that Inductor generates, or takes from its caches, while the block runs."""
    from torch._inductor.codecache import PyCodeCache

    found: list[Module] = []
    with CAPTURING:
        own, load = PyCodeCache.__dict__["load_by_key_path"], PyCodeCache.load_by_key_path

        def seen(*args: Any, **kwargs: Any) -> Module:
            module = load(*args, **kwargs)
            found.append(module)
            return module

        try:
            setattr(PyCodeCache, "load_by_key_path", staticmethod(seen))  # noqa: B010  # the checker forbids it otherwise
            yield found
        finally:
            setattr(PyCodeCache, "load_by_key_path", own)  # noqa: B010


def record(compiled: Callable[..., Any], modules: Sequence[Module], inputs: Sequence[Tensor]) -> Recording:
    """Call a compiled graph, and note what it calls.

    Args:
        compiled: The graph.
        modules: Those that were generated when it was compiled.
        inputs: Its arguments; the recording is for their memory.

    Raises:
        NotReplayableError: It does something that cannot be recorded.
    """
    graphs = list({id(module): module for module in modules if hasattr(module, "call")}.values())
    if len(graphs) != 1:
        raise NotReplayableError(f"it was compiled into {len(graphs)} modules")
    recorder = _Recorder()
    with CAPTURING, recorder.instead_of(vars(graphs[0])), recorder:
        result = compiled(*inputs)
    if recorder.refused:
        raise NotReplayableError(recorder.refused[0])
    return Recording(recorder.calls, result, recorder.buffers, [*recorder.kept, *inputs])


class _Recorder(TorchDispatchMode):
    """Sees every operation of torch, and stands in for a module's kernels and its allocator."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[Call] = []
        self.buffers: list[Tensor] = []
        self.kept: list[Any] = []
        self.refused: list[str] = []
        self._thread = threading.get_ident()
        self._c = _c_functions()

    @contextmanager
    def instead_of(self, names: dict[str, Any]) -> Iterator[None]:
        """Replace a module's kernels and its allocator while the block runs."""
        own = dict(names)
        kernels = {name: self._kernel(value) for name, value in own.items() if _is_kernel(value)}
        names.update(kernels)
        names["empty_strided_cpu"] = self._allocator(own["empty_strided_cpu"])
        try:
            yield
        finally:
            names.update({name: own[name] for name in (*kernels, "empty_strided_cpu")})

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        try:
            if func in self._c.operations:
                address, kind = self._c.operations[func]
                handles = [self._handle(tensor) for tensor in (kwargs["out"], *args)]
                numbers = (float(kwargs.get("beta", 1)), float(kwargs.get("alpha", 1)))
                self.calls.append(Call(address, kind, tuple(handles), numbers))
            elif func is thin_product.OPERATOR:
                thin, wide = args
                call = thin_product.NativeCall(thin, wide, result)
                self.kept += [call, thin, wide]
                self.buffers.append(result)
                self.calls.append(Call(call.function, KERNEL, call.arguments))
            elif not func.is_view:
                self._dispatched(func, args, kwargs, result)
        except NotReplayableError as error:
            self.refused.append(str(error))
        return result

    def _dispatched(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> None:
        """Note a call through torch's dispatcher, that writes into what this one returned."""
        schema = func._schema
        returned = list(result) if isinstance(result, tuple | list) else [result]
        given = [
            args[i] if i < len(args) else kwargs.get(argument.name, argument.default_value)
            for i, argument in enumerate(schema.arguments)
        ]
        if not schema.is_mutable:
            func, given = _writing(func), given + returned
        operands, tensors = [], 0
        for i, (argument, value) in enumerate(zip(func._schema.arguments, given, strict=True)):
            if isinstance(value, Tensor) and str(argument.type) == "Tensor":
                tensors |= 1 << i
                operands.append(self._handle(value))
            elif value is None or str(argument.type) in ("int", "bool", "float"):
                packed = struct.pack("d" if isinstance(value, float) else "q", value or 0)
                operands.append(int.from_bytes(packed, sys.byteorder))
            else:
                raise NotReplayableError(f"it calls {func} with a {type(value).__name__}")
        if len(operands) > MOST_OPERANDS:
            raise NotReplayableError(f"it calls {func} with {len(operands)} arguments")
        name, overload = (ctypes.c_char_p(part.encode()) for part in (func._schema.name, func._schema.overload_name))
        self.kept += [name, overload, result]
        texts = [ctypes.cast(text, ctypes.c_void_p).value or 0 for text in (name, overload)]
        counts = len(func._schema.returns), len(operands)
        header = (*texts, self._c.copy_handle, self._c.free_handle, *counts, tensors)
        self.calls.append(Call(self._c.dispatcher, DISPATCHED, (*header, *operands)))

    def _kernel(self, function: Any) -> Callable[..., None]:
        library = ctypes.CDLL(function.__self__.__file__)
        address = ctypes.cast(library.kernel, ctypes.c_void_p).value
        assert address is not None
        self.kept.append(library)

        def kernel(*tensors: Any) -> None:
            function(*tensors)
            if self._thread != threading.get_ident():
                return
            if not all(isinstance(tensor, Tensor) for tensor in tensors):
                self.refused.append("a kernel takes more than tensors")
            elif len(tensors) > MOST_ARGUMENTS:
                self.refused.append(f"a kernel takes {len(tensors)} tensors")
            else:
                self.kept.append(tensors)
                self.calls.append(Call(address, KERNEL, tuple(tensor.data_ptr() for tensor in tensors)))

        return kernel

    def _allocator(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def allocate(*args: Any) -> Tensor:
            tensor = function(*args)
            if self._thread == threading.get_ident():
                self.buffers.append(tensor)
                if sum(buffer.nbytes for buffer in self.buffers) > MOST_BYTES:
                    raise NotReplayableError("it works on too much memory")
            return tensor

        return allocate

    def _handle(self, tensor: Tensor) -> int:
        """The address of torch's own tensor object, which the C functions take."""
        capsules = torch._C._aoti.unsafe_alloc_void_ptrs_from_tensors([tensor])
        owner = _Owner()
        release = torch._C._aoti.alloc_tensors_by_stealing_from_void_ptrs
        weakref.finalize(owner, release, capsules).atexit = False
        self.kept.append(owner)
        address = ctypes.pythonapi.PyCapsule_GetPointer
        address.restype, address.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        return int(address(capsules[0], None))


class _Owner:
    """Frees a tensor object when it goes."""


class _CFunctions(NamedTuple):
    """The addresses of torch's C functions.

    Attributes:
        operations: Of those that are operations, and how they are called.
        dispatcher: Of that which calls any operation.
        copy_handle: Of that which makes a tensor object for another's tensor.
        free_handle: Of that which frees one.
    """

    operations: dict[Any, tuple[int, int]]
    dispatcher: int
    copy_handle: int
    free_handle: int


@cache
def _c_functions() -> _CFunctions:
    paths = list((Path(torch.__file__).parent / "lib").glob("*torch_cpu.*"))
    if len(paths) != 1:
        raise NotReplayableError("torch's library is not where it was looked for")
    library = ctypes.CDLL(str(paths[0]))

    def address(name: str) -> int:
        return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0

    aten = torch.ops.aten
    operations = {
        aten.mm.out: (address("aoti_torch_cpu_mm_out"), OPERATION),
        aten.bmm.out: (address("aoti_torch_cpu_bmm_out"), OPERATION),
        aten.addmm.out: (address("aoti_torch_cpu_addmm_out"), OPERATION_WITH_NUMBERS),
        aten.baddbmm.out: (address("aoti_torch_cpu_baddbmm_out"), OPERATION_WITH_NUMBERS),
    }
    handles = address("aoti_torch_new_tensor_handle"), address("aoti_torch_delete_tensor_object")
    return _CFunctions(operations, address("aoti_torch_call_dispatcher"), *handles)


def _writing(func: Any) -> Any:
    """The variant of an operation that takes its results' memory after its arguments."""
    own = [(argument.name, str(argument.type)) for argument in func._schema.arguments]
    for name in func.overloadpacket.overloads():
        schema = getattr(func.overloadpacket, name)._schema
        outs = [argument for argument in schema.arguments if argument.is_out]
        rest = [(argument.name, str(argument.type)) for argument in schema.arguments if not argument.is_out]
        if len(outs) == len(func._schema.returns) and rest == own:
            return getattr(func.overloadpacket, name)
    raise NotReplayableError(f"it calls {func}")


def _is_kernel(value: Any) -> bool:
    module = getattr(value, "__self__", None)
    return isinstance(value, types.BuiltinFunctionType) and value.__name__ == "kernel" and hasattr(module, "__file__")
