"""The distribution of a bijector's image: densities by the change of variables, tails and moments where they follow."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.transforms import Transform
from torch.types import _size

from posterity.bijectors import Bijector, Chain, Identity
from posterity.bijectors.base import register_distribution_of_image
from posterity.bijectors.inclusion import is_within
from posterity.bijectors.independent import promoted
from posterity.distributions.affine_moments import is_affine, mapped_variance
from posterity.distributions.base import Distribution
from posterity.distributions.image_support import ImageSupport, image_support
from posterity.distributions.independent import Independent
from posterity.distributions.kl import has_closed_form, kl_divergence, register_kl
from posterity.distributions.lifted import lift
from posterity.distributions.lifted_transform import lift_transform
from posterity.distributions.on_base import OnBase
from posterity.distributions.quantiles import continuous_quantile
from posterity.distributions.supports import point_inside, support_ends
from posterity.kernels import Source


class TransformedDistribution(OnBase, torch.distributions.TransformedDistribution):
    r"""The distribution of $Y = f(X)$, with density $p_X(f^{-1}(y)) \, |\det \partial f^{-1} / \partial y|$.

    A monotone map of the line keeps cdf, quantiles and both tails; of a decreasing one the tails change places, entry
    by entry where parameters decide. Mean, variance, mode and entropy are exact through affine maps, integrals over
    the base for other maps of the line. Where the map takes larger events than the base has, batch dimensions of the
    base become part of the event; where it takes smaller ones, it acts on each entry.

    Args:
        base_distribution: A continuous distribution, of this library or of torch's.
        transforms: A bijector, or several in the order in which they are applied; torch's transforms are taken in.
            The batch shapes of their parameters broadcast against that of the base.
        validate_args: Whether values are checked; None follows the library's switch.

    Raises:
        TypeError: `base_distribution` is no distribution, or an element of `transforms` no bijective transform.
        ValueError: The support of the base does not fit, or a shape does not.

    Source: Papamakarios et al., Normalizing Flows for Probabilistic Modeling and Inference, 2021, equation 3,
    https://doi.org/10.48550/arXiv.1912.02762

    Example:
        >>> from posterity.bijectors import Exp, ScalarAffine
        >>> from posterity.distributions import Normal
        >>> d = TransformedDistribution(Normal(0.0, 1.0), [ScalarAffine(-2.0, 1.0), Exp()])
        >>> d.median, d.survival_function(2.7182817)
        (tensor(2.7183), tensor(0.5000))
    """

    base_dist: Distribution
    transforms: list[Bijector]  # type: ignore[assignment]  # of torch's class: any transforms
    _instead_of_fit = "map the data by the bijectors' inverse and fit that, or train the parameters through log_prob."

    def __init__(
        self,
        base_distribution: torch.distributions.Distribution,
        transforms: Transform | Sequence[Transform],
        validate_args: bool | None = None,
    ) -> None:
        base = lift(base_distribution)
        listed = [transforms] if isinstance(transforms, Transform) else list(transforms)
        self.transforms = [lift_transform(transform) for transform in listed]
        bijector = self.transforms[0] if len(self.transforms) == 1 else Chain(self.transforms or [Identity()])
        base = _expanded(base, bijector)
        if not is_within(cast(constraints.Constraint, base.support), bijector.domain):
            raise ValueError(
                f"transforms of TransformedDistribution map {bijector.domain!r}, but {type(base).__name__} has the "
                f"support {base.support!r}, which is not within it. Map the distribution into that domain first."
            )
        self._each = bijector if bijector.domain.event_dim == bijector.codomain.event_dim == 0 else None
        rank = len(base.event_shape)
        self.base_dist = base.to_event(max(bijector.domain.event_dim - rank, 0))
        self._bijector = promoted(bijector, max(rank, bijector.domain.event_dim))
        shape = self._bijector.forward_shape(self.base_dist.batch_shape + self.base_dist.event_shape)
        cut = len(shape) - self._bijector.codomain.event_dim
        Distribution.__init__(self, shape[:cut], shape[cut:], validate_args=validate_args)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_dist!r}, {self.transforms!r})"

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        """What the bijectors map the base's support onto."""
        return image_support(cast(constraints.Constraint, self.base_dist.support), self._bijector, self._like())

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value`, of shape `sample_shape + batch_shape`."""
        value = self._checked_value(value, support=True)
        support = self.support
        if isinstance(support, ImageSupport):
            value = support.inside(value)
        x, log_det = self._bijector._remembered_inverse_and_log_det(value)
        if isinstance(support, ImageSupport) and not self.base_dist.event_shape:
            # What lies in the image may have rounded to a point beside the base's support.
            x = x.clamp(*support_ends(self.base_dist))
        return self.base_dist.log_prob(x) + log_det

    def cdf(self, value: Tensor) -> Tensor:
        """P(Y <= value), for monotone maps of the line."""
        return self._tail("cdf", "survival_function", value, 0, 1)

    def log_cdf(self, value: Tensor) -> Tensor:
        """Log of P(Y <= value)."""
        return self._tail("log_cdf", "log_survival_function", value, -torch.inf, 0)

    def survival_function(self, value: Tensor) -> Tensor:
        """P(Y > value)."""
        return self._tail("survival_function", "cdf", value, 1, 0)

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Log of P(Y > value)."""
        return self._tail("log_survival_function", "log_cdf", value, 0, -torch.inf)

    def icdf(self, value: Tensor) -> Tensor:
        """The value below which lies the probability `value`: the image of the base's quantile.

        Under a decreasing map that is the base's quantile of `1 - value`; below one quarter, where that difference
        loses digits, the survival function of the base is searched.
        """
        sign = self._sign("icdf")
        level = self._checked_level(value)
        lower, upper = support_ends(self)
        if isinstance(sign, int) and sign > 0:
            found = self._bijector._forward(self.base_dist.icdf(level))
        else:
            sign = torch.as_tensor(sign)
            found = self._bijector._forward(self.base_dist.icdf(torch.where(sign > 0, level, 1 - level)))
            searched = (sign < 0) & (level < 0.25) & (level > 0)
            found = torch.where(searched, continuous_quantile(self, torch.where(searched, level, 0.125)), found)
        return torch.where(level == 0, lower, torch.where(level == 1, upper, found))

    @property
    def mean(self) -> Tensor:
        """Mean: the image of the base's under affine maps, else an integral over each entry of the base."""
        shape = self.batch_shape + self.event_shape
        if is_affine(self._bijector):
            return self._bijector._forward(self.base_dist.mean).expand(shape)
        entries = self._entries()
        if entries is not None:
            return entries.mean
        self._refuse_integral("mean")
        return self.base_dist._expectation(self._bijector._forward)

    @property
    def variance(self) -> Tensor:
        """Variance, entry by entry: exact under affine maps of entries, else an integral over each."""
        variance = mapped_variance(self._bijector, self.base_dist)
        if variance is not None:
            return variance.expand(self.batch_shape + self.event_shape)
        entries = self._entries()
        if entries is not None:
            return entries.variance
        self._refuse_integral("variance")
        mean = self.mean
        return self.base_dist._expectation(lambda x: (self._bijector._forward(x) - mean).square())

    @property
    def mode(self) -> Tensor:
        """Where the density is greatest: the image of the base's mode under affine maps, else searched for."""
        if is_affine(self._bijector):
            return self._bijector._forward(self.base_dist.mode).expand(self.batch_shape + self.event_shape)
        entries = self._entries()
        return Distribution.mode.fget(self) if entries is None else entries.mode  # type: ignore[attr-defined]

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape `batch_shape`: that of the base plus the expectation of the log-det."""
        if is_affine(self._bijector):
            log_det = self._bijector._forward_log_det(point_inside(self.base_dist))
            return self.base_dist.entropy() + log_det
        entries = self._entries()
        if entries is not None:
            return cast(Independent, self.base_dist)._sum(entries.entropy())
        self._refuse_integral("entropy")
        return self.base_dist.entropy() + self.base_dist._expectation(self._bijector._forward_log_det)

    def sample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """The images of draws from the base, of shape `sample_shape + batch_shape + event_shape`."""
        with torch.no_grad():
            return self._bijector._remembered_forward(self.base_dist.sample(sample_shape, generator=generator))

    def rsample(self, sample_shape: _size = (), *, generator: Source = None) -> Tensor:
        """Draws through which gradients reach the parameters of the base and of the bijectors."""
        return self._bijector._remembered_forward(self.base_dist.rsample(sample_shape, generator=generator))

    def _landmarks(self) -> Tensor:
        return self._bijector._forward(self.base_dist._landmarks()).expand(-1, *self.batch_shape)

    def _entries(self) -> "TransformedDistribution | None":
        """The distribution of one entry, where the entries are independent and each is mapped on its own."""
        base = self.base_dist
        if self._each is None or not isinstance(base, Independent) or base.base_dist.event_shape:
            return None
        return TransformedDistribution(base.base_dist, self._each, validate_args=self._validate_values)

    def _sign(self, what: str) -> Any:
        self._refuse_vectors(what)
        try:
            return self._bijector.sign
        except NotImplementedError:
            raise NotImplementedError(
                f"{type(self).__name__}.{what} is refused: {self._bijector!r} is not known to be monotone, so that "
                f"an order of the base's values says nothing about these."
            ) from None

    def _tail(self, rising: str, falling: str, value: Tensor, below: float, above: float) -> Tensor:
        sign = self._sign(rising)
        value = self._checked_value(value)
        lower, upper = support_ends(self)
        too_low, too_high = value <= lower, value >= upper
        inner = self._bijector._forward(point_inside(self.base_dist)).detach()
        x = self._bijector._remembered_inverse(torch.where(too_low | too_high, inner, value))
        if isinstance(sign, int):
            inside = getattr(self.base_dist, rising if sign > 0 else falling)(x)
        else:
            inside = torch.where(sign > 0, getattr(self.base_dist, rising)(x), getattr(self.base_dist, falling)(x))
        return torch.where(too_low, below, torch.where(too_high, above, inside))


def _expanded(base: Distribution, bijector: Bijector) -> Distribution:
    """The base with the batch that the bijector's parameters broadcast it to."""
    shape, rank = base.batch_shape + base.event_shape, len(base.event_shape)
    wanted = bijector.inverse_shape(bijector.forward_shape(shape))
    cut = len(wanted) - rank
    if wanted[cut:] != base.event_shape:
        raise ValueError(
            f"transforms of TransformedDistribution have parameters that broadcast the event of "
            f"{type(base).__name__} from {tuple(base.event_shape)} to {tuple(wanted[cut:])}: give the base that shape."
        )
    return base if wanted == shape else base.expand(wanted[:cut])


def _of_equal_maps(p: TransformedDistribution, q: TransformedDistribution) -> bool:
    return p.transforms == q.transforms and has_closed_form(p.base_dist, q.base_dist)


@register_kl(TransformedDistribution, TransformedDistribution, _of_equal_maps)
def _kl_transformed_transformed(p: TransformedDistribution, q: TransformedDistribution) -> Tensor:
    if p.transforms != q.transforms:
        raise NotImplementedError(
            "KL of transformed distributions is that of the bases only where bijectors are equal."
        )
    return kl_divergence(p.base_dist, q.base_dist)


register_distribution_of_image(TransformedDistribution)
