"""Where draws are kept: in memory, or in blocks on disk."""

import json
import os
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from posterity.infer.mcmc.block import Block, joined
from posterity.infer.mcmc.process_group import ProcessGroup


class DrawStore:
    """Blocks of draws in memory."""

    def __init__(self) -> None:
        self._blocks: list[Block] = []

    def append(self, block: Block) -> None:
        """Keep a block."""
        self._blocks.append(block)

    @property
    def num_blocks(self) -> int:
        """How many blocks are kept."""
        return len(self._blocks)

    @property
    def num_transitions(self) -> int:
        """How many transitions are kept."""
        return sum(block.num_transitions for block in self._blocks)

    def whole(self) -> Block:
        """All blocks as one."""
        self._blocks = [joined(self._blocks)]
        return self._blocks[0]


class Directory:
    """A run's files: its draws in blocks, and its state after the last of them; each is written whole or not at all.

    Args:
        path: The folder, which is made if it is not there.
        processes: Those that share it: each of several has a folder of its own inside. None: this one alone.
        driver: Whose run it is, for errors.

    Raises:
        ValueError: The folder cannot be made.
    """

    def __init__(self, path: Path, processes: ProcessGroup | None = None, *, driver: str = "MCMC") -> None:
        alone = processes is None or processes.size == 1
        self.path = path if processes is None or alone else path / f"process-{processes.rank:03d}"
        self._driver = driver
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"{driver}: {str(self.path)!r} cannot be a directory of draws: {error}") from error

    def save_block(self, phase: str, number: int, block: Block) -> None:
        """Write the block of a number."""
        from safetensors.torch import save_file

        tensors = {f"draws.{name}": value for name, value in block.draws.items()}
        tensors |= {f"info.{name}": value for name, value in block.info.items()}
        target = self.path / f"{phase}-{number:06d}.safetensors"
        part = target.with_suffix(".part")
        save_file({name: value.contiguous() for name, value in tensors.items()}, part)
        _replace(part, target)

    def blocks(self, phase: str, number: int) -> Iterator[Block]:
        """Read the first blocks."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        for i in range(number):
            path = self.path / f"{phase}-{i:06d}.safetensors"
            if not path.exists():
                raise ValueError(
                    f"{self._driver}: the file {str(path)!r} of a run is missing: restore it, or remove the directory"
                )
            try:
                tensors = load_file(path)
            except SafetensorError as error:
                raise self._damaged(path) from error
            yield Block(_named(tensors, "draws."), _named(tensors, "info."))

    def saved_run(self, options: dict[str, Any], seed: int | None) -> dict[str, Any] | None:
        """The state of the run whose options these are; None where there is none yet.

        Args:
            options: What must be the same for a run to go on.
            seed: Its seed; None: that of the run here, as `"seed"` in its state.

        Raises:
            ValueError: The folder holds another run.
        """
        saved = self.load_state()
        if saved is None:
            return None
        own = fingerprint({**options, "seed": saved["seed"] if seed is None else seed})
        if saved["fingerprint"] != own:
            raise ValueError(
                f"{self._driver}: the directory {str(self.path)!r} holds another run, whose options were "
                f"{saved['fingerprint']}; these are {own}. Give another directory, or remove it"
            )
        return saved

    def check_start(self, saved: Mapping[str, Any] | None, start: Mapping[str, Tensor]) -> None:
        """Refuse a run that started elsewhere, or on another log density.

        Args:
            saved: Its state, with the key `"start"`; None: there is none yet.
            start: Where this one starts: points, and the log density there.

        Raises:
            ValueError: The folder holds another run.
        """
        if saved is not None and not _is_same(saved["start"], start):
            raise ValueError(
                f"{self._driver}: the directory {str(self.path)!r} holds another run: its chains started at other "
                "points, or the log density there was another, so its model, its data or its initial values were. Give "
                "another directory, or remove it"
            )

    def save_state(self, state: dict[str, Any]) -> None:
        """Write the state."""
        part = self.path / "state.part"
        torch.save(state, part)
        _replace(part, self.path / "state.pt")

    def load_state(self) -> dict[str, Any] | None:
        """Read the state; None where there is none yet."""
        path = self.path / "state.pt"
        if not path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(path, weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise self._damaged(path) from error
        if not isinstance(state, dict) or not state.keys() >= {"fingerprint", "seed", "start"}:
            raise self._damaged(path)
        return state

    def _damaged(self, path: Path) -> ValueError:
        return ValueError(
            f"{self._driver}: the file {str(path)!r} of a run is damaged: restore it, or remove the directory"
        )


class DiskStore:
    """Blocks of draws in a directory; `whole` reads them all.

    Args:
        directory: The run's files.
        phase: What the blocks are called.
        number: How many blocks are there and count.
    """

    def __init__(self, directory: Directory, phase: str, number: int = 0) -> None:
        self._directory, self._phase = directory, phase
        self.num_blocks = number
        self._lengths = [block.num_transitions for block in directory.blocks(phase, number)]

    def append(self, block: Block) -> None:
        """Write a block."""
        self._directory.save_block(self._phase, self.num_blocks, block)
        self.num_blocks += 1
        self._lengths.append(block.num_transitions)

    @property
    def num_transitions(self) -> int:
        """How many transitions are kept."""
        return sum(self._lengths)

    def whole(self) -> Block:
        """All blocks as one, read from disk."""
        return joined(list(self._directory.blocks(self._phase, self.num_blocks)))


def _named(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _replace(part: Path, target: Path) -> None:
    """Put a file in its place once it is on the disk."""
    with open(part, "rb+") as file:
        os.fsync(file.fileno())
    part.replace(target)


def _is_same(saved: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> bool:
    """Whether chains started at the same points of the same log density, to rounding."""
    return saved.keys() == start.keys() and all(
        saved[name].shape == value.shape
        and saved[name].dtype == value.dtype
        and torch.allclose(saved[name].cpu(), value.cpu(), rtol=1e-4, atol=1e-6, equal_nan=True)
        for name, value in start.items()
    )


def fingerprint(options: dict[str, Any]) -> str:
    """Options as text, to see whether a state belongs to a run."""
    return json.dumps(options, sort_keys=True, default=str)
