"""Networks inside programs: their weights become sample sites, or parameters to train."""

import fnmatch
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from posterity.distributions import Distribution, lift
from posterity.distributions.parameters import is_plain
from posterity.ppl.plate import open_plates
from posterity.ppl.primitives import sample
from posterity.ppl.recurrent import StepByStep
from posterity.ppl.site import Site
from posterity.ppl.stack import apply, check_name, refuse_compiled

Prior = torch.distributions.Distribution | Mapping[str, torch.distributions.Distribution]


class RandomWeights(NamedTuple):
    """What the floor of Bayesian layers tells about a network that has some.

    Attributes:
        priors: The prior of each random weight, by its dotted name, with the weight's shape as its event.
        parameters: Names of the parameters that stand behind the random weights (those of their posteriors).
        fixed: Runs the network, inside a `with` block, with these values for its random weights.
    """

    priors: dict[str, Distribution]
    parameters: frozenset[str]
    fixed: Callable[[Mapping[str, Tensor]], AbstractContextManager[None]]


# Asks the floor of Bayesian layers, which lies above this one and registers itself, about a network; None: none.
random_weights_of: list[Callable[[nn.Module], RandomWeights | None]] = []


def module(name: str, network: nn.Module, prior: Prior | None = None) -> Callable[..., Any]:
    """Make a network part of the program.

    Weights with a prior (those of Bayesian layers, or those that `prior` names) become sample sites called
    `name.layer.weight`, drawn once; all other parameters are trained by `posterity.infer.SVI` as they are. Weights that
    several layers share are one site, and the row of an embedding's padding stays as it is. For a batch of weights
    under `torch.vmap`, batch normalisation has to be in eval mode, as it writes down its statistics otherwise.

    Args:
        name: What the sites' names begin with.
        network: Any `torch.nn.Module`.
        prior: For a network without Bayesian layers: a distribution over single numbers, for every parameter, or a
            mapping from name patterns (`"*.weight"`) to distributions, first match first. A distribution whose shape
            is the parameter's own is taken as it stands.

    Returns:
        The network as a function, with the drawn weights.

    Raises:
        TypeError: `network` is no module, or a prior no distribution.
        ValueError: A plate is open (its elements would share the weights), a pattern matches nothing, or a prior
            does not fit its parameter's shape.

    Example:
        >>> import posterity as pt
        >>> net = torch.nn.Linear(3, 1)
        >>> def model(x):
        ...     return pt.module("net", net, prior=pt.distributions.Normal(0.0, 1.0))(x)
        >>> list(pt.handlers.trace(model).get_trace(torch.ones(2, 3)))
        ['net', 'net.weight', 'net.bias']
    """
    check_name("module", name)
    refuse_compiled("module", name)
    if not isinstance(network, nn.Module):
        raise TypeError(f"module {name!r} must be given a torch.nn.Module, not a {type(network).__name__}")
    open_here = open_plates()
    if open_here:
        raise ValueError(
            f"module {name!r} stands inside plate {open_here[-1].name!r}, whose elements would share its weights: call "
            "pt.module outside of all plates, and use the network that it returns inside"
        )
    random = next((found for ask in random_weights_of if (found := ask(network)) is not None), None)
    priors = dict(random.priors) if random is not None else {}
    given = dict(_matched(name, network, prior, random)) if prior is not None else {}
    apply(Site("module", name, value=network))
    drawn = {key: sample(f"{name}.{key}", distribution) for key, distribution in priors.items()}
    values = {key: sample(f"{name}.{key}", distribution) for key, distribution in given.items()}
    values |= _paddings(network, values)
    if not drawn and not values:
        return network

    is_recurrent = any(isinstance(layer, nn.RNNBase) for layer in network.modules())

    def called(*args: Any, **kwargs: Any) -> Any:
        with ExitStack() as stack:
            if random is not None:
                stack.enter_context(random.fixed(drawn))
            if is_recurrent and not is_plain():
                stack.enter_context(StepByStep())
            return functional_call(network, values, args, kwargs)

    return called


def trained_parameters(site: Site) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters of a `module` site that stand behind no random weight, with their dotted names."""
    network: nn.Module = site.value
    random = next((found for ask in random_weights_of if (found := ask(network)) is not None), None)
    hidden = random.parameters if random is not None else frozenset()
    for key, parameter in network.named_parameters():
        if key not in hidden:
            yield f"{site.name}.{key}", parameter


def _matched(
    name: str, network: nn.Module, prior: Prior, random: RandomWeights | None
) -> Iterator[tuple[str, Distribution]]:
    patterns = prior if isinstance(prior, Mapping) else {"*": prior}
    hidden = random.parameters if random is not None else frozenset()
    matched = set()
    for key, parameter in network.named_parameters():
        pattern = next((p for p in patterns if key not in hidden and fnmatch.fnmatchcase(key, p)), None)
        if pattern is not None:
            matched.add(pattern)
            yield key, _of_shape(f"{name}.{key}", patterns[pattern], parameter)
    for pattern in patterns:
        if pattern not in matched:
            raise ValueError(
                f"module {name!r}: the prior's pattern {pattern!r} matches no parameter; there are "
                f"{', '.join(key for key, _ in network.named_parameters() if key not in hidden) or 'none'}"
            )


def _of_shape(name: str, prior: torch.distributions.Distribution, parameter: Tensor) -> Distribution:
    if not isinstance(prior, torch.distributions.Distribution):
        raise TypeError(f"the prior of {name!r} must be a distribution, not a {type(prior).__name__}")
    own = lift(prior)
    shape = torch.Size(own.batch_shape + own.event_shape)
    if shape == parameter.shape:
        return _beside(own, parameter).to_event()
    if own.event_shape or own.batch_shape:
        raise ValueError(
            f"the prior of {name!r} has shape {tuple(shape)}, but the parameter's is {tuple(parameter.shape)}: give "
            "a distribution of that shape, or one over single numbers"
        )
    return _beside(own, parameter).expand(parameter.shape).to_event()


def _beside(distribution: Distribution, parameter: Tensor) -> Distribution:
    """A distribution with its own tensors where the parameter is, in the parameter's precision."""
    new = distribution._bare_copy()
    for key in new.arg_constraints:
        tensor = vars(new).get(key)
        if isinstance(tensor, Tensor) and tensor.is_floating_point():
            vars(new)[key] = tensor.to(parameter)
    return new


def _paddings(network: nn.Module, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The drawn weights of embeddings with padding, whose row of padding stays as it is: it must not be noise."""
    kept = {}
    for path, layer in network.named_modules():
        key = f"{path}.weight" if path else "weight"
        if isinstance(layer, nn.Embedding | nn.EmbeddingBag) and layer.padding_idx is not None and key in values:
            row = torch.arange(layer.padding_idx, layer.padding_idx + 1, device=values[key].device)
            kept[key] = values[key].index_copy(0, row, layer.weight[row].detach())
    return kept
