"""Torch's own transforms taken in as bijectors."""

from typing import Any

import torch
from torch import Tensor
from torch.distributions import transforms

from posterity.bijectors import Bijector, Chain, Exp, Identity, Independent, Invert, ScalarAffine, Sigmoid, Tanh


def lift_transform(transform: transforms.Transform) -> Bijector:
    """The same map as one of this library's bijectors, else as a `LiftedTransform`.

    Raises:
        TypeError: It is no transform, or one that has no inverse.

    Example:
        >>> lift_transform(transforms.AffineTransform(1.0, 2.0))
        ScalarAffine(scale=2.0, shift=1.0)
    """
    if isinstance(transform, Bijector):
        return transform
    if not isinstance(transform, transforms.Transform):
        raise TypeError(f"transforms must be bijectors, but one is a {type(transform).__name__}.")
    if not transform.bijective:
        raise TypeError(f"transforms must be bijectors, but {type(transform).__name__} has no inverse.")
    if type(transform) is transforms.AffineTransform:
        affine = ScalarAffine(transform.scale, transform.loc)
        return Independent(affine, transform.event_dim) if transform.event_dim else affine
    if type(transform) is transforms.ComposeTransform:
        return Chain([lift_transform(part) for part in transform.parts] or [Identity()])
    if type(transform) is transforms.IndependentTransform:
        return Independent(lift_transform(transform.base_transform), transform.reinterpreted_batch_ndims)
    if type(transform) is transforms._InverseTransform:
        return Invert(lift_transform(transform.inv))
    named = _SAME.get(type(transform))
    return LiftedTransform(transform) if named is None else named()


_SAME: dict[type[transforms.Transform], type[Bijector]] = {
    transforms.ExpTransform: Exp,
    transforms.SigmoidTransform: Sigmoid,
    transforms.TanhTransform: Tanh,
}


class LiftedTransform(Bijector):
    """A bijective transform of torch's that this library has no class for.

    Args:
        transform: Any of torch's bijective transforms.

    Example:
        >>> LiftedTransform(transforms.SoftplusTransform())(torch.tensor(0.0))
        tensor(0.6931)
    """

    def __init__(self, transform: transforms.Transform) -> None:
        super().__init__()
        self.transform = transform
        self.domain, self.codomain = transform.domain, transform.codomain

    @property
    def sign(self) -> Any:
        """Torch's word on it."""
        return self.transform.sign

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        """The shape of `forward(x)` for `x` of this shape."""
        self._check_rank("input", shape, self.domain.event_dim)
        return torch.Size(self.transform.forward_shape(shape))

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        """The shape of `inverse(y)` for `y` of this shape."""
        self._check_rank("output", shape, self.codomain.event_dim)
        return torch.Size(self.transform.inverse_shape(shape))

    def _forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.transform(x)
        return y

    def _inverse(self, y: Tensor) -> Tensor:
        x: Tensor = self.transform.inv(y)
        return x

    def _forward_log_det(self, x: Tensor) -> Tensor:
        log_det: Tensor = self.transform.log_abs_det_jacobian(x, self.transform(x))
        return log_det
