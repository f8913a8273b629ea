"""How many independent draws the draws of Markov chains are worth, from their autocovariances."""

import math

import torch
from torch import Tensor


def effective_size(chains: Tensor) -> Tensor:
    r"""The effective sample size of the mean, as a part of the number of draws.

    The autocorrelation at lag t is $\rho_t = 1 - (W - \bar\gamma_t) / V$ with the chains' mean autocovariance
    $\bar\gamma_t$, the variance within chains W and the pooled variance V. Sums of neighbours $\rho_{2k} +
    \rho_{2k+1}$ are taken as long as they are positive, and none counts for more than those before it.

    Args:
        chains: `[num_scalars, num_chains, num_draws]`, at least two draws.

    Returns:
        `[num_scalars]`: 1 over the integrated autocorrelation time, at most the common logarithm of the number of
        draws; 1 for scalars without variance.

    Source: Geyer (1992), "Practical Markov chain Monte Carlo", section 3.3; Vehtari et al. (2021), section 3.2.

    Example:
        >>> effective_size(torch.tensor([[[1.0, 1.0, 2.0, 2.0], [2.0, 1.0, 1.0, 2.0]]])).item() < 1
        True
    """
    number, num_chains, num_draws = chains.shape
    within, pooled, covariance = _autocovariance(chains)
    correlation = 1 - (within - covariance) / pooled
    correlation[:, 0] = 1
    num_pairs = max(1, (num_draws - 1) // 2)
    even, odd = correlation[:, : 2 * num_pairs].reshape(number, num_pairs, 2).unbind(-1)
    pairs = even + odd
    # The first `length` pairs are positive; of the next one, the even lag alone may count.
    length = (pairs[:, :-1] > 0).to(torch.int8).cumprod(-1).sum(-1)
    counts = torch.arange(num_pairs, device=chains.device) < length.unsqueeze(-1)
    total = torch.where(counts, pairs.cummin(-1).values, 0).sum(-1)
    last, last_pair = (x.gather(-1, length.unsqueeze(-1)).squeeze(-1) for x in (even, pairs))
    last = torch.where((last > 0) | (last_pair >= 0), last, 0)
    time = (2 * total + last - 1).clamp(min=1 / math.log10(num_chains * num_draws))
    return torch.where(pooled.squeeze(-1) == 0, 1, 1 / time)


def _autocovariance(chains: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The variance within chains and the pooled one, `[num_scalars, 1]`, and the chains' mean autocovariance by lag."""
    num_draws = chains.shape[-1]
    size = _fast_length(2 * num_draws)
    means = chains.mean(-1, keepdim=True)
    spectrum = torch.fft.rfft(chains - means, n=size)
    # Fourier's transform is linear: one inverse serves all chains of a scalar.
    power = (spectrum.real.square() + spectrum.imag.square()).mean(1)
    covariance = torch.fft.irfft(power, n=size)[:, :num_draws] / num_draws
    within = covariance[:, :1] * (num_draws / (num_draws - 1))
    pooled = covariance[:, :1]
    if chains.shape[1] > 1:
        pooled = pooled + means.var(1)
    return within, pooled, covariance


def _fast_length(size: int) -> int:
    """The least number of at least `size` that is a small odd number times a power of two: quick to transform."""
    return min(odd << (-(-size // odd) - 1).bit_length() for odd in (1, 3, 5, 9, 15))
