"""Location-scale variables drawn from noise that is less entangled with their location and scale."""

from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from posterity import distributions as dist
from posterity.distributions import Distribution
from posterity.handlers.reparametrization import Reparam, entries
from posterity.ppl import Site, param

_FAMILIES = (
    dist.AsymmetricLaplace,
    dist.Cauchy,
    dist.Gumbel,
    dist.JohnsonSU,
    dist.Laplace,
    dist.Logistic,
    dist.Moyal,
    dist.Normal,
    dist.SinhArcsinh,
    dist.SkewNormal,
    dist.StudentT,
)


class LocScaleReparam(Reparam):
    r"""Draw a location-scale variable from one with the location $c \mu$ and the scale $\sigma^c$.

    The new site is `name_decentered`, $z \sim D(c \mu, \sigma^c)$, and the value $\mu + \sigma^{1 - c} (z - c \mu)$.
    Parameters of shape, such as degrees of freedom, stay.

    Args:
        centered: $c$: 0 is wholly non-centred, right for groups with little data; 1 leaves the site as it is, right
            for groups with much. None: learnt, entry by entry of an event, as the `posterity.param` `name_centered`.

    Raises:
        ValueError: `centered` lies outside [0, 1].
        TypeError: At a site whose distribution is no location-scale family on the real line.

    Source: Gorinova, Moore and Hoffman (2020), "Automatic reparameterisation of probabilistic programs", section 4.1.

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     return pt.sample("x", pt.distributions.Normal(3.0, 2.0))
        >>> noise = {"x_decentered": torch.tensor(-1.0)}
        >>> pt.handlers.substitute(pt.handlers.reparam(model, {"x": LocScaleReparam(0.0)}), noise)()
        tensor(1.)
    """

    def __init__(self, centered: float | Tensor | None = None) -> None:
        if centered is not None:
            fraction = torch.as_tensor(centered)
            if not bool(((fraction >= 0) & (fraction <= 1)).all()):
                raise ValueError(f"centered of LocScaleReparam must lie between 0 and 1, not {centered}")
        self.centered = centered

    def apply(self, site: Site, run: dict[str, Any]) -> Tensor | None:
        """Draw the noise, and move and stretch it."""
        distribution, ndims = entries(site.distribution)
        if not is_location_scale(distribution):
            raise TypeError(
                f"LocScaleReparam: site {site.name!r} has a {type(distribution).__name__}, which is no location-scale "
                f"family on the real line ({', '.join(family.__name__ for family in _FAMILIES)})"
            )
        loc, scale = location_and_scale(distribution)
        centered = self.centered
        if centered is None:
            assert site.distribution is not None
            half = loc.detach().new_full(site.distribution.event_shape, 0.5)
            centered = param(f"{site.name}_centered", half, constraint=constraints.unit_interval)
        if not isinstance(centered, Tensor) and centered == 1:
            return None
        if not isinstance(centered, Tensor) and centered == 0:
            noise = _with(distribution, torch.zeros_like(loc), torch.ones_like(scale))
            return loc + scale * self.draw(site, "decentered", noise.to_event(ndims))
        noise = _with(distribution, loc * centered, scale**centered)
        z = self.draw(site, "decentered", noise.to_event(ndims))
        return loc + scale ** (1 - centered) * (z - centered * loc)

    def __repr__(self) -> str:
        return f"LocScaleReparam(centered={self.centered})"


def is_location_scale(distribution: Distribution) -> bool:
    """Whether moving and stretching a distribution's draws gives the same family with other `loc` and `scale`."""
    return type(distribution) in _FAMILIES


def location_and_scale(distribution: Distribution) -> tuple[Tensor, Tensor]:
    """The parameters `loc` and `scale` of a location-scale family."""
    parameters: Any = distribution
    return parameters.loc, parameters.scale


def _with(distribution: Distribution, loc: Tensor, scale: Tensor) -> Distribution:
    names = [name for name in distribution.arg_constraints if name in vars(distribution)]
    parameters = {name: getattr(distribution, name) for name in names} | {"loc": loc, "scale": scale}
    family: Any = type(distribution)
    made: Distribution = family(**parameters, validate_args=False)
    return made
