"""Change how much sites count in the log density."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from posterity.ppl import Handler, Site


class scale(Handler):  # noqa: N801  # handlers are written as functions are
    """Multiply the log densities of sites.

    Args:
        fn: The program; without it, for a `with` block.
        scale: A positive number, or a tensor of them that broadcasts against the sites' batches.

    Raises:
        ValueError: The scale is not positive.

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     with pt.handlers.scale(scale=10.0):
        ...         pt.sample("x", pt.distributions.Normal(0.0, 1.0), obs=0.0)
        >>> pt.handlers.trace(model).get_trace().log_prob_sum()
        tensor(-9.1894)
    """

    def __init__(self, fn: Callable[..., Any] | None = None, scale: float | Tensor = 1.0) -> None:
        super().__init__(fn)
        if not isinstance(scale, Tensor) and not scale > 0:
            raise ValueError(f"scale: the factor must be positive, not {scale}")
        self.scale = scale

    def process_message(self, site: Site) -> None:
        """Multiply the site's own scale."""
        if site.kind == "sample":
            site.scale = site.scale * self.scale


class mask(Handler):  # noqa: N801
    """Let sites count only where the mask is true.

    Args:
        fn: The program; without it, for a `with` block.
        mask: True, False, or a bool tensor that broadcasts against the sites' batches.

    Raises:
        TypeError: The mask is not boolean.

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     with pt.handlers.mask(mask=torch.tensor([True, False])):
        ...         pt.sample("x", pt.distributions.Normal(torch.zeros(2), 1.0), obs=torch.zeros(2))
        >>> pt.handlers.trace(model).get_trace().log_prob_sum()
        tensor(-0.9189)
    """

    def __init__(self, fn: Callable[..., Any] | None = None, mask: bool | Tensor = True) -> None:
        super().__init__(fn)
        if not isinstance(mask, bool) and not (isinstance(mask, Tensor) and mask.dtype == torch.bool):
            kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
            raise TypeError(f"mask: the mask must be True, False or a bool tensor, not {kind}")
        self.mask = mask

    def process_message(self, site: Site) -> None:
        """Narrow the site's own mask."""
        if site.kind != "sample":
            return
        if site.mask is None or site.mask is True:
            site.mask = self.mask
        elif self.mask is not True:
            site.mask = False if self.mask is False or site.mask is False else site.mask & self.mask
