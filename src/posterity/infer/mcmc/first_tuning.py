"""How kernels inside of others begin: the tuning that a kernel would start its own warm-up with."""

from typing import Any, cast

from torch import Tensor

from posterity.infer.mcmc.kernel import Kernel
from posterity.infer.mcmc.target import Target
from posterity.kernels import Key


def first_tuning(kernel: Kernel[Any, Any], target: Target, position: Tensor, keys: Key) -> Any:
    """A kernel's tuning before its first transition.

    Args:
        kernel: The kernel.
        target: What it draws from, in the space it moves in.
        position: Where its chains are, `[num_chains, dim]`.
        keys: One key for each chain.

    Returns:
        A NamedTuple with tensors `[num_chains, ...]` of the positions' dtype.
    """
    tuning = kernel.adaptation(target, position, 0, keys).tuning
    return type(tuning)(*(part.to(position.dtype) if part.is_floating_point() else part for part in tuning))


def is_tuned(kernel: Kernel[Any, Any], tuning: Any) -> bool:
    """Whether a kernel has a step size that acceptance probabilities tell about."""
    return getattr(kernel, "target_accept", None) is not None and "step_size" in tuning._fields


def target_accept(kernel: Kernel[Any, Any]) -> float:
    """The acceptance probability that a kernel's step size is tuned for."""
    return cast(float, kernel.target_accept)  # type: ignore[attr-defined]  # `is_tuned` says whether there is one
