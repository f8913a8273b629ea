"""The statements of a program besides plates: `sample`, `deterministic`, `factor`, `param`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.distributions import constraints

from posterity.distributions import Distribution, lift
from posterity.distributions.parameters import broadcastable
from posterity.kernels import Source
from posterity.ppl.factor import Factor
from posterity.ppl.plate import subsample
from posterity.ppl.site import Site
from posterity.ppl.stack import apply, check_name, refuse_compiled
from posterity.runtime import validation_enabled


def sample(
    name: str,
    distribution: torch.distributions.Distribution,
    obs: Tensor | float | None = None,
    rng_key: Source = None,
    sample_shape: Sequence[int] = (),
    infer: Mapping[str, Any] | None = None,
    obs_mask: Tensor | bool | None = None,
) -> Tensor:
    """A random variable: drawn, or observed to be `obs`.

    Args:
        name: The site's name, unique in the program.
        distribution: What it is drawn from; torch's own are taken too.
        obs: Data, `[*batch_shape, *event_shape]`. None: the variable is latent.
        rng_key: Where this draw's random numbers come from, whatever `posterity.handlers.seed` says.
        sample_shape: Further independent copies, as batch dimensions on the left.
        infer: Directions for inference, such as `{"enumerate": "parallel"}`.
        obs_mask: Where `obs` holds data, a bool tensor of the batch's shape; elsewhere the variable is latent, a site
            of its own called `name_unobserved`.

    Returns:
        The value, `[*batch_shape, *event_shape]`, plates included.

    Raises:
        TypeError: The name is no string, or the distribution no distribution.
        ValueError: The value's shape does not fit the distribution's, the plates' sizes do not, or an observed value
            lies outside the support.

    Example:
        >>> import posterity as pt
        >>> pt.sample("x", pt.distributions.Normal(torch.zeros(3), 1.0)).shape
        torch.Size([3])
    """
    check_name("sample", name)
    refuse_compiled("sample", name)
    if not isinstance(distribution, torch.distributions.Distribution):
        raise TypeError(
            f"site {name!r} must be given a distribution, not a {type(distribution).__name__}: pt.sample(name, "
            "distribution, obs=value)"
        )
    own = lift(distribution)
    if sample_shape:
        own = own.expand(torch.Size(sample_shape) + own.batch_shape)
    if obs_mask is not None:
        return _partly_observed(name, own, obs, obs_mask, rng_key, infer)
    site = Site("sample", name, distribution=own, infer=dict(infer or {}), source=rng_key, default=_draw)
    if obs is not None:
        site.observe(obs)
    apply(site)
    if site.is_observed:
        check_observation(site)
    return cast(Tensor, site.value)


def deterministic(name: str, value: Any, event_dim: int | None = None) -> Any:
    """Record a value that follows from others, so that traces and predictions show it.

    Args:
        name: The site's name.
        value: The value; it is handed back.
        event_dim: How many of its last dimensions are no batch, for those who read the trace.

    Example:
        >>> import posterity as pt
        >>> pt.handlers.trace(lambda: pt.deterministic("x", 2)).get_trace()["x"].value
        2
    """
    check_name("deterministic", name)
    refuse_compiled("deterministic", name)
    return apply(Site("deterministic", name, value=value, event_dim=event_dim)).value


def factor(name: str, log_factor: Tensor | float, *, has_rsample: bool = True) -> None:
    """Add a term to the program's log density.

    Args:
        name: The site's name.
        log_factor: The term in nats, of the shape of the plates around it.
        has_rsample: In a guide: whether the term comes of draws that gradients go through.

    Example:
        >>> import posterity as pt
        >>> pt.handlers.trace(lambda: pt.factor("penalty", -2.0)).get_trace().log_prob_sum()
        tensor(-2.)
    """
    check_name("factor", name)
    term = Factor(torch.as_tensor(log_factor), has_rsample=has_rsample)
    sample(name, term, obs=term.value)


def param(
    name: str,
    init: Tensor | float | Callable[[], Tensor] | None = None,
    constraint: constraints.Constraint = constraints.real,
    event_dim: int | None = None,
) -> Tensor:
    """A number to learn, which belongs to the driver that runs the program (`posterity.infer.SVI`).

    Args:
        name: The parameter's name.
        init: Its first value, or a function that makes it. A program that only reads a parameter may leave it out.
        constraint: Where its values live; it is learnt on unconstrained space.
        event_dim: Inside subsampled plates, how many of its last dimensions are no plate: the others are cut to the
            subsample.

    Returns:
        The value; outside of any driver, the first one.

    Raises:
        ValueError: There is no `init` and nobody gives a value, or the first value violates the constraint.

    Example:
        >>> import posterity as pt
        >>> pt.param("scale", torch.tensor(2.0), constraint=constraints.positive)
        tensor(2.)
    """
    check_name("param", name)
    refuse_compiled("param", name)

    def first(site: Site) -> Tensor:
        if init is None:
            raise ValueError(f"param {name!r} has no value here: give it an init, or run the program by its driver")
        value = torch.as_tensor(init() if callable(init) else init)
        if not value.is_floating_point():
            value = value.to(torch.get_default_dtype())
        if validation_enabled() and not value.is_meta and not torch._is_all_true(constraint.check(value)):
            raise ValueError(f"the first value of param {name!r} violates its constraint {constraint!r}: {value}")
        return value

    site = apply(Site("param", name, constraint=constraint, event_dim=event_dim, default=first))
    return subsample(site.value, event_dim) if event_dim is not None else site.value


def check_observation(site: Site) -> None:
    """Refuse a value that an observed site's distribution would spread silently, as `[N]` and `[N, 1]` do.

    Raises:
        ValueError: Naming the site and both shapes.
    """
    assert site.distribution is not None
    value, distribution = site.value, site.distribution
    if not isinstance(value, Tensor):
        raise TypeError(f"the value of site {site.name!r} must be a tensor, not a {type(value).__name__}")
    events = len(distribution.event_shape)
    batch, event = value.shape[: value.dim() - events], value.shape[value.dim() - events :]
    plates = ", ".join(f"{f.name!r} ({f.size})" for f in site.plates if f.vectorized)
    where = (
        f"site {site.name!r}: a value of shape {tuple(value.shape)} for {type(distribution).__name__} with batch_shape "
        f"{tuple(distribution.batch_shape)} and event_shape {tuple(distribution.event_shape)}"
        + (f", inside plates {plates}," if plates else "")
    )
    if value.dim() < events or event != distribution.event_shape:
        raise ValueError(f"{where} does not end with the event_shape")
    if not broadcastable(batch, distribution.batch_shape):
        raise ValueError(f"{where} does not broadcast against the batch_shape")
    together = torch.broadcast_shapes(batch, distribution.batch_shape)
    if together not in (batch, distribution.batch_shape) and together.numel() > 0:
        raise ValueError(
            f"{where} would spread to {tuple(together)}, every entry against every other: bring one of the two into "
            "the other's shape, for example by value.squeeze(-1) or value.unsqueeze(-1)"
        )


def _draw(site: Site) -> Tensor:
    distribution = site.distribution
    assert distribution is not None
    draw = distribution.rsample if distribution.has_rsample else distribution.sample
    return draw(generator=site.source)


def _partly_observed(
    name: str,
    distribution: Distribution,
    obs: Tensor | float | None,
    obs_mask: Tensor | bool,
    rng_key: Source,
    infer: Mapping[str, Any] | None,
) -> Tensor:
    if isinstance(obs_mask, bool):
        obs_mask = torch.tensor(obs_mask)
    if not isinstance(obs_mask, Tensor) or obs_mask.dtype != torch.bool:
        kind = obs_mask.dtype if isinstance(obs_mask, Tensor) else type(obs_mask).__name__
        raise TypeError(f"obs_mask of site {name!r} must be a bool tensor, not {kind}")
    latent = sample(f"{name}_unobserved", distribution.mask(~obs_mask), rng_key=rng_key, infer=infer)
    if obs is None:
        return latent
    events = (...,) + (None,) * len(distribution.event_shape)
    value = torch.where(obs_mask[events], torch.as_tensor(obs, dtype=latent.dtype), latent.detach())
    sample(f"{name}_observed", distribution.mask(obs_mask), obs=value)
    result: Tensor = deterministic(name, torch.where(obs_mask[events], value, latent))
    return result
