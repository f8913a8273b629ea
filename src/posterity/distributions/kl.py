"""The Kullback-Leibler divergence: torch's registry of closed forms, then exact sums and quadrature."""

from collections.abc import Callable
from typing import TypeVar, cast

import torch
from torch import Tensor
from torch.distributions import constraints

from posterity.distributions.base import Distribution
from posterity.distributions.expectation import expectation
from posterity.distributions.parameters import broadcast_shapes
from posterity.distributions.supports import point_inside, support_ends


def kl_divergence(p: torch.distributions.Distribution, q: torch.distributions.Distribution) -> Tensor:
    r"""KL(p || q) $= E_p[\log p(X) - \log q(X)]$ in nats.

    A formula registered with `torch.distributions.register_kl` is used where there is one. Otherwise
    distributions over finitely many values or integers are summed, and continuous ones over the line integrated to
    the accuracy that `posterity.distributions.expectation` states.

    Args:
        p: Where the draws come from.
        q: What they are compared with; its batch shape broadcasts against that of `p`.

    Returns:
        Tensor: Of the shape that the batch shapes broadcast to; infinite where `q` excludes what `p` allows.

    Raises:
        ValueError: Event shapes differ or batch shapes do not broadcast.
        NotImplementedError: There is neither closed form nor sum nor scalar integral.
        ArithmeticError: The integral did not reach its accuracy, or diverges.

    Source: Kullback and Leibler, On Information and Sufficiency, 1951, https://doi.org/10.1214/aoms/1177729694

    Example:
        >>> from posterity.distributions import Normal
        >>> kl_divergence(Normal(0.0, 1.0), Normal(2.0, 1.0))
        tensor(2.)
    """
    if p.event_shape != q.event_shape:
        raise ValueError(
            f"KL needs equal event shapes, but p has {tuple(p.event_shape)} and q {tuple(q.event_shape)}: "
            "use to_event() on one of them."
        )
    batch_shape = broadcast_shapes("batch shapes of p and q", p=p.batch_shape, q=q.batch_shape)
    formula = _FORMULAS.get((type(p), type(q)), torch.distributions.kl_divergence)
    try:
        return formula(p, q)
    except NotImplementedError:
        if not isinstance(p, Distribution) or not _enumerable(p):
            raise NotImplementedError(
                f"KL({type(p).__name__} || {type(q).__name__}) has no closed form here, and events of shape "
                f"{tuple(p.event_shape)} are out of reach of quadrature: kl_monte_carlo gives an estimate with "
                "its error."
            ) from None
    # The dimension along which values are listed stands before the batch of q too.
    p = p.expand(batch_shape)
    if p.has_enumerate_support:
        return expectation(p, lambda x: p.log_prob(x) - log_prob_anywhere(q, x), others=(q,))
    (least, greatest), (q_least, q_greatest) = support_ends(p), support_ends(q, p._like())
    excluded = (least < q_least) | (greatest > q_greatest)
    finite = expectation(p, lambda x: torch.where(excluded, 0, p.log_prob(x) - log_prob_anywhere(q, x)), others=(q,))
    return torch.where(excluded, torch.inf, finite)


_Formula = TypeVar("_Formula", bound=Callable[..., Tensor])

# By exact types, which no registration is more specific than. Dynamo can trace this lookup, but not torch's.
_FORMULAS: dict[tuple[type, type], Callable[..., Tensor]] = {}
_CONDITIONS: dict[tuple[type, type], Callable[..., bool]] = {}


def register_kl(
    type_p: type[torch.distributions.Distribution],
    type_q: type[torch.distributions.Distribution],
    where: Callable[..., bool] | None = None,
) -> Callable[[_Formula], _Formula]:
    """`torch.distributions.register_kl`, found under `torch.compile` too: decorates a formula of `p` and `q`.

    Args:
        type_p: The class of `p`.
        type_q: The class of `q`.
        where: For which `p` and `q` the formula holds; it raises NotImplementedError for others. None: for all.

    Example:
        >>> from posterity.distributions import Normal
        >>> class Exact(Normal):
        ...     pass
        >>> @register_kl(Exact, Exact)
        ... def same(p, q):
        ...     return torch.zeros(p.batch_shape)
        >>> kl_divergence(Exact(0.0, 1.0), Exact(0.0, 1.0))
        tensor(0.)
    """
    register_with_torch = torch.distributions.register_kl(type_p, type_q)

    def decorator(formula: _Formula) -> _Formula:
        _FORMULAS[type_p, type_q] = formula
        if where is not None:
            _CONDITIONS[type_p, type_q] = where
        register_with_torch(formula)
        return formula

    return decorator


def has_closed_form(p: torch.distributions.Distribution, q: torch.distributions.Distribution) -> bool:
    """Whether `kl_divergence(p, q)` is a registered formula, rather than a sum or an integral.

    Example:
        >>> from posterity.distributions import Gumbel, Normal
        >>> has_closed_form(Normal(0.0, 1.0), Normal(1.0, 2.0)), has_closed_form(Normal(0.0, 1.0), Gumbel(0.0, 1.0))
        (True, False)
    """
    if p.event_shape != q.event_shape:
        return False
    ranks = [getattr(d, "reinterpreted_batch_ndims", 0) for d in (p, q)]
    if any(ranks):
        return ranks[0] == ranks[1] and has_closed_form(p.base_dist, q.base_dist)  # type: ignore[attr-defined]
    types = (type(p), type(q))
    if types in _FORMULAS:
        return types not in _CONDITIONS or _CONDITIONS[types](p, q)
    return torch.distributions.kl._dispatch_kl(type(p), type(q)) is not NotImplemented


def log_prob_anywhere(q: torch.distributions.Distribution, value: Tensor) -> Tensor:
    """`q.log_prob(value)`, minus infinity outside the support of `q` rather than an error.

    Example:
        >>> from posterity.distributions import Exponential
        >>> log_prob_anywhere(Exponential(1.0), torch.tensor([-1.0, 1.0]))
        tensor([-inf, -1.])
    """
    support = cast(constraints.Constraint, q.support)
    try:
        other = point_inside(q, like=value).to(value.dtype)
    except NotImplementedError:
        return q.log_prob(value)
    inside: Tensor = support.check(value)
    kept = inside.reshape(inside.shape + (1,) * len(q.event_shape))
    return torch.where(inside, q.log_prob(torch.where(kept, value, other)), -torch.inf)


def _enumerable(p: Distribution) -> bool:
    return p.has_enumerate_support or (not p.event_shape and p.support is not None)
