"""Floor 3: handlers, which change what a program's statements mean."""

from posterity.handlers.block import block
from posterity.handlers.lift import lift
from posterity.handlers.seed import seed
from posterity.handlers.trace import Trace, trace
from posterity.handlers.values import condition, do, replay, substitute, uncondition
from posterity.handlers.weights import mask, scale

__all__ = [
    "Trace",
    "block",
    "condition",
    "do",
    "lift",
    "mask",
    "replay",
    "scale",
    "seed",
    "substitute",
    "trace",
    "uncondition",
]
