"""Where inference starts: a value for each latent variable at which the model's log density is finite."""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.linalg import LinAlgError  # type: ignore[attr-defined]  # torch does not list it
from torch.utils import _pytree as pytree

from posterity.handlers import Trace, block, seed, trace
from posterity.infer.initialization import Strategy, init_to_median, init_to_uniform
from posterity.infer.latent_sites import bijector_of, is_continuous, shape_of, support_of
from posterity.infer.sources import seeded_generator, source_here
from posterity.kernels import Key, Source
from posterity.ppl import Handler, Site
from posterity.runtime import without_validation


class Start(NamedTuple):
    """A point where inference can begin.

    Attributes:
        trace: The run of the model there.
        unconstrained: The value of each continuous latent variable on unconstrained space, by name.
    """

    trace: Trace
    unconstrained: dict[str, Tensor]


class _Program(Protocol):
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...


def find_start(
    model: _Program,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    init: Strategy = init_to_median,
    source: Source = None,
    num_tries: int = 100,
) -> Start:
    """Run a model from a strategy's values, again and again until log density and gradient are finite.

    Handlers outside see nothing of it but `param` statements.

    Args:
        model: The model.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        init: A strategy of `posterity.infer.initialization`.
        source: Where random numbers come from; None: the `posterity.handlers.seed` around, or torch's generator.
        num_tries: How many runs to make before giving up.

    Returns:
        The trace, and the values on unconstrained space; both without gradients.

    Raises:
        ValueError: No run had a finite log density, or the strategy's value does not fit its site. An error of the
            model's own that comes back unchanged, and is about no value, is raised as it is; one about tensors of
            different types gets a note that names the latent variables with theirs.

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     scale = pt.sample("scale", pt.distributions.HalfNormal(1.0))
        ...     pt.sample("x", pt.distributions.Normal(0.0, scale), obs=0.5)
        >>> sorted(find_start(model).unconstrained)
        ['scale']
    """
    if num_tries < 1:
        raise ValueError(f"num_tries must be at least 1, not {num_tries}")
    source = source_here() if source is None else source
    complaint = ""
    before: dict[str, Tensor] | None = None
    for attempt in range(num_tries):
        own = source.fold_in(attempt) if isinstance(source, Key) else source
        values = _From(init)
        run = functools.partial(_run, model, args, kwargs or {}, own)
        try:
            found = run(values)
        except (ValueError, LinAlgError) as error:
            if attempt == num_tries - 1:
                error.add_note(f"this was the last of {num_tries} tries to find a start: {_ADVICE}")
                raise
            # Values of a try may be out of some support; what has nothing to do with values recurs word by word.
            if str(error) == complaint and (_same(before, values.unconstrained) or not _is_of_values(error, run, init)):
                raise
            complaint = str(error)
        except RuntimeError as error:
            if _ABOUT_TYPES.search(str(error)):
                error.add_note(_types(values.unconstrained, args, kwargs or {}))
            raise
        else:
            problem = _problem(found, values.unconstrained)
            if problem is None:
                for site in found.values():
                    if isinstance(site.value, Tensor):
                        site.value = site.value.detach()
                return Start(found, {name: value.detach() for name, value in values.unconstrained.items()})
            complaint = problem
            if _same(before, values.unconstrained):
                num_tries = attempt + 1
                break
        before = values.unconstrained
    raise ValueError(
        f"no point with a finite log density was found in {num_tries} tries: {complaint}. {_ADVICE.capitalize()}"
    )


def initial_values(
    model: _Program,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    init: Strategy = init_to_uniform,
    num_chains: int = 1,
    source: Source = None,
    num_tries: int = 100,
) -> dict[str, Tensor]:
    """Starting points on unconstrained space for several chains, each found on its own.

    Args:
        model: The model.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        init: A strategy of `posterity.infer.initialization`.
        num_chains: How many points.
        source: Where random numbers come from, as for `find_start`.
        num_tries: How many runs to make for each point before giving up.

    Returns:
        By name `[num_chains, *unconstrained_shape]`.

    Raises:
        ValueError: As `find_start`; or the model has no continuous latent variable.

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     pt.sample("p", pt.distributions.Dirichlet(torch.ones(3)))
        >>> initial_values(model, num_chains=4)["p"].shape
        torch.Size([4, 2])
    """
    if num_chains < 1:
        raise ValueError(f"num_chains must be at least 1, not {num_chains}")
    source = source_here() if source is None else source
    points = []
    for chain in range(num_chains):
        own = source.fold_in(chain) if isinstance(source, Key) else source
        start = find_start(model, args, kwargs, init=init, source=own, num_tries=num_tries)
        if not start.unconstrained:
            raise ValueError(
                "the model has no continuous latent variable, so that there is nothing to start\n"
                + start.trace.format_shapes()
            )
        points.append(start.unconstrained)
    return {name: torch.stack([point[name] for point in points]) for name in points[0]}


_ADVICE = "start at values that are possible, init=init_to_value(values={...}), or correct the model or its data"


# Torch's words where two tensors differ in their type.
_ABOUT_TYPES = re.compile(r"same dtype|scalar type|dtypes? to match|dtype mismatch")


def _types(values: Mapping[str, Tensor], args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Of which types the model's tensors are."""
    latents = ", ".join(f"{name!r} of {value.dtype}" for name, value in values.items()) or "none"
    given = {str(leaf.dtype) for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
    return (
        f"the latent variables drawn until then are {latents}; the model's arguments are of "
        f"{', '.join(sorted(given)) or 'no tensors'}. Give the parameters of the priors the type of the data, such as "
        "Normal(torch.zeros((), dtype=torch.float64), 1.0), or convert the data"
    )


class _From(Handler):
    """Gives continuous latent sites a strategy's values, through unconstrained leaves."""

    def __init__(self, strategy: Strategy) -> None:
        super().__init__()
        self.strategy = strategy
        self.unconstrained: dict[str, Tensor] = {}

    def process_message(self, site: Site) -> None:
        if site.value is None and is_continuous(site):
            site.default = self._first

    def _first(self, site: Site) -> Tensor:
        with torch.no_grad():
            value = self.strategy(site)
            if value.shape != shape_of(site):
                raise ValueError(
                    f"init gave site {site.name!r} a value of shape {tuple(value.shape)}, but the site's is "
                    f"{tuple(shape_of(site))}"
                )
            try:
                first = bijector_of(site).inverse(value)
            except ValueError as error:
                error.add_note(f"init gave site {site.name!r} a value outside of its support, {support_of(site)!r}")
                raise
        leaf = self.unconstrained[site.name] = first.detach().clone().requires_grad_()
        return bijector_of(site).forward(leaf)


def _run(model: _Program, args: Sequence[Any], kwargs: Mapping[str, Any], source: Source, values: _From) -> Trace:
    # What the model hides by a handler of its own draws from torch's generator, past `seed`.
    with torch.enable_grad(), seeded_generator(source), ExitStack() as stack:
        stack.enter_context(block(hide_fn=lambda site: site.kind != "param"))
        if source is not None:
            stack.enter_context(seed(rng_seed=source))
        recorded = stack.enter_context(trace())
        stack.enter_context(values)
        model(*args, **kwargs)
    return recorded.trace


def _same(before: Mapping[str, Tensor] | None, values: Mapping[str, Tensor]) -> bool:
    """Whether two tries had the same values."""
    if before is None or before.keys() != values.keys():
        return False
    return all(torch.equal(before[name], value) for name, value in values.items())


def _is_of_values(error: Exception, run: Callable[[_From], Trace], init: Strategy) -> bool:
    """Whether an error that came twice is about values: a check of them, in words that do not name them, or algebra."""
    if isinstance(error, LinAlgError):
        return True
    try:
        with without_validation():
            run(_From(init))
    except (ValueError, ArithmeticError, RuntimeError) as again:
        return str(again) != str(error)
    return True


def _problem(found: Trace, values: Mapping[str, Tensor]) -> str | None:
    """What is not finite at a point; None if all is."""
    for name, value in values.items():
        if not torch._is_all_true(value.isfinite()):
            return f"site {name!r} has the value {_some_of(value)} on unconstrained space"
    total: Tensor | float = 0.0
    for site in found.samples():
        log_density = site.weighted(site.log_prob())
        if not torch._is_all_true(log_density.isfinite()):
            kind = "observed site" if site.is_observed else "site"
            worst = log_density[~log_density.isfinite()][0].item()
            return f"{kind} {site.name!r} has a log density of {worst} at the value {_some_of(site.value)}"
        total = total + log_density.sum()
    if isinstance(total, Tensor) and total.requires_grad and values:
        gradients = torch.autograd.grad(total, list(values.values()), allow_unused=True)
        for name, gradient in zip(values, gradients, strict=True):
            if gradient is not None and not torch._is_all_true(gradient.isfinite()):
                return f"the gradient of the log density with respect to site {name!r} is not finite"
    return None


def _some_of(value: Any) -> str:
    return str(value.detach().flatten()[:5].tolist()) + (" ..." if value.numel() > 5 else "")
