"""Turning a module's own parameters random and back, one parameter at a time.

`posterity.transform` decides what to convert; here is how.
"""

from typing import Any

import torch
from torch import Tensor, nn

from posterity.nn.posteriors import Posterior
from posterity.nn.priors import Prior
from posterity.nn.random_module import RandomModule, deterministic_class, random_class
from posterity.nn.random_parameter import RandomParameter


def as_random_module(module: nn.Module, names: tuple[str, ...] = ()) -> RandomModule:
    """Give a module, in place, the class in which its parameters called `names` can be random."""
    if isinstance(module, RandomModule):
        if all(isinstance(getattr(type(module), name, None), property) for name in names):
            return module
        base = module._generated_from or type(module)
        names = (*(n for n in module._random if n not in names), *names)
    else:
        base = type(module)
    module.__class__ = random_class(base, tuple(sorted(names)))
    assert isinstance(module, RandomModule)
    module.__dict__.setdefault("_random", {})
    if isinstance(module, nn.RNNBase):
        module.__dict__.pop("_flat_weights", None)
    return module


@torch.no_grad()
def randomize(module: RandomModule, name: str, posterior: Posterior, prior: Prior) -> None:
    """Make one parameter random, in place: `<name>` becomes `<name>_<key>` and `<name>_prior_<key>`.

    Args:
        module: a module whose class `as_random_module` has prepared for this name.
        name: a parameter of its own.
        posterior: the family; centred at the parameter's value.
        prior: the recipe, given the parameter's value.
    """
    value = module._parameters[name]
    assert value is not None
    tensors: dict[str, nn.Parameter | None] = {
        f"{name}_{key}": _parameter(t, value) for key, t in posterior.init(value).items()
    }
    _rename(module._parameters, name, tensors)
    for key, tensor in prior.init(value.detach()).items():
        module.register_buffer(f"{name}_prior_{key}", tensor)
    module._random[name] = RandomParameter(posterior, prior)


def tie(module: RandomModule, name: str, other: RandomModule, other_name: str) -> None:
    """Make `module.<name>` the random parameter that `other.<other_name>` is: same posterior, same draw.

    Raises:
        ValueError: if the layers' estimators differ, since the two would then have different draws.
    """
    if module._estimator != other._estimator:
        raise ValueError(
            f"{name!r} and {other_name!r} cannot be tied: their layers have the estimators {module._estimator!r} and "
            f"{other._estimator!r}, which draw apart"
        )
    random = other._random[other_name]
    if name in module._random:
        forget(module, name, None)
    _rename(
        module._parameters,
        name,
        {f"{name}_{key}": other._parameters[f"{other_name}_{key}"] for key in random.posterior.keys},
    )
    for key, buffer in random.prior_tensors(other, other_name).items():
        module.register_buffer(f"{name}_prior_{key}", buffer)
    module._random[name] = random


def forget(module: RandomModule, name: str, value: nn.Parameter | None) -> None:
    """Make one random parameter an ordinary one again, holding `value`."""
    random = module._random.pop(name)
    first, *rest = (f"{name}_{key}" for key in random.posterior.keys)
    for key in rest:
        del module._parameters[key]
    _rename(module._parameters, first, {name: value})
    for key in random.prior_tensors(module, name):
        del module._buffers[f"{name}_prior_{key}"]


@torch.no_grad()
def make_deterministic(root: nn.Module) -> None:
    """Put the posterior mean in place of every random parameter below `root`, and the own classes back, in place."""
    means: dict[RandomParameter, nn.Parameter] = {}
    for module in root.modules():
        if not isinstance(module, RandomModule):
            continue
        for name, random in list(module._random.items()):
            if random not in means:
                mean = random.posterior.mean(random.tensors(module, name))
                means[random] = mean if isinstance(mean, nn.Parameter) else nn.Parameter(mean.clone())
            forget(module, name, means[random])
        own: Any = deterministic_class(type(module))
        module.__class__ = own
        for attribute in ("_random", "_estimator"):
            module.__dict__.pop(attribute, None)
        if isinstance(module, nn.RNNBase):
            module._init_flat_weights()


def _parameter(tensor: Tensor, value: nn.Parameter) -> nn.Parameter:
    return tensor if isinstance(tensor, nn.Parameter) else nn.Parameter(tensor, value.requires_grad)


def _rename(parameters: dict[str, nn.Parameter | None], name: str, new: dict[str, nn.Parameter | None]) -> None:
    """Replace one entry by others at the same place, so that the order of a module's parameters stays."""
    entries = list(parameters.items())
    parameters.clear()
    for key, value in entries:
        parameters.update(new if key == name else {key: value})
    parameters.update(new)
