"""Record what a program does."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from posterity.distributions.parameters import is_wrapped
from posterity.ppl import Frame, Handler, Site
from posterity.runtime import validation_enabled


class Trace(Mapping[str, Site]):
    """The sites of one run of a program, by name, in their order.

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     return pt.sample("x", pt.distributions.Normal(0.0, 1.0), obs=0.0)
        >>> recorded = pt.handlers.trace(model).get_trace()
        >>> recorded["x"].is_observed, recorded.log_prob_sum()
        (True, tensor(-0.9189))
    """

    def __init__(self, sites: Mapping[str, Site] | None = None) -> None:
        self._sites = dict(sites or {})

    def __getitem__(self, name: str) -> Site:
        return self._sites[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sites)

    def __len__(self) -> int:
        return len(self._sites)

    def __repr__(self) -> str:
        return f"Trace of {len(self)} sites\n{self.format_shapes()}"

    def add(self, site: Site) -> None:
        """Take in one more site.

        Raises:
            ValueError: The name is taken, or a plate around the site stands at two dimensions or has two sizes.
        """
        known = self._sites.get(site.name)
        if known is not None and not (site.kind == known.kind == "plate"):
            both = (site.kind, known.kind)
            if both == ("param", "param") or (both in _REPEATED and site.value is known.value):
                return
            raise ValueError(
                f"two sites are called {site.name!r} (a {known.kind} and a {site.kind}): every site of a program needs "
                "a name of its own; in a loop, put the turn into the name"
            )
        self._sites[site.name] = site

    def samples(self) -> Iterator[Site]:
        """The sample sites, in order."""
        return (site for site in self.values() if site.kind == "sample")

    def latents(self) -> Iterator[Site]:
        """The sample sites that are not observed, in order."""
        return (site for site in self.values() if site.is_latent)

    def log_probs(self) -> dict[str, Tensor]:
        """Log density in nats of each sample site, under its mask and scale, of its batch's shape.

        Raises:
            ValueError: A value does not fit its distribution (outside the support, of a wrong shape), or has a log
                density of NaN; the site is named, and the table of sites added.
        """
        return {site.name: self.log_prob(site) for site in self.samples()}

    def log_prob_sum(self) -> Tensor:
        """Log density of the whole run in nats, a scalar; raises as `log_probs` does."""
        total: Tensor | float = 0.0
        for log_prob in self.log_probs().values():
            total = total + log_prob.sum()
        return total if isinstance(total, Tensor) else torch.tensor(total)

    def format_shapes(self) -> str:
        """The table of sites: kind, and the shapes of distribution (batch | event) and value."""
        rows = [("site", "kind", "distribution", "value")]
        rows += [_row(site) for site in self.values()]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)

    def log_prob(self, site: Site) -> Tensor:
        """Log density in nats of one sample site, under its mask and scale; raises as `log_probs` does."""
        try:
            log_prob = site.weighted_log_prob()
            if validation_enabled() and not log_prob.is_meta and not torch._is_all_true(~log_prob.isnan()):
                raise ValueError(
                    f"site {site.name!r} has a log density of NaN, at the value {_some_of(site.value)} of "
                    f"{site.distribution!r}"
                )
            return log_prob
        except (ValueError, RuntimeError) as error:
            _add_table(error, self)
            raise


class trace(Handler):  # noqa: N801  # handlers are written as functions are
    """Record the sites of a program.

    Args:
        fn: The program.

    Raises:
        ValueError: From the program: two sites of one name, or a plate used at two dimensions or with two sizes. An
            error of the program's own carries the table of the sites before it.

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     with pt.plate("data", 3):
        ...         return pt.sample("x", pt.distributions.Normal(0.0, 1.0))
        >>> print(pt.handlers.trace(model).get_trace().format_shapes())
        site  kind    distribution  value
        data  plate                 3
        x     sample  3 |           3
    """

    def __init__(self, fn: Callable[..., Any] | None = None) -> None:
        super().__init__(fn)
        self.trace = Trace()
        self._plates: dict[str, Frame] = {}

    def __enter__(self) -> "trace":
        self.trace, self._plates = Trace(), {}
        return super().__enter__()

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        super().__exit__(kind, error, traceback)
        if isinstance(error, Exception) and len(self.trace):
            _add_table(error, self.trace)

    def get_trace(self, *args: Any, **kwargs: Any) -> Trace:
        """Run the program and return its trace."""
        self(*args, **kwargs)
        return self.trace

    def process_message(self, site: Site) -> None:
        """Give a plate that stands a second time in the program the elements that it had the first time."""
        if site.kind != "plate":
            return
        known = self.trace.get(site.name)
        if known is None or known.kind != "plate":
            return
        if known.infer["size"] != site.infer["size"]:
            raise ValueError(
                f"plate {site.name!r} stands twice in the program, with {known.infer['size']} elements and with "
                f"{site.infer['size']}: give it another name"
            )
        if site.value is None:
            site.value = known.value

    def postprocess_message(self, site: Site) -> None:
        """Take the site into the trace."""
        for frame in site.plates:
            known = self._plates.setdefault(frame.name, frame)
            if (known.dim, known.full_size) != (frame.dim, frame.full_size):
                raise ValueError(
                    f"plate {frame.name!r} is used at dim {known.dim} with {known.full_size} elements, and around site "
                    f"{site.name!r} at dim {frame.dim} with {frame.full_size}: give it a fixed dim=, or another name"
                )
        self.trace.add(site)


# A network may be used more than once; a parameter that `lift` has drawn is a sample site too.
_REPEATED = {("module", "module"), ("param", "sample")}


def _row(site: Site) -> tuple[str, str, str, str]:
    shapes = ""
    if site.distribution is not None:
        batch, event = (" ".join(map(str, s)) for s in (site.batch_shape, site.distribution.event_shape))
        shapes = f"{batch} | {event}".strip()
    value = " ".join(map(str, site.value.shape)) if isinstance(site.value, Tensor) else type(site.value).__name__
    kind = "observed" if site.kind == "sample" and site.is_observed else site.kind
    return site.name, kind, shapes, value


def _some_of(value: Any) -> str:
    if not isinstance(value, Tensor) or is_wrapped(value):
        return f"of type {type(value).__name__}"
    return str(value.detach().flatten()[:5].tolist()) + (" ..." if value.numel() > 5 else "")


def _add_table(error: Exception, sites: Trace) -> None:
    # The innermost trace has the most to tell.
    if not any(note.startswith(_TABLE) for note in getattr(error, "__notes__", ())):
        error.add_note(f"{_TABLE}\n{sites.format_shapes()}")


_TABLE = "the sites so far:"
