"""One scalar distribution in the catalogue, and how it is built from numbers."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import mpmath
import numpy as np
import torch

from posterity.distributions import Distribution

Setting = Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """What the tests of the catalogue need to know about one scalar distribution.

    Attributes:
        family: The class.
        settings: At least two parameter settings of the same names and shapes, numbers or lists; the first is an
            ordinary one, others are extreme but sane. Together they are the batched setting.
        reference: From the parameters of one setting to a frozen distribution of scipy.stats, a `FromDensity`
            or a `FromMasses`.
        bad: By parameter, a value that violates its constraint.
        outside: A number outside the support; None where there is none.
        fit: Keyword arguments that `fit` needs; None where it is refused (the reason stands in `refused`).
        refused: By statistic ("mean", "fit", ...), what its NotImplementedError says, as a regular expression.
        looser: By statistic, a factor on its tolerance and the reason for it.
        looser_in_float32: Whether `looser` holds for float32 too.
        pathwise: Whether draws are a monotone function of one noise, so that the gradient of each draw is known.
            Where not, gradients are compared in the mean.
        kl: The two settings between which the KL is compared with its integral or sum; None: not compared.
        levels: Probabilities of the lower tail at whose quantiles statistics are compared; the upper tail mirrors them.
    """

    family: type[Distribution]
    settings: Sequence[Setting]
    reference: Callable[..., Any]
    bad: Mapping[str, Any]
    outside: float | None = None
    fit: Mapping[str, Any] | None = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    looser: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    looser_in_float32: bool = True
    pathwise: bool = True
    kl: tuple[int, int] | None = (0, 1)
    levels: Sequence[float] = (1e-100, 1e-30, 1e-10, 1e-4, 0.01, 0.1, 0.25, 0.4)

    @property
    def discrete(self) -> bool:
        return bool(self.family.support.is_discrete)

    def make(self, *settings: int, dtype: torch.dtype = torch.float64, device: str = "cpu") -> Distribution:
        """The distribution of one setting, or a batch of several, or of all where none is named."""
        chosen = [self.settings[i] for i in settings] or list(self.settings)
        return self.build(parameters(chosen, dtype, device, stack=len(settings) != 1))

    def build(self, tensors: Mapping[str, torch.Tensor], **more: Any) -> Distribution:
        return self.family(**tensors, **more)

    def exact(self, setting: int, dtype: torch.dtype = torch.float64) -> Any:
        """The reference at the parameters as `dtype` rounds them."""
        return _exact(self.reference, _frozen(self.settings[setting]), dtype)

    def factor(self, statistic: str, dtype: torch.dtype = torch.float64) -> float:
        if dtype == torch.float32 and not self.looser_in_float32:
            return 1.0
        return self.looser.get(statistic, (1.0, ""))[0]


def parameters(
    settings: Sequence[Setting], dtype: torch.dtype, device: str = "cpu", stack: bool = False
) -> dict[str, torch.Tensor]:
    """Parameters as tensors, stacked along a first batch dimension if asked."""
    each = [{name: torch.tensor(v, dtype=dtype, device=device) for name, v in s.items()} for s in settings]
    return {name: torch.stack([e[name] for e in each]) if stack else each[0][name] for name in each[0]}


def ask(d: Distribution, statistic: str) -> Any:
    """A statistic of a distribution by its name, at some value where it needs one."""
    if statistic == "fit":
        return type(d).fit(d.sample((5,)))
    found = getattr(d, statistic)
    if not callable(found):
        return found
    return found() if statistic == "entropy" else found(torch.full(d.event_shape, 0.5, dtype=torch.float64))


class FromDensity:
    """A reference made of a log density alone, by quadrature in 30 digits: for what scipy lacks or gets wrong.

    Args:
        log_density: From an mpmath number to one; normalised.
        cuts: Where the integration is cut, from the lower to the upper end of the support.
        points: Where statistics are compared.
    """

    def __init__(self, log_density: Callable[[Any], Any], cuts: Sequence[float], points: Sequence[float]) -> None:
        self._log_density, self._cuts, self.points = log_density, list(cuts), np.array(points, dtype=float)

    def logpdf(self, x: Any) -> Any:
        return self._each(lambda v: self._log_density(v), x)

    def pdf(self, x: Any) -> Any:
        return np.exp(self.logpdf(x))

    def cdf(self, x: Any) -> Any:
        return self._each(lambda v: self._integral(lambda t: 1, [c for c in self._cuts if c < v] + [v]), x)

    def sf(self, x: Any) -> Any:
        return self._each(lambda v: self._integral(lambda t: 1, [v] + [c for c in self._cuts if c > v]), x)

    def logcdf(self, x: Any) -> Any:
        return np.log(self.cdf(x))

    def logsf(self, x: Any) -> Any:
        return np.log(self.sf(x))

    def mean(self) -> float:
        return float(self._integral(lambda t: t, self._cuts))

    def var(self) -> float:
        mean = self.mean()
        return float(self._integral(lambda t: (t - mean) ** 2, self._cuts))

    def entropy(self) -> float:
        return float(self._integral(lambda t: -self._log_density(t), self._cuts))

    def _integral(self, function: Callable[[Any], Any], cuts: Sequence[Any]) -> Any:
        return mpmath.quad(lambda t: function(t) * mpmath.exp(self._log_density(t)), cuts)

    def _each(self, function: Callable[[Any], Any], x: Any) -> Any:
        with mpmath.workdps(30):
            return np.array([float(function(mpmath.mpf(float(v)))) for v in np.ravel(x)]).reshape(np.shape(x))


class FromMasses:
    """A reference made of finitely many masses, with tails summed from their own end."""

    def __init__(self, values: Sequence[float], masses: Sequence[float]) -> None:
        self._values, self._masses = np.array(values, dtype=float), np.array(masses) / math.fsum(masses)

    def pmf(self, x: Any) -> Any:
        return self._each(lambda v: math.fsum(self._masses[self._values == v]), x)

    def logpmf(self, x: Any) -> Any:
        return np.log(self.pmf(x))

    def cdf(self, x: Any) -> Any:
        return self._each(lambda v: math.fsum(self._masses[self._values <= v]), x)

    def sf(self, x: Any) -> Any:
        return self._each(lambda v: math.fsum(self._masses[self._values > v]), x)

    def logcdf(self, x: Any) -> Any:
        return np.log(self.cdf(x))

    def logsf(self, x: Any) -> Any:
        return np.log(self.sf(x))

    def ppf(self, level: Any) -> Any:
        return self._each(lambda p: self._values[np.argmax(self.cdf(self._values) >= p)], level)

    def isf(self, level: Any) -> Any:
        return self._each(lambda p: self._values[np.argmax(self.sf(self._values) <= p)], level)

    def median(self) -> float:
        return float(self.ppf(0.5))

    def mean(self) -> float:
        return math.fsum(self._masses * self._values)

    def var(self) -> float:
        return math.fsum(self._masses * (self._values - self.mean()) ** 2)

    def entropy(self) -> float:
        seen = self._masses[self._masses > 0]
        return -math.fsum(seen * np.log(seen))

    def _each(self, function: Callable[[float], float], x: Any) -> Any:
        return np.array([function(float(v)) for v in np.ravel(x)]).reshape(np.shape(x))


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        return tuple((name, _frozen(v)) for name, v in value.items())
    return tuple(_frozen(v) for v in value) if isinstance(value, list) else value


@cache
def _exact(reference: Callable[..., Any], setting: Any, dtype: torch.dtype) -> Any:
    rounded = {name: torch.tensor(v, dtype=dtype).double().tolist() for name, v in setting}
    return reference(**rounded)
