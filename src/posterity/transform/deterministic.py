"""The way back: an ordinary network with the posterior means as its weights."""

import copy
from typing import TypeVar

from torch import nn

from posterity.nn.conversion import make_deterministic
from posterity.nn.random_module import random_parameters

M = TypeVar("M", bound=nn.Module)


def deterministic(model: M, *, inplace: bool = False) -> M:
    """The ordinary network at the mean of a Bayesian network's posterior.

    Every module gets its own class back, and every parameter its own name: the result knows nothing of Posterity.

    Args:
        model: a network with Bayesian layers or converted parameters.
        inplace: whether to change `model` itself rather than a copy.

    Returns:
        The ordinary network.

    Raises:
        TypeError: if `model` is not a module.
        ValueError: if nothing in `model` is random.

    Example:
        >>> import torch, posterity as pt
        >>> net = torch.nn.Linear(3, 2)
        >>> back = pt.transform.deterministic(pt.bayesianize(net))
        >>> type(back), torch.equal(back.weight, net.weight)
        (<class 'torch.nn.modules.linear.Linear'>, True)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"deterministic: model must be a torch.nn.Module, got {type(model).__name__}")
    if next(random_parameters(model), None) is None:
        raise ValueError(f"deterministic: {type(model).__name__} has no random parameters; it is ordinary already")
    if not inplace:
        model = copy.deepcopy(model)
    make_deterministic(model)
    return model
