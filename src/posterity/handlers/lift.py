"""Make parameters random."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from posterity.distributions import lift as as_own
from posterity.ppl import Handler, Site, sample, subsample

Prior = (
    torch.distributions.Distribution
    | Mapping[str, torch.distributions.Distribution]
    | Callable[[Site], torch.distributions.Distribution | None]
)


class lift(Handler):  # noqa: N801  # handlers are written as functions are
    """Turn `param` statements into `sample` statements, from a prior.

    Args:
        fn: The program; without it, for a `with` block.
        prior: A distribution for all parameters, a mapping from names to distributions, or a function from a site to
            its distribution. Parameters that have none stay parameters. A distribution over single numbers is
            expanded to the parameter's shape.

    Raises:
        TypeError: The prior is nothing of the kind.

    Example:
        >>> import posterity as pt
        >>> lifted = pt.handlers.lift(lambda: pt.param("a", torch.zeros(2)), pt.distributions.Normal(0.0, 1.0))
        >>> pt.handlers.trace(lifted).get_trace()["a"].kind
        'sample'
    """

    def __init__(self, fn: Callable[..., Any] | None = None, prior: Prior | None = None) -> None:
        super().__init__(fn)
        if not isinstance(prior, torch.distributions.Distribution | Mapping) and not callable(prior):
            raise TypeError(
                "lift: prior must be a distribution, a mapping from names to distributions, or a function from a site, "
                f"not {type(prior).__name__}"
            )
        self.prior = prior

    def process_message(self, site: Site) -> None:
        """Draw a parameter that has a prior, as a site of the same name."""
        if site.kind != "param":
            return
        if isinstance(self.prior, torch.distributions.Distribution):
            prior: torch.distributions.Distribution | None = self.prior
        elif isinstance(self.prior, Mapping):
            prior = self.prior.get(site.name)
        else:
            prior = self.prior(site)
        if prior is None:
            return
        own = as_own(prior)
        if not own.batch_shape and not own.event_shape and site.default is not None:
            first = site.default(site)
            if site.event_dim is not None:
                first = subsample(first, site.event_dim)
            own = own.expand(first.shape).to_event(_event_dim(site, first))
        site.value = sample(site.name, own)
        site.stop = True


def _event_dim(site: Site, first: Tensor) -> int:
    """How many of the last dimensions are no plate."""
    if site.event_dim is not None:
        return site.event_dim
    plates = max((-frame.dim for frame in site.plates if frame.dim is not None), default=0)
    return max(first.dim() - plates, 0)
