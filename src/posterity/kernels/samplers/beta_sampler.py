"""Beta and Dirichlet draws as ratios of gamma draws, taken in log space."""

from collections.abc import Sequence

import torch
from torch import Tensor

from posterity.kernels.random import Source
from posterity.kernels.samplers.gamma_sampler import log_standard_gamma
from posterity.kernels.samplers.parameters import drawn_shape, sampler_parameters


def beta(
    concentration1: Tensor | float,
    concentration0: Tensor | float,
    sample_shape: Sequence[int] = (),
    *,
    source: Source = None,
) -> Tensor:
    """Draws from the beta distribution.

    Args:
        concentration1: First concentration (that of x), positive.
        concentration0: Second concentration (that of 1 - x), positive; broadcasts against the first.
        sample_shape: Drawn in front of the parameters' shape.
        source: A `torch.Generator`, a `Key`, or None for torch's global generator.

    Returns:
        Tensor `[*sample_shape, *batch_shape]` inside (0, 1), with implicit gradients through both gamma draws.

    Raises:
        TypeError: No parameter is a tensor, or one is neither a number nor a real tensor.
        ValueError: The shapes do not broadcast.

    Source: Devroye (1986), "Non-uniform random variate generation", theorem IX.4.1.

    Example:
        >>> from posterity.kernels import Key
        >>> x = beta(torch.tensor([1e-3, 2.0]), 1e-3, (4,), source=Key(0))
        >>> x.shape, x.isfinite().all()
        (torch.Size([4, 2]), tensor(True))
    """
    parameters = sampler_parameters("beta", concentration1=concentration1, concentration0=concentration0)
    drawn_shape("beta", (), concentration1=parameters[0], concentration0=parameters[1])
    both = torch.stack(torch.broadcast_tensors(*parameters), dim=-1)
    log_gamma = log_standard_gamma(both, sample_shape, source=source)
    info = torch.finfo(both.dtype)
    return torch.sigmoid(log_gamma[..., 0] - log_gamma[..., 1]).clamp(info.tiny, 1 - info.eps / 2)


def dirichlet(concentration: Tensor, sample_shape: Sequence[int] = (), *, source: Source = None) -> Tensor:
    """Draws from the Dirichlet distribution.

    Args:
        concentration: Positive, `[*batch_shape, num_categories]`.
        sample_shape: Drawn in front of the concentration's shape.
        source: A `torch.Generator`, a `Key`, or None for torch's global generator.

    Returns:
        Tensor `[*sample_shape, *batch_shape, num_categories]`, positive, its last dimension summing to 1, with
        implicit gradients through the gamma draws.

    Raises:
        TypeError: `concentration` is not a real tensor.
        ValueError: `concentration` has no dimension.

    Source: Devroye (1986), "Non-uniform random variate generation", theorem XI.4.1.

    Example:
        >>> from posterity.kernels import Key
        >>> dirichlet(torch.full((3,), 1e-4), source=Key(0)).sum(-1)
        tensor(1.)
    """
    (concentration,) = sampler_parameters("dirichlet", concentration=concentration)
    if concentration.dim() == 0:
        raise ValueError("dirichlet: concentration needs a last dimension, that of the categories; got a scalar.")
    log_gamma = log_standard_gamma(concentration, sample_shape, source=source)
    return torch.softmax(log_gamma, dim=-1).clamp(min=torch.finfo(concentration.dtype).tiny)
