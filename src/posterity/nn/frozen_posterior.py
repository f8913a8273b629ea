"""A block in which posteriors stay as they are, so that what every draw computes from their tensors is computed once.

Nothing is frozen unless a block is open, and a parameter that is written to while its posterior is frozen is an error:
no forward ever uses numbers that its parameters have left behind.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from posterity.nn.posteriors import Posterior
from posterity.nn.random_module import random_parameters
from posterity.nn.random_parameter import RandomParameter


@contextmanager
def frozen_posterior(module: nn.Module) -> Iterator[None]:
    """While this is open, forwards without gradients use scales and variances that were computed once, at its start.

    It is for predicting many batches with a network that is not trained meanwhile; the draws stay what they were. It
    costs memory for two more tensors of every parameter's size, and belongs to the thread that opened it. Forwards
    with gradients, compiled ones, and those on tensors that `torch.func.functional_call` puts in, compute as ever.

    Args:
        module: a module with random parameters below it.

    Raises:
        ValueError: if nothing below it is random.
        RuntimeError: at a forward, or at the end, if a posterior's parameters were written to meanwhile (by an
            optimizer, `load_state_dict` or `to`). Writing through `.data` in place is not noticed, as torch keeps no
            count of it.

    Example:
        >>> import posterity as pt
        >>> from posterity import nn as bnn
        >>> layer, loader = bnn.Linear(2, 3, estimator="local"), [torch.randn(5, 2) for _ in range(4)]
        >>> with torch.no_grad():
        ...     _ = layer.weight_rho.add_(torch.rand(3, 2))  # for want of a training
        >>> with bnn.frozen_posterior(layer):
        ...     predictions = [pt.predict(layer, x, task="classification") for x in loader]
    """
    if next(random_parameters(module), None) is None:
        raise ValueError(f"frozen_posterior: {type(module).__name__} has no random parameters")
    if torch.compiler.is_compiling():
        yield
        return
    # Listed before it is put in place: a Ctrl-C between the two must not leave anything behind.
    opened: list[tuple[RandomParameter, Frozen]] = []

    def note_step(optimizer: Optimizer, args: object, kwargs: object) -> None:
        stepped = {id(p) for group in optimizer.param_groups for p in group["params"]}
        for _, frozen in opened:
            frozen.note_written(stepped)

    # Fused optimizers leave the tensors' version counters alone.
    hook = register_optimizer_step_post_hook(note_step)
    try:
        with torch.no_grad():
            for layer, name, random in random_parameters(module):
                if random.frozen is None:
                    opened.append((random, Frozen(name, random.posterior, random.tensors(layer, name))))
                    random.freeze(opened[-1][1])
        yield
        for _, frozen in opened:
            frozen.check()
    finally:
        hook.remove()
        for random, frozen in opened:
            random.thaw(frozen)


class Frozen:
    """What draws of one parameter compute from its posterior's tensors, and how to know that these have not changed.

    Args:
        name: the parameter's name, for the error.
        posterior: its family.
        tensors: the posterior's tensors.
    """

    def __init__(self, name: str, posterior: Posterior, tensors: dict[str, Tensor]) -> None:
        self.name = name
        self._states: dict[str, tuple[int, int] | None] = {key: _state(tensor) for key, tensor in tensors.items()}
        self._originals = tensors
        self.tensors = {**tensors, **posterior.derived(tensors)}
        moments = posterior.moments(self.tensors)
        self.moments = None if moments is None else moments._replace(squared_scale=moments.variance)

    def is_of(self, tensors: dict[str, Tensor]) -> bool:
        """Whether these are the tensors that were frozen.

        Raises:
            RuntimeError: if they are, and were written to since.
        """
        if any(tensors[key] is not tensor for key, tensor in self._originals.items()):
            return False
        self.check()
        return True

    def note_written(self, identities: set[int]) -> None:
        """Take tensors with these identities for written to."""
        self._states |= {key: None for key, tensor in self._originals.items() if id(tensor) in identities}

    def check(self) -> None:
        """Refuse tensors that were written to.

        Raises:
            RuntimeError: naming the parameter.
        """
        for key, tensor in self._originals.items():
            if _state(tensor) != self._states[key]:
                raise RuntimeError(
                    f"frozen_posterior: {self.name}_{key} was changed while its posterior was frozen; end the block "
                    "before training, loading or moving the network, and open a new one after it"
                )


def _state(tensor: Tensor) -> tuple[int, int]:
    """What differs after the tensor was written to in place, or got other memory."""
    return -1 if tensor.is_inference() else tensor._version, tensor.data_ptr()
