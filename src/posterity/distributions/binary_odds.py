"""The pair `probs` and `logits` of a yes-or-no event, with the digits of both its probabilities."""

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.functional import logsigmoid
from torch.types import _size

from posterity.distributions.base import Distribution
from posterity.distributions.parameters import BinaryProbability, exactly_one, is_plain
from posterity.kernels import Source
from posterity.kernels.guarded_logarithms import xlog1py, xlogy
from posterity.kernels.incomplete_beta import widened
from posterity.kernels.poisson_mass import deviance
from posterity.kernels.samplers.noise import is_eager


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

    def _wide_logarithms(self) -> tuple[Tensor, Tensor]:
        """log(probs) and log(1 - probs), both finite, at least in float64."""
        given = widened(self._param)
        return (given.log(), torch.log1p(-given)) if self._given == "probs" else (logsigmoid(given), logsigmoid(-given))

    def _is_moderate(self, source: Source) -> bool:
        """Whether uniform numbers of torch's own, multiples of 2^-24, resolve both probabilities to 2e-4 of each.

        Values are read: no where that is impossible, or means waiting.
        """
        success = self._success
        if not (source is None or isinstance(source, torch.Generator)) or not is_eager(success) or not success.is_cpu:
            return False
        if success.numel() == 0:
            return False
        least, greatest = success.aminmax()
        return least.item() > 3e-4 and greatest.item() < 1 - 3e-4

    def _log_odds_mass(self, successes: Tensor | float, failures: Tensor | float) -> Tensor:
        """`successes` log(probs) + `failures` log(1 - probs), exact where a probability is 0 or 1."""
        given = self._param
        if self._given == "probs" and _is_undifferentiated(successes, failures, given):
            mass: Tensor = torch.special.xlogy(successes, given) + torch.special.xlog1py(failures, -given)
            return mass
        s, f = (v if isinstance(v, Tensor) else torch.full_like(given, v) for v in (successes, failures))
        if self._given == "probs":
            return xlogy(s, given) + xlog1py(f, -given)
        # Infinite odds are left out where they do not count.
        yes = torch.where(s == 0, 0, s * logsigmoid(torch.where(s == 0, 0, given)))
        no = torch.where(f == 0, 0, f * logsigmoid(torch.where(f == 0, 0, -given)))
        return yes + no


def _is_undifferentiated(*values: Tensor | float) -> bool:
    if not is_plain() or forward_ad._current_level >= 0:
        return False
    return not torch.is_grad_enabled() or not any(isinstance(v, Tensor) and v.requires_grad for v in values)


def binary_kl(p: BinaryOdds, q: BinaryOdds) -> Tensor:
    """KL of one yes-or-no event of `p` from one of `q`, uncancelled where they are close."""
    return deviance(p._success, q._success) + deviance(p._failure, q._failure)


def binary_entropy(d: BinaryOdds) -> Tensor:
    """Entropy of one yes-or-no event in nats; 0 where it is certain."""
    return -d._log_odds_mass(d._success, d._failure)
