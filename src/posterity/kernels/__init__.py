"""Floor 0: random numbers and special functions that torch lacks."""

from posterity.kernels.random import Generator, Key, KeyStream, Source, bits, normal, rademacher, uniform
from posterity.kernels.threefry import threefry2x32

__all__ = ["Generator", "Key", "KeyStream", "Source", "bits", "normal", "rademacher", "threefry2x32", "uniform"]
