"""Decide what values a program's sites have."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from posterity.handlers.trace import Trace
from posterity.ppl import Factor, Handler, Site
from posterity.ppl.stack import apply_outside

Values = Mapping[str, Any] | Callable[[Site], Any]


class condition(Handler):  # noqa: N801  # handlers are written as functions are
    """Observe sites: their values are given, and count as data.

    Args:
        fn: The program.
        data: Values by site name, or a trace.

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     return pt.sample("x", pt.distributions.Normal(0.0, 1.0))
        >>> pt.handlers.condition(model, {"x": 2.0})()
        tensor(2.)
    """

    def __init__(self, fn: Callable[..., Any] | None = None, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(fn)
        self.data = _values("condition", data)

    def process_message(self, site: Site) -> None:
        """Give a sample site its value, in the place of data that it has, and mark it as observed."""
        if site.kind == "sample" and self.data.get(site.name) is not None:
            site.observe(self.data[site.name])


class substitute(Handler):  # noqa: N801
    """Give sites values without observing them: latent variables stay latent, parameters are replaced.

    Args:
        fn: The program.
        data: Values by site name, or a function from a site to its value (None: leave it alone).

    Example:
        >>> import posterity as pt
        >>> pt.handlers.substitute(lambda: pt.param("a", 1.0), {"a": 3.0})()
        tensor(3.)
    """

    def __init__(self, fn: Callable[..., Any] | None = None, data: Values | None = None) -> None:
        super().__init__(fn)
        self.data = data if callable(data) else _values("substitute", data)

    def process_message(self, site: Site) -> None:
        """Give a site that has no value yet its own."""
        if site.kind not in ("sample", "param", "plate") or site.value is not None:
            return
        value = self.data(site) if callable(self.data) else self.data.get(site.name)
        if value is not None:
            site.value = site.as_value(value)


class replay(Handler):  # noqa: N801
    """Run a program with the latent values, and the subsamples, of another one's trace.

    Args:
        fn: The program.
        trace: The trace to follow.

    Raises:
        ValueError: A plate of the program has another size than in the trace, or a site that is latent here is
            observed there.

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     return pt.sample("x", pt.distributions.Normal(0.0, 1.0))
        >>> recorded = pt.handlers.trace(model).get_trace()
        >>> bool(pt.handlers.replay(model, recorded)() == recorded["x"].value)
        True
    """

    def __init__(self, fn: Callable[..., Any] | None = None, trace: Trace | None = None) -> None:
        super().__init__(fn)
        if not isinstance(trace, Mapping):
            raise TypeError(f"replay: trace must be a Trace, not {type(trace).__name__}")
        self.trace = trace

    def process_message(self, site: Site) -> None:
        """Give a latent site, or a plate, the value that the trace has."""
        followed = self.trace.get(site.name)
        if followed is None or followed.kind != site.kind:
            return
        if site.is_latent:
            if followed.is_observed:
                raise ValueError(f"replay: site {site.name!r} is latent in the program but observed in the trace")
            site.value = followed.value
            site.infer = {**followed.infer, **site.infer}
        elif site.kind == "plate" and site.value is None:
            size, other = site.infer.get("size"), followed.infer.get("size")
            if size != other:
                raise ValueError(f"replay: plate {site.name!r} has {size} elements, and {other} in the trace")
            site.value = followed.value


class do(Handler):  # noqa: N801
    """Intervene: what comes after a site sees a given value, whatever the site itself drew (Pearl's do operator).

    The site keeps its own distribution and stays in the program; its value there is drawn as ever.

    Args:
        fn: The program.
        data: Values by site name.

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     x = pt.sample("x", pt.distributions.Normal(0.0, 1.0))
        ...     return pt.deterministic("y", x + 1)
        >>> pt.handlers.do(model, {"x": 5.0})()
        tensor(6.)

    Source: Pearl (2009), "Causality", chapter 3.
    """

    def __init__(self, fn: Callable[..., Any] | None = None, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(fn)
        self.data = _values("do", data)

    def process_message(self, site: Site) -> None:
        """Send the site on its way as another one, and give the program the value of the intervention."""
        if site.kind != "sample" or site.name not in self.data or site.is_intervened:
            return
        apply_outside(self, replace(site, is_intervened=True))
        site.value, site.stop, site.is_intervened = site.as_value(self.data[site.name]), True, True


class uncondition(Handler):  # noqa: N801
    """Forget the data: observed sites are drawn, for a prior predictive check.

    Args:
        fn: The program.

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     return pt.sample("x", pt.distributions.Normal(100.0, 1.0), obs=0.0)
        >>> bool(pt.handlers.uncondition(model)() > 50)
        True
    """

    def process_message(self, site: Site) -> None:
        """Take an observed site's value away; what it was stays in `infer["obs"]`."""
        if site.kind == "sample" and site.is_observed and not _is_factor(site):
            site.infer = {**site.infer, "obs": site.value, "uncondition": True}
            site.value, site.is_observed = None, False


def _is_factor(site: Site) -> bool:
    return isinstance(site.distribution, Factor)


def _values(handler: str, data: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if isinstance(data, Trace):
        return {name: site.value for name, site in data.items() if site.kind in ("sample", "param")}
    if not isinstance(data, Mapping):
        raise TypeError(f"{handler}: data must map site names to values, not {type(data).__name__}")
    return data
