"""Record which functions a graph compiled by Inductor calls, and with which memory.

All that is known of Inductor's private parts stands here: the module that it generates looks up its kernels, its
allocator and torch's operations by name at each call. Whatever else is met ends the recording.
"""

import ctypes
import threading
import types
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from posterity.infer.capture import CAPTURING

# As in `native/replay.cpp`.
MOST_ARGUMENTS = 128
KERNEL, OPERATION, OPERATION_WITH_NUMBERS = range(3)

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
        own = PyCodeCache.__dict__["load_by_key_path"]

        def load(cls: type, *args: Any, **kwargs: Any) -> Module:
            module: Module = own.__func__(cls, *args, **kwargs)
            found.append(module)
            return module

        try:
            setattr(PyCodeCache, "load_by_key_path", classmethod(load))  # noqa: B010  # the checker forbids it otherwise
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
        self._operations = _operations()

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
        if func in self._operations:
            address, kind = self._operations[func]
            tensors = [kwargs["out"], *args]
            numbers = (float(kwargs.get("beta", 1)), float(kwargs.get("alpha", 1)))
            self.calls.append(Call(address, kind, self._handles(tensors), numbers))
        elif not func.is_view:
            self.refused.append(f"it calls {func}")
        return result

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

    def _handles(self, tensors: Sequence[Tensor]) -> tuple[int, ...]:
        """Addresses of torch's own tensor objects, which the C functions take."""
        capsules = torch._C._aoti.unsafe_alloc_void_ptrs_from_tensors(list(tensors))
        owner = _Owner()
        release = torch._C._aoti.alloc_tensors_by_stealing_from_void_ptrs
        weakref.finalize(owner, release, capsules).atexit = False
        self.kept.append(owner)
        address = ctypes.pythonapi.PyCapsule_GetPointer
        address.restype, address.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        return tuple(address(capsule, None) for capsule in capsules)


class _Owner:
    """Frees tensor objects when it goes."""


def _is_kernel(value: Any) -> bool:
    module = getattr(value, "__self__", None)
    return isinstance(value, types.BuiltinFunctionType) and value.__name__ == "kernel" and hasattr(module, "__file__")


def _operations() -> dict[Any, tuple[int, int]]:
    """The addresses of torch's C functions, by the operations that they are."""
    aten = torch.ops.aten
    wanted = {
        aten.mm.out: ("mm_out", OPERATION),
        aten.bmm.out: ("bmm_out", OPERATION),
        aten.addmm.out: ("addmm_out", OPERATION_WITH_NUMBERS),
        aten.baddbmm.out: ("baddbmm_out", OPERATION_WITH_NUMBERS),
    }
    found = {}
    for path in (Path(torch.__file__).parent / "lib").glob("*torch_cpu.*"):
        library = ctypes.CDLL(str(path))
        for operation, (name, kind) in wanted.items():
            address = ctypes.cast(getattr(library, f"aoti_torch_cpu_{name}"), ctypes.c_void_p).value
            assert address is not None
            found[operation] = address, kind
    return found
