"""Conditional independence: a batch dimension, or a loop, over which sites repeat."""

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import cast

import torch
from torch import Tensor

from posterity.kernels import KeyStream, uniform
from posterity.ppl.site import Frame, Site
from posterity.ppl.stack import Handler, apply, check_name, handlers, only_handlers, refuse_compiled
from posterity.runtime import validation_enabled


class plate(Handler):  # noqa: N801  # it stands in programs as a statement
    """Declare that what is inside is independent along one dimension.

    In a `with` block the plate is a batch dimension: the sites inside are expanded to its size there. In a `for`
    loop it is sequential: each turn has sites of its own, whose names must differ. Of a subsample, log densities are
    scaled up to the full size. The elements are chosen where the plate is made: each use of it has the same.

    Args:
        name: The plate's name.
        size: How many elements there are.
        subsample_size: How many of them to take at random, without repetition; all by default.
        subsample: Their indices, where the caller chooses them: `[subsample_size]`, whole numbers.
        dim: The batch dimension to take, negative; by default the rightmost one that no plate around it takes.
        device: Where the indices live; torch's default device by default.

    Yields:
        The indices taken, `[subsample_size]`; a loop gives them one by one, as numbers.

    Raises:
        TypeError: A size is no whole number, or `subsample` no tensor.
        ValueError: The size is not positive, the subsample is larger than the plate or holds indices outside it,
            or the dimension is not negative or is taken by a plate around this one.

    Example:
        >>> import posterity as pt
        >>> with pt.plate("data", 5):
        ...     pt.sample("x", pt.distributions.Normal(0.0, 1.0)).shape
        torch.Size([5])
    """

    def __init__(
        self,
        name: str,
        size: int,
        subsample_size: int | None = None,
        subsample: Tensor | None = None,
        dim: int | None = None,
        *,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        check_name("plate", name)
        refuse_compiled("plate", name)
        self.name, self.dim, self.device = name, dim, device
        self.size = _whole_number(name, "size", size)
        if self.size < 1:
            raise ValueError(f"plate {name!r} must hold at least one element, but its size is {size}")
        if dim is not None and (not isinstance(dim, int) or dim >= 0):
            raise ValueError(f"dim of plate {name!r} must be negative, counted from the right, not {dim!r}")
        self._given = None if subsample is None else _as_indices(name, subsample, subsample_size)
        if self._given is not None:
            subsample_size = len(self._given)
        taken = self.size if subsample_size is None else _whole_number(name, "subsample_size", subsample_size)
        if not 1 <= taken <= self.size:
            raise ValueError(
                f"subsample_size of plate {name!r} must lie between 1 and its size {size}, not {subsample_size}"
            )
        self.subsample_size = taken
        self.indices = self._chosen()

    def __enter__(self) -> Tensor:  # type: ignore[override]  # Pyro's and NumPyro's users expect the indices
        occupied = {frame.dim: frame.name for frame in open_plates()}
        dim = self.dim
        if dim is None:
            dim = next(d for d in range(-1, -len(occupied) - 2, -1) if d not in occupied)
        if dim in occupied:
            raise ValueError(
                f"plate {self.name!r} cannot take dim {dim}: plate {occupied[dim]!r} around it has that dimension"
            )
        _Open(self, Frame(self.name, dim, len(self.indices), self.size)).__enter__()
        return self.indices

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        use = self._innermost_use()
        if use is not None:
            use.__exit__(kind, error, traceback)

    def __iter__(self) -> Iterator[int]:
        whole = self._given is None and len(self.indices) == self.size
        for counter, index in enumerate(range(self.size) if whole else self.indices.tolist()):
            with _Open(self, Frame(self.name, None, len(self.indices), self.size, counter)):
                yield index

    @property
    def frame(self) -> Frame:
        """How a site sees this plate now.

        Raises:
            RuntimeError: It is not open.
        """
        use = self._innermost_use()
        if use is None:
            raise RuntimeError(f"plate {self.name!r} is not open here")
        return use.frame

    def _innermost_use(self) -> "_Open | None":
        return next((h for h in reversed(handlers()) if isinstance(h, _Open) and h.plate is self), None)

    def _chosen(self) -> Tensor:
        about = {"size": self.size, "dim": self.dim, "given": self._given is not None}
        site = Site("plate", self.name, default=self._choose, infer=about)
        indices = cast(Tensor, apply(site).value)
        if self._given is not None and validation_enabled() and not indices.is_meta:
            low, high = int(indices.min()), int(indices.max())
            if low < 0 or high >= self.size:
                raise ValueError(
                    f"subsample of plate {self.name!r} has index {low if low < 0 else high}, "
                    f"outside of its {self.size} elements"
                )
        return indices

    def _choose(self, site: Site) -> Tensor:
        if self._given is not None:
            return self._given
        if self.subsample_size == self.size:
            return torch.arange(self.size, device=self.device)
        source, device = site.source, self.device
        if source is None or isinstance(source, torch.Generator):
            order = torch.randperm(self.size, generator=source, device=device)
        elif isinstance(source, KeyStream):
            # Particles that are weighed against each other must be about the same elements.
            where = torch.device(device) if device is not None else torch.get_default_device()
            order = source.shared_uniform((self.size,), torch.float64, where).argsort()
        else:
            order = uniform((self.size,), source=source, dtype=torch.float64, device=device).argsort()
        return order[: self.subsample_size]


class _Open(Handler):
    """One use of a plate: what stands on the stack of handlers, so that a plate itself has no state."""

    def __init__(self, plate: plate, frame: Frame) -> None:
        super().__init__()
        self.plate, self.frame = plate, frame

    def process_message(self, site: Site) -> None:
        """Put the plate around a site: its dimension, and the scale of a subsample."""
        if site.kind not in ("sample", "deterministic", "param"):
            return
        frame = self.frame
        if any(other.name == frame.name for other in site.plates):
            raise ValueError(f"site {site.name!r} stands twice inside plate {frame.name!r}")
        site.plates = (frame, *site.plates)
        if site.kind == "sample":
            if frame.full_size != frame.size:
                site.scale = site.scale * (frame.full_size / frame.size)
            if frame.vectorized:
                expand_to(site, frame)


def subsample(data: Tensor, event_dim: int = 0) -> Tensor:
    """The part of `data` that the plates around have taken.

    Args:
        data: A tensor with the full size of each plate in that plate's dimension, counted left of its event.
        event_dim: How many of the last dimensions are one event.

    Returns:
        The data with each plate's dimension cut to the plate's indices. A dimension of size 1, or one that `data`
        does not have, is left alone.

    Raises:
        ValueError: A dimension has neither the plate's full size nor the subsample's.

    Example:
        >>> import posterity as pt
        >>> with pt.plate("data", 5, subsample=torch.tensor([3, 0])):
        ...     pt.ppl.subsample(torch.arange(5.0))
        tensor([3., 0.])
    """
    for use in _open():
        frame, indices = use.frame, use.plate.indices
        dim = cast(int, frame.dim) - event_dim
        if data.dim() < -dim or data.shape[dim] == 1 or frame.size == frame.full_size:
            continue
        if data.shape[dim] == frame.full_size:
            data = data.index_select(dim, indices.to(data.device))
        elif data.shape[dim] != frame.size:
            raise ValueError(
                f"subsample: data of shape {tuple(data.shape)} has {data.shape[dim]} elements in dim {dim}, where "
                f"plate {frame.name!r} has {frame.full_size}, or {frame.size} after subsampling"
            )
    return data


def open_plates() -> list[Frame]:
    """The vectorised plates around this point of the program, outermost first."""
    return [use.frame for use in _open()]


@contextmanager
def outside_plates() -> Iterator[None]:
    """Let statements in this block stand outside of all plates around it."""
    with only_handlers(lambda handler: not isinstance(handler, _Open)):
        yield


def expand_to(site: Site, frame: Frame) -> None:
    """Give a site's distribution a plate's size in the plate's dimension.

    Raises:
        ValueError: The distribution has another size there.
    """
    assert site.distribution is not None
    assert frame.dim is not None
    batch = site.batch_shape
    if len(batch) >= -frame.dim and batch[frame.dim] == frame.size:
        return
    shape = [1] * max(0, -frame.dim - len(batch)) + list(batch)
    if shape[frame.dim] not in (1, frame.size):
        raise ValueError(
            f"site {site.name!r} has {shape[frame.dim]} elements in dim {frame.dim} of its batch_shape {tuple(batch)}, "
            f"where plate {frame.name!r} around it has {frame.size}"
        )
    shape[frame.dim] = frame.size
    site.distribution = site.distribution.expand(torch.Size(shape))


def _open() -> list[_Open]:
    return [h for h in handlers() if isinstance(h, _Open) and h.frame.vectorized]


def _whole_number(name: str, what: str, number: object) -> int:
    try:
        if isinstance(number, bool):
            raise TypeError
        return operator.index(number)  # type: ignore[arg-type]  # that is what is asked
    except TypeError:
        raise TypeError(f"{what} of plate {name!r} must be a whole number, not {number!r}") from None


def _as_indices(name: str, subsample: object, subsample_size: int | None) -> Tensor:
    if isinstance(subsample, int):
        raise TypeError(
            f"subsample of plate {name!r} must be a vector of indices, not the number {subsample}; a dimension is "
            f"given by name: dim={subsample}"
        )
    indices = torch.as_tensor(subsample)
    if indices.dim() != 1 or indices.is_floating_point() or indices.is_complex() or indices.dtype == torch.bool:
        raise ValueError(
            f"subsample of plate {name!r} must be a vector of indices, not {indices.dtype} of shape "
            f"{tuple(indices.shape)}"
        )
    if subsample_size is not None and subsample_size != len(indices):
        raise ValueError(
            f"plate {name!r}: subsample_size is {subsample_size}, but subsample has {len(indices)} indices"
        )
    return indices
