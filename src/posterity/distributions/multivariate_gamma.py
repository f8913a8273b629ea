"""What the Wishart distributions share: the multivariate gamma function, Bartlett's factor, and the fit of df."""

import math

import torch
from torch import Tensor
from torch.types import _size

from posterity.distributions.roots import positive_root
from posterity.kernels import Source, normal
from posterity.kernels.samplers import log_standard_gamma


def log_multigamma(a: Tensor, size: int) -> Tensor:
    r"""$\log\Gamma_p(a)$ with p = `size` (DLMF 35.3.4).

    Example:
        >>> log_multigamma(torch.tensor(2.0), 2)
        tensor(0.4516)
    """
    return 0.25 * size * (size - 1) * math.log(math.pi) + torch.lgamma(_shifted(a, size)).sum(-1)


def multidigamma(a: Tensor, size: int) -> Tensor:
    """The derivative of `log_multigamma`."""
    return torch.digamma(_shifted(a, size)).sum(-1)


def bartlett_factor(df: Tensor, size: int, sample_shape: _size, source: Source) -> Tensor:
    """Lower triangular A such that A A^T is a Wishart draw with the identity, `[*sample_shape, *df.shape, p, p]`.

    Source: Bartlett (1933), On the theory of statistical regression; the diagonal holds roots of chi-squared numbers.
    """
    log_gamma = log_standard_gamma(_shifted(0.5 * df, size), sample_shape, source=source)
    diagonal = (0.5 * (log_gamma + math.log(2))).exp()
    shape = (*diagonal.shape, size)
    below = normal(shape, source=source, dtype=diagonal.dtype, device=diagonal.device).tril(-1)
    # A diagonal that is nothing beside its row would leave A A^T singular to rounding.
    info = torch.finfo(diagonal.dtype)
    least = (4 * size * info.eps) ** 0.5 * below.detach().square().sum(-1).sqrt()
    return below + torch.maximum(diagonal, least.clamp(min=info.tiny**0.25)).diag_embed()


def square(factor: Tensor) -> Tensor:
    """`factor @ factor.mT`, kept from being singular by some units of rounding more on its diagonal."""
    product = factor @ factor.mT
    rounding = 4 * product.shape[-1] * torch.finfo(product.dtype).eps
    return product + (rounding * product.diagonal(dim1=-2, dim2=-1)).diag_embed()


def likeliest_df(owner: str, mean_log_det: Tensor, log_det_mean: Tensor, size: int) -> Tensor:
    r"""The df under which Wishart draws with these log-determinants are most likely, in float64.

    With the scale matrix at its best, mean / df, what is left is $\psi_p(df / 2) - p \log(df / 2) =$ the mean
    log-determinant less the log-determinant of the mean.
    """

    def slope(excess: Tensor) -> Tensor:
        half = 0.5 * (excess + (size - 1))
        return multidigamma(half, size) - size * half.log()

    return positive_root(owner, slope, mean_log_det - log_det_mean) + (size - 1)


def _shifted(a: Tensor, size: int) -> Tensor:
    return a.unsqueeze(-1) - 0.5 * torch.arange(size, dtype=a.dtype, device=a.device)
