"""Sweeps over discrete elements, out of one compiled graph for each series of turns, which is replayed natively."""

import torch
from torch import Tensor

from posterity.infer.mcmc.discrete_sweep import Group, Sweep, SweepNoise
from posterity.infer.replay import Replay
from posterity.kernels import Key


class CompiledSweep:
    """Does what a `Sweep` does; random numbers are made ahead for several sweeps.

    Args:
        sweep: The sweep.
        z: Points `[num_chains, dim]`, as an example.
        choices: `[num_chains, num_choices]`, likewise.
        keys: The chains' keys, likewise.

    Raises:
        CaptureError: The model's course depends on values.
    """

    def __init__(self, sweep: Sweep, z: Tensor, choices: Tensor, keys: Key) -> None:
        self._sweep = sweep
        noise = sweep.noise(keys)
        # The random numbers of one sweep, and those that say whose turn it is.
        self.num_numbers = sum(part.numel() for part in noise)
        self.num_numbers += sum(group.num_turns * len(choices) * len(group.turns) for group in sweep.groups)
        self._graphs = [_graph(sweep, group, z, choices, noise) for group in sweep.groups]
        self._noise, self._takes = noise, [torch.empty(0)] * len(sweep.groups)

    @property
    def reason(self) -> str:
        """Why not all graphs are replayed natively; empty where they are."""
        return next((graph.reason for graph in self._graphs if graph.reason), "")

    def prepare(self, keys: Key) -> None:
        """Make the random numbers of several sweeps, from keys `[num_sweeps, num_chains, 2]`."""
        self._noise = self._sweep.noise(keys)
        batch = keys.data.shape[:-1]
        for i, group in enumerate(self._sweep.groups):
            takes = self._sweep.takes(group, self._noise)
            if self._sweep.scan == "systematic":
                takes = takes.unsqueeze(1)
            self._takes[i] = takes.expand(group.num_turns, *batch, -1).movedim(0, 1).contiguous()

    def __call__(self, number: int, z: Tensor, choices: Tensor) -> Tensor:
        """Take one of the sweeps that were prepared.

        Args:
            number: Which.
            z: `[num_chains, dim]`.
            choices: `[num_chains, num_choices]`.

        Returns:
            New choices, which the next call overwrites.
        """
        noise = [part[number] for part in self._noise if part.numel()]
        for graph, takes in zip(self._graphs, self._takes, strict=True):
            for static, value in zip(graph.inputs[1:], (choices, z, *noise), strict=False):
                static.copy_(value)
            rows = takes[number]
            graph.loop(len(rows), advancing=[(0, rows)], feedback=[(0, 1)])
            choices = graph.outputs[0]
        return choices


def _graph(sweep: Sweep, group: Group, z: Tensor, choices: Tensor, noise: SweepNoise) -> Replay:
    """One turn: takes whose turn it is, the choices, the points and the random numbers."""
    takes = torch.ones(len(choices), len(group.turns), dtype=torch.bool, device=choices.device)

    def turn(takes: Tensor, choices: Tensor, z: Tensor, *own: Tensor) -> Tensor:
        given = iter(own)
        return sweep.turn(group, z, choices, takes, SweepNoise(*(next(given) if p.numel() else p for p in noise)))

    example = [takes, choices, z, *(part for part in noise if part.numel())]
    return Replay(turn, [part.detach().clone().contiguous() for part in example], is_settled=True)
