"""Discrete variables given everything else: exact draws, most probable values, and marginals."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from posterity.distributions import Bernoulli, Categorical, Distribution, Empirical, OneHotCategorical
from posterity.handlers import Trace, enumerate_sites, substitute, trace
from posterity.handlers.enumerate import enumeration_of, max_plate_nesting
from posterity.infer.enumerated_factors import (
    check_plates,
    check_values,
    in_batch_shape,
    plates_of,
    site_factors,
    variables_of,
)
from posterity.infer.sum_product import LogFactor, aligned, sum_product
from posterity.kernels import Key, Source
from posterity.ppl import Frame, Handler, Site
from posterity.ppl.stack import without

Program = Callable[..., Any]


def infer_discrete(
    fn: Program | None = None,
    first_available_dim: int | None = None,
    temperature: int = 1,
    *,
    generator: Source = None,
    enumerate_all: bool = False,
) -> Program:
    """A program whose marked discrete variables are drawn from their exact posterior given all else.

    Data and values of continuous variables are given inside (`condition`, `substitute` with a draw of the posterior,
    `replay`). The program first runs with the variables enumerated, and then with the values chosen, in the plates'
    shape; other latent variables have the same values in both runs.

    Args:
        fn: The program; without it, a decorator.
        first_available_dim: As in `posterity.handlers.enumerate_sites`.
        temperature: 1: a draw from the joint posterior (forward filtering, backward sampling); 0: the most probable
            joint value (Viterbi's algorithm; the first, if there are several).
        generator: Where random numbers come from; None: from `posterity.handlers.seed`, or torch's global generator.
        enumerate_all: Whether every discrete latent variable whose support can be listed counts as marked.

    Returns:
        The program, called with the same arguments.

    Raises:
        ValueError: The temperature is neither 0 nor 1, or as `log_density` says.

    Source: Obermeyer et al. (2019), "Tensor Variable Elimination for Plated Factor Graphs"; Viterbi (1967), "Error
    bounds for convolutional codes and an asymptotically optimum decoding algorithm".

    Example:
        >>> import posterity as pt
        >>> def mixture(x):
        ...     with pt.plate("data", len(x)):
        ...         z = pt.sample("z", pt.distributions.Bernoulli(0.5), infer={"enumerate": "parallel"})
        ...         pt.sample("x", pt.distributions.Normal(4 * z - 2, 1.0), obs=x)
        ...     return z
        >>> infer_discrete(mixture, temperature=0)(torch.tensor([2.1, -1.9, 3.0]))
        tensor([1., 0., 1.])
    """
    if temperature not in (0, 1):
        raise ValueError(
            f"temperature of infer_discrete must be 0 (the most probable) or 1 (a draw), not {temperature!r}"
        )
    if fn is None:
        return functools.partial(
            infer_discrete,
            first_available_dim=first_available_dim,
            temperature=temperature,
            generator=generator,
            enumerate_all=enumerate_all,
        )
    program = fn

    @functools.wraps(program)
    def inferred(*args: Any, **kwargs: Any) -> Any:
        recorded = _enumerated(program, args, kwargs, first_available_dim, enumerate_all)
        with _Chosen(recorded, temperature, generator):
            return program(*args, **kwargs)

    return inferred


def compute_marginals(
    model: Program,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    values: Mapping[str, Any] | None = None,
    *,
    max_plate_nesting: int | None = None,
    enumerate_all: bool = False,
) -> dict[str, Distribution]:
    """The posterior of each marked discrete variable alone, given data and continuous values.

    Args:
        model: The program.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        values: Values of the other latent variables, by name.
        max_plate_nesting: How many batch dimensions plates take. Without it a first run of the program tells.
        enumerate_all: Whether every discrete latent variable whose support can be listed counts as marked.

    Returns:
        By name: a `Bernoulli`, `Categorical` or `OneHotCategorical` where the variable has one, else an `Empirical`
        over its support; of the plates' batch shape.

    Raises:
        ValueError: As `log_density`.
        NotImplementedError: As `log_density`.

    Source: Darwiche (2003), "A differential approach to inference in Bayesian networks": marginals are derivatives of
    the log evidence.

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     z = pt.sample("z", pt.distributions.Bernoulli(0.5), infer={"enumerate": "parallel"})
        ...     pt.sample("x", pt.distributions.Normal(4 * z - 2, 1.0), obs=torch.tensor(0.5))
        >>> compute_marginals(model)["z"].probs
        tensor(0.8808)
    """
    program = model if values is None else substitute(model, values)
    dim = None if max_plate_nesting is None else -1 - max_plate_nesting
    recorded = _enumerated(program, args, kwargs or {}, dim, enumerate_all)
    factors, variables = site_factors(recorded), variables_of(recorded)
    check_plates(factors, variables)
    own = {f.site.name: f.factor for f in factors if f.site.name in variables}
    frames = _frames(recorded)

    def log_evidence(raised: dict[str, Tensor]) -> Tensor:
        more = [LogFactor(raised[name], own[name].dims) for name in own]
        left = sum_product([*(f.factor for f in factors), *more], variables, plates_of(recorded))
        return torch.stack([factor.value for factor in left]).sum()

    joint = torch.func.grad(log_evidence)({name: torch.zeros_like(factor.value) for name, factor in own.items()})
    marginals = {}
    for name, factor in own.items():
        others = [axis for axis, dim in enumerate(factor.dims) if dim in variables and dim != name]
        kept = tuple(dim for dim in factor.dims if dim not in variables or dim == name)
        probs = LogFactor(joint[name].sum(others) if others else joint[name], kept)
        last = probs.value.movedim(kept.index(name), -1)
        batch = [
            in_batch_shape(LogFactor(last[..., i], tuple(d for d in kept if d != name)), frames)
            for i in range(last.shape[-1])
        ]
        # A subsampled plate counts as many times as it stands for: what it scaled up is taken back.
        together = torch.stack(batch, -1)
        marginals[name] = _marginal(recorded[name], together / together.sum(-1, keepdim=True))
    return marginals


class _Chosen(Handler):
    """Gives the enumerated sites of a trace values from their joint posterior, and all others those of the trace."""

    def __init__(self, recorded: Trace, temperature: int, generator: Source) -> None:
        super().__init__()
        self.recorded, self.temperature, self.generator = recorded, temperature, generator
        self.frames = _frames(recorded)
        self.steps: list[tuple[str, LogFactor]] = []
        self.chosen: dict[str, LogFactor] = {}
        variables, factors = variables_of(recorded), site_factors(recorded)
        check_values(recorded)
        check_plates(factors, variables)
        reduce = torch.amax if temperature == 0 else None
        sum_product([f.factor for f in factors], variables, plates_of(recorded), reduce=reduce, steps=self.steps)

    def process_message(self, site: Site) -> None:
        """Follow the trace."""
        followed = self.recorded.get(site.name)
        if followed is None or followed.kind != site.kind or site.value is not None:
            return
        if site.kind == "plate":
            site.value = followed.value
        elif site.is_latent:
            enumeration = enumeration_of(followed)
            if enumeration is None or enumeration.dim is None:
                site.value = followed.value
            else:
                site.default = self._value

    def _value(self, site: Site) -> Tensor:
        if not self.chosen:
            self._choose(self.generator if self.generator is not None else site.source)
        followed = self.recorded[site.name]
        return _taken(followed, self.chosen, self.frames)

    def _choose(self, source: Source) -> None:
        # What was summed out last is chosen first: each step then knows all that it depends on.
        for number, (name, factor) in enumerate(reversed(self.steps)):
            logits = _at(factor, self.chosen, name)
            dims = tuple(dim for dim in factor.dims if dim not in self.chosen and dim != name)
            if self.temperature == 0:
                index = logits.argmax(-1)
            else:
                stream = source.fold_in(number) if isinstance(source, Key) else source
                try:
                    index = Categorical(logits=logits).sample(generator=stream)
                except ValueError as error:
                    raise ValueError(f"site {name!r} has no possible value, given the data") from error
            self.chosen[name] = LogFactor(index, dims)


def _enumerated(
    program: Program, args: Sequence[Any], kwargs: Mapping[str, Any], dim: int | None, enumerate_all: bool
) -> Trace:
    if dim is None:
        dim = -1 - max_plate_nesting(program, *args, enumerate_all=enumerate_all, **kwargs)
    with without(trace):
        return trace(enumerate_sites(program, dim, enumerate_all=enumerate_all)).get_trace(*args, **kwargs)


def _frames(recorded: Trace) -> dict[str, Frame]:
    return {frame.name: frame for site in recorded.samples() for frame in site.plates if frame.vectorized}


def _at(factor: LogFactor, chosen: Mapping[str, LogFactor], last: str) -> Tensor:
    """A factor at the chosen values, over the plates that it has and the variable `last`."""
    dims = tuple(dim for dim in factor.dims if dim not in chosen and dim != last)
    where = []
    for axis, dim in enumerate(factor.dims):
        size = factor.value.shape[axis]
        if dim in chosen:
            where.append(aligned(chosen[dim], dims).unsqueeze(-1))
        else:
            place = len(dims) if dim == last else dims.index(dim)
            shape = [1] * (len(dims) + 1)
            shape[place] = size
            where.append(torch.arange(size, device=factor.value.device).reshape(shape))
    return factor.value[tuple(where)]


def _taken(site: Site, chosen: Mapping[str, LogFactor], frames: Mapping[str, Frame]) -> Tensor:
    """The chosen value of an enumerated site, `[*plates, *event]`."""
    assert site.distribution is not None
    enumeration = enumeration_of(site)
    assert enumeration is not None
    support: Tensor = site.value
    events = len(site.distribution.event_shape)
    index = in_batch_shape(chosen[site.name], frames)
    # Along its plates, and along other variables, a support may begin elsewhere.
    batch = support.shape[: support.dim() - events]
    where = []
    for dim in range(-len(batch), 0):
        name = enumeration.names.get(dim)
        if dim <= enumeration.first and name is not None and batch[dim] > 1:
            where.append(in_batch_shape(chosen[name], frames))
        elif batch[dim] == 1:
            where.append(torch.zeros((), dtype=torch.long, device=support.device))
        else:
            where.append(torch.arange(batch[dim], device=support.device).reshape((-1,) + (1,) * (-1 - dim)))
    # An index without dimensions would be read as a number, which captured graphs cannot.
    value = support[tuple(index.unsqueeze(0) for index in where)].squeeze(0)
    shape = torch.broadcast_shapes(index.shape, value.shape[: value.dim() - events])
    return value.expand(shape + site.distribution.event_shape)


def _marginal(site: Site, probs: Tensor) -> Distribution:
    enumeration = enumeration_of(site)
    assert enumeration is not None
    assert enumeration.dim is not None
    distribution: Any = site.distribution
    while hasattr(distribution, "_mask"):
        distribution = distribution.base_dist
    if isinstance(distribution, Bernoulli):
        return Bernoulli(probs=probs[..., 1])
    if isinstance(distribution, OneHotCategorical):
        return OneHotCategorical(probs=probs)
    if isinstance(distribution, Categorical):
        return Categorical(probs=probs)
    events = len(distribution.event_shape)
    support = site.value.movedim(enumeration.dim - events, -1 - events)
    rank = len(probs.shape) + events
    support = support.reshape(support.shape[max(0, support.dim() - rank) :])
    return Empirical(support.expand(probs.shape + distribution.event_shape), probs.log())
