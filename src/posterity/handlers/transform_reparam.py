"""Variables with transformed distributions, drawn from the distribution before the transform."""

from typing import Any

from torch import Tensor
from torch.distributions import Transform

from posterity.bijectors import Exp, Sigmoid
from posterity.distributions import Distribution, LogitNormal, LogNormal, Normal, TransformedDistribution
from posterity.handlers.reparametrization import Reparam, entries
from posterity.ppl import Site


class TransformReparam(Reparam):
    """Draw a variable before its distribution's transforms, as the site `name_base`, and transform the value.

    It takes a `TransformedDistribution`, and `LogNormal` and `LogitNormal` as the transformed normals that they are.

    Raises:
        TypeError: At a site whose distribution is not transformed.

    Example:
        >>> import torch, posterity as pt
        >>> def model():
        ...     return pt.sample("x", pt.distributions.LogNormal(0.0, 1.0))
        >>> base = {"x_base": torch.tensor(0.0)}
        >>> pt.handlers.substitute(pt.handlers.reparam(model, {"x": TransformReparam()}), base)()
        tensor(1.)
    """

    def apply(self, site: Site, run: dict[str, Any]) -> Tensor | None:
        """Draw the base, and transform it."""
        distribution, ndims = entries(site.distribution)
        parts = base_and_transforms(distribution)
        if parts is None:
            raise TypeError(
                f"TransformReparam: site {site.name!r} has a {type(distribution).__name__}, which is no "
                "TransformedDistribution"
            )
        base, transforms = parts
        value = self.draw(site, "base", base.to_event(ndims))
        for transform in transforms:
            value = transform(value)
        return value

    def __repr__(self) -> str:
        return "TransformReparam()"


def base_and_transforms(distribution: Distribution) -> tuple[Distribution, list[Transform]] | None:
    """What a transformed distribution consists of; None for others."""
    if isinstance(distribution, TransformedDistribution):
        return distribution.base_dist, list(distribution.transforms)
    if isinstance(distribution, LogNormal | LogitNormal):
        base = Normal(distribution.loc, distribution.scale, validate_args=False)
        return base, [Exp() if isinstance(distribution, LogNormal) else Sigmoid()]
    return None
