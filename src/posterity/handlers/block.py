"""Hide sites from what stands outside."""

from collections.abc import Callable, Iterable
from typing import Any

from posterity.ppl import Handler, Site


class block(Handler):  # noqa: N801  # handlers are written as functions are
    """Hide sites from the handlers outside: to them, the program does not have these.

    Args:
        fn: The program; without it, for a `with` block.
        hide: Names to hide. Given alone, all others are shown.
        expose: Names to show. Given alone, all others are hidden.
        hide_fn: Which sites to hide.
        expose_fn: Which sites to show; all others are hidden.

    Without any of these, everything is hidden.

    Raises:
        ValueError: More than one of them is given.

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     pt.sample("x", pt.distributions.Normal(0.0, 1.0))
        ...     pt.sample("y", pt.distributions.Normal(0.0, 1.0))
        >>> list(pt.handlers.trace(pt.handlers.block(model, hide=["x"])).get_trace())
        ['y']
    """

    def __init__(
        self,
        fn: Callable[..., Any] | None = None,
        hide: Iterable[str] | None = None,
        expose: Iterable[str] | None = None,
        hide_fn: Callable[[Site], bool] | None = None,
        expose_fn: Callable[[Site], bool] | None = None,
    ) -> None:
        super().__init__(fn)
        given = [argument for argument in (hide, expose, hide_fn, expose_fn) if argument is not None]
        if len(given) > 1:
            raise ValueError("block: give one of hide, expose, hide_fn and expose_fn")
        for what, names in (("hide", hide), ("expose", expose)):
            if isinstance(names, str):
                raise TypeError(f"block: {what} must be a list of names; write {what}=[{names!r}]")
        self.hide = None if hide is None else frozenset(hide)
        self.expose = None if expose is None else frozenset(expose)
        self.hide_fn, self.expose_fn = hide_fn, expose_fn

    def process_message(self, site: Site) -> None:
        """Stop a hidden site here."""
        if self._hides(site):
            site.stop = True

    def _hides(self, site: Site) -> bool:
        if self.hide is not None:
            return site.name in self.hide
        if self.expose is not None:
            return site.name not in self.expose
        if self.hide_fn is not None:
            return self.hide_fn(site)
        return self.expose_fn is None or not self.expose_fn(site)
