"""Formulas of KL(posterior || prior) for one parameter tensor."""

import torch
import torch.nn.functional as F
from torch import Tensor


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


def normal_kl(loc: Tensor, rho: Tensor, prior_loc: Tensor, prior_scale: Tensor) -> Tensor:
    """KL(Normal(loc, softplus(rho)) || Normal(prior_loc, prior_scale)), summed over elements, in nats.

    Args:
        loc: means, of any shape.
        rho: pre-softplus scales, of the same shape.
        prior_loc: broadcastable to that shape.
        prior_scale: likewise.

    Returns:
        Scalar tensor, accumulated in float32 or wider.

    Source: Kingma and Welling (2014), appendix B, for a general normal prior.
    """
    # The terms are kept few and simple: in eager code each temporary tensor costs more than its arithmetic.
    scale, shift = F.softplus(rho), loc - prior_loc
    logs = scale.log().sum() - (prior_scale.log() - 0.5).expand(loc.shape).sum()
    if prior_scale.numel() > 1:
        return 0.5 * ((scale / prior_scale).square() + (shift / prior_scale).square()).sum() - logs
    return 0.5 * (_sum_of_squares(scale) + _sum_of_squares(shift)) / prior_scale.square().sum() - logs


def _sum_of_squares(x: Tensor) -> Tensor:
    if torch.compiler.is_compiling():
        return x.square().sum()  # fuses with what surrounds it, as a BLAS call would not
    flat = x.flatten()
    return flat.dot(flat)
