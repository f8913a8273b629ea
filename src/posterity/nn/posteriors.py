"""Posterior families: the shape of q(parameter), stored as ordinary `nn.Parameter`s beside the layer's own.

A family is a small stateless object. It may lean on the kernels and distributions floors.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from posterity import distributions as dist
from posterity.kernels import Source, normal_weights
from posterity.nn.divergence import NormalPair, normal_kl, sampled_kl


class Moments(NamedTuple):
    """Mean and standard deviation of a factorised posterior, elementwise.

    Attributes:
        loc: the mean.
        scale: the standard deviation.
        squared_scale: its square, where that is known already.
    """

    loc: Tensor
    scale: Tensor
    squared_scale: Tensor | None = None

    @property
    def variance(self) -> Tensor:
        """The scale's square."""
        return self.scale * self.scale if self.squared_scale is None else self.squared_scale


class Posterior(ABC):
    """A family of distributions for one parameter tensor.

    Subclass it to add a family: name its tensors in `keys`, and the layer's parameter `weight` is stored as
    `weight_<key>` for each of them. The first key is the centre, a tensor of the parameter's own shape: assignment to
    `weight` replaces it.
    """

    keys: tuple[str, ...]

    @abstractmethod
    def init(self, value: Tensor) -> dict[str, Tensor]:
        """The family's tensors for a parameter that now has this value, centred at it."""

    @abstractmethod
    def draw(self, tensors: Mapping[str, Tensor], source: Source = None) -> Tensor:
        """One draw of the parameter, differentiable in the family's tensors."""

    @abstractmethod
    def mean(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """The posterior mean, of the parameter's shape."""

    @abstractmethod
    def distribution(self, tensors: Mapping[str, Tensor]) -> torch.distributions.Distribution:
        """The posterior as a distribution whose batch shape is the parameter's shape."""

    def noise_like(self, tensors: Mapping[str, Tensor]) -> Tensor | None:
        """A tensor like the normal noise that one `draw` takes; None where it takes other noise, or none."""
        return None

    def derived(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What every draw computes from the tensors alone; a frozen posterior hands it to `draw` and `moments` too."""
        return {}

    def moments(self, tensors: Mapping[str, Tensor]) -> Moments | None:
        """Elementwise mean and scale where the posterior is a factorised normal (what `flipout` and `local` need)."""
        return None

    def perturbation(self, tensors: Mapping[str, Tensor], source: Source = None) -> Tensor:
        """One draw less the mean, where the posterior is a factorised normal (what `flipout` needs)."""
        moments = self.moments(tensors)
        assert moments is not None
        loc, scale = moments.loc, moments.scale
        return scale * normal_weights.noise(loc.shape, source=source, dtype=loc.dtype, device=loc.device)

    def kl(self, tensors: Mapping[str, Tensor], prior: torch.distributions.Distribution) -> Tensor:
        """KL(q || prior) in nats, summed over elements: closed form where registered, else from one draw."""
        q = self.distribution(tensors)
        try:
            return torch.distributions.kl_divergence(q, prior).sum()
        except NotImplementedError:
            return sampled_kl(q, prior)


@dataclass(frozen=True)
class MeanFieldNormal(Posterior):
    """Independent normals: every element has its own `loc` and `scale = softplus(rho)`.

    Args:
        initial_scale: standard deviation that every element starts with, in the parameter's own unit. Default:
            `INITIAL_SCALE` times the parameter's natural scale (see `natural_scale`).

    Raises:
        ValueError: if `initial_scale` is not positive and finite.

    Source: Blundell et al. (2015), "Weight uncertainty in neural networks", section 3.2.

    Example:
        >>> family = MeanFieldNormal(initial_scale=0.1)
        >>> {name: tuple(t.shape) for name, t in family.init(torch.zeros(2, 3)).items()}
        {'loc': (2, 3), 'rho': (2, 3)}
    """

    initial_scale: float | None = None

    keys = ("loc", "rho")

    def __post_init__(self) -> None:
        scale = self.initial_scale
        if scale is not None and not (scale > 0 and math.isfinite(scale)):
            raise ValueError(f"MeanFieldNormal: initial_scale must be positive and finite, got {scale}")

    def init(self, value: Tensor) -> dict[str, Tensor]:
        """`loc` is the value, `rho` the same number everywhere."""
        scale = self.initial_scale
        if scale is None:
            scale = INITIAL_SCALE * natural_scale(value)
        return {"loc": value.clone(), "rho": torch.full_like(value, inverse_softplus(scale))}

    def draw(self, tensors: Mapping[str, Tensor], source: Source = None) -> Tensor:
        """`loc + softplus(rho) * noise`."""
        loc, rho = tensors["loc"], tensors["rho"]
        if "scale" not in tensors and normal_weights.suits(loc, rho):
            return normal_weights.weights(loc, rho, source)
        noise = normal_weights.noise(loc.shape, source=source, dtype=loc.dtype, device=loc.device)
        return torch.addcmul(loc, _scale(tensors), noise)

    def perturbation(self, tensors: Mapping[str, Tensor], source: Source = None) -> Tensor:
        """`softplus(rho) * noise`."""
        if "scale" not in tensors and normal_weights.suits(tensors["rho"]):
            return normal_weights.weights(None, tensors["rho"], source)
        return super().perturbation(tensors, source)

    def noise_like(self, tensors: Mapping[str, Tensor]) -> Tensor | None:
        """One number for every element of `loc`; None where `draw` makes it itself."""
        return None if normal_weights.suits(tensors["loc"], tensors["rho"]) else tensors["loc"]

    def derived(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The scale."""
        return {"scale": _scale(tensors)}

    def mean(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """`loc`."""
        return tensors["loc"]

    def distribution(self, tensors: Mapping[str, Tensor]) -> dist.Normal:
        """`Normal(loc, softplus(rho))`."""
        return dist.Normal(tensors["loc"], F.softplus(tensors["rho"]))

    def moments(self, tensors: Mapping[str, Tensor]) -> Moments:
        """`loc` and `softplus(rho)`."""
        return Moments(tensors["loc"], _scale(tensors))

    def kl(self, tensors: Mapping[str, Tensor], prior: torch.distributions.Distribution) -> Tensor:
        """KL(q || prior); against a normal prior in one pass over the tensors."""
        if isinstance(prior, torch.distributions.Normal):
            return normal_kl(NormalPair(tensors["loc"], tensors["rho"], prior.loc, prior.scale))
        return super().kl(tensors, prior)


@dataclass(frozen=True)
class Delta(Posterior):
    """All mass on one value, which training moves: the prior then acts as a penalty (maximum a posteriori).

    KL(delta || prior) is infinite; `kl` leaves out the infinite constant and returns the cross-entropy
    `-log prior(value)`, whose gradient is the penalty's.

    Example:
        >>> sorted(Delta().init(torch.ones(2)))
        ['loc']
    """

    keys = ("loc",)

    def init(self, value: Tensor) -> dict[str, Tensor]:
        """`loc` is the value."""
        return {"loc": value.clone()}

    def draw(self, tensors: Mapping[str, Tensor], source: Source = None) -> Tensor:
        """The value itself."""
        return tensors["loc"]

    def mean(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """The value itself."""
        return tensors["loc"]

    def distribution(self, tensors: Mapping[str, Tensor]) -> torch.distributions.Distribution:
        """Refused: a point mass has no density; ask for `mean`."""
        raise NotImplementedError("Delta: a point mass has no density with respect to the prior's; use mean()")

    def moments(self, tensors: Mapping[str, Tensor]) -> Moments:
        """The value, and a scale of zero."""
        return Moments(tensors["loc"], torch.zeros_like(tensors["loc"]))

    def kl(self, tensors: Mapping[str, Tensor], prior: torch.distributions.Distribution) -> Tensor:
        """`-log prior(value)`, summed."""
        return -prior.log_prob(tensors["loc"]).sum()


def _scale(tensors: Mapping[str, Tensor]) -> Tensor:
    scale, rho = tensors.get("scale"), tensors["rho"]
    if scale is not None:
        return scale
    return normal_weights.softplus(rho) if normal_weights.suits(rho) else F.softplus(rho)


# Share of a parameter's natural scale that its posterior starts with.
INITIAL_SCALE = 0.1


def natural_scale(value: Tensor) -> float:
    """The size of the numbers that a parameter of this shape and value holds: what "small noise" is measured by.

    The root mean square of the values, or the standard initialisation's scale for the shape where that is larger
    (a parameter that starts at zero, as biases do, is not one that must stay there).

    Example:
        >>> natural_scale(torch.zeros(10, 100))
        0.1
    """
    fan_in = value[0].numel() if value.dim() > 1 else value.numel()
    if value.is_meta:
        return 1 / math.sqrt(max(fan_in, 1))
    return max(float(value.detach().float().square().mean().sqrt()), 1 / math.sqrt(max(fan_in, 1)))


def inverse_softplus(scale: float) -> float:
    """`rho` with `softplus(rho) = scale`, accurate for small scales.

    Example:
        >>> round(math.log1p(math.exp(inverse_softplus(0.03))), 12)
        0.03
    """
    return scale + math.log(-math.expm1(-scale))
