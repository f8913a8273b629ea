"""Rejection sampling: the first accepted of an element's candidates, the same in a loop and in a graph."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from posterity.kernels.random import Key
from posterity.kernels.samplers.noise import MAX_CANDIDATES, Noise, Settled, is_eager, places

# From noise and the parameters to a candidate for each element, and whether it is accepted.
Proposal = Callable[..., tuple[Tensor, Tensor]]

# Calls of a proposal to its noise: a sampler's other noise begins after these.
PROPOSAL_CALLS = 8

# Elements that are worked on at a time in eager mode, so that the temporaries stay in the cache.
_BLOCK = 1 << 15


def first_accepted(
    propose: Proposal,
    parameters: Sequence[Tensor],
    shape: Sequence[int],
    source: Settled,
    candidates: int,
    active: Tensor | None = None,
) -> Tensor:
    """Draws of `shape`, each the first of its candidates that is accepted.

    In eager mode only what was rejected is drawn again. In a graph, or under `vmap`, all candidates are drawn at
    once, since nothing there can depend on values; the same key gives the same draws in both. An element whose
    candidates are all rejected gets its first one: `candidates` is chosen so that this happens less than once in
    1e12 draws, which is then the most by which the law differs from the exact one (in total variation).

    Args:
        propose: Takes `(noise, *parameters)`; operates element by element.
        parameters: Tensors that broadcast to `shape`.
        shape: Shape of the result; a batch of keys puts its own in front.
        source: What `settle` or `part` gave.
        candidates: The most that an element gets, at most `MAX_CANDIDATES`.
        active: In eager mode, the elements of `shape` that are to be drawn; the others are zero.

    Returns:
        The draws, of the parameters' dtype, without gradient.
    """
    assert candidates <= MAX_CANDIDATES
    parameters = [parameter.detach() for parameter in parameters]
    batched = isinstance(source, Key) and source.data.dim() > 1
    if is_eager(*parameters) and not batched:
        return _redrawn(propose, parameters, shape, source, candidates, active)
    return _all_at_once(propose, parameters, shape, source, candidates)


def _redrawn(
    propose: Proposal,
    parameters: list[Tensor],
    shape: Sequence[int],
    source: Settled,
    candidates: int,
    active: Tensor | None,
) -> Tensor:
    first = parameters[0]
    flat = [p if p.numel() == 1 else p.expand(tuple(shape)).reshape(-1) for p in parameters]
    flat = [p.reshape(()) if p.numel() == 1 else p for p in flat]
    place = places((torch.Size(shape).numel(),), first.device)
    result = torch.zeros(place.shape, dtype=first.dtype, device=first.device)
    if active is not None:
        place = place[active.expand(tuple(shape)).reshape(-1)]
    for pending in place.split(_BLOCK):
        for candidate in range(candidates):
            here = [p if p.dim() == 0 else p[pending] for p in flat]
            value, accepted = propose(Noise(source, pending, first.dtype, candidate), *here)
            if candidate == 0:
                result[pending] = value
            else:
                result[pending[accepted]] = value[accepted]
            pending = pending[~accepted]
            if not len(pending):
                break
    return result.view(tuple(shape))


def _all_at_once(
    propose: Proposal, parameters: list[Tensor], shape: Sequence[int], source: Settled, candidates: int
) -> Tensor:
    first = parameters[0]
    rank = len(shape)
    numbers = torch.arange(candidates, dtype=torch.int32, device=first.device).view(-1, *(1,) * rank)
    place = places(shape, first.device).expand(candidates, *shape)
    value, accepted = propose(Noise(source, place, first.dtype, numbers), *parameters)
    # A chain of selections: Inductor does not vectorise a search for the first accepted candidate.
    each = list(zip(value.unbind(-1 - rank), accepted.unbind(-1 - rank), strict=True))
    result = each[0][0]
    for candidate, usable in reversed(each):
        result = torch.where(usable, candidate, result)
    return result
