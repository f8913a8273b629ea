"""How a von Mises-Fisher draw's height over its mean direction moves with the concentration."""

import math

import torch
from torch import Tensor

from posterity.kernels.bessel import bessel_ratio_complement
from posterity.kernels.gauss_legendre import gauss_legendre
from posterity.kernels.incomplete_beta import widened

_NUM_NODES = 40
# Of the way to the pole.
_SHARES = [1.25**-j for j in range(80)]


def versine_drift(versine: Tensor, concentration: Tensor, dimension: Tensor) -> Tensor:
    r"""The derivative of the versine, $v = 1 - \cos \theta$, in the concentration at a fixed probability below it.

    The cdf's derivative over the density is the integral of $(\mu - u)\,p(u) / p(v)$ over all u up to v, with the
    mean versine $\mu$; or, as the integral over all u is 0, minus that from v on. Of the two the one whose integrand
    has one sign is taken, over the angle, in which it is smooth, as far as it is not negligible.

    Args:
        versine: In [0, 2].
        concentration: Not negative, of the same shape.
        dimension: Of the space around the sphere, at least 2, of the same shape.

    Source: Figurnov, Mohamed and Mnih (2018), "Implicit Reparameterization Gradients", section 3; the density of the
    versine from Mardia and Jupp (2000), "Directional Statistics", equation 9.3.12.

    Example:
        >>> versine_drift(torch.tensor([0.5]), torch.tensor([2.0]), torch.tensor([3.0]))
        tensor([-0.2179])
    """
    dtype = versine.dtype
    versine, concentration, dimension = map(widened, (versine, concentration, dimension))
    info = torch.finfo(versine.dtype)
    versine = versine.clamp(4 * info.tiny, 2 - info.eps)
    angle = 2 * torch.asin((0.5 * versine).sqrt())
    mean = bessel_ratio_complement(0.5 * dimension, concentration)
    pole = torch.where(versine < mean, 0.0, torch.full_like(mean, math.pi))
    with torch.no_grad():
        end = _reach(angle, pole, concentration, dimension)

    def integrand(steps: Tensor) -> Tensor:
        start, k, n, m = (t.unsqueeze(-1) for t in (angle, concentration, dimension, mean))
        theta = start + steps
        excess = 2 * (0.5 * theta).sin().square() - m
        return excess * _log_gain(steps, start, k, n).exp()

    return (-angle.sin() * gauss_legendre(integrand, end - angle, _NUM_NODES)).to(dtype)


def _log_gain(step: Tensor, angle: Tensor, concentration: Tensor, dimension: Tensor) -> Tensor:
    """The logarithm of the density of the angle, a step further, over that at the angle."""
    further = (angle + step).sin().clamp(min=torch.finfo(step.dtype).tiny)
    growth = 2 * (0.5 * step).sin() * (angle + 0.5 * step).sin()
    return (dimension - 2) * (further / angle.sin()).log() - concentration * growth


def _reach(angle: Tensor, pole: Tensor, concentration: Tensor, dimension: Tensor) -> Tensor:
    """How far towards the pole the density is more than e^-40 of what it is at the angle, or a little farther."""
    shares = angle.new_tensor(_SHARES)
    start, way, k, n = (t.unsqueeze(-1) for t in (angle, pole - angle, concentration, dimension))
    counts = _log_gain(shares * way, start, k, n) > -40
    return angle + torch.where(counts, 1.0, shares).amin(-1) * (pole - angle)
