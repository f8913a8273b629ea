"""Chains whose autocorrelation, distribution or defect is known."""

from functools import cache

import torch


def autoregressive(phi, num_chains, num_draws, *event, seed=0):
    """Stationary x_t = phi x_{t-1} + noise with standard normal margins, float64."""
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randn(num_draws, num_chains, *event, generator=generator, dtype=torch.float64)
    draws[1:] *= (1 - phi**2) ** 0.5
    for t in range(1, num_draws):
        draws[t] += phi * draws[t - 1]
    return draws.transpose(0, 1).contiguous()


# ArviZ interpolates between equal order statistics, and may leave out all that are equal to their rounded mean.
TIED = "rejections"


@cache
def kinds(num_chains, num_draws, size=4):
    """By name, `[num_chains, num_draws, size]` in float64: all that diagnostics meet."""
    generator = torch.Generator().manual_seed(num_chains * 1000 + num_draws)
    shape = (num_chains, num_draws, size)
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
    walk = torch.randn(shape, generator=generator, dtype=torch.float64).cumsum(1)
    apart = torch.arange(num_chains, dtype=torch.float64)[:, None, None]
    return {
        "independent": autoregressive(0.0, *shape),
        "positive": autoregressive(0.9, *shape),
        "negative": autoregressive(-0.7, *shape),
        "very negative": autoregressive(-0.99, *shape),
        "cauchy": torch.tan(torch.pi * (uniform - 0.5)),
        "different means": autoregressive(0.3, *shape) + apart,
        "different scales": autoregressive(0.3, *shape) * (1 + apart),
        "random walk": walk,
        "offset": 100 + autoregressive(0.5, *shape),
        "counts": (6 * uniform).floor(),
        TIED: autoregressive(0.5, *shape)[:, torch.arange(num_draws) // 3],
    }


# Even and odd lengths, lengths whose halves are odd, the shortest, and a single chain.
SHAPES = [(4, 500), (3, 251), (2, 4), (2, 5), (2, 6), (4, 7), (8, 11), (5, 33), (1, 100)]
