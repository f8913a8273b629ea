"""Draw latent variables in another way, under which inference is easier, with the same distribution."""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from posterity.handlers.auto_reparam import AutoReparam
from posterity.handlers.reparametrization import Reparam, made_by
from posterity.ppl import Handler, Site, provenance

Config = Mapping[str, Reparam] | Callable[[Site], Reparam | None] | AutoReparam


class reparam(Handler):  # noqa: N801  # handlers are written as functions are
    """Draw latent variables as functions of other ones, which take their places in inference.

    The variable itself becomes a deterministic site. Observed sites stay as they are: to condition on a variable that
    has been drawn in another way, condition inside of this handler, or on the new site.

    Args:
        fn: The program; without it, for a `with` block.
        config: A mapping from site names to strategies (`LocScaleReparam`, `TransformReparam`, `NeuTraReparam`), a
            function from a site to its strategy or None, or `AutoReparam()`.

    Raises:
        TypeError: `config` is nothing of the kind, or a strategy is not for its site's distribution.

    Source: Papaspiliopoulos, Roberts and Skoeld (2007), "A general framework for the parametrization of hierarchical
    models"; Gorinova, Moore and Hoffman (2020), "Automatic reparameterisation of probabilistic programs".

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     tau = pt.sample("tau", pt.distributions.HalfCauchy(5.0))
        ...     return pt.sample("theta", pt.distributions.Normal(0.0, tau))
        >>> funnel = pt.handlers.reparam(model, config={"theta": pt.handlers.LocScaleReparam(0.0)})
        >>> {name: site.kind for name, site in pt.handlers.trace(funnel).get_trace().items()}
        {'tau': 'sample', 'theta_decentered': 'sample', 'theta': 'deterministic'}
    """

    def __init__(self, fn: Callable[..., Any] | None = None, config: Config | None = None) -> None:
        super().__init__(fn)
        if isinstance(config, Reparam):
            raise TypeError(
                "reparam: config must say which site a strategy is for: config={name: strategy}, not "
                f"{type(config).__name__} alone"
            )
        if not isinstance(config, Mapping | AutoReparam) and not callable(config):
            raise TypeError(
                "reparam: config must map site names to strategies, be a function from a site to its strategy, or "
                f"AutoReparam(), not {type(config).__name__}"
            )
        self.config: Config = config
        self._run: dict[str, Any] = {}
        # Of AutoReparam: what the first whole run has shown.
        self._choices: dict[str, Reparam | None] | None = None
        self._exploring: tuple[provenance, dict[str, Reparam | None]] | None = None

    def __enter__(self) -> Self:
        self._run = {}
        if isinstance(self.config, AutoReparam) and self._choices is None:
            self._exploring = (provenance(), {})
            self._exploring[0].__enter__()
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, traceback)
        self._run = {}
        if self._exploring is not None:
            followed, choices = self._exploring
            self._exploring = None
            followed.__exit__(kind, error, traceback)
            if error is None:
                self._choices = choices

    def process_message(self, site: Site) -> None:
        """Draw a latent site by its strategy."""
        if not site.is_latent or site.value is not None:
            return
        strategy = self._strategy(site)
        if strategy is None or type(strategy) in made_by(site):
            return
        if not isinstance(strategy, Reparam):
            raise TypeError(f"reparam: the strategy of site {site.name!r} is no Reparam, but {strategy!r}")
        value = strategy.apply(site, self._run)
        if value is not None:
            assert site.distribution is not None
            site.kind, site.value, site.event_dim = "deterministic", value, len(site.distribution.event_shape)
            site.distribution, site.default = None, None

    def _strategy(self, site: Site) -> Reparam | None:
        if isinstance(self.config, Mapping):
            return self.config.get(site.name)
        if not isinstance(self.config, AutoReparam):
            return self.config(site)
        if self._exploring is None:
            return (self._choices or {}).get(site.name)
        followed, choices = self._exploring
        choices[site.name] = self.config.choose(site, followed)
        return choices[site.name]
