"""The parameter-level mechanism: any `nn.Parameter` of any `nn.Module` can be random.

A random parameter's name becomes a property of a subclass of the module's own class. Reading it gives a draw, so
the module's own code works unchanged, whatever it does with its weights; `weight` is stored as `weight_loc` and
`weight_rho`, and `isinstance` keeps its answer.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, Self, cast

import torch
from torch import Tensor, nn

from posterity.kernels import Generator
from posterity.nn.random_parameter import Draw, RandomParameter
from posterity.ppl.stack import handlers


class RandomModule(nn.Module):
    """What a module with random parameters, or the root of such modules, is besides its own class."""

    _random: dict[str, RandomParameter]

    # How the layer turns q(weights) into outputs, and the ways that its class knows (posterity.nn.estimators).
    _estimator = "reparam"
    _estimators: tuple[str, ...] = ("reparam",)

    # The class that a generated subclass was made from; None on classes that stand in a file.
    _generated_from: type[nn.Module] | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__.get("_random", {}):
            _assign(self, name, value)
        else:
            super().__setattr__(name, value)

    def __reduce_ex__(self, protocol: Any) -> Any:
        base = self._generated_from
        if base is None:
            return super().__reduce_ex__(protocol)
        return _rebuild, (base, _property_names(type(self))), self.__getstate__()  # type: ignore[no-untyped-call]

    def extra_repr(self) -> str:
        """The module's own description, and the posterior of each random parameter."""
        own = super().extra_repr()
        random = ", ".join(f"{name} ~ {type(r.posterior).__name__}" for name, r in self._random.items())
        return ", ".join(part for part in (own, random) if part)

    def apply(self, fn: Callable[[nn.Module], object]) -> Self:
        """`torch.nn.Module.apply`; a function that initialises weights in place writes to the posterior means."""
        with means_in_place(self):
            return super().apply(fn)  # type: ignore[arg-type]

    def predictive_draws(self, x: Any, num_samples: int, generator: Generator = None) -> Any:
        """Outputs of `num_samples` posterior draws: the prediction protocol (see `stochastic_draws`)."""
        from posterity.nn.predictive import stochastic_draws

        return stochastic_draws(self, x, num_samples, generator)


def random_parameters(module: nn.Module) -> Iterator[tuple[RandomModule, str, RandomParameter]]:
    """Every random parameter below `module` with the layer and the name that hold it; tied ones once.

    Example:
        >>> from posterity import nn as bnn
        >>> [name for _, name, _ in random_parameters(bnn.Linear(2, 3))]
        ['weight', 'bias']
    """
    seen = set()
    for layer in module.modules():
        if isinstance(layer, RandomModule):
            for name, random in layer._random.items():
                if id(random) not in seen:
                    seen.add(id(random))
                    yield layer, name, random


@contextmanager
def shared_draw(module: nn.Module) -> Iterator[None]:
    """While this is open, `module` is one function: every forward of it, or of its parts, uses the same weight draw.

    Args:
        module: a module with random parameters below it.

    Raises:
        ValueError: if nothing below it is random.

    Example:
        >>> from posterity import nn as bnn
        >>> layer, x = bnn.Linear(2, 3), torch.ones(1, 2)
        >>> with shared_draw(layer):
        ...     same = torch.equal(layer(x), layer(x))
        >>> same, torch.equal(layer(x), layer(x))
        (True, False)
    """
    if next(random_parameters(module), None) is None:
        raise ValueError(f"shared_draw: {type(module).__name__} has no random parameters")
    draw = Draw(whole=True)
    try:
        open_draw(module, draw)
        yield
    finally:
        close_draw(draw)


def open_draw(module: nn.Module, draw: Draw) -> None:
    """Open `draw` on every random parameter below `module` that this thread has not open."""
    for layer in module.modules() if module._modules else (module,):
        if isinstance(layer, RandomModule):
            for name, random in layer._random.items():
                if random.open(draw):
                    draw.opened.append(random)
                    if draw.source is not None and layer._estimator != "local":
                        noise = random.posterior.noise_like(random.tensors(layer, name))
                        if noise is not None:
                            draw.reserve(noise)


def close_draw(draw: Draw) -> None:
    """Close what `open_draw` opened."""
    draw.closed = True
    for random in draw.opened:
        random.close()


@contextmanager
def means_in_place(module: nn.Module) -> Iterator[None]:
    """While this is open, random parameters read as their posteriors' own centres: writing to them in place lasts."""
    draw = Draw()
    try:
        open_draw(module, draw)
        for layer, name, random in random_parameters(module):
            slot = random.slot()
            assert slot is not None
            slot.value = random.posterior.mean(random.tensors(layer, name))
        yield
    finally:
        close_draw(draw)


def random_property(name: str) -> Any:
    """A property that reads the random parameter `name`: a draw, or the plain parameter where it is not random."""

    def read(self: RandomModule) -> Tensor | None:
        random = self._random.get(name) if "_random" in self.__dict__ else None
        if random is not None:
            value = random.value(self, name)
            is_mean = isinstance(value, nn.Parameter)  # then it may be written to in place
            if isinstance(self, nn.Embedding) and self.padding_idx is not None and not is_mean:
                value = _without_noise(value, random.posterior.mean(random.tensors(self, name)), self.padding_idx)
            if not (torch.compiler.is_compiling() or is_mean):
                value._posterity_origin = (self, name)  # type: ignore[attr-defined]
            return value
        if name in self._parameters:
            return cast("Tensor | None", self._parameters[name])
        if name in self.__dict__:
            return cast("Tensor", self.__dict__[name])
        raise AttributeError(name)

    # Hooks such as torch.nn.utils.spectral_norm's set a weight that is no parameter any more.
    def write(self: RandomModule, value: Tensor) -> None:
        self.__dict__[name] = value

    return property(read, write, doc=f"The parameter `{name}`: a draw from its posterior where it is random.")


def _without_noise(value: Tensor, mean: Tensor, row: int) -> Tensor:
    """The draw with one row at its mean: the row of an embedding's padding says nothing, and must not be noise."""
    index = torch.arange(row, row + 1, device=value.device)
    return value.index_copy(0, index, mean[row : row + 1].detach())


# Layers whose forward knows estimators besides `reparam`: torch's class to ours. Their files fill it.
estimating_classes: dict[type[nn.Module], type[RandomModule]] = {}


def random_class(base: type[nn.Module], names: tuple[str, ...]) -> type[RandomModule]:
    """The subclass of `base` in which the parameters called `names` can be random.

    Its forward opens a draw, so that the modules below it and its own repeated readings share one.
    """
    key: Any = base  # mypy takes a module's class for unhashable
    return _make_class(key, names)


@functools.cache
def _make_class(base: Any, names: tuple[str, ...]) -> type[RandomModule]:
    ours = estimating_class(base)
    if ours is not None and base in estimating_classes and {"weight", "bias"}.issuperset(names):
        return ours
    body: dict[str, Any] = {name: random_property(name) for name in names}
    if ours is None:
        body["forward"] = with_draw(base.forward)
    if hasattr(base, "reset_parameters"):
        body["reset_parameters"] = reset_parameters
    if issubclass(base, nn.RNNBase):
        body |= _RECURRENT
    body |= {"_generated_from": base, "__module__": base.__module__, "__doc__": base.__doc__}
    return type(f"Bayesian{base.__name__}", (ours or RandomModule, base), body)


def deterministic_class(cls: type[nn.Module]) -> type[nn.Module]:
    """The class that a random class was made of: the nearest ancestor that knows nothing of randomness."""
    return next(c for c in cls.__mro__ if issubclass(c, nn.Module) and not issubclass(c, RandomModule))


@torch.no_grad()
def reset_parameters(module: RandomModule) -> None:
    """The layer's own initialisation, applied to the posterior means; spreads and priors are made anew."""
    with means_in_place(module):
        own: Any = deterministic_class(type(module))
        own.reset_parameters(module)
    for name, random in module._random.items():
        tensors = random.tensors(module, name)
        mean = random.posterior.mean(tensors).clone()
        for key, fresh in random.posterior.init(mean).items():
            tensors[key].copy_(fresh)
        for key, fresh in random.prior.init(mean).items():
            random.prior_tensors(module, name)[key].copy_(fresh)


def estimating_class(base: type[nn.Module]) -> type[RandomModule] | None:
    """Our class with estimators for a torch layer, or for a subclass of it that leaves forward and weights alone."""
    if hasattr(base, "weight") or hasattr(base, "bias"):
        return None  # torch's parametrizations make the weight a property
    for torch_class, ours in estimating_classes.items():
        inherits = issubclass(base, torch_class) and base.forward is torch_class.forward
        if inherits and getattr(base, "_conv_forward", None) is getattr(torch_class, "_conv_forward", None):
            return ours
    return None


def with_draw(forward: Callable[..., Any]) -> Callable[..., Any]:
    """The same forward, inside one draw for the module and all below it; part of the draw around it if there is one."""

    @functools.wraps(forward)
    def forward_with_draw(self: RandomModule, *args: Any, **kwargs: Any) -> Any:
        draw = Draw()
        try:
            open_draw(self, draw)
            if draw.opened and not torch.compiler.is_compiling() and handlers():
                refuse_bare(self)
            return forward(self, *args, **kwargs)
        finally:
            close_draw(draw)

    return forward_with_draw


def refuse_bare(network: RandomModule) -> NoReturn:
    """Refuse a network that draws its own weights inside a probabilistic program, unseen by inference.

    Raises:
        RuntimeError: Naming the network.
    """
    raise RuntimeError(
        f"the Bayesian network {deterministic_class(type(network)).__name__}({network.extra_repr()}) was called bare "
        "inside a probabilistic program, where the weights that it draws are hidden from inference: make the whole "
        'network part of the program by net = pt.module("net", net), outside of all plates, and call that'
    )


def _property_names(cls: type[RandomModule]) -> tuple[str, ...]:
    return tuple(name for name, entry in vars(cls).items() if isinstance(entry, property) and name != "_flat_weights")


def _rebuild(base: type[nn.Module], names: tuple[str, ...]) -> RandomModule:
    """An empty instance of the generated class, for pickle and deepcopy to fill."""
    cls = random_class(base, names)
    return cls.__new__(cls)


def _assign(module: RandomModule, name: str, value: Any) -> None:
    """Assignment to a random parameter: another layer's draw ties the two, a Parameter becomes the new mean."""
    from posterity.nn.conversion import forget, tie

    origin = getattr(value, "_posterity_origin", None)
    if value is None:
        forget(module, name, None)
    elif origin is not None:
        if origin != (module, name):
            tie(module, name, *origin)
    elif isinstance(value, nn.Parameter):
        random = module._random[name]
        centre = f"{name}_{random.posterior.keys[0]}"
        loc = module._parameters[centre]
        if loc is None or value.shape != loc.shape:
            raise ValueError(
                f"cannot assign a parameter of shape {list(value.shape)} to the random parameter {name!r} "
                f"of shape {None if loc is None else list(loc.shape)}"
            )
        module._parameters[centre] = value
        # A layer that was tied to others has a value, and draws, of its own from now on.
        module._random[name] = RandomParameter(random.posterior, random.prior)
    else:
        raise TypeError(
            f"cannot assign {type(value).__name__} to the random parameter {name!r} (torch.nn.Parameter, "
            "another layer's random parameter, or None expected)"
        )


# torch's recurrent layers keep a list of their weights, made once; a random layer makes it when it is read, and has
# no flat buffer to refresh.
_RECURRENT: dict[str, Any] = {
    "_flat_weights": property(
        lambda self: [getattr(self, name) for name in self._flat_weights_names], lambda self, value: None
    ),
    "_init_flat_weights": lambda self: None,
    "_update_flat_weights": lambda self: None,
    "flatten_parameters": lambda self: None,
    "_replicate_for_data_parallel": nn.Module._replicate_for_data_parallel,
}
