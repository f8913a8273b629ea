"""What is wrong with a run of Markov chains, in words, and what to do about it."""

from collections.abc import Mapping

import torch
from torch import Tensor

from posterity.infer.diagnostics.bayesian_fraction import bayesian_fraction
from posterity.infer.diagnostics.summary import Summary, summarize

_NAMED = 3  # parameters that a sentence names
_MAX_RHAT = 1.01
_MIN_SIZE_PER_CHAIN = 100  # what the diagnostics themselves need
_MIN_FRACTION = 0.3

_MIX = "start the chains from other points, warm up for longer (num_warmup), or reparametrise the model"
_NON_CENTRED = "reparametrise (handlers.reparam, with LocScaleReparam for a hierarchy's location and scale)"


@torch.no_grad()
def advice(
    draws: Mapping[str, Tensor] | Summary,
    *,
    divergences: Tensor | None = None,
    tree_depths: Tensor | None = None,
    max_tree_depth: int | None = None,
    energies: Tensor | None = None,
) -> list[str]:
    """Say what is wrong with a run, the parameters that it is worst for, and what to do; nothing where all is well.

    What it looks for: draws that are NaN or infinite, an R-hat above 1.01, fewer than 100 effective draws per chain
    in the bulk or the tails, divergent transitions, trees that were cut off, and an E-BFMI below 0.3.

    Args:
        draws: By parameter, `[num_chains, num_draws, *event]`, or what `summarize` made of them.
        divergences: Whether each transition diverged, `[num_chains, num_draws]`.
        tree_depths: The depth of each trajectory's tree, `[num_chains, num_draws]`.
        max_tree_depth: The depth at which the sampler stops.
        energies: The Hamiltonian at each draw, `[num_chains, num_draws]`.

    Returns:
        One sentence or two for each finding.

    Raises:
        TypeError: Draws or energies are no real tensors.
        ValueError: Draws or energies have another shape, or there are tree depths without `max_tree_depth`.

    Source: for the thresholds, Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021), "Rank-normalization, folding,
    and localization: an improved R-hat for assessing convergence of MCMC", and Betancourt (2017), "A conceptual
    introduction to Hamiltonian Monte Carlo".

    Example:
        >>> draws = {"mu": torch.randn(4, 1000, generator=torch.Generator().manual_seed(0))}
        >>> advice(draws)
        []
        >>> advice({"mu": draws["mu"] + torch.arange(4.0).unsqueeze(-1)})[0]
        'R-hat is above 1.01 for mu (1.53): the chains disagree, and their draws must not be pooled. ...'
    """
    if tree_depths is not None and max_tree_depth is None:
        raise ValueError("advice: tree_depths need max_tree_depth=, the depth at which the sampler stops")
    summary = draws if isinstance(draws, Summary) else summarize(draws)
    found = [_not_finite(summary), _disagreement(summary), *_few(summary)]
    if divergences is not None:
        found.append(_divergent(divergences))
    if tree_depths is not None and max_tree_depth is not None:
        found.append(_cut_off(tree_depths, max_tree_depth))
    if energies is not None:
        found.append(_slow_energies(energies))
    return [sentence for sentence in found if sentence]


def _not_finite(summary: Summary) -> str:
    bad = summary.column("mean").isnan()
    named = _worst(summary, bad, bad * 1.0, None)
    return named and (
        f"Draws are NaN or infinite for {named}: the model's log density or a transformation breaks down there. "
        "Bound the parameter by its prior or its constraint, or compute in float64."
    )


def _disagreement(summary: Summary) -> str:
    rhat = summary.column("r_hat")
    named = _worst(summary, rhat > _MAX_RHAT, rhat, ".3g")
    return named and (
        f"R-hat is above {_MAX_RHAT} for {named}: the chains disagree, and their draws must not be pooled. "
        f"Draw more (num_samples); if that does not help, {_MIX}."
    )


def _few(summary: Summary) -> list[str]:
    least = _MIN_SIZE_PER_CHAIN * summary.num_chains
    sentences = []
    for statistic, where, what in (("ess_bulk", "bulk", "means"), ("ess_tail", "tails", "quantiles")):
        size = summary.column(statistic)
        named = _worst(summary, size < least, -size, ".0f")
        if named:
            sentences.append(
                f"The effective sample size in the {where} is below {least} ({_MIN_SIZE_PER_CHAIN} per chain) for "
                f"{named}: {what} are imprecise, and so are these diagnostics. Draw more (num_samples), or "
                "reparametrise the model so that neighbouring draws are less alike."
            )
    return sentences


def _divergent(divergences: Tensor) -> str:
    count, number = int(divergences.sum()), divergences.numel()
    return _share(count, number, "transition", "diverged") and (
        f"{_share(count, number, 'transition', 'diverged')}: the integrator does not follow the posterior's "
        "curvature, and estimates may be biased. Raise target_accept (0.9, 0.95, 0.99), or "
        f"{_NON_CENTRED}."
    )


def _cut_off(tree_depths: Tensor, max_tree_depth: int) -> str:
    count, number = int((tree_depths >= max_tree_depth).sum()), tree_depths.numel()
    share = _share(count, number, "trajectory", "reached")
    return share and (
        f"{share} the largest tree depth of {max_tree_depth}, and stopped before turning back: the draws are valid, "
        "and costly for what they tell. Warm up for longer, use a dense or low-rank metric, or raise max_tree_depth."
    )


def _slow_energies(energies: Tensor) -> str:
    fraction = bayesian_fraction(energies)
    low = fraction < _MIN_FRACTION
    if not bool(low.any()):
        return ""
    chains = low.nonzero().flatten().tolist()
    which = f"chain {chains[0]}" if len(chains) == 1 else f"{len(chains)} of {len(low)} chains"
    return (
        f"E-BFMI is below {_MIN_FRACTION} for {which} (lowest: {float(fraction[low].min()):.2g}): the sampler changes "
        f"its energy slowly, and heavy tails may be missing. Warm up for longer, or {_NON_CENTRED}."
    )


def _worst(summary: Summary, chosen: Tensor, badness: Tensor, style: str | None) -> str:
    """The chosen scalars, the worst first: all names if they are few, else their number; empty where there is none."""
    count = int(chosen.sum())
    if count == 0:
        return ""
    rows = badness.masked_fill(~chosen, -torch.inf).topk(min(count, _NAMED)).indices.tolist()
    # Minus the size was ranked where small is bad; its value is shown.
    names = [summary.label(row) + (f" ({abs(float(badness[row])):{style}})" if style else "") for row in rows]
    if count <= _NAMED:
        return ", ".join(names)
    return f"{count} of {len(chosen)} scalars (worst: {', '.join(names)})"


def _share(count: int, number: int, noun: str, verb: str) -> str:
    """Such as "3 of 4000 transitions (0.075%) diverged"; empty for none."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count} of {number} {plural} ({100 * count / number:.3g}%) {verb}" if count else ""
