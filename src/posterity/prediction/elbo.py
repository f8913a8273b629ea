"""The training loss of a variational Bayesian network."""

import math
import numbers
from typing import Any

from torch import Tensor, nn

from posterity.nn import kl_divergence
from posterity.runtime import validation_enabled


def elbo_loss(module: nn.Module, nll: Tensor, num_data: float, *, kl_weight: float = 1.0) -> Tensor:
    """The negative evidence lower bound, per data point: `nll + kl_weight * KL(posterior || prior) / num_data`.

    Args:
        module: the Bayesian network (compiled or wrapped for data parallelism too).
        nll: the mean negative log-likelihood of the batch, a scalar: what an ordinary criterion such as
            `F.cross_entropy` returns.
        num_data: how many terms that mean would run over on the whole training set: examples; examples times pixels,
            or tokens, for dense outputs.
        kl_weight: 1 for the true bound; less for a tempered ("cold") posterior.

    Returns:
        Scalar tensor in nats, to call `backward()` on.

    Raises:
        TypeError: if `nll` is not a floating tensor.
        ValueError: if `num_data` is not positive, `kl_weight` is negative, `nll` is not a scalar or not finite, or
            nothing in `module` is random.

    Source: Blundell et al. (2015), equation 2.

    Example:
        >>> import torch, torch.nn.functional as F, posterity as pt
        >>> bnn = pt.nn.Linear(4, 3)
        >>> x, y = torch.randn(8, 4), torch.randint(0, 3, (8,))
        >>> loss = pt.elbo_loss(bnn, F.cross_entropy(bnn(x), y), num_data=1000)
        >>> loss.backward()
    """
    size: Any = num_data
    if not isinstance(size, numbers.Real) or not (0 < float(size) < math.inf):
        raise ValueError(
            f"elbo_loss: num_data must be a positive number (the size of the training set), got {num_data!r}"
        )
    if not (kl_weight >= 0 and math.isfinite(kl_weight)):
        raise ValueError(f"elbo_loss: kl_weight must be zero or positive and finite, got {kl_weight}")
    if not isinstance(nll, Tensor) or not nll.is_floating_point():
        kind = nll.dtype if isinstance(nll, Tensor) else type(nll).__name__
        raise TypeError(f"elbo_loss: nll must be the tensor that a criterion returned, got {kind}")
    if nll.dim() != 0:
        raise ValueError(
            f"elbo_loss: nll must be a scalar, got shape {list(nll.shape)}; use the criterion's reduction='mean'"
        )
    if validation_enabled() and not nll.isfinite():
        raise ValueError(
            f"elbo_loss: the criterion returned {nll.item()}; look for NaN in the inputs, a too large learning rate, "
            "or a likelihood that is zero at a target"
        )
    return nll + kl_weight / num_data * kl_divergence(module)
