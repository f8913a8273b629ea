"""Formulas of KL(posterior || prior) for one parameter tensor."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from posterity.kernels import normal_weights


def sampled_kl(q: torch.distributions.Distribution, p: torch.distributions.Distribution) -> Tensor:
    """An unbiased estimate of KL(q || p) from one reparameterised draw of every element, summed.

    Args:
        q: a distribution with `rsample`.
        p: a distribution whose batch shape broadcasts with that of `q`.

    Returns:
        Scalar tensor in nats, differentiable in both.
    """
    value = q.rsample()
    return (q.log_prob(value) - p.log_prob(value)).sum()


class NormalPair(NamedTuple):
    """A factorised normal posterior and a normal prior of one parameter.

    Attributes:
        loc: posterior means, of any shape.
        rho: pre-softplus posterior scales, of the same shape.
        prior_loc: broadcastable to that shape; None for zero.
        prior_scale: broadcastable to that shape.
    """

    loc: Tensor
    rho: Tensor
    prior_loc: Tensor | None
    prior_scale: Tensor


def normal_kl(pair: NormalPair) -> Tensor:
    """KL(Normal(loc, softplus(rho)) || Normal(prior_loc, prior_scale)), summed over elements, in nats.

    Returns:
        Scalar tensor.

    Source: Kingma and Welling (2014), appendix B, for a general normal prior.
    """
    loc, rho, prior_loc, prior_scale = pair
    if prior_scale.numel() == 1 and not prior_scale.requires_grad and prior_scale.device == loc.device:
        priors = [] if prior_loc is None else [prior_loc]
        if normal_weights.suits(loc, rho, *priors) and not any(p.requires_grad for p in priors):
            return normal_weights.divergence(loc, rho, prior_loc, prior_scale)
    scale, shift = F.softplus(rho), loc if prior_loc is None else loc - prior_loc
    if torch.compiler.is_compiling():
        # One sum is one accumulator of the loop that also draws the weights.
        ratio, shift = scale / prior_scale, shift / prior_scale
        return (0.5 * (ratio.square() + shift.square()) - ratio.log()).sum() - 0.5 * loc.numel()
    # The terms are kept few and simple: in eager code each temporary tensor costs more than its arithmetic.
    if prior_scale.numel() > 1:
        ratio, shift = scale / prior_scale, shift / prior_scale
        return 0.5 * (_sum_of_squares(ratio) + _sum_of_squares(shift) - loc.numel()) - ratio.log().sum()
    squares = (_sum_of_squares(scale) + _sum_of_squares(shift)) / prior_scale.square().sum()
    return 0.5 * squares - scale.log().sum() + loc.numel() * (prior_scale.log().sum() - 0.5)


def joined(pairs: list[NormalPair]) -> NormalPair:
    """Many parameters' pairs as one, of vectors."""
    return NormalPair(
        torch.cat([p.loc.flatten() for p in pairs]),
        torch.cat([p.rho.flatten() for p in pairs]),
        torch.cat([_filled(p, p.prior_loc) for p in pairs]),
        torch.cat([_filled(p, p.prior_scale) for p in pairs]),
    )


def _filled(pair: NormalPair, values: Tensor | None) -> Tensor:
    if values is None:
        return pair.loc.new_zeros(pair.loc.numel())
    return values.expand(pair.loc.shape).reshape(-1)


def _sum_of_squares(x: Tensor) -> Tensor:
    flat = x.flatten()
    return flat.dot(flat)
