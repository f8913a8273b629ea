"""The guide of point estimates."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from posterity.distributions import Delta
from posterity.infer.guides.guide import AutoGuide, Plates
from posterity.infer.guides.latent import Latent
from posterity.infer.guides.parameters import SiteParameters
from posterity.infer.guides.plates import ModelPlates
from posterity.infer.initialization import Strategy, init_to_median
from posterity.ppl import sample, subsample


class AutoDelta(AutoGuide):
    """A point for each latent variable: trained, the maximum of the posterior density in constrained space (MAP).

    Args:
        model: The model.
        init: Where the points start; a strategy of `posterity.infer.initialization`.
        create_plates: From the model's arguments to the plates to use in place of its own; see `AutoGuide`.

    Attributes:
        loc: The points on unconstrained space, by site name.

    Raises:
        TypeError: `model` or `init` is not callable.

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     pt.sample("rate", pt.distributions.Gamma(2.0, 1.0))
        >>> AutoDelta(model, init=pt.infer.init_to_mean).setup().median()
        {'rate': tensor(2.)}
    """

    loc: SiteParameters

    def __init__(
        self,
        model: Callable[..., Any],
        *,
        init: Strategy = init_to_median,
        create_plates: Callable[..., Plates] | None = None,
    ) -> None:
        super().__init__(model, init=init, create_plates=create_plates)

    def _set_up(self, latents: dict[str, Latent], start: dict[str, Tensor]) -> None:
        self.loc = SiteParameters(start)

    def _draw(self, plates: ModelPlates) -> dict[str, Tensor]:
        values = {}
        for name, latent in self.latents.items():
            with plates.around(latent):
                point = latent.bijector.forward(subsample(self.loc[name], latent.unconstrained_event_dim))
                values[name] = sample(name, Delta(point, event_dim=len(latent.event_shape), validate_args=False))
        return values

    def _unconstrained_quantiles(self, levels: Tensor) -> dict[str, Tensor]:
        return {name: self.loc[name].expand((len(levels), *self.loc[name].shape)) for name in self.latents}

    def _quantiles(self, levels: Tensor) -> dict[str, Tensor]:
        points = {name: latent.bijector.forward(self.loc[name].detach()) for name, latent in self.latents.items()}
        return {name: point.expand((len(levels), *point.shape)).clone() for name, point in points.items()}
