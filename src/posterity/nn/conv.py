"""The Bayesian convolutions."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from posterity.nn.estimators import flipout
from posterity.nn.layers import BayesianLayer, make_random, uses_estimator
from posterity.nn.posteriors import Posterior
from posterity.nn.priors import PriorLike
from posterity.nn.random_module import estimating_classes, with_draw


class _Convolution(BayesianLayer):
    """What the three have in common."""

    _estimators = ("reparam", "flipout")
    _conv_forward: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    _unbatched_dim: int

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: str | int | tuple[int, ...] = 0,
        dilation: int | tuple[int, ...] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: Literal["zeros", "reflect", "replicate", "circular"] = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        prior: PriorLike | None = None,
        posterior: Posterior | None = None,
        estimator: str = "reparam",
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            bias=bias,
            padding_mode=padding_mode,
            device=device,
            dtype=dtype,
        )
        make_random(self, prior, posterior, estimator)

    @with_draw
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """The layer's output for `[batch, in_channels, *spatial]`, or the same without a batch."""
        if not uses_estimator(self):
            output: Tensor = super().forward(input)
            return output
        dim = self._unbatched_dim
        return flipout(self, input, self._conv_forward, unbatched_dim=dim, channel_dim=-dim)


class Conv1d(_Convolution, nn.Conv1d):
    """`torch.nn.Conv1d` whose weight and bias are distributions.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: size of the kernel.
        stride: step of the kernel.
        padding: zeros (or what `padding_mode` says) added around the input.
        dilation: spacing of the kernel's elements.
        groups: blocks of channels that do not see each other.
        bias: whether there is a bias.
        padding_mode: `"zeros"`, `"reflect"`, `"replicate"` or `"circular"`.
        device: where the parameters live.
        dtype: their dtype.
        prior: as for `Linear`.
        posterior: as for `Linear`.
        estimator: `"reparam"` or `"flipout"`.

    Raises:
        ValueError: for an unknown estimator, for `"local"` (neighbouring outputs share weights, so it is not a draw
            from any q), or a prior whose shape does not fit.
        TypeError: for something that is not a prior or a posterior.

    Example:
        >>> from posterity import nn as bnn
        >>> bnn.Conv1d(1, 4, 3)(torch.zeros(2, 1, 8)).shape
        torch.Size([2, 4, 6])
    """

    _unbatched_dim = 2


class Conv2d(_Convolution, nn.Conv2d):
    """`torch.nn.Conv2d` whose weight and bias are distributions.

    Arguments and errors are those of `Conv1d`.

    Example:
        >>> from posterity import nn as bnn
        >>> bnn.Conv2d(1, 4, 3)(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 4, 6, 6])
    """

    _unbatched_dim = 3


class Conv3d(_Convolution, nn.Conv3d):
    """`torch.nn.Conv3d` whose weight and bias are distributions.

    Arguments and errors are those of `Conv1d`.

    Example:
        >>> from posterity import nn as bnn
        >>> bnn.Conv3d(1, 4, 3)(torch.zeros(2, 1, 8, 8, 8)).shape
        torch.Size([2, 4, 6, 6, 6])
    """

    _unbatched_dim = 4


estimating_classes[nn.Conv1d] = Conv1d
estimating_classes[nn.Conv2d] = Conv2d
estimating_classes[nn.Conv3d] = Conv3d
