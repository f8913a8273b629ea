"""Replica exchange (parallel tempering): chains at several temperatures that swap places.

A hot chain crosses between modes; swaps bring its points down to the chain at temperature 1. All replicas of all
chains are one batch of the kernel inside.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from posterity.infer.mcmc.first_tuning import first_tuning
from posterity.infer.mcmc.kernel import Kernel
from posterity.infer.mcmc.metric import DiagonalMetric, Preconditioned
from posterity.infer.mcmc.replica_adaptation import ReplicaAdaptation, ReplicaTuning
from posterity.infer.mcmc.target import Target
from posterity.infer.mcmc.tempered import Tempered, has_two_parts
from posterity.infer.potential import Potential
from posterity.kernels import Key, Source, uniform

# What the keys of a transition are for.
_INSIDE, _SWAPS = 0, 1
# Replicas, and how hot the last one is where a whole density is tempered: then there is no density at infinity.
_NUM_REPLICAS, _HOTTEST = 8, 100.0


class ReplicaState(NamedTuple):
    """Where the replicas are; the first one is at temperature 1.

    Attributes:
        replicas: `[num_chains, num_replicas, dim]`.
        fixed: The term of the log density that is not tempered, `[num_chains, num_replicas]`.
        energy: The one that is: the log likelihood, or the whole log density, `[num_chains, num_replicas]`.
        heading: Which end of the ladder a walker has seen last, `[num_chains, num_replicas]`: 1 the cold one, -1 the
            hot one after the cold one, 0 none yet.
        round_trips: How many times walkers have gone from the cold end to the hot one and back, `[num_chains]`.
        transitions: How many there have been, `[num_chains]`.
    """

    replicas: Tensor
    fixed: Tensor
    energy: Tensor
    heading: Tensor
    round_trips: Tensor
    transitions: Tensor

    @property
    def position(self) -> Tensor:
        """Where the replica at temperature 1 is, `[num_chains, dim]`."""
        return self.replicas[:, 0]

    @property
    def log_density(self) -> Tensor:
        """Of the target there, `[num_chains]`."""
        return self.fixed[:, 0] + self.energy[:, 0]


class ReplicaInfo(NamedTuple):
    """What is known of a transition.

    Attributes:
        accept_prob: Of the kernel inside at temperature 1, `[num_chains]`.
        is_divergent: Whether the kernel inside diverged there, `[num_chains]`.
        num_steps: How many times the density was evaluated for all replicas, `[num_chains]`.
        round_trips: How many round trips of the ladder there have been so far, `[num_chains]`.
        replica_accept_prob: Of the kernel inside, `[num_chains, num_replicas]`.
        swap_accept_prob: With which probability neighbours would swap, `[num_chains, num_replicas - 1]`.
        log_likelihood: What is tempered, after the swaps, `[num_chains, num_replicas]`: what `replica_evidence` takes.
    """

    accept_prob: Tensor
    is_divergent: Tensor
    num_steps: Tensor
    round_trips: Tensor
    replica_accept_prob: Tensor
    swap_accept_prob: Tensor
    log_likelihood: Tensor


class ReplicaExchange(Kernel[ReplicaState, ReplicaTuning]):
    r"""Chains at several temperatures, moved by one kernel, of which neighbours swap places.

    At inverse temperature beta a replica draws from $p(z) \, p(x \mid z)^\beta$ where the target has a prior and a
    likelihood, else from $\pi(z)^\beta$. Swaps between even and odd pairs take turns, which carries walkers up and
    down the ladder without going to and fro. In the warm-up the ladder is spaced so that all pairs reject alike.

    Args:
        inner: The kernel; it says what the model or the log density is.
        num_replicas: How many temperatures, 8 by default; they are found in the warm-up.
        temperatures: Instead of a number: the temperatures, increasing from 1; they stay. The last one may be infinite
            where the likelihood is tempered: the prior.
        max_temperature: The last temperature of a ladder that is found. None: infinite where the likelihood is
            tempered, else 100.
        tempering: `"likelihood"`, or `"density"` for the whole; None: the likelihood of models, the density of plain
            functions.

    Raises:
        TypeError: `inner` is no kernel, or one whose state is more than a position; or both a number and temperatures
            are given.
        ValueError: A number is out of range.

    Source: Geyer (1991), "Markov chain Monte Carlo maximum likelihood"; Syed, Bouchard-Côté, Deligiannidis and Doucet
    (2022), "Non-reversible parallel tempering", algorithms 1 and 2.

    Example:
        >>> from posterity.infer.mcmc.hmc import HMC
        >>> from posterity.infer.mcmc.target import LogDensity
        >>> def two_modes(z):
        ...     return torch.logaddexp(-0.5 * (z - 10).square().sum(), -0.5 * (z + 10).square().sum())
        >>> kernel = ReplicaExchange(HMC(log_density=two_modes), num_replicas=4)
        >>> target = LogDensity(two_modes, dim=1)
        >>> keys, start = Key(0).fold_in(torch.arange(2)), torch.zeros(2, 1)
        >>> tuning = kernel.adaptation(target, start, 0, keys).tuning
        >>> state, info = kernel.step(target, kernel.init(target, start), tuning, keys)
        >>> state.position.shape, info.swap_accept_prob.shape
        (torch.Size([2, 1]), torch.Size([2, 3]))
    """

    def __init__(
        self,
        inner: Kernel[Any, Any],
        *,
        num_replicas: int | None = None,
        temperatures: Sequence[float] | None = None,
        max_temperature: float | None = None,
        tempering: Literal["likelihood", "density"] | None = None,
    ) -> None:
        if not isinstance(inner, Kernel):
            raise TypeError(f"ReplicaExchange: inner must be a kernel, such as HMC(model), not {inner!r}")
        if not getattr(inner, "is_stateless", True):
            raise TypeError(
                f"ReplicaExchange: {type(inner).__name__} keeps more than a position between transitions, which a swap "
                "would tear apart: put a kernel such as HMC or RandomWalkMetropolis inside"
            )
        super().__init__(inner.model, log_density=inner.log_density, init=inner.start)
        if temperatures is not None and (num_replicas is not None or max_temperature is not None):
            raise TypeError("ReplicaExchange: give either temperatures or num_replicas and max_temperature")
        if num_replicas is None:
            num_replicas = _NUM_REPLICAS if temperatures is None else len(temperatures)
        if isinstance(num_replicas, bool) or not isinstance(num_replicas, int) or num_replicas < 2:
            raise ValueError(
                f"ReplicaExchange: num_replicas must be a whole number of at least 2, not {num_replicas!r}"
            )
        if max_temperature is not None and not max_temperature > 1:
            raise ValueError(f"ReplicaExchange: max_temperature must be above 1, not {max_temperature!r}")
        if tempering not in ("likelihood", "density", None):
            raise ValueError(f"ReplicaExchange: tempering must be 'likelihood', 'density' or None, not {tempering!r}")
        self.temperatures = None if temperatures is None else [float(t) for t in temperatures]
        ladder = self.temperatures or [1.0]
        if ladder[0] != 1 or any(after <= before for before, after in itertools.pairwise(ladder)):
            raise ValueError(f"ReplicaExchange: temperatures must increase from 1, not {self.temperatures}")
        self.inner, self.num_replicas = inner, num_replicas
        self.max_temperature, self.tempering = max_temperature, tempering

    # What a transition needs beside a position, the other replicas, cannot be made from it.
    is_stateless = False

    @property
    def is_capturable(self) -> bool:  # type: ignore[override]  # it is the inner kernel's
        """Whether a step of the kernel inside is one graph."""
        return self.inner.is_capturable

    def init(self, target: Target, position: Tensor) -> ReplicaState:
        """All replicas of a chain at its position, `[num_chains, dim]`."""
        replicas = position.unsqueeze(1).expand(-1, self.num_replicas, -1).contiguous()
        with torch.no_grad():
            fixed, energy = self._tempered(target, position.new_ones(())).parts(replicas)
        heading = torch.zeros_like(energy, dtype=torch.int64)
        heading[:, 0] = 1
        none = torch.zeros_like(heading[:, 0])
        return ReplicaState(replicas, fixed, energy, heading, none, none.clone())

    def step(
        self, target: Target, state: ReplicaState, tuning: ReplicaTuning, keys: Key
    ) -> tuple[ReplicaState, ReplicaInfo]:
        """Move every replica, then swap neighbours."""
        number, dim = state.replicas.shape[1:]
        tempered = self._tempered(target, tuning.inverse_temperatures.reshape(-1))
        metric = DiagonalMetric(tuning.scale.reshape(-1, dim))
        whitened = Preconditioned(tempered, metric)
        start = self.inner.init(whitened, metric.inverse(state.replicas.reshape(-1, dim)))
        moved, info = self.inner.step(whitened, start, _flat(tuning.inner), _of_replicas(keys, number))
        with torch.no_grad():
            replicas = metric.forward(moved.position)
            fixed, energy = (part.reshape(-1, number) for part in tempered.parts(replicas))
        state = ReplicaState(replicas.reshape(-1, number, dim), fixed, energy, *state[3:])
        state, swap_accept_prob = _swapped(state, tuning.inverse_temperatures, keys.fold_in(_SWAPS))
        return state, _info(state, info, swap_accept_prob)

    def adaptation(self, target: Target, position: Tensor, num_warmup: int, keys: Key) -> ReplicaAdaptation:
        """Dual averaging of each replica's step size, its scales, and the ladder."""
        self._check(target)
        num_chains, dim = position.shape
        betas = self.first_ladder(target).to(position).expand(num_chains, -1).contiguous()
        tempered = self._tempered(target, betas.reshape(-1))
        rows = position.unsqueeze(1).expand(-1, self.num_replicas, -1).reshape(-1, dim)
        inner = first_tuning(self.inner, tempered, rows, _of_replicas(keys, self.num_replicas))
        inner = pytree.tree_map(lambda part: part.reshape(num_chains, self.num_replicas, *part.shape[1:]), inner)
        scale = position.new_ones(num_chains, self.num_replicas, dim)
        tuning = ReplicaTuning(betas, scale, inner)
        return ReplicaAdaptation(self.inner, tuning, num_warmup, moves_ladder=self.temperatures is None)

    def first_ladder(self, target: Target) -> Tensor:
        """The inverse temperatures before the warm-up, `[num_replicas]`, decreasing from 1."""
        if self.temperatures is not None:
            return 1 / torch.tensor(self.temperatures, dtype=torch.float64)
        hottest = self.max_temperature or (_HOTTEST if self._is_whole(target) else math.inf)
        steps = torch.linspace(1, 0, self.num_replicas, dtype=torch.float64)
        if hottest == math.inf:
            return steps**4
        return hottest ** (steps - 1)

    def potential(self, args: Sequence[Any], kwargs: Mapping[str, Any], source: Source) -> Potential:
        """The model's log density with given data, as a target."""
        return self.inner.potential(args, kwargs, source)

    def _is_whole(self, target: Target) -> bool:
        return self.tempering == "density" or (self.tempering is None and not has_two_parts(target))

    def _tempered(self, target: Target, inverse_temperature: Tensor) -> Tempered:
        return Tempered(target, inverse_temperature, whole=self._is_whole(target))

    def _check(self, target: Target) -> None:
        if isinstance(target, Preconditioned):
            raise TypeError("ReplicaExchange: each replica has scales of its own, so that no metric can be around it")
        hottest = self.temperatures[-1] if self.temperatures is not None else self.max_temperature
        if hottest == math.inf and self._is_whole(target):
            raise ValueError(
                "ReplicaExchange: a whole density at infinite temperature is flat and has no integral: give a last "
                "temperature that is finite, or temper the likelihood of a model"
            )


def _swapped(state: ReplicaState, betas: Tensor, keys: Key) -> tuple[ReplicaState, Tensor]:
    """Swap neighbours: pairs of even places at even transitions, of odd ones at odd."""
    number = betas.shape[1]
    log_ratio = (betas[:, :-1] - betas[:, 1:]) * (state.energy[:, 1:] - state.energy[:, :-1])
    # Two points without likelihood, or without a density: neither is better.
    accept_prob = log_ratio.nan_to_num(nan=-math.inf).clamp(max=0).exp()
    pair = torch.arange(number - 1, device=betas.device)
    takes_turn = (pair + state.transitions.unsqueeze(1)) % 2 == 0
    chance = uniform((number - 1,), source=keys, dtype=betas.dtype)
    swaps = (takes_turn & (chance < accept_prob)).long()
    none = torch.zeros_like(swaps[:, :1])
    place = torch.arange(number, device=betas.device) + torch.cat([swaps, none], 1) - torch.cat([none, swaps], 1)
    replicas = state.replicas.gather(1, place.unsqueeze(-1).expand_as(state.replicas))
    fixed, energy, heading = (part.gather(1, place) for part in (state.fixed, state.energy, state.heading))
    # A walker at the hot end turns round if it came from the cold one; at the cold end, a trip is over.
    hot = torch.where(heading[:, -1] == 1, -1, heading[:, -1])
    round_trips = state.round_trips + (heading[:, 0] == -1)
    heading = torch.cat([torch.ones_like(none), heading[:, 1:-1], hot.unsqueeze(1)], 1)
    return ReplicaState(replicas, fixed, energy, heading, round_trips, state.transitions + 1), accept_prob


def _info(state: ReplicaState, inner: Any, swap_accept_prob: Tensor) -> ReplicaInfo:
    def of_inner(name: str, otherwise: Tensor) -> Tensor:
        found = getattr(inner, name, None)
        return otherwise if found is None else found.reshape(state.energy.shape)

    accept_prob = of_inner("accept_prob", torch.ones_like(state.energy))
    is_divergent = of_inner("is_divergent", torch.zeros_like(state.energy, dtype=torch.bool))
    num_steps = of_inner("num_steps", torch.ones_like(state.transitions).unsqueeze(1).expand_as(state.energy))
    return ReplicaInfo(
        accept_prob[:, 0],
        is_divergent[:, 0],
        num_steps.sum(1),
        state.round_trips,
        accept_prob,
        swap_accept_prob,
        state.energy,
    )


def _flat(tuning: Any) -> Any:
    """A tuning of replicas as one of chains."""
    return pytree.tree_map(lambda part: part.reshape(-1, *part.shape[2:]), tuning)


def _of_replicas(keys: Key, number: int) -> Key:
    """A key for each replica of each chain, `[num_chains * num_replicas, 2]`."""
    inside = keys.fold_in(_INSIDE).data.unsqueeze(1)
    own = Key(inside).fold_in(torch.arange(number, device=inside.device))
    return Key(own.data.reshape(-1, 2))
