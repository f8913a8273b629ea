"""What programs say, given draws of their latent variables: predictions, and the log likelihood of data."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from posterity.distributions.parameters import broadcastable
from posterity.handlers import Trace, replay, seed, substitute, trace
from posterity.infer.simulation import Program, is_auxiliary, is_factor
from posterity.kernels import NoiseRecorder, NoiseTape
from posterity.ppl import Site
from posterity.runtime import without_validation

# How many numbers of all returned sites together one vectorised run may hold.
_NUMBERS_AT_ONCE = 2**25

Draws = Mapping[str, Tensor]


class Predictive:
    """Draw from a program: from its prior, or given draws of its latent variables, or a guide.

    Sites that have draws keep them, and observed sites are data as ever: to predict data, call the model without
    them (`obs=None`). All draws run as vectorised programs, in chunks that bound the memory; a program that
    `torch.vmap` does not take runs draw by draw.

    Args:
        model: The program.
        posterior_samples: Draws by site name, each `[num_samples, ...]`. Without them, and without a guide, the
            draws are the prior's.
        guide: In their place, a guide whose draws are given to the model, each a new one.
        num_samples: How many draws; needed without `posterior_samples`.
        return_sites: Names of the sites to return. Default: those that have no draws yet, `deterministic` ones
            included.
        parallel: Whether to run draws at once; False runs them one by one.
        seed: A whole number; None takes one from torch's global generator.

    Raises:
        TypeError: An argument is not of its kind.
        ValueError: Draws differ in their number, or the number is missing; at the call, a site to return that the
            program does not have, or draws for a site that it does not have.

    Example:
        >>> import posterity as pt
        >>> def model(x, y=None):
        ...     slope = pt.sample("slope", pt.distributions.Normal(0.0, 1.0))
        ...     with pt.plate("data", len(x)):
        ...         return pt.sample("y", pt.distributions.Normal(slope * x, 0.1), obs=y)
        >>> draws = {"slope": torch.full((100,), 2.0)}
        >>> predictions = Predictive(model, draws, seed=0)(torch.tensor([1.0, 5.0]))
        >>> predictions["y"].shape, predictions["y"].mean(0).round()
        (torch.Size([100, 2]), tensor([ 2., 10.]))
    """

    def __init__(
        self,
        model: Program,
        posterior_samples: Draws | None = None,
        *,
        guide: Program | None = None,
        num_samples: int | None = None,
        return_sites: Iterable[str] | None = None,
        parallel: bool = True,
        seed: int | None = None,
    ) -> None:
        if isinstance(return_sites, str):
            raise TypeError(f"Predictive: return_sites must be a list of names; write [{return_sites!r}]")
        if posterior_samples is not None and guide is not None:
            raise ValueError("Predictive: give posterior_samples or a guide, not both")
        self.model, self.guide, self.parallel = model, guide, parallel
        self.posterior_samples = dict(posterior_samples or {})
        self.num_samples = _number_of("Predictive", self.posterior_samples, num_samples)
        self.return_sites = None if return_sites is None else list(return_sites)
        self.seed = int(torch.randint(2**62, ())) if seed is None else seed

    @torch.no_grad()
    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Run the program on these arguments; values by site name, each `[num_samples, ...]`."""

        def run(draws: Draws, source: Any) -> Trace:
            given: Program = substitute(self.model, draws)
            with seed(rng_seed=source):
                if self.guide is not None:
                    guided = trace(self.guide).get_trace(*args, **kwargs)
                    given = replay(given, guided)
                found = trace(given).get_trace(*args, **kwargs)
            return found

        return _over_draws(self, run, lambda found: {site.name: site.value for site in self._returned(found)})

    def _returned(self, found: Trace) -> list[Site]:
        _check_draws("Predictive", self.posterior_samples, found)
        if self.return_sites is not None:
            for name in self.return_sites:
                if name not in found or found[name].kind not in ("sample", "deterministic", "param"):
                    raise ValueError(
                        f"Predictive: the program has no site {name!r} to return; its sites:\n{found.format_shapes()}"
                    )
            return [found[name] for name in self.return_sites]
        return [
            site
            for site in found.values()
            if site.name not in self.posterior_samples
            and (site.kind == "deterministic" or (site.kind == "sample" and not site.is_observed))
            and not is_auxiliary(site)
            and not is_factor(site)
            and isinstance(site.value, Tensor)
        ]


@torch.no_grad()
def log_likelihood(
    model: Program, posterior_samples: Draws, *args: Any, parallel: bool = True, **kwargs: Any
) -> dict[str, Tensor]:
    """Log density of each observed site for each draw of the latent variables.

    Args:
        model: The program.
        posterior_samples: Draws by site name, each `[num_samples, ...]`.
        *args: The model's arguments, with the data.
        parallel: Whether to run draws at once.
        **kwargs: Its keyword arguments.

    Returns:
        By observed site, `[num_samples, *batch_shape]`, in nats.

    Raises:
        ValueError: Draws differ in number, or are for a site that the program does not have.

    Example:
        >>> import posterity as pt
        >>> def model(y):
        ...     loc = pt.sample("loc", pt.distributions.Normal(0.0, 1.0))
        ...     with pt.plate("data", len(y)):
        ...         pt.sample("y", pt.distributions.Normal(loc, 1.0), obs=y)
        >>> log_likelihood(model, {"loc": torch.zeros(10)}, torch.zeros(3))["y"].shape
        torch.Size([10, 3])
    """
    draws = Predictive(model, posterior_samples, parallel=parallel, seed=0)

    def run(given: Draws, source: Any) -> Trace:
        with seed(rng_seed=source):
            return trace(substitute(model, given)).get_trace(*args, **kwargs)

    def densities(found: Trace) -> dict[str, Tensor]:
        _check_draws("log_likelihood", posterior_samples, found)
        observed = [site for site in found.samples() if site.is_observed and not is_factor(site)]
        return {site.name: site.log_prob() for site in observed}

    return _over_draws(draws, run, densities)


def _over_draws(
    predictive: Predictive, run: Callable[[Draws, Any], Trace], results: Callable[[Trace], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """The results for each draw, stacked: vectorised in chunks, or one by one."""
    draws, count = predictive.posterior_samples, predictive.num_samples
    cpu = torch.device("cpu")
    recorder = NoiseRecorder({cpu: torch.Generator(cpu).manual_seed(predictive.seed)})
    # The first one with every check; it also shows what noise is needed, and how large the results are.
    first = results(run({name: values[0] for name, values in draws.items()}, recorder))
    if not first:
        return {}
    size = sum(value.numel() for value in first.values())
    chunk = max(1, min(count, _NUMBERS_AT_ONCE // max(size, 1)))
    layout = recorder.layout()
    parts: list[dict[str, Tensor]] = []
    with without_validation():
        for start in range(0, count, chunk):
            rows = slice(start, min(start + chunk, count))
            part = {name: values[rows] for name, values in draws.items()}
            pools = layout.draw(recorder.generators, (rows.stop - rows.start,))
            parts.append(_chunk(part, pools, run, results, predictive.parallel, rows.stop - rows.start))
    return {name: torch.cat([part[name] for part in parts]) for name in first}


def _chunk(
    draws: Draws,
    pools: Mapping[str, Tensor],
    run: Callable[[Draws, Any], Trace],
    results: Callable[[Trace], dict[str, Tensor]],
    parallel: bool,
    count: int,
) -> dict[str, Tensor]:
    def one(draw: Draws, noise: Mapping[str, Tensor], _: Any) -> dict[str, Tensor]:
        return results(run(draw, NoiseTape(noise)))

    if parallel and count > 1:
        try:
            whole: dict[str, Tensor] = torch.vmap(one)(dict(draws), dict(pools), torch.arange(count))
            return whole
        except (RuntimeError, LookupError):
            pass  # the program's course depends on values: each draw takes its own
    singles = [one({n: v[i] for n, v in draws.items()}, {n: p[i] for n, p in pools.items()}, i) for i in range(count)]
    return {name: torch.stack([single[name] for single in singles]) for name in singles[0]}


def _number_of(what: str, draws: Draws, num_samples: int | None) -> int:
    for name, values in draws.items():
        if not isinstance(values, Tensor) or values.dim() == 0:
            raise TypeError(f"{what}: the draws of site {name!r} must be a tensor [num_samples, ...]")
    sizes = {name: len(values) for name, values in draws.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"{what}: the sites have different numbers of draws: {sizes}")
    if not sizes:
        if num_samples is None:
            raise ValueError(f"{what}: give num_samples, where there are no posterior_samples")
        if isinstance(num_samples, bool) or not isinstance(num_samples, int) or num_samples < 1:
            raise ValueError(f"{what}: num_samples must be a whole number of at least 1, not {num_samples!r}")
        return num_samples
    number = next(iter(sizes.values()))
    if number == 0:
        raise ValueError(f"{what}: there are no draws")
    if num_samples is not None and num_samples != number:
        raise ValueError(f"{what}: num_samples is {num_samples}, but there are {number} draws")
    return number


def _check_draws(what: str, draws: Draws, found: Trace) -> None:
    unknown = [name for name in draws if name not in found]
    if unknown:
        raise ValueError(
            f"{what}: there are draws of {', '.join(map(repr, unknown))}, which the program does not have; its sites:\n"
            f"{found.format_shapes()}"
        )
    for name in draws:
        site = found[name]
        if site.distribution is None:
            continue
        own, drawn = site.batch_shape + site.distribution.event_shape, site.value.shape
        if not broadcastable(drawn, own) or torch.broadcast_shapes(drawn, own) not in (drawn, own):
            raise ValueError(
                f"{what}: a draw of site {name!r} has shape {tuple(drawn)}, which does not fit, or would spread over, "
                f"the site's own {tuple(own)}"
            )
