"""Choosing parameters of a network by name, by layer type, or by a function."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from posterity.nn.random_module import RandomModule

Selector = str | type[nn.Module] | Callable[[str, nn.Module], bool]


@dataclass(frozen=True)
class Candidate:
    """One parameter that might be chosen.

    Attributes:
        name: its full name in the network, such as `"conv1.weight"`.
        module: the module that holds it.
        attribute: its name there, such as `"weight"`.
        path: the full name of that module, `""` for the network itself.
        modules: the modules from the network down to that one, by full name.
        parameter: the parameter; the posterior's first tensor where it is random already.
        is_random: whether it is random already.
    """

    name: str
    module: nn.Module
    attribute: str
    path: str
    modules: Mapping[str, nn.Module]
    parameter: nn.Parameter
    is_random: bool


def candidates(model: nn.Module) -> list[Candidate]:
    """Every parameter of the network; one that several modules hold comes once for each of them."""
    named = dict(model.named_modules(remove_duplicate=False))
    found, seen = [], set()
    for path, module in named.items():
        if id(module) in seen:
            continue
        seen.add(id(module))
        parts = path.split(".") if path else []
        modules = {name: named[name] for name in (".".join(parts[:i]) for i in range(len(parts) + 1))}
        for attribute, parameter, is_random in _own_parameters(module):
            full = f"{path}.{attribute}" if path else attribute
            found.append(Candidate(full, module, attribute, path, modules, parameter, is_random))
    return found


def _own_parameters(module: nn.Module) -> Iterator[tuple[str, nn.Parameter, bool]]:
    random = module._random if isinstance(module, RandomModule) else {}
    tensors = {f"{name}_{key}" for name, r in random.items() for key in r.posterior.keys}
    for name, r in random.items():
        parameter = module._parameters[f"{name}_{r.posterior.keys[0]}"]
        assert parameter is not None
        yield name, parameter, True
    for name, parameter in module._parameters.items():
        if parameter is not None and name not in tensors:
            yield name, parameter, False


def selects(selector: Selector, candidate: Candidate) -> bool:
    """Whether a selector chooses a parameter.

    A pattern (`*`, `?`, `[...]`) is compared with the parameter's full name, and with the names of the modules that
    hold it: `"encoder"` chooses everything below `encoder`. A type chooses everything in modules of that type. A
    function is asked with the full name and the module.
    """
    if isinstance(selector, str):
        names = (candidate.name, *(name for name in candidate.modules if name))
        return any(fnmatchcase(name, selector) for name in names)
    if isinstance(selector, type):
        return any(isinstance(module, selector) for module in candidate.modules.values())
    return bool(selector(candidate.name, candidate.module))


def as_selectors(argument: str, given: Any) -> tuple[Selector, ...] | None:
    """One selector or several, as a tuple; None where none were given.

    Raises:
        TypeError: for something that is not a selector.
    """
    if given is None:
        return None
    several = isinstance(given, Iterable) and not isinstance(given, str | type)
    selectors = tuple(given) if several else (given,)
    for selector in selectors:
        is_type = isinstance(selector, type) and issubclass(selector, nn.Module)
        if not (isinstance(selector, str) or is_type or (callable(selector) and not isinstance(selector, type))):
            raise TypeError(
                f"{argument} takes name patterns, layer types and functions of (name, module), got {selector!r}"
            )
    return selectors


def check_all_match(argument: str, selectors: Iterable[Selector], all_candidates: list[Candidate]) -> None:
    """Refuse a selector that matches nothing: most likely a misspelt name.

    Raises:
        ValueError: naming the selector and the names that there are.
    """
    for selector in selectors:
        if not any(selects(selector, candidate) for candidate in all_candidates):
            shown = ", ".join(c.name for c in all_candidates[:8]) + (", ..." if len(all_candidates) > 8 else "")
            raise ValueError(f"{argument}: {selector!r} matches no parameter; there are {shown}")
