"""Give discrete variables their whole support at once, each along a batch dimension of its own.

Dimensions are shared by variables that never meet: those of distant turns of a Markov chain.
"""

import functools
import itertools
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from posterity.handlers.seed import seed
from posterity.handlers.trace import Trace, trace
from posterity.ppl import Handler, Site
from posterity.ppl.stack import without

# torch's tensors have no more; some are left for events.
_MOST_DIMS = 60
# Where the first run, which does not know yet how many there are, has its variables.
_MOST_PLATES = 20


class Enumeration(NamedTuple):
    """How to read the batch dimensions of a site, kept in `infer["_enumeration"]`.

    Attributes:
        first: The rightmost dimension that variables may take, left of all plates.
        dim: The dimension of the site's own support; None if it is not enumerated.
        names: The variables that the dimensions stand for, those of the site's own included.
    """

    first: int
    dim: int | None
    names: dict[int, str]


class enumerate_sites(Handler):  # noqa: N801  # handlers are written as functions are
    """Give each site marked `infer={"enumerate": "parallel"}` its whole support as its value.

    The support lies along a fresh batch dimension to the left of all plates, so that all that depends on the variable
    is computed for each of its values. `posterity.infer.log_density` sums over them, `infer_discrete` chooses among
    them. A guide's trace is replayed inside.

    Args:
        fn: The program; without it, for a `with` block, or a decorator.
        first_available_dim: The rightmost dimension to take, negative: `-1 - max_plate_nesting`. Without it, a first
            run of the program tells, once, how many dimensions plates and batches take.
        enumerate_all: Whether every discrete latent variable whose support can be listed counts as marked.
        after: The trace of a guide, itself enumerated, that the program replays: the dimensions taken there stay its.

    Raises:
        ValueError: A marked site's support cannot be listed (it is infinite, or its sizes differ within the batch);
            a site depends on a variable that is out of its scope; dimensions run out; or `first_available_dim` is not
            negative, or missing in a `with` block.
        NotImplementedError: A site is marked for another kind of enumeration than the parallel one.

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     with pt.plate("data", 5):
        ...         z = pt.sample("z", pt.distributions.Bernoulli(0.3), infer={"enumerate": "parallel"})
        ...         pt.sample("x", pt.distributions.Normal(z, 1.0), obs=torch.zeros(5))
        >>> print(pt.handlers.trace(pt.handlers.enumerate_sites(model)).get_trace().format_shapes())
        site  kind      distribution  value
        data  plate                   5
        z     sample    5 |           2 1
        x     observed  2 5 |         5
    """

    def __init__(
        self,
        fn: Callable[..., Any] | None = None,
        first_available_dim: int | None = None,
        *,
        enumerate_all: bool = False,
        after: Trace | None = None,
    ) -> None:
        super().__init__(fn)
        if first_available_dim is not None and (
            not isinstance(first_available_dim, int)
            or isinstance(first_available_dim, bool)
            or first_available_dim > -1
        ):
            raise ValueError(
                "enumerate_sites: first_available_dim must be negative, counted from the right: "
                f"-1 - max_plate_nesting, not {first_available_dim!r}"
            )
        self.first_available_dim, self.enumerate_all, self.after = first_available_dim, enumerate_all, after
        self._start = first_available_dim
        self._seen: dict[Hashable, list[tuple[frozenset[Hashable], dict[int, str]]]] = {}

    def __enter__(self) -> Self:
        if self.first_available_dim is None:
            raise ValueError(
                "enumerate_sites was given no first_available_dim, and no program whose first run could tell it: "
                "give it -1 - max_plate_nesting"
            )
        taken = (min(e.names) for site in (self.after or {}).values() if (e := enumeration_of(site)) and e.names)
        self._start = min(self.first_available_dim, min(taken, default=0) - 1)
        self._seen = {}
        return super().__enter__()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program; without one, decorate the function that is given."""
        if self.fn is None and len(args) == 1 and callable(args[0]) and not kwargs:
            return enumerate_sites(
                args[0], self.first_available_dim, enumerate_all=self.enumerate_all, after=self.after
            )
        if self.first_available_dim is None and self.fn is not None:
            nesting = max_plate_nesting(self.fn, *args, enumerate_all=self.enumerate_all, **kwargs)
            self.first_available_dim = -1 - nesting
        return super().__call__(*args, **kwargs)

    def process_message(self, site: Site) -> None:
        """Give a marked site its support, and note what the dimensions of every site stand for."""
        if site.kind != "sample":
            return
        assert site.distribution is not None
        assert self.first_available_dim is not None
        assert self._start is not None
        names = self._visible(site)
        followed = enumeration_of(site)
        if followed is not None:
            names |= dims_of_value(site, followed)
        _check_scope(site, names, self.first_available_dim)
        if is_marked(site, self.enumerate_all):
            dim = next(d for d in itertools.count(self._start, -1) if d not in names)
            if dim < -_MOST_DIMS:
                raise ValueError(
                    f"site {site.name!r} is one of more enumerated variables than a tensor can have dimensions: "
                    "put the loop into pt.markov, whose turns share them (history=0 where turns are independent)"
                )
            # As the default, so that a handler further out may still give a value.
            site.default = functools.partial(_enumerated, self.first_available_dim, dim, names)
        site.infer = {**site.infer, "_enumeration": Enumeration(self.first_available_dim, None, names)}

    def postprocess_message(self, site: Site) -> None:
        """Remember the dimensions of a value, which later sites may have from it."""
        if site.kind != "sample" or not isinstance(site.value, Tensor):
            return
        found = enumeration_of(site)
        names = dims_of_value(site, found) if found is not None else {}
        if names:
            owns = [turn.own for turn in site.turns]
            self._seen.setdefault(owns[-1] if owns else None, []).append((frozenset(owns), names))

    def _visible(self, site: Site) -> dict[int, str]:
        """What the dimensions of the values stand for that a site may depend on."""
        turns: frozenset[Hashable] = frozenset().union(*(turn.visible for turn in site.turns))
        names: dict[int, str] = {}
        for turn in (None, *turns):
            for owns, dims in self._seen.get(turn, ()):
                if not owns <= turns:
                    continue
                for dim, name in dims.items():
                    if names.setdefault(dim, name) != name:
                        one, other = sorted((names[dim], name))
                        raise ValueError(
                            f"site {site.name!r} sees {one!r} and {other!r}, which were declared never to "
                            "meet and share a dimension: raise the history of pt.markov, or nest the loops"
                        )
        return names


class config_enumerate(Handler):  # noqa: N801
    """Mark every discrete latent variable whose support can be listed, and that says nothing itself, for enumeration.

    Args:
        fn: The program; without it, for a `with` block, or a decorator.
        default: The mark; `"parallel"` is the only kind there is.

    Example:
        >>> import posterity as pt
        >>> @pt.handlers.config_enumerate
        ... def model():
        ...     return pt.sample("z", pt.distributions.Bernoulli(0.3))
        >>> pt.handlers.enumerate_sites(model)()
        tensor([0., 1.])
    """

    def __init__(self, fn: Callable[..., Any] | None = None, default: str = "parallel") -> None:
        super().__init__(fn)
        self.default = default

    def process_message(self, site: Site) -> None:
        """Mark a site."""
        if site.is_latent and "enumerate" not in site.infer and _is_listed(site):
            site.infer = {**site.infer, "enumerate": self.default}


def max_plate_nesting(fn: Callable[..., Any], *args: Any, enumerate_all: bool = False, **kwargs: Any) -> int:
    """How many batch dimensions the plates and distributions of a program take, from a run of it.

    The run has a seed of its own, goes into no trace, and gives the variables to enumerate the first value of their
    support.

    Args:
        fn: The program.
        *args: Its positional arguments.
        enumerate_all: As in `enumerate_sites`.
        **kwargs: Its keyword arguments.

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     with pt.plate("rows", 3, dim=-2):
        ...         pt.sample("x", pt.distributions.Normal(0.0, 1.0))
        >>> max_plate_nesting(model)
        2
    """
    with torch.no_grad():
        return nesting_of(trial(fn, *args, enumerate_all=enumerate_all, **kwargs))


def trial(fn: Callable[..., Any], *args: Any, enumerate_all: bool = False, **kwargs: Any) -> Trace:
    """The trace of a run that leaves no trace elsewhere, and takes random numbers from nobody."""
    with without(trace):
        return trace(seed(_FirstValues(fn, enumerate_all), 0)).get_trace(*args, **kwargs)


def nesting_of(recorded: Trace) -> int:
    """The number of batch dimensions in a trace."""
    frames = [-frame.dim for site in recorded.values() for frame in site.plates if frame.dim is not None]
    batches = [site.batch_shape for site in recorded.samples()]
    # The first run's variables stand far left, with one value each.
    own = [next((len(b) - i for i, size in enumerate(b) if size > 1), 0) for b in batches]
    return max([0, *frames, *own])


def enumeration_of(site: Site) -> Enumeration | None:
    """How to read a site's batch dimensions; None if no enumeration was around it."""
    found: Enumeration | None = site.infer.get("_enumeration")
    return found


def is_marked(site: Site, enumerate_all: bool = False) -> bool:
    """Whether a site is to be enumerated: a latent one, without a value yet, that is marked.

    Raises:
        ValueError: It is marked, but its support cannot be listed.
        NotImplementedError: It is marked for another kind of enumeration.
    """
    if not site.is_latent or site.value is not None:
        return False
    if "enumerate" not in site.infer:
        return enumerate_all and _is_listed(site)
    mark = site.infer["enumerate"]
    if mark is None:
        return False
    if mark != "parallel":
        raise NotImplementedError(
            f'site {site.name!r} is marked infer={{"enumerate": {mark!r}}}: the program runs once, for all values '
            'together, so that only "parallel" is there'
        )
    if site.infer.get("num_samples") is not None:
        raise NotImplementedError(f"site {site.name!r}: enumeration is exact here, without num_samples")
    return True


class _FirstValues(Handler):
    def __init__(self, fn: Callable[..., Any], enumerate_all: bool) -> None:
        super().__init__(fn)
        self.enumerate_all = enumerate_all

    def process_message(self, site: Site) -> None:
        if site.kind == "sample" and is_marked(site, self.enumerate_all):
            site.default = lambda site: _support(site, -1 - _MOST_PLATES)[:1]


def _is_listed(site: Site) -> bool:
    distribution = site.distribution
    assert distribution is not None
    return distribution.has_enumerate_support and distribution._is_discrete()


def _listed(site: Site) -> Tensor:
    """The support, `[num_values, *batch, *event]` with ones for batch dimensions along which it is the same."""
    assert site.distribution is not None
    try:
        return site.distribution.enumerate_support(expand=False)
    except NotImplementedError as error:
        reason = str(error) or "it has no finite list of values."
        raise ValueError(
            f"site {site.name!r} is marked for enumeration, but the support of its {type(site.distribution).__name__} "
            f"cannot be listed: {reason} Leave the mark away, or take a distribution of one finite support."
        ) from error


def _support(site: Site, dim: int) -> Tensor:
    """The support along `dim` of the batch."""
    assert site.distribution is not None
    support = _listed(site)
    events = len(site.distribution.event_shape)
    batch = support.shape[1 : support.dim() - events]
    rank = max(len(batch), -dim)
    padded = support.reshape(support.shape[:1] + (1,) * (rank - len(batch)) + support.shape[1:])
    values = padded.transpose(0, 1 + rank + dim)[0]
    while values.dim() - events > -dim and values.shape[0] == 1:
        values = values[0]
    return values


def _enumerated(first: int, dim: int, names: dict[int, str], site: Site) -> Tensor:
    site.infer = {**site.infer, "_enumeration": Enumeration(first, dim, {**names, dim: site.name})}
    return _support(site, dim)


def dims_of_value(site: Site, found: Enumeration) -> dict[int, str]:
    """The dimensions along which a site's value differs, with the variables that they stand for."""
    assert site.distribution is not None
    if not isinstance(site.value, Tensor):
        return {}
    batch = site.value.shape[: site.value.dim() - len(site.distribution.event_shape)]
    return {dim: name for dim, name in found.names.items() if len(batch) >= -dim and batch[dim] > 1}


def _check_scope(site: Site, names: dict[int, str], first: int) -> None:
    for frame in site.plates:
        if frame.dim is not None and frame.dim <= first:
            raise ValueError(
                f"plate {frame.name!r} around site {site.name!r} takes dim {frame.dim}, which first_available_dim "
                f"{first} leaves to enumerated variables: give enumerate_sites -1 - max_plate_nesting"
            )
    batch = site.batch_shape
    for dim in range(-len(batch), first + 1):
        if batch[dim] > 1 and dim not in names:
            raise ValueError(
                f"site {site.name!r} has {batch[dim]} elements in dim {dim} of its batch_shape {tuple(batch)}, left of "
                "all plates, which no enumerated variable in its scope has: it depends on one from further back (raise "
                "the history of pt.markov) or from a chain that has ended, or first_available_dim is too far right"
            )
