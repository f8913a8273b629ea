"""The stack of handlers: what a statement of a program is passed through, from the innermost handler outwards.

Each thread and each asyncio task has a stack of its own. Nothing else about programs is global.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Self

import torch

from posterity.ppl.site import Site


class Handler:
    """Changes what the statements of a program mean, inside a `with` block or around a function.

    A subclass overrides `process_message`, which sees each site on its way out, before it has a value, and
    `postprocess_message`, which sees it on its way back.

    Args:
        fn: The program to handle: the handler is then callable in its place. Without it the handler is for `with`
            blocks, or a decorator.

    Example:
        >>> class Doubled(Handler):
        ...     def postprocess_message(self, site):
        ...         if site.kind == "deterministic":
        ...             site.value = 2 * site.value
        >>> from posterity.ppl import deterministic
        >>> with Doubled():
        ...     deterministic("x", 3)
        6
    """

    def __init__(self, fn: Callable[..., Any] | None = None) -> None:
        if fn is not None and not callable(fn):
            raise TypeError(f"fn of {type(self).__name__} must be a program to call, not {type(fn).__name__}")
        self.fn = fn

    def __enter__(self) -> Self:
        _stack.set((*_stack.get(), self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        stack = _stack.get()
        # Handlers further in may still be there: a generator that was never finished leaves its own.
        depth = max((i for i, handler in enumerate(stack) if handler is self), default=len(stack))
        _stack.set(stack[:depth])

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program under this handler; a handler without a program decorates the function that it is given."""
        if self.fn is None:
            if len(args) == 1 and callable(args[0]) and not kwargs:
                return self._decorated(args[0])
            raise TypeError(f"{type(self).__name__} was made without a program: give it one, or use `with`")
        with self:
            return self.fn(*args, **kwargs)

    def process_message(self, site: Site) -> None:
        """Look at, or change, a site before it has its value."""

    def postprocess_message(self, site: Site) -> None:
        """Look at, or change, a site that has its value."""

    def _decorated(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def handled(*args: Any, **kwargs: Any) -> Any:
            with self:
                return fn(*args, **kwargs)

        return handled


def handlers() -> tuple[Handler, ...]:
    """The handlers around this point of the program, outermost first."""
    return _stack.get()


def apply(site: Site) -> Site:
    """Pass a statement through the handlers around it, and give it its default value where none has set one."""
    return _pass(site, _stack.get())


def apply_outside(handler: Handler, site: Site) -> Site:
    """As `apply`, through those handlers alone that stand outside of `handler`."""
    stack = _stack.get()
    return _pass(site, stack[: stack.index(handler)])


@contextmanager
def outside_programs() -> Iterator[None]:
    """Let a block, such as a prediction, be no part of the program around it."""
    if torch.compiler.is_compiling():  # a program never is
        yield
    else:
        with only_handlers(lambda handler: False):
            yield


def check_name(statement: str, name: object) -> None:
    """Refuse a statement whose name is no name.

    Raises:
        TypeError: It is no string, or an empty one.
    """
    if not isinstance(name, str) or not name:
        raise TypeError(f"{statement}: the name must be a string that is not empty, not {name!r}")


def refuse_compiled(statement: str, name: str) -> None:
    """Refuse a statement inside `torch.compile`, where handlers cannot be seen.

    Raises:
        RuntimeError: Naming it, and saying what to do.
    """
    if torch.compiler.is_compiling():
        raise RuntimeError(
            f"pt.{statement}({name!r}) was reached inside torch.compile, which cannot see the handlers: leave the "
            "program as it is, and let its driver compile it (compile=True of posterity.infer's SVI and MCMC)"
        )


@contextmanager
def only_handlers(keep: Callable[[Handler], bool]) -> Iterator[None]:
    """Put other handlers aside for the time of a block."""
    token = _stack.set(tuple(handler for handler in _stack.get() if keep(handler)))
    try:
        yield
    finally:
        _stack.reset(token)


@contextmanager
def without(kind: type[Handler]) -> Iterator[None]:
    """Inside, statements do not pass the handlers of one kind: for a trial run that no trace is to record."""
    token = _stack.set(tuple(handler for handler in _stack.get() if not isinstance(handler, kind)))
    try:
        yield
    finally:
        _stack.reset(token)


def _pass(site: Site, stack: tuple[Handler, ...]) -> Site:
    reached = 0
    for handler in reversed(stack):
        reached += 1
        handler.process_message(site)
        if site.stop:
            break
    if site.value is None and site.default is not None:
        site.value = site.default(site)
    for handler in stack[len(stack) - reached :]:
        handler.postprocess_message(site)
    return site


_stack: ContextVar[tuple[Handler, ...]] = ContextVar("posterity_handlers", default=())
