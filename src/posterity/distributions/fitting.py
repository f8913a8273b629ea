"""Maximum likelihood: checks of the data, and the search on unconstrained space where there is no closed form."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.distributions import constraints

from posterity.runtime import validation_enabled

_D = TypeVar("_D", bound=torch.distributions.Distribution)
_MAX_STEPS, _MAX_HALVINGS = 300, 40
# Of the gradient of the mean log likelihood: where the search stops, and where it may have been stopped by rounding.
_CONVERGED, _ACCEPTED = 1e-9, 1e-5


def fit_data(owner: str, data: Tensor, weights: Tensor | None = None, event_rank: int = 0) -> tuple[Tensor, Tensor]:
    """Draws along dimension 0 as a floating tensor, and their weights, which sum to 1 over dimension 0.

    Args:
        owner: The distribution, for error messages.
        data: `[num_data, *batch_shape, *event_shape]`.
        weights: How much each draw counts, `[num_data]` or `[num_data, *batch_shape]`; None: all alike.
        event_rank: How many of the last dimensions of `data` make one draw.

    Returns:
        The data, and the weights, of a shape that broadcasts against `[num_data, *batch_shape]`.

    Raises:
        TypeError: One of them is no real tensor.
        ValueError: There are no draws, data are NaN or infinite, or weights are negative, NaN, all zero or of
            another shape.

    Example:
        >>> fit_data("Normal", torch.tensor([1, 2]))
        (tensor([1., 2.]), tensor([0.5000, 0.5000]))
    """
    if not isinstance(data, Tensor) or data.is_complex():
        raise TypeError(f"data of {owner}.fit must be a real tensor, not {type(data).__name__}.")
    if data.dim() <= event_rank or data.shape[0] == 0:
        raise ValueError(
            f"data of {owner}.fit must hold draws along dimension 0, but its shape is {tuple(data.shape)}."
        )
    data = data if data.is_floating_point() else data.to(torch.get_default_dtype())
    if validation_enabled() and not torch._is_all_true(data.isfinite()):
        raise ValueError(f"data of {owner}.fit must be finite, but holds NaN or infinities.")
    batched = data.shape[: data.dim() - event_rank]
    if weights is None:
        weights = data.new_ones(data.shape[0])
    if not isinstance(weights, Tensor) or weights.is_complex():
        raise TypeError(f"weights of {owner}.fit must be a real tensor, not {type(weights).__name__}.")
    if weights.shape not in (batched[:1], batched):
        raise ValueError(
            f"weights of {owner}.fit must have shape {tuple(batched[:1])}, one for each draw"
            f"{f', or {tuple(batched)}' if len(batched) > 1 else ''}, but have shape {tuple(weights.shape)}."
        )
    weights = weights.to(data.dtype)
    total = weights.sum(0, keepdim=True)
    valid = (weights >= 0).all() & ((total > 0) & total.isfinite()).all()
    if validation_enabled() and not torch._is_all_true(valid):
        raise ValueError(f"weights of {owner}.fit must be non-negative and finite with a positive sum over the draws.")
    weights = weights / total
    return data, weights.reshape(weights.shape + (1,) * (len(batched) - weights.dim()))


def maximum_likelihood(family: type[_D], data: Tensor, weights: Tensor, start: dict[str, Tensor]) -> _D:
    """The member of `family` under which weighted `data` are most likely, searched for from `start`.

    BFGS with halved steps on unconstrained space in float64, for all batch elements at once and each on its own.

    Args:
        family: A class whose constructor takes the names in `start`.
        data: `[num_data, *batch_shape, *event_shape]`.
        weights: Broadcast against `[num_data, *batch_shape]` and sum to 1 over dimension 0.
        start: The parameters to be found and where to begin, each `[*batch_shape, *its event]`.

    Raises:
        ArithmeticError: The search did not converge: the likelihood may have no maximum.

    Source: Nocedal and Wright, Numerical Optimization, 2006, algorithm 6.1, https://doi.org/10.1007/978-0-387-40065-5
    """
    x, w = data.detach().double(), weights.detach().double()
    x = _without_unseen(x, w)
    declared = cast("dict[str, constraints.Constraint]", family.arg_constraints)
    maps = {name: _map_onto(declared[name]) for name in start}
    free = {name: maps[name].inv(value.detach().double()) for name, value in start.items()}
    ranks = {name: declared[name].event_dim + free[name].dim() - start[name].dim() for name in start}
    batch_shape = torch.Size(next(v.shape[: v.dim() - ranks[name]] for name, v in free.items()))
    pieces = {name: v.shape[len(batch_shape) :] for name, v in free.items()}

    def member(u: Tensor) -> _D:
        parts = u.split([shape.numel() for shape in pieces.values()], dim=-1)
        parameters = {
            name: maps[name](part.reshape(batch_shape + shape))
            for (name, shape), part in zip(pieces.items(), parts, strict=True)
        }
        return cast(Callable[..., _D], family)(**parameters, validate_args=False)

    def loss(u: Tensor) -> Tensor:
        return -(w * member(u).log_prob(x)).sum(0)

    flat = torch.cat([v.reshape(*batch_shape, -1) for v in free.values()], dim=-1)
    found, slope = _bfgs(loss, flat)
    if not bool((slope <= _ACCEPTED).all()):
        raise ArithmeticError(
            f"{family.__name__}.fit did not converge: the gradient of the mean log likelihood is still "
            f"{float(slope.max()):.1e}. The likelihood of these data may have no maximum."
        )
    best = member(found)
    parameters = {name: getattr(best, name).detach().to(data.dtype) for name in start}
    return cast(Callable[..., _D], family)(**parameters)


def standard_start(
    declared: dict[str, constraints.Constraint], data: Tensor, weights: Tensor, event_rank: int
) -> dict[str, Tensor]:
    """Weighted mean for `loc`, standard deviation for `scale`, and the origin of unconstrained space for the rest.

    Args:
        declared: The constraints of the parameters by name.
        data: `[num_data, *batch_shape, *event_shape]`.
        weights: Broadcast against `[num_data, *batch_shape]` and sum to 1 over dimension 0.
        event_rank: How many of the last dimensions of `data` make one draw.
    """
    w = weights.reshape(weights.shape + (1,) * event_rank)
    mean = (w * data).sum(0)
    spread = (w * (data - mean).square()).sum(0).sqrt()
    batch_shape = mean.shape[: mean.dim() - event_rank]
    start = {}
    for name, constraint in declared.items():
        shape = batch_shape + mean.shape[mean.dim() - event_rank :] * constraint.event_dim
        if name == "loc" and shape == mean.shape:
            start[name] = mean
        elif name == "scale" and shape == mean.shape:
            start[name] = torch.where(spread > 0, spread, 1)
        else:
            onto = _map_onto(constraint)
            start[name] = onto(data.new_zeros(onto.inverse_shape(shape)))
    return start


def _without_unseen(data: Tensor, weights: Tensor) -> Tensor:
    """Data of weight 0 replaced by the weightiest: their likelihood may be 0, and 0 times its logarithm is NaN."""
    if torch._is_all_true(weights > 0):
        return data
    batch_rank = weights.dim() - 1
    shape = torch.broadcast_shapes(weights.shape, data.shape[: batch_rank + 1])
    weights = weights.expand(shape)
    column = (...,) + (None,) * (data.dim() - 1 - batch_rank)
    weightiest = weights.argmax(0, keepdim=True)[column].expand(1, *data.shape[1:])
    return torch.where((weights > 0)[column], data, data.gather(0, weightiest))


def _map_onto(constraint: constraints.Constraint) -> Any:
    try:
        from posterity.bijectors import bijector_to
    except ImportError:
        return torch.distributions.biject_to(constraint)
    return bijector_to(constraint)


def _bfgs(loss: Callable[[Tensor], Tensor], u: Tensor) -> tuple[Tensor, Tensor]:
    """Minimises `loss`, `[*batch, size] -> [*batch]`; also the largest entry of each gradient, `[*batch]`."""

    def evaluate(u: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            leaf = u.detach().requires_grad_()
            value = loss(leaf)
            (gradient,) = torch.autograd.grad(value.sum(), leaf)
        return value.detach(), gradient

    value, gradient = evaluate(u)
    identity = torch.eye(u.shape[-1], dtype=u.dtype, device=u.device)
    inverse = identity.expand(*u.shape[:-1], *identity.shape)
    stuck = ~gradient.isfinite().all(-1)
    for step in range(_MAX_STEPS):
        active = ~stuck & (gradient.abs().amax(-1) > _CONVERGED)
        if not bool(active.any()):
            break
        direction = -(inverse @ gradient.unsqueeze(-1)).squeeze(-1)
        slope = (direction * gradient).sum(-1)
        # What is left to gain is lost in the rounding of the loss: steps would be taken at random.
        stuck = stuck | (active & (-slope <= 4 * torch.finfo(u.dtype).eps * value.abs()))
        active = active & ~stuck
        # No step is longer than 2 in unconstrained units, so that the first ones stay on the data's scale.
        length = torch.where(active, (2 / direction.norm(dim=-1)).clamp(max=1), 0)
        for _ in range(_MAX_HALVINGS):
            trial = torch.where(length.unsqueeze(-1) > 0, u + length.unsqueeze(-1) * direction, u)
            new_value, new_gradient = evaluate(trial)
            enough = (new_value <= value + 1e-4 * length * slope) & new_gradient.isfinite().all(-1)
            if bool((enough | ~active).all()):
                break
            length = torch.where(enough | ~active, length, length / 2)
        accepted = active & enough
        stuck = stuck | (active & ~enough)
        moved = torch.where(accepted.unsqueeze(-1), trial - u, 0)
        turned = torch.where(accepted.unsqueeze(-1), new_gradient - gradient, 0)
        curvature = (moved * turned).sum(-1)
        usable = (curvature > 1e-300)[..., None, None]
        if step == 0:
            first = (curvature / turned.square().sum(-1))[..., None, None]
            inverse = torch.where(usable, first * identity, inverse)
        rho = 1 / torch.where(usable, curvature[..., None, None], 1)
        left = identity - rho * moved.unsqueeze(-1) * turned.unsqueeze(-2)
        updated = left @ inverse @ left.mT + rho * moved.unsqueeze(-1) * moved.unsqueeze(-2)
        inverse = torch.where(usable, updated, inverse)
        u = u + moved
        value = torch.where(accepted, new_value, value)
        gradient = torch.where(accepted.unsqueeze(-1), new_gradient, gradient)
    return u, gradient.abs().amax(-1)
