"""Sums, maxima and draws over the paths of a Markov chain whose states are weighted at every step, in log space.

Throughout, `log_initial` is `[*batch, K]`, `log_transition` `[num_steps - 1 or 1, *batch, K, K]`, from a state to the
next, and `log_weight` `[num_steps, *batch, K]`; batches broadcast.
"""

import torch
from torch import Tensor

from posterity.distributions.associative_scan import Elements, associative_scan, reduce
from posterity.distributions.log_semiring import log_matmul, log_sum, log_vecmat
from posterity.kernels import Source, uniform

# Products of K x K matrices cost K times the work of products with a vector: beyond this, steps are taken in turn.
_MAX_STATES_IN_PARALLEL = 16


def log_evidence(log_initial: Tensor, log_transition: Tensor, log_weight: Tensor) -> Tensor:
    """Log of the sum over all paths, `[*batch]`."""
    first = log_initial + log_weight[0]
    if len(log_weight) == 1:
        return log_sum(first, -1)
    if not _in_parallel(log_initial):
        return log_sum(forward_messages(log_initial, log_transition, log_weight)[-1], -1)
    (product,) = reduce(_product, (log_transition + log_weight[1:].unsqueeze(-2),))
    return log_sum(log_vecmat(first, product[0]), -1)


def forward_messages(log_initial: Tensor, log_transition: Tensor, log_weight: Tensor) -> Tensor:
    """Log of the sum over all paths up to each step that end in each state, `[num_steps, *batch, K]`."""
    first = log_initial + log_weight[0]
    if len(log_weight) == 1:
        return first.unsqueeze(0)
    if _in_parallel(log_initial):
        (products,) = associative_scan(_product, (log_transition + log_weight[1:].unsqueeze(-2),))
        return torch.cat([first.unsqueeze(0), log_vecmat(first.unsqueeze(0), products)])
    steps = [first]
    for t in range(1, len(log_weight)):
        steps.append(log_vecmat(steps[-1], _at(log_transition, t - 1)) + log_weight[t])
    return torch.stack(steps)


def backward_messages(log_initial: Tensor, log_transition: Tensor, log_weight: Tensor) -> Tensor:
    """Log of the sum over all paths from each state of each step to the end, `[num_steps, *batch, K]`."""
    last = torch.zeros_like(log_initial + log_weight[0])
    if len(log_weight) == 1:
        return last.unsqueeze(0)
    if _in_parallel(log_initial):
        (products,) = associative_scan(_product, (log_transition + log_weight[1:].unsqueeze(-2),), reverse=True)
        return torch.cat([log_sum(products, -1), last.unsqueeze(0)])
    steps = [last]
    for t in range(len(log_weight) - 1, 0, -1):
        onwards = (steps[-1] + log_weight[t]).unsqueeze(-2) + _at(log_transition, t - 1)
        steps.append(log_sum(onwards, -1))
    return torch.stack(steps[::-1])


def most_probable_path(log_initial: Tensor, log_transition: Tensor, log_weight: Tensor) -> Tensor:
    """The path of the greatest weight, `[num_steps, *batch]`; the first of several.

    Source: Viterbi, Error Bounds for Convolutional Codes, 1967, https://doi.org/10.1109/TIT.1967.1054010
    """
    best = log_initial + log_weight[0]
    origins = []
    for t in range(1, len(log_weight)):
        greatest, origin = (best.unsqueeze(-1) + _at(log_transition, t - 1)).max(-2)
        origins.append(origin)
        best = greatest + log_weight[t]
    path = [best.argmax(-1)]
    for origin in reversed(origins):
        path.append(origin.gather(-1, path[-1].unsqueeze(-1)).squeeze(-1))
    return torch.stack(path[::-1])


def sample_backwards(forward: Tensor, log_transition: Tensor, sample_shape: torch.Size, source: Source) -> Tensor:
    """Paths drawn in proportion to their weights, from the forward messages, `[num_steps, *sample_shape, *batch]`.

    Source: Frühwirth-Schnatter, Finite Mixture and Markov Switching Models, 2006, section 11.5.
    """
    steps = len(forward)
    noise = uniform(
        (steps, *sample_shape, *forward.shape[1:-1]), source=source, dtype=forward.dtype, device=forward.device
    )
    path = [_draw(forward[-1], noise[-1])]
    for t in range(steps - 2, -1, -1):
        path.append(_draw(forward[t] + _into(_at(log_transition, t), path[-1]), noise[t]))
    return torch.stack(path[::-1])


def sample_chain(
    log_initial: Tensor, log_transition: Tensor, steps: int, sample_shape: torch.Size, source: Source
) -> Tensor:
    """Paths of the chain itself, `[steps, *sample_shape, *batch]`."""
    batch = torch.broadcast_shapes(log_initial.shape[:-1], log_transition.shape[1:-2])
    noise = uniform((steps, *sample_shape, *batch), source=source, dtype=log_initial.dtype, device=log_initial.device)
    path = [_draw(log_initial, noise[0])]
    for t in range(1, steps):
        path.append(_draw(_into(_at(log_transition, t - 1).mT, path[-1]), noise[t]))
    return torch.stack(path)


def _product(earlier: Elements, later: Elements) -> Elements:
    return (log_matmul(earlier[0], later[0]),)


def _in_parallel(log_initial: Tensor) -> bool:
    return log_initial.shape[-1] <= _MAX_STATES_IN_PARALLEL


def _at(log_transition: Tensor, step: int) -> Tensor:
    return log_transition[step if len(log_transition) > 1 else 0]


def _into(log_matrix: Tensor, state: Tensor) -> Tensor:
    """The column of each matrix that belongs to the state, `[..., K]`."""
    columns = log_matrix.mT
    columns = columns.expand(*state.shape, *columns.shape[-2:])
    index = state[..., None, None].expand(*state.shape, 1, columns.shape[-1])
    return columns.gather(-2, index).squeeze(-2)


def _draw(logits: Tensor, noise: Tensor) -> Tensor:
    cumulative = logits.softmax(-1).cumsum(-1)
    total = cumulative[..., -1]
    below = torch.minimum(noise * total, torch.nextafter(total, torch.zeros_like(total)))
    return (cumulative <= below.unsqueeze(-1)).sum(-1)
