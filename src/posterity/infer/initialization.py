"""Where inference starts: a value for each latent variable at which the model's log density is finite."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor
from torch.linalg import LinAlgError  # type: ignore[attr-defined]  # torch does not list it

from posterity.bijectors import Bijector, bijector_to
from posterity.bijectors.constraints import Constraint
from posterity.distributions import Delta, Distribution, Independent
from posterity.handlers import Trace, block, seed, trace
from posterity.kernels import Key, Source, uniform
from posterity.ppl import Handler, Site
from posterity.ppl.stack import handlers
from posterity.runtime import without_validation

Strategy = Callable[[Site], Tensor]


class Start(NamedTuple):
    """A point where inference can begin.

    Attributes:
        trace: The run of the model there.
        unconstrained: The value of each continuous latent variable on unconstrained space, by name.
    """

    trace: Trace
    unconstrained: dict[str, Tensor]


def init_to_median(site: Site | None = None, *, num_samples: int = 15) -> Any:
    """Start at the median of a few draws from the prior, taken entry by entry on unconstrained space.

    A prior that has no draws, such as `ImproperUniform`, starts as with `init_to_uniform`.

    Args:
        site: The site to give a value to. Without it, the strategy with these settings.
        num_samples: How many draws.

    Returns:
        A value of the site's shape.

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     pt.sample("x", pt.distributions.Normal(100.0, 1.0))
        >>> start = find_start(model, init=init_to_median(num_samples=5))
        >>> bool((start.unconstrained["x"] - 100).abs() < 5)
        True
    """
    if site is None:
        return functools.partial(init_to_median, num_samples=num_samples)
    try:
        draws = _distribution(site).sample((num_samples,), generator=site.source)
    except NotImplementedError:
        return init_to_uniform(site)
    bijector = bijector_of(site)
    return bijector.forward(bijector.inverse(draws).median(0).values)


def init_to_mean(site: Site | None = None) -> Any:
    """Start at the prior's mean; where that is not known, or no value that the variable can have, as `init_to_median`.

    Args:
        site: The site to give a value to. Without it, the strategy.

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     pt.sample("x", pt.distributions.Normal(100.0, 1.0))
        >>> find_start(model, init=init_to_mean).unconstrained["x"]
        tensor(100.)
    """
    if site is None:
        return init_to_mean
    try:
        mean = _distribution(site).mean
    except NotImplementedError:
        return init_to_median(site)
    possible = mean.isfinite().all() & support_of(site).check(mean).all()
    return mean if torch._is_all_true(possible) else init_to_median(site)


def init_to_sample(site: Site | None = None) -> Any:
    """Start at a draw from the prior; where it has none, as `init_to_uniform`.

    Args:
        site: The site to give a value to. Without it, the strategy.

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     pt.sample("x", pt.distributions.Gamma(2.0, 1.0))
        >>> find_start(model, init=init_to_sample).unconstrained["x"].shape
        torch.Size([])
    """
    if site is None:
        return init_to_sample
    try:
        return _distribution(site).sample(generator=site.source)
    except NotImplementedError:
        return init_to_uniform(site)


def init_to_uniform(site: Site | None = None, *, radius: float = 2.0) -> Any:
    """Start at a uniform draw from `(-radius, radius)`, entry by entry on unconstrained space.

    Args:
        site: The site to give a value to. Without it, the strategy with these settings.
        radius: Half the length of the interval.

    Raises:
        ValueError: The radius is not positive.

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     pt.sample("x", pt.distributions.Gamma(2.0, 1.0))
        >>> bool(find_start(model, init=init_to_uniform(radius=0.1)).unconstrained["x"].abs() < 0.1)
        True
    """
    if not radius > 0:
        raise ValueError(f"radius of init_to_uniform must be positive, not {radius}")
    if site is None:
        return functools.partial(init_to_uniform, radius=radius)
    like, shape = _distribution(site)._like(), _unconstrained_shape(site)
    noise = uniform(shape, source=site.source, dtype=like.dtype, device=like.device)
    return bijector_of(site).forward((2 * noise - 1) * radius)


def init_to_feasible(site: Site | None = None) -> Any:
    """Start at the image of zero on unconstrained space, whatever the prior.

    Args:
        site: The site to give a value to. Without it, the strategy.

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     pt.sample("x", pt.distributions.Normal(100.0, 1.0))
        >>> find_start(model, init=init_to_feasible).unconstrained["x"]
        tensor(0.)
    """
    if site is None:
        return init_to_feasible
    like = _distribution(site)._like()
    return bijector_of(site).forward(like.new_zeros(_unconstrained_shape(site)))


def init_to_value(
    site: Site | None = None, *, values: Mapping[str, Tensor | float], fallback: Strategy = init_to_median
) -> Any:
    """Start at given values.

    Args:
        site: The site to give a value to. Without it, the strategy with these settings.
        values: Constrained values by site name; they broadcast to the sites' shapes.
        fallback: Where sites without a value start.

    Raises:
        ValueError: A value does not broadcast to its site's shape.

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     pt.sample("x", pt.distributions.Gamma(2.0, 1.0))
        >>> find_start(model, init=init_to_value(values={"x": 1.0})).unconstrained["x"]
        tensor(0.)
    """
    if site is None:
        return functools.partial(init_to_value, values=dict(values), fallback=fallback)
    if site.name not in values:
        return fallback(site)
    like, shape = _distribution(site)._like(), _shape(site)
    value = torch.as_tensor(values[site.name], dtype=like.dtype, device=like.device)
    try:
        return value.expand(shape)
    except RuntimeError:
        raise ValueError(
            f"init_to_value: the value of site {site.name!r} has shape {tuple(value.shape)}, which does not broadcast "
            f"to the site's, {tuple(shape)}"
        ) from None


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
        init: A strategy of this module: from a site to a value, in constrained space.
        source: Where random numbers come from; None: the `posterity.handlers.seed` around, or torch's generator.
        num_tries: How many runs to make before giving up.

    Returns:
        The trace, and the values on unconstrained space; both without gradients.

    Raises:
        ValueError: No run had a finite log density, or the strategy's value does not fit its site. An error of the
            model's own that comes back unchanged, and is about no value, is raised as it is.

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
        init: A strategy of this module.
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


def is_continuous(site: Site) -> bool:
    """Whether a site is a latent variable with a density: not observed, not discrete, no point mass."""
    if not site.is_latent:
        return False
    distribution = site.distribution
    while isinstance(distribution, Independent):
        distribution = distribution.base_dist
    return not isinstance(distribution, Delta) and not support_of(site).is_discrete


def support_of(site: Site) -> Constraint:
    """Where a sample site's values lie."""
    return cast(Constraint, _distribution(site).support)


def bijector_of(site: Site) -> Bijector:
    """From unconstrained space onto a sample site's support.

    Raises:
        NotImplementedError: There is none; the site is named.
    """
    try:
        return bijector_to(support_of(site))
    except NotImplementedError as error:
        error.add_note(f"at site {site.name!r}, {site.distribution!r}")
        raise


def source_here(*, advance: bool = False) -> Source:
    """Random numbers from the innermost `seed` handler around; None where there is none.

    Args:
        advance: Whether to take the place of a site there. Otherwise the sites' numbers are what they would be without
            this call, and two calls give the same.
    """
    for handler in reversed(handlers()):
        if isinstance(handler, seed):
            source = handler.next_source() if advance else handler.source
            return source.fold_in(_BESIDE) if isinstance(source, Key) else source
    return None


@contextmanager
def seeded_generator(source: Source) -> Iterator[None]:
    """Torch's global generator, on the processor, in a state that a source decides; put back afterwards.

    Args:
        source: None leaves the generator alone.
    """
    if source is None:
        yield
        return
    state = torch.get_rng_state()
    number = uniform((), source=source, dtype=torch.float64, device="cpu")
    torch.default_generator.manual_seed(int(number * 2**52))
    try:
        yield
    finally:
        torch.set_rng_state(state)


# What keys of our own are made with: no site folds numbers in.
_BESIDE = 2**30
_ADVICE = "start at values that are possible, init=init_to_value(values={...}), or correct the model or its data"


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
            if value.shape != _shape(site):
                raise ValueError(
                    f"init gave site {site.name!r} a value of shape {tuple(value.shape)}, but the site's is "
                    f"{tuple(_shape(site))}"
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


def _distribution(site: Site) -> Distribution:
    assert site.distribution is not None
    return site.distribution


def _shape(site: Site) -> torch.Size:
    return torch.Size(site.batch_shape + _distribution(site).event_shape)


def _unconstrained_shape(site: Site) -> torch.Size:
    return bijector_of(site).inverse_shape(_shape(site))


def _some_of(value: Any) -> str:
    return str(value.detach().flatten()[:5].tolist()) + (" ..." if value.numel() > 5 else "")
