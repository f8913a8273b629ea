"""KL(posterior || prior) of a whole module."""

import torch
from torch import Tensor, nn

from posterity.nn.divergence import NormalPair, joined, normal_kl
from posterity.nn.random_module import random_parameters

# Elements below which a parameter's KL is computed together with others': calling torch costs more than the arithmetic.
_SMALL = 20_000


def kl_divergence(module: nn.Module) -> Tensor:
    """KL(posterior || prior) of everything random below a module.

    Parameters shared by several layers count once. A submodule that is random in its own way takes part by a method
    `own_kl()` that returns a scalar.

    Args:
        module: a module with Bayesian layers or converted parameters below it.

    Returns:
        Scalar tensor in nats, differentiable. Closed form where one is registered for the posterior and the prior,
        an unbiased estimate from one draw where not.

    Raises:
        TypeError: if `module` is not a module.
        ValueError: if nothing below the module is random.

    Example:
        >>> from posterity import nn as bnn
        >>> bool(kl_divergence(bnn.Linear(3, 2)) > 0)
        True
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"kl_divergence: module must be a torch.nn.Module, got {type(module).__name__}")
    terms: list[Tensor] = []
    small: dict[tuple[torch.dtype, torch.device], list[NormalPair]] = {}
    for layer, name, random in random_parameters(module):
        pair = random.normal_pair(layer, name)
        if pair is None:
            terms.append(random.kl(layer, name))
        elif pair.loc.numel() < _SMALL and not torch.compiler.is_compiling():
            small.setdefault((pair.loc.dtype, pair.loc.device), []).append(pair)
        else:
            terms.append(normal_kl(pair))
    terms += [normal_kl(joined(pairs)) for pairs in small.values()]
    own_kls = [getattr(m, "own_kl", None) for m in module.modules()]
    terms += [own_kl() for own_kl in own_kls if callable(own_kl)]
    if not terms:
        raise ValueError(
            f"kl_divergence: {type(module).__name__} has no random parameters; make some with posterity.bayesianize "
            "or build it from the layers of posterity.nn"
        )
    return torch.stack(terms).sum()
