"""What distributions made from another one have in common, whatever they make of it."""

from typing import Any, ClassVar, NoReturn, Self

from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from posterity.distributions.base import Distribution


class OnBase(Distribution):
    """A distribution made from a base that shares its batch, its dtype and its device."""

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012  # declared by torch's base
    base_dist: Distribution
    _instead_of_fit: ClassVar[str] = "maximise the sum of log_prob over its parameters."

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether the base has reparameterised draws."""
        return self.base_dist.has_rsample

    def expand(self, batch_shape: _size, _instance: Any = None) -> Self:
        """The same distribution with its batch broadcast to `batch_shape`; no memory is copied."""
        new = super().expand(batch_shape, _instance)
        new.base_dist = self.base_dist.expand(new.batch_shape)
        return new

    @classmethod
    def fit(cls, *args: object, **kwargs: object) -> NoReturn:
        """Refused: the base's family is not known from the class."""
        raise NotImplementedError(f"{cls.__name__}.fit does not know the base's family: {cls._instead_of_fit}")

    def _like(self) -> Tensor:
        return self.base_dist._like()
