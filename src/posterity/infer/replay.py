"""A compiled graph with all of its memory, which runs again by one native call: no Python, no allocation.

What a small graph costs on a processor is the Python around its kernels. The graph is run once while its calls are
recorded; replaying the list costs what the kernels do.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

from posterity.infer.capture import compiled, traced
from posterity.infer.native.ahead import build_ahead
from posterity.infer.native.call_list import CallList, Entry, Move, address_of
from posterity.infer.recording import MOST_BYTES, NotReplayableError, generated_modules, record

Along = Sequence[tuple[int, Tensor]]


class Replay:
    """A function of tensors as a compiled graph over static memory.

    Values are written into `inputs` in place and read from `outputs`, which the next replay overwrites. It belongs to
    one thread at a time; others run meanwhile. Graphs on the CPU that consist of Inductor's kernels and matrix
    products are replayed natively. Others, with a linear solver, random numbers or on another device, are called
    as they are: the results are the same, and `reason` says why.

    Args:
        function: Takes the tensors, and returns tensors in tuples, lists or dicts; as in `capture`, it may write to
            its arguments in place, and other tensors that it reads are taken as they are.
        example: Its arguments, whose memory becomes that of the inputs.
        is_settled: Whether other tensors that it reads keep their values from now on, as in `capture`.

    Attributes:
        inputs: The arguments.
        outputs: The tensors that the function returns, flat and contiguous; none shares memory with an input.
        compiled: The compiled graph: takes the arguments, and returns fresh outputs in a tuple.
        reason: Why replays are not native; empty where they are.
        entry: The address of a C function `int32_t entry(void* context)` that replays once, and returns 0 if it went
            well; else `check` says what did not. It may be called from any native thread.
        context: Its argument. Both live as long as this object.

    Raises:
        CaptureError: The function's course depends on the values of its tensors.

    Example:
        >>> from posterity.infer.capture import can_compile
        >>> if can_compile():
        ...     x = torch.ones(3)
        ...     double = Replay(lambda x: 2 * x, [x])
        ...     double.loop(4, feedback=[(0, 0)])
        ...     assert x.tolist() == [16.0, 16.0, 16.0]
    """

    def __init__(self, function: Callable[..., Any], example: Sequence[Tensor], *, is_settled: bool = False) -> None:
        build_ahead("replay")
        # Of their own, so that their memory stays where it is.
        self.inputs = [tensor.detach() for tensor in example]
        structures: list[pytree.TreeSpec] = []
        returned: list[Tensor] = []

        def flat(*arguments: Tensor) -> tuple[Tensor, ...]:
            leaves, structure = pytree.tree_flatten(function(*arguments))
            structures.append(structure)
            taken = {argument.untyped_storage()._cdata for argument in arguments}
            returned[:] = [_owned(leaf, taken) for leaf in leaves]
            return tuple(returned)

        # make_fx counts the arguments of a function
        graph = traced(lambda *arguments: flat(*arguments), self.inputs, is_settled=is_settled)
        with generated_modules() as modules:
            self.compiled = compiled(graph, self.inputs)
        self.structure = structures[-1]
        self.reason = ""
        self._error: BaseException | None = None
        try:
            _check_graph(graph)
            self._native = _verified(self.compiled, modules, self.inputs)
            self.outputs = self._native.outputs
            self.entry, self.context = self._native.entry, self._native.context
        except Exception as error:
            self.reason = str(error) or type(error).__name__
            self.outputs = [torch.empty(v.shape, dtype=v.dtype, device=v.device) for v in returned]
            self._callback = Entry(self._called_back)
            self.entry, self.context = address_of(self._callback), 0

    @property
    def is_native(self) -> bool:
        """Whether replays are native."""
        return not self.reason

    @property
    def result(self) -> Any:
        """The outputs in the structure in which the function returned them."""
        return pytree.tree_unflatten(self.outputs, self.structure)

    def __call__(self) -> None:
        """Replay once.

        Raises:
            RuntimeError: A kernel refused its arguments, such as an index out of range.
        """
        if self.is_native:
            self._native.replay()
        else:
            self._call()

    def loop(
        self,
        number: int,
        *,
        advancing: Along = (),
        collecting: Along = (),
        feedback: Sequence[tuple[int, int]] = (),
    ) -> None:
        """Replay several times.

        A native loop cannot be interrupted by Ctrl-C: long ones are better taken in parts.

        Args:
            number: How often.
            advancing: Inputs by their places, with a tensor `[number, *shape]` each: before each replay the input
                takes its next row.
            collecting: Outputs by their places, with a tensor `[number, *shape]` each, whose rows take them after
                each replay.
            feedback: Pairs of places, of an output and of an input that takes its value after each replay.

        Raises:
            ValueError: A tensor does not fit.
            RuntimeError: A kernel refused its arguments, such as an index out of range.
        """
        for what, along, statics in (("advancing", advancing, self.inputs), ("collecting", collecting, self.outputs)):
            for place, rows in along:
                _check(what, rows, (number, *statics[place].shape), statics[place])
        for source, target in feedback:
            _check("feedback", self.outputs[source], self.inputs[target].shape, self.inputs[target])
        if self.is_native:
            before = [Move.from_rows(rows, self.inputs[i]) for i, rows in advancing]
            after = [Move.into_rows(self.outputs[i], rows) for i, rows in collecting]
            after += [Move.between(self.outputs[source], self.inputs[target]) for source, target in feedback]
            self._native.loop(number, before, after)
            return
        for row in range(number):
            for i, rows in advancing:
                self.inputs[i].copy_(rows[row])
            self._call()
            for i, rows in collecting:
                rows[row].copy_(self.outputs[i])
            for source, target in feedback:
                self.inputs[target].copy_(self.outputs[source])

    def check(self) -> None:
        """Raise the error of a call of `entry` that did not return 0.

        Raises:
            BaseException: What went wrong, such as a RuntimeError.
        """
        if self.is_native:
            self._native.check()
        elif self._error is not None:
            error, self._error = self._error, None
            raise error

    @torch.no_grad()
    def _call(self) -> None:
        for output, value in zip(self.outputs, self.compiled(*self.inputs), strict=True):
            output.copy_(value)

    def _called_back(self, _: int | None) -> int:
        try:
            self._call()
        except BaseException as error:  # nobody above would see it
            self._error = error
            return 1
        return 0


def _check(what: str, given: Tensor, shape: Sequence[int], static: Tensor) -> None:
    if given.shape != tuple(shape) or given.dtype != static.dtype or given.device != static.device:
        raise ValueError(
            f"Replay.loop: {what} got a tensor {tuple(given.shape)} of {given.dtype} on {given.device}, but needs "
            f"{tuple(shape)} of {static.dtype} on {static.device}"
        )
    if not given.is_contiguous() or not static.is_contiguous():
        raise ValueError(f"Replay.loop: {what} takes contiguous tensors")


def _owned(leaf: Any, taken: set[int]) -> Tensor:
    """An output that is contiguous, and shares memory with no input and no other output."""
    if not isinstance(leaf, Tensor):
        raise TypeError(f"a function that is replayed must return tensors, not a {type(leaf).__name__}")
    storage = leaf.untyped_storage()._cdata
    own = leaf.clone(memory_format=torch.contiguous_format) if storage in taken else leaf.contiguous()
    taken.add(own.untyped_storage()._cdata)
    return own


def _check_graph(graph: GraphModule) -> None:
    """Refuse a graph that recording would fail on, without running it.

    Raises:
        NotReplayableError: It draws random numbers, is not on the CPU, or works on too much memory.
    """
    for node in graph.graph.nodes:
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            raise NotReplayableError(f"it draws random numbers by {node.target}")
        value = node.meta.get("val")
        if isinstance(value, Tensor) and value.device.type != "cpu":
            raise NotReplayableError(f"it works on {value.device}")


@torch.no_grad()
def _verified(compiled: Callable[..., Any], modules: Sequence[Any], inputs: Sequence[Tensor]) -> CallList:
    """Record a graph, and see that a replay does to the bit what a call does, on other values.

    Raises:
        NotReplayableError: It cannot be recorded.
    """
    if sum(tensor.nbytes for tensor in inputs) > MOST_BYTES:
        raise NotReplayableError("it works on too much memory")
    given = [tensor.clone() for tensor in inputs]
    others = [_nearby(tensor) for tensor in given]
    try:
        recording = record(compiled, modules, inputs)
        native = CallList(recording)
        _write(inputs, others)
        expected = [_bits(tensor) for tensor in (*compiled(*inputs), *inputs)]
        _write(inputs, others)
        for buffer in recording.buffers:
            buffer.fill_(torch.nan if buffer.is_floating_point() else 1)
        native.replay()
        if not all(map(torch.equal, expected, map(_bits, (*native.outputs, *inputs)))):
            raise NotReplayableError("a replay gave other numbers than a call")
    finally:
        _write(inputs, given)
    return native


def _write(targets: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for target, value in zip(targets, values, strict=True):
        target.copy_(value)


def _nearby(value: Tensor) -> Tensor:
    """Other values, a little nearer to zero: inside of whatever bounds."""
    if not value.is_floating_point():
        return value
    share = torch.linspace(0.001, 0.01, value.numel(), dtype=value.dtype).reshape(value.shape)
    return torch.where(value == 0, share, value * (1 - share))


def _bits(tensor: Tensor) -> Tensor:
    return tensor.clone(memory_format=torch.contiguous_format).reshape(-1).view(torch.uint8)
