"""The pair `probs` and `logits` of a yes-or-no event, with the digits of both its probabilities."""

from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.parameters import BinaryProbability, exactly_one
from posterity.distributions.remembered import remembered
from posterity.kernels import Source
from posterity.kernels.guarded_logarithms import xlog1py, xlogy
from posterity.kernels.poisson_mass import deviance
from posterity.kernels.reading import lies_within, readable


class BinaryOdds(BinaryProbability, Distribution):
    """What distributions of yes-or-no events share; list it before torch's class.

    Everything is computed from the one of `probs` and `logits` that was given.
    """

    _given: str
    _param: Tensor

    def _initialise_odds(
        self,
        probs: Tensor | float | None,
        logits: Tensor | float | None,
        others: Mapping[str, Tensor | float] | None = None,
        event_shape: _size = (),
        validate_args: bool | None = None,
    ) -> None:
        given = exactly_one(type(self).__name__, probs=probs, logits=logits)
        self._given = next(iter(given))
        self._initialise({**(others or {}), **given}, event_shape, validate_args)
        self._param = self.__dict__[self._given]

    def expand(self, batch_shape: _size, _instance: Any = None) -> Self:
        """The same distribution with its batch broadcast to `batch_shape`; no memory is copied."""
        new = super().expand(batch_shape, _instance)
        new._param = new.__dict__[new._given]
        return new

    @property
    def _success(self) -> Tensor:
        return self._param.sigmoid() if self._given == "logits" else self._param

    @property
    def _failure(self) -> Tensor:
        return (-self._param).sigmoid() if self._given == "logits" else 1 - self._param

    def _logarithms(self, given: Tensor) -> tuple[Tensor, Tensor]:
        if self._given == "probs":
            return given.log(), torch.log1p(-given)
        return logsigmoid(given), logsigmoid(-given)

    def _is_uncertain(self) -> bool:
        """Whether values can be read, and no probability is 0 or 1: both logarithms are finite."""
        return remembered(self, _UNCERTAIN[self._given], self._param)

    def _is_moderate(self, source: Source) -> bool:
        """Whether uniform numbers of torch's own, multiples of 2^-24, resolve both probabilities to 2e-4 of each.

        Values are read: no where that is impossible, or means waiting.
        """
        if not (source is None or isinstance(source, torch.Generator)):
            return False
        return remembered(self, _MODERATE[self._given], self._param)

    def _log_odds_mass(self, successes: Tensor | float, failures: Tensor | float) -> Tensor:
        """`successes` log(probs) + `failures` log(1 - probs), exact where a probability is 0 or 1."""
        given = self._param
        if self._is_uncertain():
            yes, no = self._logarithms(given)
            return successes * yes + failures * no
        s, f = (v if isinstance(v, Tensor) else torch.full_like(given, v) for v in (successes, failures))
        if self._given == "probs":
            return xlogy(s, given) + xlog1py(f, -given)
        # Infinite odds are left out where they do not count.
        yes = torch.where(s == 0, 0, s * logsigmoid(torch.where(s == 0, 0, given)))
        no = torch.where(f == 0, 0, f * logsigmoid(torch.where(f == 0, 0, -given)))
        return yes + no


def binary_kl(p: BinaryOdds, q: BinaryOdds) -> Tensor:
    """KL of one yes-or-no event of `p` from one of `q`, uncancelled where they are close."""
    return deviance(p._success, q._success) + deviance(p._failure, q._failure)


def binary_entropy(d: BinaryOdds) -> Tensor:
    """Entropy of one yes-or-no event in nats; 0 where it is certain."""
    return -d._log_odds_mass(d._success, d._failure)


def _lies_above_zero_below_one(probs: Tensor) -> bool:
    return readable(probs) and lies_within(probs, 0.0, 1 - torch.finfo(probs.dtype).eps / 2)


def _is_finite(logits: Tensor) -> bool:
    greatest = torch.finfo(logits.dtype).max
    return readable(logits) and lies_within(logits, -greatest, greatest)


_UNCERTAIN = {"probs": _lies_above_zero_below_one, "logits": _is_finite}
_MODERATE: dict[str, Callable[[Tensor], bool]] = {
    "probs": lambda probs: readable(probs) and lies_within(probs, 3e-4, 1 - 3e-4),
    "logits": lambda logits: readable(logits) and lies_within(logits, -8.1, 8.1),
}
