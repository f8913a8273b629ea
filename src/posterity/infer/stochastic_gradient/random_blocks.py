"""The random numbers of steps, made for many steps at once."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from posterity.infer.stochastic_gradient.kernel import StochasticGradientKernel
from posterity.infer.stochastic_gradient.stochastic_potential import StochasticPotential, Subsampled, subsamples_of
from posterity.kernels import Key, normal

# A small operation of eager code costs as much as thousands of numbers: so many are made together.
_NUMBERS_AT_ONCE = 2**20
_STEPS_AT_ONCE = 128


class Settings(NamedTuple):
    """What a step takes besides the state and the data.

    Attributes:
        noise: Standard normal numbers, `[num_chains, num_noises, dim]`.
        step_size: A scalar.
        temperature: A scalar.
    """

    noise: Tensor
    step_size: Tensor
    temperature: Tensor


class RandomBlocks:
    """The random numbers of steps, made for many steps at once; the numbers do not depend on how many.

    Step t of chain c draws from `Key(seed).fold_in(c).fold_in(t)`.

    Args:
        kernel: The kernel.
        potential: The model.
        num_chains: How many chains there are.
        seed: A whole number.
        total: Before which step the run ends.
    """

    def __init__(
        self,
        kernel: StochasticGradientKernel[Any],
        potential: StochasticPotential,
        num_chains: int,
        seed: int,
        total: int,
    ) -> None:
        self._kernel, self._dtype, self._total = kernel, potential.dtype, total
        chains = torch.arange(num_chains, device=potential.device)
        self._chains = Key(seed, device=potential.device).fold_in(chains)
        self._shape = (kernel.num_noises, potential.dim)
        numbers = num_chains * (kernel.num_noises * potential.dim + potential.num_indices)
        self.length = max(1, min(_STEPS_AT_ONCE, _NUMBERS_AT_ONCE // numbers))
        self._start = self._stop = 0
        self._settings: list[Settings] = []
        self._rows: tuple[Tensor, ...] = ()
        self._subsamples: dict[tuple[Subsampled, ...], dict[str, Tensor]] = {}

    def left(self, step: int) -> int:
        """Of how many steps from this one on the numbers are made together."""
        self._reach(step)
        return min(self._stop, self._total) - step

    def settings(self, step: int) -> Settings:
        """What a step takes besides the state and the data."""
        self._reach(step)
        return self._settings[step - self._start]

    def subsamples(self, step: int, plates: tuple[Subsampled, ...]) -> dict[str, Tensor]:
        """The elements that plates take at a step, by name `[num_chains, taken]`."""
        return {name: rows[0] for name, rows in self.many_subsamples(step, 1, plates).items()}

    def many_settings(self, step: int, number: int) -> Settings:
        """What steps from this one on take, `[number, ...]` each; there are at least so many `left`."""
        self._reach(step)
        first = step - self._start
        return Settings(*(rows[first : first + number] for rows in self._rows))

    def many_subsamples(self, step: int, number: int, plates: tuple[Subsampled, ...]) -> dict[str, Tensor]:
        """The elements that plates take at steps from this one on, by name `[number, num_chains, taken]`."""
        if not plates:
            return {}
        self._reach(step)
        if plates not in self._subsamples:
            self._subsamples[plates] = subsamples_of(plates, self._keys)
        first = step - self._start
        return {name: rows[first : first + number] for name, rows in self._subsamples[plates].items()}

    def _reach(self, step: int) -> None:
        if self._start <= step < self._stop:
            return
        self._start, self._stop = step, step + self.length
        steps = torch.arange(self._start, self._stop, device=self._chains.data.device).unsqueeze(-1)
        self._keys = self._chains.fold_in(steps)
        noise = normal(self._shape, source=self._keys, dtype=self._dtype)
        self._subsamples = {}
        where = range(self._start, min(self._stop, self._total))
        sizes = noise.new_tensor([self._kernel.step_size(t) for t in where])
        temperatures = noise.new_tensor([self._kernel.temperature(t) for t in where])
        self._rows = noise, sizes, temperatures
        self._settings = [Settings(*own) for own in zip(*(rows.unbind(0) for rows in self._rows), strict=False)]
