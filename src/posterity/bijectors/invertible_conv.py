"""The invertible 1x1 convolution of Glow."""

import torch
from torch import Tensor, nn

from posterity.bijectors import constraints
from posterity.bijectors.module_bijector import ModuleBijector
from posterity.bijectors.scale_matvec_lu import lu_matvec, lu_solve


class InvertibleConv1x1(ModuleBijector):
    """The channels at every place of an image multiplied by one learned matrix, W = P L (U + diag(s)).

    W starts as a random rotation; P and the signs of s stay, L, U and log |s| are learned, so W stays invertible. The
    log-det is H W sum(log |s|). (Kingma and Dhariwal 2018, "Glow", section 3.2, eq. 10 and 11.)

    Args:
        channels: The size of `dim`.
        dim: The dimension of the channels, counted from the right: -3 for images `[*batch, C, H, W]`, -1 for vectors
            or channels-last images. It and those right of it are the event.

    Raises:
        ValueError: `dim` is not negative; (on use) the size does not fit.

    Example:
        >>> import torch
        >>> from posterity.bijectors import InvertibleConv1x1
        >>> InvertibleConv1x1(3)(torch.zeros(5, 3, 8, 8)).shape
        torch.Size([5, 3, 8, 8])
    """

    permutation: Tensor
    inverse_permutation: Tensor
    signs: Tensor

    def __init__(self, channels: int, dim: int = -3) -> None:
        super().__init__()
        if dim >= 0:
            raise ValueError(f"dim of InvertibleConv1x1 must be negative, counted from the right, but is {dim}.")
        self.channels, self.dim = channels, dim
        self.domain = self.codomain = constraints.independent(constraints.real, -dim)
        rotation = torch.linalg.qr(torch.randn(channels, channels))[0]
        lower_upper, pivots = torch.linalg.lu_factor(rotation)
        permutation = torch.lu_unpack(lower_upper, pivots, unpack_data=False)[0].argmax(-1)
        diagonal = lower_upper.diagonal()
        self.factors = nn.Parameter(lower_upper - diagonal.diag())
        self.log_scale = nn.Parameter(diagonal.abs().log())
        self.register_buffer("signs", diagonal.sign())
        self.register_buffer("permutation", permutation)
        self.register_buffer("inverse_permutation", permutation.argsort())

    def _forward(self, x: Tensor) -> Tensor:
        return lu_matvec(self._lower_upper(), self.permutation, x.movedim(self.dim, -1)).movedim(-1, self.dim)

    def _inverse(self, y: Tensor) -> Tensor:
        return lu_solve(self._lower_upper(), self.inverse_permutation, y.movedim(self.dim, -1)).movedim(-1, self.dim)

    def _forward_log_det(self, x: Tensor) -> Tensor:
        places = x.shape[x.dim() + self.dim + 1 :].numel()
        return places * self.log_scale.sum() + x.new_zeros(x.shape[: self.dim])

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return -self._forward_log_det(y)

    def _forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._forward(x), self._forward_log_det(x)

    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return self._inverse(y), self._inverse_log_det(y)

    def _lower_upper(self) -> Tensor:
        # The diagonal of `factors` is not a part of the map.
        return self.factors.tril(-1) + self.factors.triu(1) + (self.signs * self.log_scale.exp()).diag()

    def _forward_event_shape(self, shape: torch.Size) -> torch.Size:
        if shape[0] != self.channels:
            raise ValueError(
                f"input of InvertibleConv1x1 has events of shape {tuple(shape)}, but dimension {self.dim} must be of "
                f"size {self.channels}."
            )
        return shape

    _inverse_event_shape = _forward_event_shape

    def extra_repr(self) -> str:
        """The size and the dimension."""
        return f"{self.channels}, dim={self.dim}"
