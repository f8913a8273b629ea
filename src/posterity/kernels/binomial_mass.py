"""The binomial and the negative binomial probability, by `probs` or by `logits`, with the digits of either.

Moderate counts take factorials in float64; others, and what is traced, products of Poisson probabilities.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from posterity.kernels.elementwise import elementwise, in_blocks
from posterity.kernels.log_factorial import log_factorial
from posterity.kernels.poisson_mass import FEW, greatest_of_few, log_poisson_mass
from posterity.kernels.reading import lies_within, readable, records_gradient
from posterity.kernels.stirling import log_minus_digamma

Mass = Callable[[Tensor, Tensor, Tensor], Tensor]


def log_binomial_mass(successes: Tensor, total_count: Tensor, given: Tensor, *, logits: bool) -> Tensor:
    r"""The log probability of k successes among n trials, $\log \binom{n}{k} p^k (1-p)^{n-k}$.

    Args:
        successes: k, from 0 to n.
        total_count: n.
        given: The probability p of a success, or its log odds.
        logits: Whether `given` is the log odds.

    Returns:
        The log probability, of the broadcast shape, with the accuracy of `log_poisson_mass`; differentiable in all
        three.

    Source: Loader, Fast and Accurate Computation of Binomial Probabilities, 2000.

    Example:
        >>> log_binomial_mass(torch.tensor(1.0), torch.tensor(2.0), torch.tensor(0.5), logits=False).exp()
        tensor(0.5000)
    """
    return (_binomial_by_logits if logits else _binomial_by_probs)(successes, total_count, given)


def log_negative_binomial_mass(successes: Tensor, failures: Tensor, given: Tensor, *, logits: bool) -> Tensor:
    r"""The log probability of k successes before r failures, $\log \frac{\Gamma(r+k)}{k!\,\Gamma(r)} (1-p)^r p^k$.

    Args:
        successes: k, at least 0.
        failures: r, at least 0, whole or not.
        given: The probability p of a success, or its log odds.
        logits: Whether `given` is the log odds.

    Returns:
        The log probability, of the broadcast shape, with the accuracy of `log_poisson_mass`; differentiable in all
        three.

    Source: Loader, Fast and Accurate Computation of Binomial Probabilities, 2000.

    Example:
        >>> log_negative_binomial_mass(torch.tensor(1.0), torch.tensor(2.0), torch.tensor(0.5), logits=False).exp()
        tensor(0.2500)
    """
    return (_negative_by_logits if logits else _negative_by_probs)(successes, failures, given)


class Terms(NamedTuple):
    """What does not depend on the count, in float64."""

    orders: Tensor
    yes: Tensor
    no: Tensor
    most: float


def binomial_terms(total_count: Tensor, given: Tensor, *, logits: bool, limit: float | None = None) -> Terms | None:
    """What `quick_binomial_mass` needs of the parameters; None where values are not to be read, or are too large.

    Args:
        total_count: n.
        given: The probability of a success, or its log odds.
        logits: Whether `given` is the log odds.
        limit: The greatest total, if not what keeps the last digits: the error is 2^-53 n log n.
    """
    if records_gradient(total_count, given) or not readable(total_count, given) or not _is_uncertain(given, logits):
        return None
    most = greatest_of_few(total_count, limit)
    if most is None:
        return None
    return Terms(log_factorial(total_count, most), *_logarithms(given.double(), logits), most)


def quick_binomial_mass(successes: Tensor, total_count: Tensor, terms: Terms | None) -> Tensor | None:
    """`log_binomial_mass` at moderate counts, by factorials in float64; None where that may not do.

    Values are read, no derivative is recorded. A result shows that all successes are whole numbers from 0 to the total.

    Args:
        successes: k.
        total_count: n.
        terms: `binomial_terms` of the parameters, which may be kept for many counts.
    """
    if terms is None or records_gradient(successes) or not readable(successes, total_count):
        return None
    if greatest_of_few(successes, terms.most) is None or (total_count - successes).amin().item() < 0:
        return None

    def formula(k: Tensor, n: Tensor, orders: Tensor, yes: Tensor, no: Tensor) -> Tensor:
        rest = n - k
        mass = orders - log_factorial(k, terms.most)
        mass.sub_(log_factorial(rest, terms.most))
        return mass.add_(k.double() * yes).add_(rest.double() * no).to(k.dtype)

    return in_blocks(formula, *torch.broadcast_tensors(successes, total_count, *terms[:3]))


def negative_binomial_terms(failures: Tensor, given: Tensor, *, logits: bool) -> Terms | None:
    """What `quick_negative_binomial_mass` needs of the parameters; None where it may not do."""
    if records_gradient(failures, given) or not readable(failures, given) or not _is_uncertain(given, logits):
        return None
    if not lies_within(failures, 0.0, FEW[failures.dtype]):
        return None
    most = greatest_of_few(failures)
    fewer = failures.double() - 1
    orders = torch.lgamma(fewer + 1) if most is None else log_factorial(fewer, most)
    return Terms(orders, *_logarithms(given.double(), logits), math.nan if most is None else most)


def quick_negative_binomial_mass(successes: Tensor, failures: Tensor, terms: Terms | None) -> Tensor | None:
    """`log_negative_binomial_mass` at moderate counts, by factorials in float64; None where that may not do.

    Values are read, no derivative is recorded. A result shows that all successes are whole and not negative.

    Args:
        successes: k.
        failures: r.
        terms: `negative_binomial_terms` of the parameters, which may be kept for many counts.
    """
    if terms is None or records_gradient(successes) or not readable(successes, failures):
        return None
    greatest = greatest_of_few(successes)
    if greatest is None:
        return None
    most = greatest + terms.most

    def formula(k: Tensor, r: Tensor, orders: Tensor, yes: Tensor, no: Tensor) -> Tensor:
        # Of r failures among all trials in any order, the last being a failure.
        trials = k.double() + r
        arranged = torch.lgamma(trials) if math.isnan(most) else log_factorial(trials.sub(1), most)
        mass = arranged.sub_(orders).sub_(log_factorial(k, greatest))
        return mass.add_(k.double() * yes).add_(r.double() * no).to(k.dtype)

    return in_blocks(formula, *torch.broadcast_tensors(successes, failures, *terms[:3]))


def _binomial(logits: bool) -> Mass:
    def log_mass(k: Tensor, n: Tensor, given: Tensor) -> Tensor:
        quick = quick_binomial_mass(k, n, binomial_terms(n, given, logits=logits))
        if quick is not None:
            return quick
        p, q = _both(given, logits)
        return log_poisson_mass(k, n * p) + log_poisson_mass(n - k, n * q) - log_poisson_mass(n, n)

    log_mass.__name__ = f"log_binomial_mass_by_{'logits' if logits else 'probs'}"
    return elementwise(
        lambda k, n, given, value: _log_odds(given, logits) - torch.digamma(k + 1) + torch.digamma(n - k + 1),
        lambda k, n, given, value: _logarithms(given, logits)[1] + torch.digamma(n + 1) - torch.digamma(n - k + 1),
        lambda k, n, given, value: _by_given(k, n - k, given, logits),
    )(log_mass)


def _negative(logits: bool) -> Mass:
    def log_mass(k: Tensor, r: Tensor, given: Tensor) -> Tensor:
        quick = quick_negative_binomial_mass(k, r, negative_binomial_terms(r, given, logits=logits))
        if quick is not None:
            return quick
        p, q = _both(given, logits)
        # Of r failures among all trials in any order, the last being a failure: r of r + k orders.
        trials = r + k
        ends = torch.where(k == 0, 1, r / torch.where(k == 0, 1, trials)).log()
        mass = log_poisson_mass(k, trials * p) + log_poisson_mass(r, trials * q)
        return ends + mass - log_poisson_mass(trials, trials)

    log_mass.__name__ = f"log_negative_binomial_mass_by_{'logits' if logits else 'probs'}"
    return elementwise(
        lambda k, r, given, value: _logarithms(given, logits)[0] + torch.digamma(r + k) - torch.digamma(k + 1),
        lambda k, r, given, value: _logarithms(given, logits)[1] + _rise(k, r),
        lambda k, r, given, value: _by_given(k, r, given, logits),
    )(log_mass)


def _is_uncertain(given: Tensor, logits: bool) -> bool:
    """Whether both logarithms are finite."""
    info = torch.finfo(given.dtype)
    return lies_within(given, -info.max, info.max) if logits else lies_within(given, 0.0, 1 - info.eps / 2)


def _both(given: Tensor, logits: bool) -> tuple[Tensor, Tensor]:
    return (given.sigmoid(), (-given).sigmoid()) if logits else (given, 1 - given)


def _logarithms(given: Tensor, logits: bool) -> tuple[Tensor, Tensor]:
    return (logsigmoid(given), logsigmoid(-given)) if logits else (given.log(), torch.log1p(-given))


def _log_odds(given: Tensor, logits: bool) -> Tensor:
    return given if logits else given.log() - torch.log1p(-given)


def _by_given(successes: Tensor, failures: Tensor, given: Tensor, logits: bool) -> Tensor:
    if logits:
        return successes * (-given).sigmoid() - failures * given.sigmoid()
    # What did not happen has no part, also where it could not.
    yes = torch.where(successes == 0, 0, successes / torch.where(successes == 0, 1, given))
    no = torch.where(failures == 0, 0, failures / torch.where(failures == 0, 1, 1 - given))
    return yes - no


def _rise(k: Tensor, r: Tensor) -> Tensor:
    """psi(r + k) - psi(r), of which large terms have been taken out; 0 where k is 0, also at r = 0."""
    base = torch.where(k == 0, 1, r)
    return torch.log1p(k / base) - log_minus_digamma(base + k) + log_minus_digamma(base)


_binomial_by_probs, _binomial_by_logits = _binomial(False), _binomial(True)
_negative_by_probs, _negative_by_logits = _negative(False), _negative(True)
