"""The mean-field normal guide."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from posterity.bijectors.softplus import softplus
from posterity.distributions import Normal
from posterity.infer.guides.guide import AutoGuide, Plates
from posterity.infer.guides.latent import Latent
from posterity.infer.guides.parameters import SiteParameters
from posterity.infer.guides.plates import ModelPlates
from posterity.infer.guides.scales import check_scale, raw_scale
from posterity.infer.initialization import Strategy, init_to_median
from posterity.kernels import ndtri
from posterity.ppl import sample, subsample


class AutoNormal(AutoGuide):
    """Independent normal distributions on unconstrained space, one for each entry of each latent variable.

    A latent variable of real support is drawn from its `Normal` directly, so that closed forms of the KL divergence
    are found; another is the image of an auxiliary site `name_unconstrained`. Variables in subsampled plates have
    parameters for every element.

    Args:
        model: The model.
        init: Where the means start; a strategy of `posterity.infer.initialization`.
        init_scale: Where the standard deviations on unconstrained space start.
        create_plates: From the model's arguments to the plates to use in place of its own; see `AutoGuide`.

    Attributes:
        loc: Means on unconstrained space, by site name.
        raw_scale: Inverse softplus of the standard deviations, by site name.

    Raises:
        TypeError: `model` or `init` is not callable.
        ValueError: `init_scale` is not positive.

    Source: Kucukelbir et al. (2017), "Automatic Differentiation Variational Inference", section 2.4.

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     scale = pt.sample("scale", pt.distributions.HalfNormal(1.0))
        ...     pt.sample("x", pt.distributions.Normal(0.0, scale), obs=0.5)
        >>> guide = AutoNormal(model, init=pt.infer.init_to_value(values={"scale": 1.0})).setup()
        >>> guide.median()
        {'scale': tensor(1.)}
    """

    loc: SiteParameters
    raw_scale: SiteParameters

    def __init__(
        self,
        model: Callable[..., Any],
        *,
        init: Strategy = init_to_median,
        init_scale: float = 0.1,
        create_plates: Callable[..., Plates] | None = None,
    ) -> None:
        super().__init__(model, init=init, create_plates=create_plates)
        self.init_scale = check_scale(type(self).__name__, init_scale)

    def scale(self, name: str) -> Tensor:
        """The standard deviations of a site on unconstrained space."""
        return softplus(self.raw_scale[name])

    def _set_up(self, latents: dict[str, Latent], start: dict[str, Tensor]) -> None:
        self.loc = SiteParameters(start)
        self.raw_scale = SiteParameters({name: raw_scale(self.init_scale, value) for name, value in start.items()})

    def _draw(self, plates: ModelPlates) -> dict[str, Tensor]:
        values = {}
        for name, latent in self.latents.items():
            events = latent.unconstrained_event_dim
            with plates.around(latent):
                loc, raw = (subsample(of[name], events) for of in (self.loc, self.raw_scale))
                normal = Normal(loc, softplus(raw), validate_args=False).to_event(events)
                if latent.is_real:
                    values[name] = sample(name, normal)
                else:
                    unconstrained = sample(f"{name}_unconstrained", normal, infer={"is_auxiliary": True})
                    values[name] = self._site_from_unconstrained(latent, unconstrained)
        return values

    def _unconstrained_quantiles(self, levels: Tensor) -> dict[str, Tensor]:
        return {
            name: self.loc[name] + self.scale(name) * _column(ndtri(levels), self.loc[name]) for name in self.latents
        }


def _column(numbers: Tensor, like: Tensor) -> Tensor:
    return numbers.to(like).reshape((-1,) + (1,) * like.dim())
