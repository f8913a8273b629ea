"""The choice of a way to draw each latent variable, from what its distribution depends on."""

from posterity.handlers.loc_scale_reparam import LocScaleReparam, is_location_scale, location_and_scale
from posterity.handlers.reparametrization import Reparam, entries, made_by
from posterity.handlers.transform_reparam import TransformReparam, base_and_transforms
from posterity.ppl import Site, provenance


class AutoReparam:
    """For `posterity.handlers.reparam`: location-scale variables non-centred, transformed ones drawn before transforms.

    A location-scale variable is only changed where its location or scale depends on other latent variables. What
    depends on what is followed during the program's first run; sites that only later runs have stay as they are.

    Args:
        centered: How centred the location-scale variables are; None learns it. See `LocScaleReparam`.

    Raises:
        ValueError: `centered` lies outside [0, 1].

    Source: Gorinova, Moore and Hoffman (2020), "Automatic reparameterisation of probabilistic programs".

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     mu = pt.sample("mu", pt.distributions.Normal(0.0, 1.0))
        ...     return pt.sample("theta", pt.distributions.Normal(mu, 1.0))
        >>> list(pt.handlers.trace(pt.handlers.reparam(model, config=AutoReparam())).get_trace())
        ['mu', 'theta_decentered', 'theta']
    """

    def __init__(self, centered: float | None = 0.0) -> None:
        self.loc_scale = LocScaleReparam(centered)

    def choose(self, site: Site, followed: provenance) -> Reparam | None:
        """The strategy for a latent site.

        Args:
            site: The site.
            followed: What the program's tensors come from, up to here.
        """
        distribution, _ = entries(site.distribution)
        if base_and_transforms(distribution) is not None and TransformReparam not in made_by(site):
            return TransformReparam()
        if is_location_scale(distribution) and followed.depends_on_latents(*location_and_scale(distribution)):
            return self.loc_scale
        return None

    def __repr__(self) -> str:
        return f"AutoReparam(centered={self.loc_scale.centered})"
