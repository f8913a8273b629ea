"""One multivariate distribution in the catalogue."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from posterity.distributions import Distribution
from tests.distributions.catalogue.entry import Setting, parameters


@dataclass(frozen=True)
class MultivariateEntry:
    """What the tests need to know about one distribution over vectors or matrices.

    Attributes:
        family: The class.
        settings: At least two parameter settings of the same names and shapes, lists of numbers; together they are the
            batched setting.
        values: Points of the support, each `[*event_shape]`.
        log_prob: From a point (numpy) and the parameters of a setting to its exact log density.
        bad: By parameter, a value that violates its constraint.
        outside: A point outside the support; None where there is none.
        mean: From the parameters of a setting to the exact mean; None where `refused` says why there is none.
        entropy: Likewise.
        fit: Keyword arguments that `fit` needs; None where it is refused.
        refused: By statistic, what its NotImplementedError says, as a regular expression.
        looser: By statistic, a factor on its tolerance and the reason for it.
        fixed: Further arguments of the constructor, which are no tensors.
    """

    family: type[Distribution]
    settings: Sequence[Setting]
    values: Sequence[Any]
    log_prob: Callable[..., float]
    bad: Mapping[str, Any]
    outside: Any = None
    mean: Callable[..., Any] | None = None
    entropy: Callable[..., float] | None = None
    fit: Mapping[str, Any] | None = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    looser: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def make(self, *settings: int, dtype: torch.dtype = torch.float64, device: str = "cpu") -> Distribution:
        """The distribution of one setting, or a batch of several, or of all where none is named."""
        chosen = [self.settings[i] for i in settings] or list(self.settings)
        return self.build(parameters(chosen, dtype, device, stack=len(settings) != 1))

    def build(self, tensors: Mapping[str, torch.Tensor]) -> Distribution:
        return self.family(**self.fixed, **tensors)

    def points(self, dtype: torch.dtype = torch.float64) -> torch.Tensor:
        return torch.tensor(self.values, dtype=dtype)

    def factor(self, statistic: str) -> float:
        return self.looser.get(statistic, (1.0, ""))[0]
