"""Which sites of a program a tensor was computed from.

A mode of torch watches every operation, so that modules, indexing, writing in place and the parameters of
distributions are all seen. What leaves torch is not, nor what comes out of `torch.vmap` and `torch.func`: a number
taken out by `.item()` has no past.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from types import TracebackType
from typing import Any, Self, cast

from torch import Tensor, nn
from torch.distributions import Distribution, Transform
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from posterity.ppl.site import Site
from posterity.ppl.stack import Handler

Names = frozenset[str]


class provenance(Handler):  # noqa: N801  # handlers are written as functions are
    """Follow the values of sites through what a program computes of them.

    A value of a `sample`, `deterministic` or `param` site counts as coming from that site alone; what the site itself
    depends on is in `parents`.

    Args:
        fn: The program; without it, for a `with` block. What is asked about tensors has to be asked inside the block.

    Attributes:
        parents: For each site the sites that its distribution, or a deterministic site's value, was computed from.
        latents: The sites that are latent variables.

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     x = pt.sample("x", pt.distributions.Normal(0.0, 1.0))
        ...     y = pt.sample("y", pt.distributions.Normal(x, 1.0))
        ...     pt.sample("z", pt.distributions.Normal(2 * y, 1.0), obs=1.0)
        >>> followed = provenance(model)
        >>> _ = followed()
        >>> followed.parents["z"], sorted(followed.ancestors_of("z"))
        (frozenset({'y'}), ['x', 'y'])
    """

    def __init__(self, fn: Callable[..., Any] | None = None) -> None:
        super().__init__(fn)
        self.parents: dict[str, Names] = {}
        self.latents: set[str] = set()
        self._observed: set[str] = set()
        self._mode = _Following()

    def __enter__(self) -> Self:
        self.parents, self.latents, self._observed, self._mode = {}, set(), set(), _Following()
        self._mode.__enter__()  # type: ignore[no-untyped-call]
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, traceback)
        self._mode.__exit__(kind, error, traceback)  # type: ignore[no-untyped-call]

    def of(self, *things: Any) -> Names:
        """The sites that tensors, or the tensors inside distributions, bijectors, modules and containers, come from."""
        names = [self._mode.names(tensor) for tensor in tensors_in(things)]
        return frozenset().union(*names)

    def ancestors(self, *things: Any) -> Names:
        """As `of`, with the sites that those sites depend on in their turn."""
        return self._closed(self.of(*things))

    def ancestors_of(self, name: str) -> Names:
        """The sites that a site depends on, at any distance."""
        return self._closed(self.parents[name])

    def depends_on_latents(self, *things: Any) -> bool:
        """Whether the value of a latent variable reaches a value; through data it does not."""
        waiting, seen = set(self.of(*things)), set()
        while waiting:
            name = waiting.pop()
            if name in self.latents:
                return True
            seen.add(name)
            if name not in self._observed:
                waiting |= self.parents.get(name, _NONE) - seen
        return False

    def postprocess_message(self, site: Site) -> None:
        """Note what a site comes from, and mark its value as the site's."""
        if site.kind not in ("sample", "deterministic", "param"):
            return
        self.parents[site.name] = self.of(site.value if site.kind == "deterministic" else site.distribution)
        if site.kind == "sample":
            (self._observed if site.is_observed else self.latents).add(site.name)
        if not isinstance(site.value, Tensor):
            return
        if site.kind != "param":
            # The program may hold the same tensor under another name: as data, or as another site's value.
            site.value = site.value.view_as(site.value)
        self._mode.own[site.value] = frozenset({site.name})

    def _closed(self, names: Names) -> Names:
        reached: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in reached:
                reached.add(name)
                waiting += self.parents.get(name, ())
        return frozenset(reached)


def tensors_in(thing: Any) -> Iterator[Tensor]:
    """All tensors inside a distribution, bijector, module or container, at any depth.

    Example:
        >>> import torch
        >>> from posterity.distributions import Normal
        >>> len(list(tensors_in([Normal(0.0, 1.0), {"more": torch.ones(2)}])))
        3
    """
    seen: set[int] = set()
    waiting = [thing]
    while waiting:
        found = waiting.pop()
        if isinstance(found, Tensor):
            yield found
        elif id(found) in seen:
            continue
        elif isinstance(found, Mapping):
            waiting += found.values()
        elif isinstance(found, Sequence | Set) and not isinstance(found, str | bytes):
            waiting += found
        elif isinstance(found, Distribution | Transform | nn.Module):
            waiting += vars(found).values()
        seen.add(id(found))


class _Following(TorchFunctionMode):
    """Hands the names of an operation's inputs on to its results.

    `own` has what a tensor was made from; `written`, by the tensor that has the memory, what was written there later,
    which every view of it sees.
    """

    def __init__(self) -> None:
        super().__init__()
        self.own = WeakTensorKeyDictionary()
        self.written = WeakTensorKeyDictionary()

    def names(self, tensor: Tensor) -> Names:
        own: Names = self.own.get(tensor, _NONE)
        written: Names = self.written.get(_memory(tensor), _NONE)
        return own | written

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func == _BASE:
            return result
        names: Names = frozenset().union(*(self.names(t) for t in _leaves((args, kwargs or {}))))
        if not names:
            return result
        target = (kwargs or {}).get("out", args[0] if args else None)
        writes = result is target or func.__name__ in ("__setitem__", "__set__")
        for tensor in _leaves(target if writes else result):
            if writes:
                memory = _memory(tensor)
                self.written[memory] = names | self.written.get(memory, _NONE)
            else:
                self.own[tensor] = names
        return result


_NONE: Names = frozenset()
_BASE = cast(Any, Tensor)._base.__get__  # what torch calls the reading of an attribute


def _memory(tensor: Tensor) -> Tensor:
    return tensor if tensor._base is None else tensor._base


def _leaves(thing: Any) -> Iterator[Tensor]:
    if isinstance(thing, Tensor):
        yield thing
    elif isinstance(thing, tuple | list):
        for part in thing:
            yield from _leaves(part)
    elif isinstance(thing, dict):
        for part in thing.values():
            yield from _leaves(part)
