"""`bayesianize`: an ordinary network in, a variational Bayesian network out."""

import copy
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from posterity.nn.conversion import as_random_module, randomize, tie
from posterity.nn.estimators import check_estimator
from posterity.nn.layers import check_moments
from posterity.nn.posteriors import MeanFieldNormal, Posterior
from posterity.nn.priors import FanIn, Pretrained, Prior, PriorLike, as_prior
from posterity.nn.random_module import RandomModule, deterministic_class, estimating_class
from posterity.transform.selection import (
    Candidate,
    Selector,
    as_selectors,
    candidates,
    check_all_match,
    selects,
)

M = TypeVar("M", bound=nn.Module)

Layers = Mapping[type[nn.Module], type[RandomModule] | Callable[[nn.Module], nn.Module]]


def bayesianize(
    model: M,
    include: Selector | Iterable[Selector] | None = None,
    exclude: Selector | Iterable[Selector] | None = None,
    *,
    layers: Layers | None = None,
    prior: PriorLike | Mapping[str, PriorLike] | None = None,
    posterior: Posterior | None = None,
    estimator: str | Mapping[type[nn.Module], str] = "reparam",
    inplace: bool = False,
    dry_run: bool = False,
) -> M:
    """Make a network Bayesian: every trainable parameter becomes a distribution centred at its present value.

    The result is a module of the same classes with the same code, hooks and buffers. Calling it draws all weights
    once; train it with `elbo_loss`, ask it with `predict`. Frozen parameters (`requires_grad=False`) stay as they are.

    Args:
        model: any `nn.Module`, trained or not.
        include: which parameters to convert: a name pattern (`"head.*"`, or a module's name for all below it), a
            layer type, a function of `(name, module)`, or several of these. Default: all.
        exclude: which of them to leave, in the same terms.
        layers: for a module type (that type exactly), the Bayesian subclass of it to use, or a function that is given
            the module and returns its replacement, for all that is below it.
        prior: a distribution over single numbers, a `posterity.nn.Prior`, or `"pretrained"` (a narrow normal around
            the present values); or a mapping from name patterns to these, first match first, which leaves what it
            does not match at the default. Default: `FanIn()`, a wide zero-centred normal.
        posterior: the family. Default: `MeanFieldNormal()`.
        estimator: `"reparam"`, `"flipout"`, `"local"`, or a mapping from layer types to these, in which what is not
            named gets `"reparam"`. A network-wide estimator must exist for every layer that has parameters.
        inplace: whether to change `model` itself rather than a copy.
        dry_run: print the table of what becomes what, and return `model` unchanged.

    Returns:
        The Bayesian network: a copy, unless `inplace`, so make its optimizer from its own parameters. A network that
        `bayesianize` made, with nothing left to convert, is returned as it is.

    Raises:
        TypeError: if `model` is not a module, or an argument is not of its kind.
        ValueError: if there is nothing to convert, a pattern matches nothing, an estimator does not exist for a layer,
            tied parameters are chosen apart or have two estimators, or the new names are taken.

    Warns:
        UserWarning: if the prior is `"pretrained"` and the weights still look as torch initialised them.

    Example:
        >>> import torch, posterity as pt
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
        >>> bnn = pt.bayesianize(net, exclude="0")
        >>> [name for name, _ in bnn.named_parameters()]
        ['0.weight', '0.bias', '2.weight_loc', '2.weight_rho', '2.bias_loc', '2.bias_rho']
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"bayesianize: model must be a torch.nn.Module, got {type(model).__name__}")
    if isinstance(model, torch.jit.ScriptModule):
        raise TypeError("bayesianize: a scripted module cannot be converted; convert it before torch.jit.script")
    if not (posterior is None or isinstance(posterior, Posterior)):
        raise TypeError(f"posterior must be a posterity.nn.Posterior such as MeanFieldNormal(), got {posterior!r}")
    plan = _plan(model, include, exclude, layers or {}, prior, posterior or MeanFieldNormal(), estimator)
    if dry_run:
        _print_table(plan)
        return model
    to_convert = [change for change in plan if change.fate == "random"]
    if not to_convert and isinstance(model, RandomModule):
        if prior is not None or posterior is not None or estimator != "reparam":
            warnings.warn(
                "bayesianize: the network is Bayesian already and stays as it is; its prior, posterior and estimator "
                "are those of its first conversion. Convert the ordinary network (pt.transform.deterministic) anew",
                stacklevel=2,
            )
        return model
    _warn_if_untrained(to_convert)
    if not inplace:
        model = copy.deepcopy(model)
    return _apply(model, to_convert, layers or {})


@dataclass(frozen=True)
class _Change:
    """What becomes of one parameter: `fate` is "random", "random already", "kept" or "frozen"."""

    candidate: Candidate
    fate: str
    prior: Prior
    posterior: Posterior
    estimator: str


def _plan(
    model: nn.Module,
    include: Selector | Iterable[Selector] | None,
    exclude: Selector | Iterable[Selector] | None,
    layers: Layers,
    prior: PriorLike | Mapping[str, PriorLike] | None,
    posterior: Posterior,
    estimator: str | Mapping[type[nn.Module], str],
) -> list[_Change]:
    """Decide what becomes of every parameter, and refuse what cannot be done, before anything is changed."""
    everything = candidates(model)
    if not everything:
        raise ValueError(f"bayesianize: {type(model).__name__} has no parameters")
    if not isinstance(estimator, str | Mapping):
        raise TypeError(f"estimator must be a name, or a mapping from layer types to names, got {estimator!r}")
    included, excluded = as_selectors("include", include), as_selectors("exclude", exclude)
    patterns = prior if isinstance(prior, Mapping) else {} if prior is None else {"*": prior}
    priors = {pattern: as_prior(own) for pattern, own in patterns.items()}
    check_all_match("include", included or (), everything)
    check_all_match("exclude", excluded or (), everything)
    check_all_match("prior", priors, everything)
    _check_layers(layers, everything)
    if isinstance(estimator, Mapping):
        _check_estimator_types(estimator, everything)

    changes = []
    for candidate in everything:
        chosen = (included is None or any(selects(s, candidate) for s in included)) and not any(
            selects(s, candidate) for s in excluded or ()
        )
        fate = "kept"
        if candidate.is_random:
            fate = "random already"
        elif chosen:
            fate = "random" if candidate.parameter.requires_grad else "frozen"
        own_prior = next((p for pattern, p in priors.items() if selects(pattern, candidate)), FanIn())
        own_estimator = _estimator_of(candidate.module, estimator)
        if fate == "random":
            _check_parameter(candidate, posterior)
            check_moments(posterior, candidate.parameter, candidate.name, own_estimator)
            own_prior.init(candidate.parameter.detach())  # refuses a shape that does not fit
            if type(candidate.module) not in layers and _place(candidate, layers) == candidate.path:
                check_estimator(candidate.module, own_estimator, _supported(candidate.module))
        changes.append(_Change(candidate, fate, own_prior, posterior, own_estimator))
    _check_ties(changes)
    if not any(change.fate.startswith("random") for change in changes):
        frozen = sum(change.fate == "frozen" for change in changes)
        why = f"{frozen} of them are frozen (requires_grad=False)" if frozen else "include and exclude leave none"
        raise ValueError(f"bayesianize: nothing to convert among {len(changes)} parameters; {why}")
    return changes


def _apply(model: M, changes: list[_Change], layers: Layers) -> M:
    """Carry the plan out on `model` itself."""
    first: dict[int, tuple[RandomModule, str]] = {}
    by_path: dict[str, list[_Change]] = {}
    for change in changes:
        by_path.setdefault(_place(change.candidate, layers), []).append(change)
    for path, own in by_path.items():
        module = model.get_submodule(path)
        mapped = layers.get(type(module))
        if mapped is not None and not isinstance(mapped, type):
            model = _replace(model, module, mapped(module))
            continue
        if mapped is not None:
            module.__class__ = mapped
            module.__dict__.setdefault("_random", {})
        layer = as_random_module(module, tuple(change.candidate.attribute for change in own))
        layer.__dict__["_estimator"] = own[0].estimator
        for change in own:
            attribute = change.candidate.attribute
            value = layer._parameters[attribute]
            if id(value) in first:
                tie(layer, attribute, *first[id(value)])
            else:
                randomize(layer, attribute, change.posterior, change.prior)
                first[id(value)] = (layer, attribute)
    as_random_module(model)
    return model


def _replace(model: M, old: nn.Module, new: nn.Module) -> M:
    """Put `new` where `old` stands, everywhere in the network."""
    if not isinstance(new, nn.Module):
        raise TypeError(f"layers: the function for {type(old).__name__} returned {type(new).__name__}, not a module")
    if model is old:
        return new  # type: ignore[return-value]
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is old:
                parent._modules[name] = new
    return model


def _place(candidate: Candidate, layers: Layers) -> str:
    """The module to change for a parameter: the outermost around it that a function replaces, or else its own."""
    functions = {kind for kind, mapped in layers.items() if not isinstance(mapped, type)}
    return next((path for path, module in candidate.modules.items() if type(module) in functions), candidate.path)


def _check_layers(layers: Layers, everything: list[Candidate]) -> None:
    found = {type(module) for candidate in everything for module in candidate.modules.values()}
    for kind, mapped in layers.items():
        if kind not in found:
            shown = ", ".join(sorted(cls.__name__ for cls in found))
            raise ValueError(f"layers: no module is exactly of type {kind!r}; there are {shown}")
        fits = issubclass(mapped, RandomModule) and issubclass(mapped, kind) if isinstance(mapped, type) else True
        if not (fits and callable(mapped)):
            raise TypeError(
                f"layers: {kind.__name__} needs a subclass of it that is a posterity.nn.RandomModule, or a function "
                f"from the module to its replacement, got {mapped!r}"
            )


def _check_estimator_types(estimator: Mapping[type[nn.Module], str], everything: list[Candidate]) -> None:
    for kind in estimator:
        if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
            raise TypeError(f"estimator: the keys must be layer types such as nn.Linear, got {kind!r}")
        if not any(isinstance(candidate.module, kind) for candidate in everything):
            raise ValueError(
                f"estimator: {kind!r} matches no parameter: no layer of this type has parameters of its own"
            )


def _estimator_of(module: nn.Module, estimator: str | Mapping[type[nn.Module], str]) -> str:
    if isinstance(estimator, str):
        return estimator
    return next((own for kind, own in estimator.items() if isinstance(module, kind)), "reparam")


def _supported(module: nn.Module) -> tuple[str, ...]:
    """The estimators that a layer will have once it is random."""
    ours = estimating_class(deterministic_class(type(module)))
    return RandomModule._estimators if ours is None else ours._estimators


def _check_parameter(candidate: Candidate, posterior: Posterior) -> None:
    if isinstance(candidate.parameter, UninitializedParameter):
        raise ValueError(f"bayesianize: {candidate.name} has no shape yet; run one batch through the network first")
    if not candidate.parameter.is_floating_point():
        raise TypeError(f"bayesianize: {candidate.name} is {candidate.parameter.dtype}; exclude it, or make it real")
    if getattr(candidate.module, "sparse", False) is True:
        raise ValueError(f"bayesianize: {candidate.name} has sparse gradients; use sparse=False, or exclude it")
    for key in posterior.keys:
        if hasattr(candidate.module, f"{candidate.attribute}_{key}"):
            raise ValueError(
                f"bayesianize: {candidate.name} would be stored as {candidate.attribute}_{key}, which its module has "
                "already; exclude it, or rename one of the two"
            )


def _check_ties(changes: list[_Change]) -> None:
    """Refuse to make one of two tied parameters random without the other, or to draw the two in different ways."""
    first: dict[int, _Change] = {}
    for change in changes:
        other = first.setdefault(id(change.candidate.parameter), change)
        if other.fate != change.fate:
            raise ValueError(
                f"bayesianize: {other.candidate.name} and {change.candidate.name} are the same parameter; "
                "include both or exclude both"
            )
        if change.fate == "random" and other.estimator != change.estimator:
            raise ValueError(
                f"bayesianize: {other.candidate.name} and {change.candidate.name} are the same parameter and need the "
                f"same estimator, got {other.estimator!r} and {change.estimator!r}"
            )


def _warn_if_untrained(changes: list[_Change]) -> None:
    """Warn where the prior holds weights at their values and all of them lie where torch's initialisation puts them."""
    weights = [
        change.candidate.parameter
        for change in changes
        if isinstance(change.prior, Pretrained)
        and isinstance(change.candidate.module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)
        and change.candidate.attribute == "weight"
    ]
    # torch draws the weights of these layers uniformly from +-1 / sqrt(fan_in); training soon takes some beyond.
    untouched = [not w.is_meta and bool(w.detach().abs().max() <= w[0].numel() ** -0.5) for w in weights if w.numel()]
    if untouched and all(untouched):
        warnings.warn(
            "bayesianize: prior='pretrained' holds a network near its present weights, and these look untrained; "
            "train the network first, or leave prior= at its default",
            stacklevel=3,
        )


def _print_table(changes: list[_Change]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("parameter", "shape", "layer", "becomes", "prior", "estimator")
    for change in changes:
        candidate = change.candidate
        becomes = repr(change.posterior) if change.fate == "random" else change.fate
        details = (repr(change.prior), change.estimator) if change.fate == "random" else ("", "")
        shape = "x".join(map(str, candidate.parameter.shape))
        table.add_row(candidate.name, shape, type(candidate.module).__name__, becomes, *details)
    Console().print(table)
