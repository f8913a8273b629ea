"""How far draws of Markov chains are from what is known of a posterior."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from scipy import stats
from torch import Tensor

from posterity.infer.diagnostics import standard_error, summarize
from tests.posteriordb.records import Moments, double


class Comparison(NamedTuple):
    """Draws against the reference, parameter by parameter, `[num_parameters]` each.

    Attributes:
        z: The difference of the means over its standard error, of both Monte Carlo errors.
        sd_z: That of the mean squared deviations from the reference's mean, likewise; for the reference's error its
            squares are taken to mix as its values do.
        offset: The size of that difference in posterior standard deviations.
        sd_ratio: The draws' standard deviation over the reference's.
        quantile_offset: How far the quantiles of 5% and of 95% are off, the greater, in standard deviations.
        ess: The bulk effective sample size.
        r_hat: Rank-normalised split R-hat.
    """

    z: Tensor
    sd_z: Tensor
    offset: Tensor
    sd_ratio: Tensor
    quantile_offset: Tensor
    ess: Tensor
    r_hat: Tensor


def compare(draws: Mapping[str, Tensor], reference: Mapping[str, Moments]) -> Comparison:
    """Compare draws `[num_chains, num_draws]` of each of the reference's parameters with it."""
    found = summarize(draws, prob=0.9)
    mean, sd, low, high, error, ess, r_hat = (
        found.column(name) for name in ("mean", "sd", "5%", "95%", "mcse_mean", "ess_bulk", "r_hat")
    )
    known = Moments(*(double([getattr(reference[name], field) for name in draws]) for field in Moments._fields))
    quantiles = torch.maximum((low - known.q05).abs(), (high - known.q95).abs())
    squares = (torch.stack(list(draws.values()), -1) - known.mean).square()
    own_error, known_size = standard_error(squares), (known.sd / known.mcse_mean).square()
    known_error = squares.flatten(0, 1).std(0) / known_size.sqrt()
    return Comparison(
        z=(mean - known.mean).abs() / torch.hypot(error, known.mcse_mean),
        sd_z=(squares.mean((0, 1)) - known.sd.square()).abs() / torch.hypot(own_error, known_error),
        offset=(mean - known.mean).abs() / known.sd,
        sd_ratio=sd / known.sd,
        quantile_offset=quantiles / known.sd,
        ess=ess,
        r_hat=r_hat,
    )


def largest_z(num_parameters: int, level: float) -> float:
    """What the greatest of so many `z` passes with a probability below `level`, if all means are right (Bonferroni)."""
    return float(stats.norm.isf(level / (2 * num_parameters)))
