"""Draws as ArviZ's `InferenceData`, and its estimates of predictive accuracy. ArviZ is imported at the first use."""

import warnings
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, Literal

import numpy as np
from torch import Tensor

from posterity.handlers import Trace, seed, substitute, trace
from posterity.infer.predictive import log_likelihood as log_likelihood_of
from posterity.infer.simulation import Program, is_factor
from posterity.ppl import Site

Draws = Mapping[str, Tensor]
Scale = Literal["log", "negative_log", "deviance"]


def to_arviz(
    posterior: Draws | None = None,
    *,
    model: Program | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    prior: Draws | None = None,
    posterior_predictive: Draws | None = None,
    log_likelihood: Draws | bool = True,
    sample_stats: Draws | None = None,
    num_chains: int = 1,
) -> Any:
    """Draws, with what belongs to them, as an `arviz.InferenceData`.

    With a model, the data become its group `observed_data`, dimensions are called as the plates are, and the log
    likelihood of each observation is computed from the posterior's draws, for `loo` and `waic`.

    Args:
        posterior: Draws by site name, `[num_chains * num_samples, ...]`, chain after chain.
        model: The program that they are of.
        args: Its positional arguments, with the data.
        kwargs: Its keyword arguments.
        prior: Draws from the prior, `[num_draws, ...]`; those of observed sites make the group `prior_predictive`.
        posterior_predictive: Predictions by site name, `[num_chains * num_samples, ...]`.
        log_likelihood: By observed site `[num_chains * num_samples, ...]`; True computes it where there are a model
            and a posterior; False leaves it out.
        sample_stats: What the sampler says of each draw, by ArviZ's names, such as `diverging`.
        num_chains: How many chains the draws come from.

    Returns:
        The `arviz.InferenceData`.

    Raises:
        ImportError: ArviZ is not installed.
        ValueError: There is nothing to convert, or the draws are no whole number for each chain.

    Example:
        >>> import torch, posterity as pt
        >>> def model(x):
        ...     loc = pt.sample("loc", pt.distributions.Normal(0.0, 1.0))
        ...     with pt.plate("data", len(x)):
        ...         pt.sample("x", pt.distributions.Normal(loc, 1.0), obs=x)
        >>> data = to_arviz({"loc": torch.randn(400)}, model=model, args=(torch.zeros(3),), num_chains=4)
        >>> sorted(data.groups()), data.log_likelihood["x"].dims
        (['log_likelihood', 'observed_data', 'posterior'], ('chain', 'draw', 'data'))
    """
    az = _arviz("to_arviz")
    if posterior is None and prior is None:
        raise ValueError("to_arviz: give draws, posterior= or prior=")
    if isinstance(num_chains, bool) or not isinstance(num_chains, int) or num_chains < 1:
        raise ValueError(f"to_arviz: num_chains must be a whole number of at least 1, not {num_chains!r}")
    found = Trace()
    if model is not None:
        first = {name: values[0] for name, values in (posterior if posterior is not None else prior or {}).items()}
        with seed(rng_seed=0):
            found = trace(substitute(model, first)).get_trace(*args, **(kwargs or {}))
    observed = {site.name: site for site in found.samples() if site.is_observed and not is_factor(site)}
    if log_likelihood is True:
        computed = model is not None and posterior is not None and observed
        log_likelihood = log_likelihood_of(model, posterior, *args, **(kwargs or {})) if computed else {}  # type: ignore[arg-type]  # computed says that both are there
    groups: dict[str, Any] = {
        "posterior": _by_chain("posterior", posterior, num_chains),
        "posterior_predictive": _by_chain("posterior_predictive", posterior_predictive, num_chains),
        "log_likelihood": _by_chain("log_likelihood", log_likelihood or None, num_chains),
        "sample_stats": _by_chain("sample_stats", sample_stats, num_chains),
    }
    if prior is not None:
        own = {name: values for name, values in prior.items() if name not in observed}
        predicted = {name: values for name, values in prior.items() if name in observed}
        groups["prior"] = _by_chain("prior", own or None, 1)
        groups["prior_predictive"] = _by_chain("prior_predictive", predicted or None, 1)
    groups["observed_data"] = {name: _array(site.value) for name, site in observed.items()} or None
    dims = {site.name: _dims(site) for site in found.values() if isinstance(site.value, Tensor)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return az.from_dict(**{name: group for name, group in groups.items() if group is not None}, dims=dims)


def loo(data: Any, *, site: str | None = None, pointwise: bool = False, scale: Scale = "log") -> Any:
    """The expected log predictive density of new data by Pareto-smoothed importance-sampling leave-one-out.

    Args:
        data: What `to_arviz` gave, with the log likelihood.
        site: The observed site, where there are several.
        pointwise: Whether to return each observation's part and its Pareto shape too.
        scale: `"log"`, `"negative_log"` or `"deviance"` (minus two times the logarithm).

    Returns:
        ArviZ's `ELPDData`, with the fields `elpd_loo`, `se` and `p_loo`.

    Raises:
        ImportError: ArviZ is not installed.
        TypeError: `data` has no log likelihood, or that of several sites and none is named.

    Source: Vehtari, Gelman and Gabry (2017), "Practical Bayesian model evaluation using leave-one-out
    cross-validation and WAIC".
    """
    return _arviz("loo").loo(data, pointwise=pointwise, var_name=site, scale=scale)


def waic(data: Any, *, site: str | None = None, pointwise: bool = False, scale: Scale = "log") -> Any:
    """The expected log predictive density of new data by the widely applicable information criterion.

    Args:
        data: What `to_arviz` gave, with the log likelihood.
        site: The observed site, where there are several.
        pointwise: Whether to return each observation's part too.
        scale: `"log"`, `"negative_log"` or `"deviance"` (minus two times the logarithm).

    Returns:
        ArviZ's `ELPDData`, with the fields `elpd_waic`, `se` and `p_waic`.

    Raises:
        ImportError: ArviZ is not installed.
        TypeError: `data` has no log likelihood, or that of several sites and none is named.

    Source: Watanabe (2010), "Asymptotic equivalence of Bayes cross validation and widely applicable information
    criterion"; Vehtari, Gelman and Gabry (2017).
    """
    found = _arviz("waic").waic(data, pointwise=pointwise, var_name=site, scale=scale)
    # Without pointwise, ArviZ 0.23 calls the field `waic`, and then cannot print it.
    found.index = ["elpd_waic" if name == "waic" else name for name in found.index]
    return found


def _arviz(what: str) -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # about its next version, at every import
            import arviz
    except ImportError as error:
        raise ImportError(f"{what} needs ArviZ: pip install 'posterity[arviz]'") from error
    module: ModuleType = arviz
    return module


def _by_chain(group: str, draws: Draws | None, num_chains: int) -> dict[str, np.ndarray[Any, Any]] | None:
    """Draws as arrays `[num_chains, num_samples, ...]`."""
    if draws is None:
        return None
    arrays = {}
    for name, values in draws.items():
        if values.dim() == 0 or len(values) % num_chains:
            raise ValueError(
                f"to_arviz: {name!r} of {group} has shape {tuple(values.shape)}, which are no draws of {num_chains} "
                "chains of one length"
            )
        array = _array(values)
        arrays[name] = array.reshape(num_chains, -1, *array.shape[1:])
    return arrays


def _array(values: Tensor) -> np.ndarray[Any, Any]:
    return values.detach().cpu().resolve_conj().resolve_neg().numpy()


def _dims(site: Site) -> list[str]:
    """The names of a value's dimensions: those of plates, and ArviZ's own for the others."""
    value: Tensor = site.value
    events = len(site.distribution.event_shape) if site.distribution is not None else (site.event_dim or 0)
    names = {frame.dim - events: frame.name for frame in site.plates if frame.dim is not None}
    return [names.get(i - value.dim(), f"{site.name}_dim_{i}") for i in range(value.dim())]
