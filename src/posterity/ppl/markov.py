"""Chains: which of the sites before it a site may depend on."""

import itertools
from collections.abc import Callable, Hashable, Iterable, Iterator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from posterity.ppl.site import Site, Turn
from posterity.ppl.stack import Handler, handlers

T = TypeVar("T")

_turn_numbers = itertools.count()


class markov(Generic[T]):  # noqa: N801  # it stands in programs as a statement
    """Declare that a site depends on those of the last few turns alone.

    Enumeration of discrete variables then needs dimensions for these turns only, however long the chain is.

    Args:
        fn: What is to be looped over, each element a turn; or a function, each call of which is a turn that those
            around it precede (a recursion); without it, for a `with` block or as a decorator.
        history: How many turns back the dependence reaches; 0: turns are independent.
        keep: Whether turns at the same depth are one and the same, so that one branch of a program may depend on its
            neighbours; by default it depends on its ancestors only.

    Raises:
        TypeError: `fn` is neither to be looped over nor to be called.
        ValueError: `history` is no whole number, or negative.

    Example:
        >>> import posterity as pt
        >>> import torch
        >>> def chain(num_steps):
        ...     x = torch.tensor(0)
        ...     for t in pt.markov(range(num_steps)):
        ...         probs = torch.tensor([[0.9, 0.1], [0.2, 0.8]])[x]
        ...         x = pt.sample(f"x_{t}", pt.distributions.Categorical(probs), infer={"enumerate": "parallel"})
        >>> enumerated = pt.handlers.enumerate_sites(chain, first_available_dim=-1)
        >>> recorded = pt.handlers.trace(enumerated).get_trace(4)
        >>> [tuple(recorded[f"x_{t}"].value.shape) for t in range(4)]
        [(2,), (2, 1), (2,), (2, 1)]
    """

    def __init__(
        self, fn: Iterable[T] | Callable[..., Any] | None = None, history: int = 1, keep: bool = False
    ) -> None:
        if fn is not None and not callable(fn) and not isinstance(fn, Iterable):
            raise TypeError(
                f"markov must be given something to loop over, or a function, not {type(fn).__name__}: for t in "
                "pt.markov(range(10))"
            )
        if isinstance(history, bool) or not isinstance(history, int) or history < 0:
            raise ValueError(f"history of markov must be a whole number of at least 0, not {history!r}")
        self.fn, self.history, self.keep = fn, history, keep

    def __enter__(self) -> Self:
        self._open_or_new().begin(self.keep)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        open_here = self._open()
        if open_here is None:  # handlers further out have left, and taken it along
            return
        open_here.owns.pop()
        if not open_here.owns:
            open_here.__exit__(kind, error, traceback)

    def __iter__(self) -> Iterator[T]:
        if not isinstance(self.fn, Iterable):
            raise TypeError("markov was given nothing to loop over: for t in pt.markov(range(10))")
        # Before the loop begins: a plate that is looped over comes and goes above it.
        open_here = self._open_or_new()
        around = len(open_here.owns)
        try:
            for element in self.fn:
                open_here.begin(self.keep)
                yield element
        finally:
            del open_here.owns[around:]
            if not around:
                open_here.__exit__(None, None, None)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function, as one turn; without one, decorate the function that is given."""
        if self.fn is None and len(args) == 1 and callable(args[0]) and not kwargs:
            return markov(args[0], self.history, self.keep)
        if not callable(self.fn):
            raise TypeError("markov was given no function to call")
        with self:
            return self.fn(*args, **kwargs)

    def _open(self) -> "_Turns | None":
        # What is open belongs to the stack, of which each thread has its own, and not to this object.
        return next((h for h in reversed(handlers()) if isinstance(h, _Turns) and h.chain is self), None)

    def _open_or_new(self) -> "_Turns":
        return self._open() or _Turns(self).__enter__()


class _Turns(Handler):
    """The turns of one chain that are open, outermost first."""

    def __init__(self, chain: markov[Any]) -> None:
        super().__init__()
        self.chain = chain
        self.owns: list[Hashable] = []

    def begin(self, keep: bool) -> None:
        self.owns.append((id(self.chain), len(self.owns)) if keep else next(_turn_numbers))

    def process_message(self, site: Site) -> None:
        """Tell the site which turn it is in."""
        if site.kind == "sample" and self.owns:
            visible = frozenset(self.owns[-1 - self.chain.history :])
            site.turns = (Turn(self.owns[-1], visible), *site.turns)
