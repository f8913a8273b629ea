"""What tunes a kernel while it warms up."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from posterity.infer.mcmc.metric import Metric


class Adaptation(ABC):
    """Tunes a kernel, transition by transition.

    Attributes:
        tuning: What the kernel's next step takes.
        metric: The map from whitened space, where the kernel moves, to the target's; None: there is none.
    """

    tuning: Any
    metric: Metric | None = None

    @abstractmethod
    def update(self, state: Any, info: Any) -> bool:
        """Learn from a warm-up transition.

        Args:
            state: The kernel's state after it, in whitened space.
            info: What the kernel says of it.

        Returns:
            Whether the metric has changed, so that the state's position belongs to the old one.
        """

    def finish(self) -> bool:
        """The warm-up is over: settle on a tuning; whether the metric has changed."""
        return False

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything that later updates depend on."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""


class FixedTuning(Adaptation):
    """Tunes nothing.

    Args:
        tuning: What the kernel takes at every step.
        metric: The map from whitened space.
    """

    def __init__(self, tuning: Any, metric: Metric | None = None) -> None:
        self.tuning, self.metric = tuning, metric

    def update(self, state: Any, info: Any) -> bool:
        """Nothing is learnt."""
        return False

    def state_dict(self) -> dict[str, Any]:
        """The tuning and the metric."""
        return {"tuning": self.tuning, "metric": self.metric}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.tuning, self.metric = state["tuning"], state["metric"]
