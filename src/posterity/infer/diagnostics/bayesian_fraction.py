"""The Bayesian fraction of missing information: whether fresh momenta move a Hamiltonian sampler between energies."""

import torch
from torch import Tensor

from posterity.infer.diagnostics.chains import check_draws


@torch.no_grad()
def bayesian_fraction(energies: Tensor) -> Tensor:
    """The estimated Bayesian fraction of missing information (E-BFMI) of each chain.

    The mean square of the energy's changes, in units of its variance: 2 where successive energies are independent.
    Below 0.3 a chain walks slowly between energies, and may not have reached the tails.

    Args:
        energies: The Hamiltonian at each draw, `[num_chains, num_draws]`.

    Returns:
        `[num_chains]`. NaN where all energies of a chain are equal, or one is NaN or infinite.

    Raises:
        TypeError: `energies` is no real tensor.
        ValueError: Its shape is another, or there are fewer than four draws per chain.

    Source: Betancourt (2016), "Diagnosing suboptimal cotangent disintegrations in Hamiltonian Monte Carlo".

    Example:
        >>> noise = torch.randn(2, 4000, generator=torch.Generator().manual_seed(0))
        >>> bayesian_fraction(noise), bayesian_fraction(noise.cumsum(-1))
        (tensor([2.0..., 2.0...]), tensor([0.00..., 0.00...]))
    """
    check_draws("bayesian_fraction", energies, what="energies")
    if energies.dim() != 2:
        raise ValueError(
            f"bayesian_fraction: energies must be [num_chains, num_draws], not of shape {tuple(energies.shape)}"
        )
    energies = energies if energies.is_floating_point() else energies.to(torch.get_default_dtype())
    # From the chain's own mean: an energy may be large, and its changes small.
    energies = energies - energies.mean(-1, keepdim=True)
    return energies.diff(dim=-1).square().mean(-1) / energies.var(-1)
