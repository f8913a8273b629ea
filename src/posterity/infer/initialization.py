"""Strategies for where a latent variable starts: from a sample site to a value in its support."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from posterity.infer.latent_sites import bijector_of, distribution_of, shape_of, support_of, unconstrained_shape_of
from posterity.kernels import uniform
from posterity.ppl import Site

Strategy = Callable[[Site], Tensor]


def init_to_median(site: Site | None = None, *, num_samples: int = 15) -> Any:
    """Start at the median of a few draws from the prior, taken entry by entry on unconstrained space.

    A prior that has no draws, such as `ImproperUniform`, starts as with `init_to_uniform`.

    Args:
        site: The site to give a value to. Without it, the strategy with these settings.
        num_samples: How many draws.

    Returns:
        A value of the site's shape.

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     pt.sample("x", pt.distributions.Normal(100.0, 1.0))
        >>> guide = pt.infer.AutoNormal(model, init=init_to_median(num_samples=5)).setup()
        >>> bool((guide.median()["x"] - 100).abs() < 5)
        True
    """
    if site is None:
        return functools.partial(init_to_median, num_samples=num_samples)
    try:
        draws = distribution_of(site).sample((num_samples,), generator=site.source)
    except NotImplementedError:
        return init_to_uniform(site)
    bijector = bijector_of(site)
    return bijector.forward(bijector.inverse(draws).median(0).values)


def init_to_mean(site: Site | None = None) -> Any:
    """Start at the prior's mean; where that is not known, or no value that the variable can have, as `init_to_median`.

    Args:
        site: The site to give a value to. Without it, the strategy.

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     pt.sample("x", pt.distributions.Normal(100.0, 1.0))
        >>> pt.infer.AutoNormal(model, init=init_to_mean).setup().median()
        {'x': tensor(100.)}
    """
    if site is None:
        return init_to_mean
    try:
        mean = distribution_of(site).mean
    except NotImplementedError:
        return init_to_median(site)
    possible = mean.isfinite().all() & support_of(site).check(mean).all()
    return mean if torch._is_all_true(possible) else init_to_median(site)


def init_to_sample(site: Site | None = None) -> Any:
    """Start at a draw from the prior; where it has none, as `init_to_uniform`.

    Args:
        site: The site to give a value to. Without it, the strategy.

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     pt.sample("x", pt.distributions.Gamma(2.0, 1.0))
        >>> bool(pt.infer.AutoNormal(model, init=init_to_sample).setup().median()["x"] > 0)
        True
    """
    if site is None:
        return init_to_sample
    try:
        return distribution_of(site).sample(generator=site.source)
    except NotImplementedError:
        return init_to_uniform(site)


def init_to_uniform(site: Site | None = None, *, radius: float = 2.0) -> Any:
    """Start at a uniform draw from `(-radius, radius)`, entry by entry on unconstrained space.

    Args:
        site: The site to give a value to. Without it, the strategy with these settings.
        radius: Half the length of the interval.

    Raises:
        ValueError: The radius is not positive.

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     pt.sample("x", pt.distributions.Gamma(2.0, 1.0))
        >>> guide = pt.infer.AutoNormal(model, init=init_to_uniform(radius=0.1)).setup()
        >>> bool(guide.median()["x"].log().abs() < 0.1)
        True
    """
    if not radius > 0:
        raise ValueError(f"radius of init_to_uniform must be positive, not {radius}")
    if site is None:
        return functools.partial(init_to_uniform, radius=radius)
    like, shape = distribution_of(site)._like(), unconstrained_shape_of(site)
    noise = uniform(shape, source=site.source, dtype=like.dtype, device=like.device)
    return bijector_of(site).forward((2 * noise - 1) * radius)


def init_to_feasible(site: Site | None = None) -> Any:
    """Start at the image of zero on unconstrained space, whatever the prior.

    Args:
        site: The site to give a value to. Without it, the strategy.

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     pt.sample("x", pt.distributions.Normal(100.0, 1.0))
        >>> pt.infer.AutoNormal(model, init=init_to_feasible).setup().median()
        {'x': tensor(0.)}
    """
    if site is None:
        return init_to_feasible
    like = distribution_of(site)._like()
    return bijector_of(site).forward(like.new_zeros(unconstrained_shape_of(site)))


def init_to_value(
    site: Site | None = None, *, values: Mapping[str, Tensor | float], fallback: Strategy = init_to_median
) -> Any:
    """Start at given values.

    Args:
        site: The site to give a value to. Without it, the strategy with these settings.
        values: Constrained values by site name; they broadcast to the sites' shapes.
        fallback: Where sites without a value start.

    Raises:
        ValueError: A value does not broadcast to its site's shape.

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     pt.sample("x", pt.distributions.Gamma(2.0, 1.0))
        >>> pt.infer.AutoNormal(model, init=init_to_value(values={"x": 1.0})).setup().median()
        {'x': tensor(1.)}
    """
    if site is None:
        return functools.partial(init_to_value, values=dict(values), fallback=fallback)
    if site.name not in values:
        return fallback(site)
    like, shape = distribution_of(site)._like(), shape_of(site)
    value = torch.as_tensor(values[site.name], dtype=like.dtype, device=like.device)
    try:
        return value.expand(shape)
    except RuntimeError:
        raise ValueError(
            f"init_to_value: the value of site {site.name!r} has shape {tuple(value.shape)}, which does not broadcast "
            f"to the site's, {tuple(shape)}"
        ) from None
