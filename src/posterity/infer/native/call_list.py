"""A recorded list of calls in C's terms, for `replay.cpp`."""

import ctypes
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from posterity.infer.native.library import library
from posterity.infer.recording import Recording

Entry = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)


class CallList:
    """Replays a recording.

    Args:
        recording: The recording.

    Attributes:
        outputs: The tensors that it returned.
        entry: The address of the C function that replays.
        context: Its argument.
    """

    def __init__(self, recording: Recording) -> None:
        functions = library("replay")
        functions.replay.argtypes, functions.replay.restype = [ctypes.c_void_p], ctypes.c_int32
        pointer, size = ctypes.c_void_p, ctypes.c_int64
        functions.replay_loop.argtypes = [pointer, size, pointer, size, pointer, size]
        functions.replay_loop.restype = size
        self._replay, self._loop = functions.replay, functions.replay_loop
        self._recording = recording  # its memory
        self.outputs: list[Tensor] = list(recording.result)
        self._arguments = [(pointer * len(call.arguments))(*call.arguments) for call in recording.calls]
        calls = [
            _Call(call.function, call.kind, len(given), ctypes.cast(given, ctypes.POINTER(pointer)), call.numbers)
            for call, given in zip(recording.calls, self._arguments, strict=True)
        ]
        self._calls = (_Call * len(calls))(*calls)
        self._context = _Context(self._calls, len(calls), b"")
        self.entry, self.context = address_of(functions.replay), ctypes.addressof(self._context)

    def replay(self) -> None:
        """Replay once."""
        self._replay(self.context)
        self.check()

    def loop(self, number: int, before: Sequence["Move"], after: Sequence["Move"]) -> None:
        """Replay several times, with copies before and after each."""
        first, then = (Move * len(before))(*before), (Move * len(after))(*after)
        self._loop(self.context, number, first, len(before), then, len(after))
        self.check()

    def check(self) -> None:
        """Raise the error of the last replay, if it had one."""
        if self._context.message:
            raise RuntimeError(f"a compiled graph failed: {self._context.message.decode(errors='replace')}")


class Move(ctypes.Structure):
    """A row of one tensor that is copied into a row of another; a static tensor's only row has stride zero."""

    _fields_ = (
        ("destination", ctypes.c_void_p),
        ("source", ctypes.c_void_p),
        ("size", ctypes.c_int64),
        ("destination_stride", ctypes.c_int64),
        ("source_stride", ctypes.c_int64),
    )

    @classmethod
    def between(cls, source: Tensor, destination: Tensor) -> "Move":
        """From static tensor to static tensor."""
        return cls(destination.data_ptr(), source.data_ptr(), source.nbytes, 0, 0)

    @classmethod
    def from_rows(cls, rows: Tensor, destination: Tensor) -> "Move":
        """The next row into a static tensor."""
        return cls(destination.data_ptr(), rows.data_ptr(), destination.nbytes, 0, destination.nbytes)

    @classmethod
    def into_rows(cls, source: Tensor, rows: Tensor) -> "Move":
        """A static tensor into the next row."""
        return cls(rows.data_ptr(), source.data_ptr(), source.nbytes, source.nbytes, 0)


def address_of(function: Any) -> int:
    """Where a C function lies."""
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    return address


class _Call(ctypes.Structure):
    _fields_ = (
        ("function", ctypes.c_void_p),
        ("kind", ctypes.c_int64),
        ("count", ctypes.c_int64),
        ("arguments", ctypes.POINTER(ctypes.c_void_p)),
        ("numbers", ctypes.c_double * 2),
    )


class _Context(ctypes.Structure):
    _fields_ = (("calls", ctypes.POINTER(_Call)), ("count", ctypes.c_int64), ("message", ctypes.c_char * 512))
