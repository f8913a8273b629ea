"""Priors of parameters: a recipe that makes a distribution for a parameter of any shape.

A prior's tensors are buffers of the layer (`weight_prior_<key>`), so they move with it and are saved with it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from posterity import distributions as dist
from posterity.nn.posteriors import natural_scale


class Prior(ABC):
    """A recipe for p(parameter). Subclass it for a prior that depends on the parameter's shape or value."""

    @abstractmethod
    def init(self, value: Tensor) -> dict[str, Tensor]:
        """The prior's tensors for a parameter that now has this value."""

    @abstractmethod
    def distribution(self, tensors: Mapping[str, Tensor]) -> torch.distributions.Distribution:
        """The prior whose batch shape broadcasts to the parameter's shape."""

    def normal_moments(self, tensors: Mapping[str, Tensor]) -> tuple[Tensor | None, Tensor] | None:
        """Mean (None for zero) and scale where the prior is a factorised normal; the KL then takes a faster way."""
        return None


@dataclass(frozen=True)
class Pretrained(Prior):
    """A normal centred at the value that the parameter has when it is made random: for trained networks only.

    It keeps training near the trained weights, so an untrained network would stay untrained.

    Args:
        relative_scale: standard deviation, as a multiple of the parameter's natural scale (`natural_scale`).

    Raises:
        ValueError: if `relative_scale` is not positive.

    Source: Krishnan, Subedar, Tickoo (2020), "Specifying weight priors in Bayesian deep neural networks with
    empirical Bayes"; here the scale is measured layer by layer.

    Example:
        >>> prior = Pretrained(relative_scale=1.0)
        >>> prior.init(torch.tensor([3.0, 4.0]))["loc"]
        tensor([3., 4.])
    """

    relative_scale: float = 0.2

    def __post_init__(self) -> None:
        if not self.relative_scale > 0:
            raise ValueError(f"Pretrained: relative_scale must be positive, got {self.relative_scale}")

    def init(self, value: Tensor) -> dict[str, Tensor]:
        """The value itself, and one scale for the whole tensor."""
        return {"loc": value.clone(), "scale": value.new_tensor(self.relative_scale * natural_scale(value))}

    def distribution(self, tensors: Mapping[str, Tensor]) -> dist.Normal:
        """`Normal(loc, scale)`."""
        return dist.Normal(tensors["loc"], tensors["scale"], validate_args=False)

    def normal_moments(self, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The trained values and the scale."""
        return tensors["loc"], tensors["scale"]


@dataclass(frozen=True)
class FanIn(Prior):
    """A zero-centred normal whose scale is `gain / sqrt(number of inputs)`: the layers' own default.

    A gain of one keeps a signal's size from layer to layer; the default is ten times as wide on purpose. With a
    factorised posterior a narrow prior wins over the data: weights fall back to it, and accuracy with them. On the
    digits (`benchmarks/digits.py`) gains from 5 to 20 were good from trained and untrained weights alike; a gain of
    one left a trained network far too unsure, and an untrained one at chance.

    Args:
        gain: standard deviation of the output for an input of unit length per feature. Vectors (biases, norms' gains)
            get it as their scale.

    Raises:
        ValueError: if `gain` is not positive.

    Source: Neal (1996), "Bayesian learning for neural networks", section 2.1.

    Example:
        >>> FanIn().init(torch.zeros(5, 100))["scale"]
        tensor(1.)
    """

    gain: float = 10.0

    def __post_init__(self) -> None:
        if not self.gain > 0:
            raise ValueError(f"FanIn: gain must be positive, got {self.gain}")

    def init(self, value: Tensor) -> dict[str, Tensor]:
        """One scale for the whole tensor."""
        fan_in = value[0].numel() if value.dim() > 1 else 1
        return {"scale": value.new_tensor(self.gain / max(fan_in, 1) ** 0.5)}

    def distribution(self, tensors: Mapping[str, Tensor]) -> dist.Normal:
        """`Normal(0, scale)`."""
        return dist.Normal(torch.zeros_like(tensors["scale"]), tensors["scale"], validate_args=False)

    def normal_moments(self, tensors: Mapping[str, Tensor]) -> tuple[None, Tensor]:
        """Zero, and the scale."""
        return None, tensors["scale"]


@dataclass(frozen=True)
class ScaleMixture(Prior):
    """A mixture of zero-centred normals: most weights near zero, some far.

    Args:
        scales: standard deviations of the components.
        probs: their weights; normalised.

    Raises:
        ValueError: if the two lengths differ, or a number is not positive.

    Source: Blundell et al. (2015), equation 7.

    Example:
        >>> ScaleMixture(scales=(1.0, 0.1)).distribution(ScaleMixture().init(torch.zeros(3))).stddev
        tensor(0.7080)
    """

    scales: Sequence[float] = (1.0, 0.05)
    probs: Sequence[float] = (0.5, 0.5)

    def __post_init__(self) -> None:
        if len(self.scales) != len(self.probs) or not self.scales:
            raise ValueError(
                f"ScaleMixture: needs as many probs as scales, got {len(self.probs)} and {len(self.scales)}"
            )
        if min(*self.scales, *self.probs) <= 0:
            raise ValueError(f"ScaleMixture: scales and probs must be positive, got {self.scales} and {self.probs}")

    def init(self, value: Tensor) -> dict[str, Tensor]:
        """The component's weights and scales."""
        return {"probs": value.new_tensor(self.probs), "scales": value.new_tensor(self.scales)}

    def distribution(self, tensors: Mapping[str, Tensor]) -> dist.MixtureSameFamily:
        """The mixture, of scalar batch shape."""
        scales = tensors["scales"]
        return dist.MixtureSameFamily(
            dist.Categorical(probs=tensors["probs"]), dist.Normal(torch.zeros_like(scales), scales)
        )


@dataclass(frozen=True)
class Fixed(Prior):
    """Any elementwise distribution, the same object for every parameter.

    Args:
        base: a scalar (or parameter-shaped) distribution such as `Normal(0, 1)` or `Laplace(0, 0.1)`.

    Raises:
        TypeError: if the distribution's tensors cannot be told from its declared arguments.
        ValueError: if it is not a distribution over single real numbers.

    Example:
        >>> Fixed(dist.Laplace(0.0, 0.1)).init(torch.zeros(2))["scale"]
        tensor(0.1000)
    """

    base: torch.distributions.Distribution
    _names: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        names = tuple(n for n in self.base.arg_constraints if n in self.base.__dict__)
        if self.base.support is not torch.distributions.constraints.real:
            raise ValueError(
                f"prior {self.base} must be a distribution over single numbers of the whole real line, as weights are; "
                "subclass posterity.nn.Prior for anything else"
            )
        if not names:
            raise ValueError(
                f"prior {self.base} must keep its arguments under their declared names; "
                "subclass posterity.nn.Prior for anything else"
            )
        object.__setattr__(self, "_names", names)

    def init(self, value: Tensor) -> dict[str, Tensor]:
        """The distribution's own arguments, in the parameter's dtype and on its device."""
        try:
            torch.broadcast_to(value.new_empty(()).expand(self.base.batch_shape), value.shape)
        except RuntimeError:
            raise ValueError(
                f"prior {self.base} has batch shape {list(self.base.batch_shape)}, which does not broadcast to "
                f"the parameter's shape {list(value.shape)}"
            ) from None
        # Each buffer has memory of its own: the state dict can then be loaded, and saved by safetensors.
        contiguous = torch.contiguous_format
        tensors = {name: torch.as_tensor(getattr(self.base, name)).detach() for name in self._names}
        return {name: t.to(value).clone(memory_format=contiguous) for name, t in tensors.items()}

    def distribution(self, tensors: Mapping[str, Tensor]) -> torch.distributions.Distribution:
        """The distribution, rebuilt from its arguments wherever they now live."""
        rebuild: Callable[..., torch.distributions.Distribution] = type(self.base)
        return rebuild(**tensors, validate_args=False)

    def normal_moments(self, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor] | None:
        """The mean and the scale of a normal."""
        if isinstance(self.base, torch.distributions.Normal):
            return tensors["loc"], tensors["scale"]
        return None


PriorLike = Prior | torch.distributions.Distribution | str


def as_prior(prior: PriorLike) -> Prior:
    """The recipe that a `prior=` argument stands for.

    Args:
        prior: a `Prior`, a distribution over single numbers, or `"pretrained"`.

    Raises:
        TypeError: for anything else.

    Example:
        >>> as_prior("pretrained")
        Pretrained(relative_scale=0.2)
    """
    if isinstance(prior, Prior):
        return prior
    if isinstance(prior, torch.distributions.Distribution):
        return Fixed(prior)
    if prior == "pretrained":
        return Pretrained()
    raise TypeError(
        f"prior must be a distribution such as Normal(0, 1), a posterity.nn.Prior or 'pretrained', got {prior!r}"
    )
