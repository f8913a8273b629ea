"""Bayesian networks inside probabilistic programs: what `posterity.ppl.module` has to know of their weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn

from posterity.distributions import Distribution, lift
from posterity.nn.random_module import RandomModule, close_draw, open_draw
from posterity.nn.random_parameter import Draw, RandomParameter
from posterity.ppl.module import RandomWeights, random_weights_of


def random_weights(network: nn.Module) -> RandomWeights | None:
    """The random weights of a network, tied ones once, with their priors; None where there are none.

    Example:
        >>> import torch
        >>> from posterity import nn as bnn
        >>> weights = random_weights(torch.nn.Sequential(bnn.Linear(2, 3)))
        >>> {name: tuple(prior.event_shape) for name, prior in weights.priors.items()}
        {'0.weight': (3, 2), '0.bias': (3,)}
        >>> sorted(weights.parameters)
        ['0.bias_loc', '0.bias_rho', '0.weight_loc', '0.weight_rho']
    """
    priors: dict[str, Distribution] = {}
    hidden: set[str] = set()
    names: dict[RandomParameter, str] = {}
    for path, layer in network.named_modules():
        if isinstance(layer, RandomModule):
            for name, random in layer._random.items():
                full = f"{path}.{name}" if path else name
                hidden |= {f"{full}_{key}" for key in random.posterior.keys}
                if random not in names:
                    names[random] = full
                    priors[full] = _prior(layer, name, random)
    if not names:
        return None

    @contextmanager
    def fixed(values: Mapping[str, Tensor]) -> Iterator[None]:
        with _weights_fixed(network, {random: values[name] for random, name in names.items()}):
            yield

    return RandomWeights(priors, frozenset(hidden), fixed)


random_weights_of.append(random_weights)


def _prior(layer: RandomModule, name: str, random: RandomParameter) -> Distribution:
    """The prior with the weight itself as its event."""
    first = next(iter(random.tensors(layer, name).values()))
    prior = lift(random.prior.distribution(random.prior_tensors(layer, name)))
    return prior.expand(first.shape).to_event()


@contextmanager
def _weights_fixed(network: nn.Module, values: Mapping[RandomParameter, Tensor]) -> Iterator[None]:
    """While this is open, the network's random parameters have these values."""
    draw = Draw(whole=True)
    try:
        open_draw(network, draw)
        for random, value in values.items():
            slot = random.slot()
            if slot is None or slot.draw is not draw:
                raise RuntimeError(
                    f"the weights of {type(network).__name__} were drawn already, by a shared_draw or a forward around "
                    "this program: run the program outside of it"
                )
            slot.value = value
        yield
    finally:
        close_draw(draw)
