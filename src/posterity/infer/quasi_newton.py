"""Limited-memory BFGS for many starts at once, with the normal distributions that its steps imply."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

# How much of the promised decrease a step must bring (Nocedal and Wright, 2006, equation 3.4).
_DECREASE = 1e-4
_MOST_HALVINGS = 20
# Pairs whose curvature is less than this share of y'y are no estimate of a positive curvature.
_LEAST_CURVATURE = 1e-12


class Path(NamedTuple):
    """The points that the searches went through, and the pairs of differences between them.

    Attributes:
        points: `[num_steps + 1, num_paths, dim]`.
        values: The function there, `[num_steps + 1, num_paths]`.
        gradients: Its gradients, as `points`.
        is_new: Whether a search was still on its way there, `[num_steps + 1, num_paths]`.
    """

    points: Tensor
    values: Tensor
    gradients: Tensor
    is_new: Tensor


class InverseHessian(NamedTuple):
    r"""An estimate of the inverse Hessian, $\mathrm{diag}(\alpha) + B \Gamma B^T$, in batches.

    Attributes:
        diagonal: alpha, `[*batch, dim]`.
        vectors: B, `[*batch, dim, 2 * history]`.
        middle: Gamma, `[*batch, 2 * history, 2 * history]`.
    """

    diagonal: Tensor
    vectors: Tensor
    middle: Tensor

    def times(self, vector: Tensor) -> Tensor:
        """The product with vectors, `[*batch, dim]`."""
        inner = self.middle @ (self.vectors.mT @ vector.unsqueeze(-1))
        return self.diagonal * vector + (self.vectors @ inner).squeeze(-1)


class History(NamedTuple):
    """What the last pairs of differences say about the curvature; empty places hold zeros.

    Attributes:
        diagonal: A running estimate of the inverse Hessian's diagonal, `[*batch, dim]`.
        steps: Differences of points, oldest first, `[*batch, history, dim]`.
        changes: Differences of gradients, likewise.
    """

    diagonal: Tensor
    steps: Tensor
    changes: Tensor

    def with_pair(self, step: Tensor, change: Tensor) -> "History":
        """With one more pair, where its curvature is positive."""
        curvature = (step * change).sum(-1, keepdim=True)
        good = curvature > _LEAST_CURVATURE * change.square().sum(-1, keepdim=True)
        diagonal = torch.where(good, _updated_diagonal(self.diagonal, step, change, curvature), self.diagonal)
        steps = torch.cat([self.steps[..., 1:, :], step.unsqueeze(-2)], -2)
        changes = torch.cat([self.changes[..., 1:, :], change.unsqueeze(-2)], -2)
        kept = good.unsqueeze(-1)
        return History(diagonal, torch.where(kept, steps, self.steps), torch.where(kept, changes, self.changes))

    def inverse_hessian(self) -> InverseHessian:
        """The estimate, in its compact form (Byrd, Nocedal and Schnabel, 1994, theorem 2.2)."""
        products = self.steps @ self.changes.mT
        curvatures = products.diagonal(dim1=-2, dim2=-1)
        # An empty place has the curvature 1, and vectors of zeros: it adds nothing.
        curvatures = torch.where(curvatures > 0, curvatures, 1.0)
        upper = products.triu(1) + torch.diag_embed(curvatures)
        eye = torch.eye(upper.shape[-1], dtype=upper.dtype, device=upper.device).expand_as(upper)
        inverse = torch.linalg.solve_triangular(upper, eye, upper=True)
        scaled = self.changes * self.diagonal.unsqueeze(-2)
        corner = inverse.mT @ (torch.diag_embed(curvatures) + scaled @ self.changes.mT) @ inverse
        middle = torch.cat(
            [torch.cat([torch.zeros_like(inverse), -inverse], -1), torch.cat([-inverse.mT, corner], -1)], -2
        )
        return InverseHessian(self.diagonal, torch.cat([scaled, self.steps], -2).mT, middle)


def minimise(
    value_and_grad: Callable[[Tensor], tuple[Tensor, Tensor]],
    start: Tensor,
    *,
    history_size: int,
    max_steps: int,
    tolerance: float,
    on_step: Callable[[Tensor], None] = lambda values: None,
) -> tuple[Path, list[History]]:
    """Go downhill from several points at once.

    Args:
        value_and_grad: The function of `[num_paths, dim]`, and its gradient.
        start: `[num_paths, dim]`, where the function is finite.
        history_size: How many pairs of differences to remember.
        max_steps: How many steps to take at most.
        tolerance: A search ends when a step lowers the function by less than this share of it.
        on_step: Called with the values after each step.

    Returns:
        The paths, and at each of their points what was known of the curvature.

    Source: Nocedal and Wright (2006), "Numerical Optimization", section 7.2; Gilbert and Lemarechal (1989) for the
    diagonal.
    """
    point = start
    value, gradient = value_and_grad(point)
    empty = start.new_zeros((len(start), history_size, start.shape[-1]))
    history = History(torch.ones_like(start), empty, empty)
    active = torch.ones_like(value, dtype=torch.bool)
    path, histories = [(point, value, gradient, active)], [history]
    for _ in range(max_steps):
        direction = -history.inverse_hessian().times(gradient)
        slope = (direction * gradient).sum(-1)
        # Numerical errors may spoil an estimate: then the way is straight down.
        downhill = (slope < 0) & direction.isfinite().all(-1)
        direction = torch.where(downhill.unsqueeze(-1), direction, -gradient)
        slope = torch.where(downhill, slope, -gradient.square().sum(-1))
        known = (history.steps != 0).flatten(1).any(-1) & downhill
        length = torch.where(known, torch.ones_like(value), (1 / gradient.norm(dim=-1)).clamp(max=1.0))
        new_point, new_value, new_gradient = point, value, gradient
        searching = active
        for _ in range(_MOST_HALVINGS):
            trial = point + length.unsqueeze(-1) * direction
            trial_value, trial_gradient = value_and_grad(trial)
            low = trial_value <= value + _DECREASE * length * slope
            found = searching & low & trial_gradient.isfinite().all(-1)
            new_point = torch.where(found.unsqueeze(-1), trial, new_point)
            new_value = torch.where(found, trial_value, new_value)
            new_gradient = torch.where(found.unsqueeze(-1), trial_gradient, new_gradient)
            searching = searching & ~found
            if not bool(searching.any()):
                break
            length = torch.where(searching, length * _shrinking(value, trial_value, length * slope), length)
        moved = active & ~searching
        history = history.with_pair(new_point - point, new_gradient - gradient)
        enough = value - new_value > tolerance * new_value.abs().clamp(min=1.0)
        point, value, gradient = new_point, new_value, new_gradient
        path.append((point, value, gradient, moved))
        histories.append(history)
        on_step(value)
        active = moved & enough
        if not bool(active.any()):
            break
    return Path(*(torch.stack(parts) for parts in zip(*path, strict=True))), histories


def _shrinking(value: Tensor, trial: Tensor, slope: Tensor) -> Tensor:
    """How much shorter the next step is: to the least of the parabola through what is known, within bounds."""
    least = -slope / (2 * (trial - value - slope))
    return torch.where(least.isfinite(), least, 0.1).clamp(0.1, 0.5)


def _updated_diagonal(diagonal: Tensor, step: Tensor, change: Tensor, curvature: Tensor) -> Tensor:
    """The diagonal after a BFGS update of the scaled diagonal matrix (Gilbert and Lemarechal, 1989, equation 4.9)."""
    a = (change.square() * diagonal).sum(-1, keepdim=True)
    c = (step.square() / diagonal).sum(-1, keepdim=True)
    updated = curvature / (a / diagonal + change.square() - a / c * (step / diagonal).square())
    return torch.where(updated.isfinite() & (updated > 0), updated, diagonal)
