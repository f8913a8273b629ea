"""Which sites of a model are continuous latent variables, where their values lie, and how many numbers they take."""

from typing import cast

import torch

from posterity.bijectors import Bijector, bijector_to
from posterity.bijectors.constraints import Constraint
from posterity.distributions import Delta, Distribution, Independent
from posterity.ppl import Site


def is_continuous(site: Site) -> bool:
    """Whether a site is a latent variable with a density: not observed, not discrete, no point mass."""
    if not site.is_latent:
        return False
    distribution = site.distribution
    while isinstance(distribution, Independent):
        distribution = distribution.base_dist
    return not isinstance(distribution, Delta) and not support_of(site).is_discrete


def support_of(site: Site) -> Constraint:
    """Where a sample site's values lie."""
    return cast(Constraint, distribution_of(site).support)


def bijector_of(site: Site) -> Bijector:
    """From unconstrained space onto a sample site's support.

    Raises:
        NotImplementedError: There is none; the site is named.
    """
    try:
        return bijector_to(support_of(site))
    except NotImplementedError as error:
        error.add_note(f"at site {site.name!r}, {site.distribution!r}")
        raise


def distribution_of(site: Site) -> Distribution:
    """The distribution of a sample site."""
    assert site.distribution is not None
    return site.distribution


def shape_of(site: Site) -> torch.Size:
    """The shape of a sample site's value."""
    return torch.Size(site.batch_shape + distribution_of(site).event_shape)


def unconstrained_shape_of(site: Site) -> torch.Size:
    """The shape of a sample site's value on unconstrained space."""
    return bijector_of(site).inverse_shape(shape_of(site))
