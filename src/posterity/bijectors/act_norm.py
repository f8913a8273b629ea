"""A scale and shift for each feature that start from the data."""

from typing import Any

import torch
from torch import Tensor, nn

from posterity.bijectors import constraints
from posterity.bijectors.module_bijector import ModuleBijector
from posterity.bijectors.parameters import holds


class ActNorm(ModuleBijector):
    """y = exp(log_scale) x + shift for each feature, initialised by the first batch in train mode.

    Whichever direction that batch goes, `forward` or `inverse`, it leaves with mean 0 and variance 1 in each feature;
    after that both are parameters like any other. `initialized`, a buffer, is part of the `state_dict`, so that a
    loaded one is not initialised again; in eval mode nothing is initialised, and an untouched one is the identity.
    Inside `torch.vmap`, or a captured graph, call `initialize` before. (Kingma and Dhariwal 2018, "Glow", section
    3.1.)

    Args:
        features: The size of `dim`.
        dim: The dimension of the features, counted from the right; -3 for the channels of images. It and those right
            of it are the event.

    Raises:
        ValueError: `dim` is not negative; (on use) the size does not fit, or the first batch has one value per
            feature, or a value that is not finite.

    Example:
        >>> import torch
        >>> from posterity.bijectors import ActNorm
        >>> ActNorm(1)(torch.tensor([[1.0], [3.0]])).flatten().tolist()
        [-1.0, 1.0]
    """

    initialized: Tensor

    def __init__(self, features: int, dim: int = -1) -> None:
        super().__init__()
        if dim >= 0:
            raise ValueError(f"dim of ActNorm must be negative, counted from the right, but is {dim}.")
        self.features, self.dim = features, dim
        self.domain = self.codomain = constraints.independent(constraints.real, -dim)
        self.log_scale = nn.Parameter(torch.zeros(features))
        self.shift = nn.Parameter(torch.zeros(features))
        self.register_buffer("initialized", torch.tensor(False))
        # The buffer as Python knows it: reading the tensor would wait for the device at every call.
        self._is_initialized = False
        self.register_load_state_dict_post_hook(_remember_loaded)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def initialize(self, batch: Tensor, *, inverse: bool = False) -> None:
        """Sets the parameters so that the images of `batch` have mean 0 and variance 1 in each feature.

        Args:
            batch: More than one value per feature.
            inverse: Whether the batch is to be standardised by `inverse`, as data is that a flow turns into noise.

        Raises:
            ValueError: The batch has one value per feature only, or a value that is not finite.
        """
        rows = batch.movedim(self.dim, -1).reshape(-1, self.features)
        if len(rows) < 2:
            raise ValueError(
                f"first batch of ActNorm has the shape {tuple(batch.shape)}: one value per feature has no variance. "
                "Start with a larger batch, or call eval() to use it as it is."
            )
        if not holds(rows.isfinite()):
            raise ValueError("first batch of ActNorm must be finite: its mean and variance become the parameters.")
        deviation, mean = torch.std_mean(rows, 0, correction=0)
        # What varies by rounding only is centred, not blown up.
        constant = deviation <= 8 * torch.finfo(rows.dtype).eps * mean.abs()
        deviation = torch.where(constant, 1.0, deviation)
        self.log_scale.copy_(deviation.log() if inverse else -deviation.log())
        self.shift.copy_(mean if inverse else -mean / deviation)
        self.initialized.fill_(True)
        self._is_initialized = True

    def _forward(self, x: Tensor) -> Tensor:
        self._begin(x, inverse=False)
        return x * self._wide(self.log_scale).exp() + self._wide(self.shift)

    def _inverse(self, y: Tensor) -> Tensor:
        self._begin(y, inverse=True)
        return (y - self._wide(self.shift)) * (-self._wide(self.log_scale)).exp()

    def _forward_log_det(self, x: Tensor) -> Tensor:
        self._begin(x, inverse=False)
        return self._log_scales(x)

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        self._begin(y, inverse=True)
        return -self._log_scales(y)

    def _forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._forward(x), self._forward_log_det(x)

    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return self._inverse(y), self._inverse_log_det(y)

    def _begin(self, batch: Tensor, *, inverse: bool) -> None:
        if self.training and not self._is_initialized:
            self.initialize(batch, inverse=inverse)

    def _wide(self, parameter: Tensor) -> Tensor:
        return parameter.reshape(-1, *(1,) * (-self.dim - 1))

    def _log_scales(self, value: Tensor) -> Tensor:
        places = value.shape[value.dim() + self.dim + 1 :].numel()
        return places * self.log_scale.sum() + value.new_zeros(value.shape[: self.dim])

    def _forward_event_shape(self, shape: torch.Size) -> torch.Size:
        if shape[0] != self.features:
            raise ValueError(
                f"input of ActNorm has events of shape {tuple(shape)}, but dimension {self.dim} must be of size "
                f"{self.features}."
            )
        return shape

    _inverse_event_shape = _forward_event_shape

    def extra_repr(self) -> str:
        """The size and the dimension."""
        return f"{self.features}, dim={self.dim}"


def _remember_loaded(module: Any, incompatible_keys: Any) -> None:
    if not module.initialized.is_meta:
        module._is_initialized = bool(module.initialized)
