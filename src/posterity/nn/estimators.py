"""How a layer turns q(weights) into a random output: `reparam`, `flipout`, `local`.

`reparam` draws the weights once per forward and runs the layer on them; it needs no code of its own. The other two
are here, each an exact draw per example from the same q(weights), with less correlation between the examples.
"""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from posterity.kernels import normal_weights, rademacher
from posterity.nn.posteriors import Moments
from posterity.nn.random_module import RandomModule
from posterity.nn.random_parameter import Slot

ESTIMATORS = ("reparam", "flipout", "local")

Apply = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def flipout(module: RandomModule, x: Tensor, apply: Apply, unbatched_dim: int, channel_dim: int) -> Tensor:
    """One weight perturbation per forward, multiplied by random signs for every example.

    With W = loc + sign_out (scale * noise) sign_in, every example's W is a draw from q, and the signs make
    the examples uncorrelated; the bias' perturbation takes the output's sign.

    Args:
        module: the layer, with a random `weight` and perhaps a random `bias`.
        x: its input.
        apply: the layer as a function of input, weight and bias.
        unbatched_dim: number of dimensions of an input without a batch.
        channel_dim: the channels' dimension, counted from the right: -1 for dense layers.

    Returns:
        The layer's output.

    Source: Wen et al. (2018), "Flipout: efficient pseudo-independent weight perturbations on mini-batches".
    """
    weight, bias = _mean(module, "weight"), _mean(module, "bias")
    slot = module._random["weight"].slot()
    assert weight is not None
    assert slot is not None
    mean = apply(x, weight, bias)
    sign_in, sign_out = _signs(x, mean, unbatched_dim, channel_dim, slot)
    delta_weight = _perturbation(module, "weight", weight)
    delta_bias = None if bias is None else _perturbation(module, "bias", bias)
    return mean + sign_out * apply(x * sign_in, delta_weight, delta_bias)


def local(module: RandomModule, x: Tensor, apply: Apply) -> Tensor:
    """Draw the layer's output instead of its weights: a normal whose moments follow from those of the weights.

    Args:
        module: a dense layer.
        x: vectors, `[batch, features]` or `[features]`.
        apply: the layer as a function of input, weight and bias.

    Returns:
        The layer's output.

    Raises:
        ValueError: if an example is not one vector (a sequence's positions would each get other weights), or if the
            layer runs twice in one forward (each run would have other weights).

    Source: Kingma, Salimans, Welling (2015), "Variational dropout and the local reparameterization trick".
    """
    if x.dim() > 2:
        raise ValueError(
            f"estimator='local' draws other weights for every position of an input of shape {list(x.shape)}, which "
            "is not a draw from any q(weights); use estimator='flipout' or 'reparam' for this layer"
        )
    weight, bias = _moments(module, "weight"), _moments(module, "bias")
    slot = module._random["weight"].slot()
    assert weight is not None
    assert slot is not None
    if slot.used_once:
        raise ValueError(
            "estimator='local': the layer ran twice in one forward and would have other weights each time; "
            "use estimator='flipout' or 'reparam' for it"
        )
    slot.used_once = True
    mean = apply(x, weight.loc, None if bias is None else bias.loc)
    if mean.dtype in (torch.float16, torch.bfloat16):
        variance = _variance_in_float32(x, weight, bias, apply)
    else:
        variance = apply(x * x, weight.variance, None if bias is None else bias.variance)
    copies, slot.draw.copies = slot.draw.copies, 1
    shape = mean.shape if copies == 1 else (copies, *mean.shape)
    noise = normal_weights.noise(shape, source=slot.draw.source, dtype=mean.dtype, device=mean.device)
    if torch.is_grad_enabled():
        # sqrt has an infinite slope at zero, where an all-zero input puts the variance of a layer without bias.
        positive = variance > 0
        scale = torch.where(positive, torch.where(positive, variance, 1.0).sqrt(), 0.0)
    else:
        scale = variance.sqrt()
    output = torch.addcmul(mean, scale.to(mean.dtype), noise)
    return output if copies == 1 else output.flatten(0, 1)


def _variance_in_float32(x: Tensor, weight: Moments, bias: Moments | None, apply: Apply) -> Tensor:
    """The output's variance, whose squares half precision could not hold."""
    with torch.autocast(x.device.type, enabled=False):
        of_bias = None if bias is None else bias.scale.float().square()
        return apply(x.float().square(), weight.scale.float().square(), of_bias)


def _moments(module: RandomModule, name: str) -> Moments | None:
    """Mean and scale of a parameter; a scale of zero where it is not random, None where there is no parameter."""
    random = module._random.get(name)
    if random is not None:
        moments = random.moments(module, name)
        assert moments is not None
        return moments
    value = getattr(module, name, None)  # not always a Parameter: pruning and data-parallel replicas set tensors
    return None if value is None else Moments(value, torch.zeros_like(value))


def _mean(module: RandomModule, name: str) -> Tensor | None:
    """The mean of a parameter: its value where it is not random, None where there is no parameter."""
    random = module._random.get(name)
    if random is not None:
        return random.posterior.mean(random.tensors(module, name))
    return cast("Tensor | None", getattr(module, name, None))


def _perturbation(module: RandomModule, name: str, mean: Tensor) -> Tensor:
    """The parameter's one perturbation of this forward; zero where it is not random."""
    random = module._random.get(name)
    slot = None if random is None else random.slot()
    if random is None or slot is None:
        return torch.zeros_like(mean)
    if slot.perturbation is None:
        slot.perturbation = random.perturbation(module, name, slot.draw)
    return slot.perturbation


def _signs(x: Tensor, y: Tensor, unbatched_dim: int, channel_dim: int, slot: Slot) -> tuple[Tensor, Tensor]:
    """Signs per example and channel of input and output, constant over positions: `[batch, channels, 1, ...]`.

    A layer run again in the same forward has the same weights, example by example.
    """
    batch = x.shape[:1] if x.dim() > unbatched_dim else torch.Size()
    ins, outs = x.shape[channel_dim], y.shape[channel_dim]
    both = slot.signs.get(batch)
    if both is None:
        both = rademacher((*batch, ins + outs), source=slot.draw.source, dtype=y.dtype, device=x.device)
        slot.signs[batch] = both
    middle = (1,) * (x.dim() - len(batch) + channel_dim)
    right = (1,) * (-1 - channel_dim)
    sign_in, sign_out = both.split([ins, outs], dim=-1)
    return sign_in.reshape(*batch, *middle, ins, *right), sign_out.reshape(*batch, *middle, outs, *right)


def check_estimator(module: nn.Module, estimator: str, supported: tuple[str, ...]) -> None:
    """Refuse an estimator that the layer does not have.

    Raises:
        ValueError: naming the layer, the estimator and those that it has.
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"estimator must be one of {', '.join(map(repr, ESTIMATORS))}, got {estimator!r}")
    if estimator not in supported:
        why = ""
        if estimator == "local":
            why = (
                ": local reparameterisation is a draw from q(weights) only for dense layers on vectors; "
                "elsewhere each position would see other weights"
            )
        raise ValueError(
            f"estimator={estimator!r} does not exist for {type(module).__name__}{why}. "
            f"Use {' or '.join(map(repr, supported))}"
        )
