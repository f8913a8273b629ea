"""Log densities and evidence lower bounds in which marked discrete variables are summed out exactly."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from posterity.handlers import Trace, enumerate_sites, replay, substitute, trace
from posterity.handlers.enumerate import max_plate_nesting as nesting_of_program
from posterity.handlers.enumerate import nesting_of, trial
from posterity.infer.enumerated_factors import (
    SiteFactor,
    check_plates,
    check_values,
    in_batch_shape,
    plates_of,
    site_factors,
    variables_of,
)
from posterity.infer.sum_product import (
    NO_PLATES,
    LogFactor,
    Plates,
    aligned,
    connected,
    eliminate,
    multiply,
    sum_product,
)
from posterity.ppl import Frame, Site
from posterity.runtime import validation_enabled

Program = Callable[..., Any]


class EnumeratedTerm(NamedTuple):
    """A term of an evidence lower bound: the bound is the sum of all entries of all terms.

    Attributes:
        sites: The sites that it comes from; several, where variables between them were summed out in the model. The
            guide's are called as the model's are.
        from_guide: Whether this is -log q of a site of the guide.
        value: The term in nats under its scale, its expectation taken over the variables enumerated in the guide; in
            the shape of a batch, with the plates at their own dimensions.
        plates: The plates that the value has.
    """

    sites: tuple[str, ...]
    from_guide: bool
    value: Tensor
    plates: tuple[Frame, ...]


def log_density(
    model: Program,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    values: Mapping[str, Any] | None = None,
    *,
    max_plate_nesting: int | None = None,
    enumerate_all: bool = False,
) -> Tensor:
    r"""The log joint density of a program's data and continuous variables, its marked discrete variables summed out.

    Sites marked `infer={"enumerate": "parallel"}` are summed over exactly, by tensor variable elimination: in time
    linear in the length of a chain (`pt.markov`) and in the sizes of plates. A chain whose turns are all alike is
    faster yet as `posterity.distributions.HiddenMarkovModel`, in logarithmically many steps.

    Args:
        model: The program.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        values: Values of latent sites (and of parameters) by name, such as a state of a Markov chain; or the trace of
            a guide, whose values and subsamples the program then takes.
        max_plate_nesting: How many batch dimensions plates take. Without it a first run of the program tells.
        enumerate_all: Whether every discrete latent variable whose support can be listed counts as marked.

    Returns:
        The log density in nats, a scalar.

    Raises:
        ValueError: A variable's support cannot be listed, the declarations of plates and chains do not hold, or
            scales differ among sites that hang together by the variables.
        NotImplementedError: The sum takes time exponential in the size of a plate.

    Example:
        >>> import posterity as pt
        >>> def mixture(x):
        ...     with pt.plate("data", len(x)):
        ...         z = pt.sample("z", pt.distributions.Bernoulli(0.5), infer={"enumerate": "parallel"})
        ...         pt.sample("x", pt.distributions.Normal(4 * z - 2, 1.0), obs=x)
        >>> log_density(mixture, (torch.tensor([2.0, -2.0]),))
        tensor(-3.2235)
    """
    program = _with_values(model, values)
    if max_plate_nesting is None:
        max_plate_nesting = nesting_of_program(program, *args, enumerate_all=enumerate_all, **(kwargs or {}))
    handled = enumerate_sites(program, -1 - max_plate_nesting, enumerate_all=enumerate_all)
    return enumerated_log_density(trace(handled).get_trace(*args, **(kwargs or {})))


def enumerated_log_density(recorded: Trace) -> Tensor:
    """The log density of a trace under `posterity.handlers.enumerate_sites`, the enumerated variables summed out.

    Args:
        recorded: The trace.

    Returns:
        The log density in nats, a scalar; of a trace without enumerated variables, its `log_prob_sum()`.

    Raises:
        ValueError: As `log_density`.
        NotImplementedError: As `log_density`.
    """
    variables = variables_of(recorded)
    if not variables:
        return recorded.log_prob_sum()
    check_values(recorded)
    factors = site_factors(recorded)
    check_plates(factors, variables)
    total: Tensor | float = 0.0
    for group in _groups(factors, variables):
        if not any(name in variables for name in group[0].factor.dims):
            total = total + group[0].weighted.sum()
            continue
        for factor in _summed_out(group, variables, {}, plates_of(recorded)):
            total = total + factor.value.sum()
    assert isinstance(total, Tensor)
    return total


def enumerated_traces(
    model: Program,
    guide: Program,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    max_plate_nesting: int | None = None,
) -> tuple[Trace, Trace]:
    """The traces of a model and its guide, for `enumerated_elbo`.

    Sites that the guide marks are enumerated there, and the model follows; sites that the model marks and the guide
    does not have are enumerated in the model. Of the batch dimensions, the rightmost `max_plate_nesting` are plates;
    left of them lie the guide's variables, left of those the model's. Particles are a plate, or `torch.vmap` around.

    Args:
        model: The model.
        guide: The guide, called with the same arguments.
        args: The positional arguments.
        kwargs: The keyword arguments.
        max_plate_nesting: How many batch dimensions plates take. Without it first runs of both tell.

    Returns:
        The model's trace and the guide's.
    """
    kwargs = kwargs or {}
    if max_plate_nesting is None:
        with torch.no_grad():
            first = trial(guide, *args, **kwargs)
            second = trial(replay(model, first), *args, **kwargs)
        max_plate_nesting = max(nesting_of(first), nesting_of(second))
    dim = -1 - max_plate_nesting
    guide_trace = trace(enumerate_sites(guide, dim)).get_trace(*args, **kwargs)
    followed = enumerate_sites(replay(model, guide_trace), dim, after=guide_trace)
    return trace(followed).get_trace(*args, **kwargs), guide_trace


def enumerated_elbo(model_trace: Trace, guide_trace: Trace) -> Tensor:
    r"""The evidence lower bound $E_q[\log p(x, z) - \log q(z)]$ of two traces, exact in the enumerated variables.

    What is enumerated in the model, x, is summed out of p: log sum_x p(., x). What is enumerated in the guide is
    averaged over under q, exactly. Both pass their gradients.

    Args:
        model_trace: The model's trace; see `enumerated_traces`.
        guide_trace: The guide's.

    Returns:
        The bound in nats, a scalar; for one draw of each variable that is not enumerated, an estimate of it.

    Raises:
        ValueError: As `log_density`.
        NotImplementedError: A sum takes time exponential in the size of a plate.

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     z = pt.sample("z", pt.distributions.Bernoulli(0.5))
        ...     pt.sample("x", pt.distributions.Normal(z, 1.0), obs=torch.tensor(0.5))
        >>> def guide():
        ...     pt.sample("z", pt.distributions.Bernoulli(0.5), infer={"enumerate": "parallel"})
        >>> enumerated_elbo(*enumerated_traces(model, guide))  # q is the exact posterior, so that this is the evidence
        tensor(-1.0439)
    """
    total: Tensor | float = 0.0
    for term in enumerated_terms(model_trace, guide_trace):
        total = total + term.value.sum()
    return total if isinstance(total, Tensor) else torch.tensor(total)


def enumerated_terms(model_trace: Trace, guide_trace: Trace) -> list[EnumeratedTerm]:
    """The terms of `enumerated_elbo`, for estimators that weight them one by one; raises as that does."""
    summed, averaged = variables_of(model_trace), variables_of(guide_trace)
    if not summed and not averaged:
        return [_plain_term(t, site, t is guide_trace) for t in (model_trace, guide_trace) for site in t.samples()]
    model, guide = site_factors(model_trace), site_factors(guide_trace)
    check_plates(model, {**averaged, **summed})
    check_plates(guide, averaged)
    own = {f.site.name: f.factor for f in guide if f.site.name in averaged}
    frames = {frame.name: frame for f in (*model, *guide) for frame in f.site.plates if frame.vectorized}
    plates = {**plates_of(guide_trace), **plates_of(model_trace)}
    terms = []

    def add(group: Sequence[SiteFactor], from_guide: bool, cost: LogFactor) -> None:
        value = in_batch_shape(_expectation(cost, own), frames)
        around = tuple(frames[name] for name in cost.dims if name in frames)
        terms.append(EnumeratedTerm(tuple(f.site.name for f in group), from_guide, value, around))

    for group in _groups(model, summed):
        if any(name in summed for name in group[0].factor.dims):
            for cost in _summed_out(group, summed, averaged, plates):
                add(group, False, cost)
        else:
            add(group, False, group[0].cost())
    for single in guide:
        cost = single.cost()
        add([single], True, LogFactor(-cost.value, cost.dims))
    return terms


def _plain_term(recorded: Trace, site: Site, from_guide: bool) -> EnumeratedTerm:
    log_prob = recorded.log_prob(site)
    around = tuple(frame for frame in site.plates if frame.vectorized)
    return EnumeratedTerm((site.name,), from_guide, -log_prob if from_guide else log_prob, around)


def _with_values(model: Program, values: Mapping[str, Any] | None) -> Program:
    if values is None:
        return model
    return replay(model, values) if isinstance(values, Trace) else substitute(model, values)


def _groups(factors: Sequence[SiteFactor], variables: Mapping[str, Plates]) -> list[list[SiteFactor]]:
    """The factors in groups that hang together by variables; one without any is a group of its own."""
    return [[factors[i] for i in group] for group in connected([f.factor.dims for f in factors], variables)]


def _summed_out(
    group: Sequence[SiteFactor],
    variables: Mapping[str, Plates],
    kept: Mapping[str, Plates],
    plates: Mapping[str, float],
) -> list[LogFactor]:
    """What is left of a group when its variables are summed out, under its scale and those of plates that are left."""
    scale = _common_scale(group)
    names = {name for f in group for name in f.factor.dims}
    local = {name: around for name, around in variables.items() if name in names}
    along = frozenset(scale.dims)
    for name, around in local.items():
        if along - around:
            raise ValueError(
                f"the scale of site {group[0].site.name!r} differs along plate {min(along - around)!r}, which {name!r} "
                "is not in, so that it cannot be summed out under one scale: give a scale that is one number"
            )
    # Plates along which the scale differs stay until all is summed out, and so does the scale.
    factors = sum_product(
        [f.factor for f in group],
        {name: around - along for name, around in local.items()},
        {name: power for name, power in plates.items() if name not in along},
        {**{name: around - along for name, around in kept.items()}, **dict.fromkeys(along, NO_PLATES)},
    )
    powers = [math.prod(plates.get(name, 1.0) for name in factor.dims) for factor in factors]
    return [
        LogFactor(factor.value * aligned(scale, factor.dims) * power, factor.dims)
        for factor, power in zip(factors, powers, strict=True)
    ]


def _common_scale(group: Sequence[SiteFactor]) -> LogFactor:
    first = group[0]
    for other in group[1:]:
        if not _same(first.scale, other.scale):
            raise ValueError(
                f"sites {first.site.name!r} and {other.site.name!r} hang together by enumerated variables but have "
                f"different scales, {first.scale} and {other.scale}: put pt.handlers.scale around both, or around none"
            )
    scale = first.scale if isinstance(first.scale, Tensor) else first.factor.value.new_tensor(first.scale)
    frames = {frame.dim: frame.name for frame in first.site.plates}
    dims = [dim for dim in range(-scale.dim(), 0) if scale.shape[dim] > 1]
    for dim in dims:
        if dim not in frames:
            raise ValueError(
                f"the scale of site {first.site.name!r} has {scale.shape[dim]} elements in dim {dim}, which is no plate"
            )
    return LogFactor(scale.reshape([scale.shape[dim] for dim in dims]), tuple(frames[dim] for dim in dims))


def _same(scale: float | Tensor, other: float | Tensor) -> bool:
    if not isinstance(scale, Tensor) and not isinstance(other, Tensor):
        return math.isclose(scale, other, rel_tol=1e-6)
    if not isinstance(scale, Tensor) or not isinstance(other, Tensor) or scale.shape != other.shape:
        return False
    return scale is other or not validation_enabled() or bool(torch.isclose(scale, other).all())


def _expectation(cost: LogFactor, own: Mapping[str, LogFactor]) -> LogFactor:
    """The mean of a cost over the guide's variables in it, whose own factors are given."""
    variables = [name for name in cost.dims if name in own]
    if not variables:
        return cost
    ancestors, waiting = set(variables), list(variables)
    while waiting:
        parents = {name for name in own[waiting.pop()].dims if name in own} - ancestors
        ancestors |= parents
        waiting += parents
    chain = [own[name] for name in own if name in ancestors]
    joint = multiply(eliminate(chain, ancestors - set(variables)))
    weight = aligned(joint, cost.dims).exp()
    axes = [axis for axis, name in enumerate(cost.dims) if name in own]
    # What q excludes may cost infinitely much.
    mean = (weight * torch.where(weight > 0, cost.value, 0.0)).sum(axes)
    return LogFactor(mean, tuple(name for name in cost.dims if name not in own))
