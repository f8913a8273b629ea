"""What a strategy of `posterity.handlers.reparam` is: another way to draw a variable, with the same distribution."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from posterity.distributions import Distribution, Independent
from posterity.ppl import Site, sample


class Reparam(ABC):
    """Another way to draw a latent variable: as a function of others, under the same distribution."""

    @abstractmethod
    def apply(self, site: Site, run: dict[str, Any]) -> Tensor | None:
        """Draw the variable.

        Args:
            site: The latent variable, with its distribution; not to be changed.
            run: What the strategies of one handler keep during one run of the program.

        Returns:
            The value; None leaves the site as it is.

        Raises:
            TypeError: The strategy is not for such a distribution; the site is named.
        """

    def draw(self, site: Site, suffix: str, distribution: Distribution) -> Tensor:
        """A new site `name_suffix` in the place of another, which this strategy will leave alone."""
        return sample(f"{site.name}_{suffix}", distribution, infer={**site.infer, _KEY: (*made_by(site), type(self))})


def made_by(site: Site) -> tuple[type[Reparam], ...]:
    """The strategies that have made a site, which do not apply to it a second time."""
    found: tuple[type[Reparam], ...] = site.infer.get(_KEY, ())
    return found


def entries(distribution: Distribution | None) -> tuple[Distribution, int]:
    """The distribution inside an `Independent`, and how many of its batch dimensions are events outside."""
    assert distribution is not None
    ndims = 0
    while isinstance(distribution, Independent):
        ndims += distribution.reinterpreted_batch_ndims
        distribution = distribution.base_dist
    return distribution, ndims


_KEY = "reparam"
