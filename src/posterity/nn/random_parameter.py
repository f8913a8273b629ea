"""One parameter made random: its posterior family, its prior, and the value drawn while a forward runs.

A forward of a root module opens a draw on every random parameter below it and closes it on the way out, so that a
parameter read several times in one forward (attention, tied layers) has one value. What is open belongs to the
thread that opened it, and so does what a `frozen_posterior` keeps; nothing else here is state.
"""

import threading
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from posterity.kernels import KeyStream, Source
from posterity.nn.divergence import NormalPair
from posterity.nn.posteriors import MeanFieldNormal, Moments, Posterior
from posterity.nn.priors import Prior

if TYPE_CHECKING:
    from posterity.nn.frozen_posterior import Frozen


class Draw:
    """The randomness of one forward of one root module.

    Args:
        whole: whether every estimator must use one weight draw for all examples, so that the network is one
            function while this draw is open.
        copies: how many draws the first `local` layer makes of its batch, one after another in its output's first
            dimension: to what follows they are so many more examples.
    """

    def __init__(self, whole: bool = False, copies: int = 1) -> None:
        self.whole = whole
        self.copies = copies
        # Set before anything is taken apart: a Ctrl-C in the middle of that must not leave values behind.
        self.closed = False
        self.opened: list[RandomParameter] = []
        # Eager code draws from torch's global generator. A compiled graph draws from a counter-based key, itself drawn
        # once a call from the global generator: the compiler's own CPU generator takes twenty times longer.
        self.source: Source = KeyStream() if torch.compiler.is_compiling() else None

    def reserve(self, like: Tensor) -> None:
        """Announce that normal noise of this shape will be drawn."""
        if isinstance(self.source, KeyStream):
            self.source.reserve(like.numel(), like.dtype, like.device)


class Slot:
    """What one parameter holds while a draw is open: the draw, and what has been taken from it so far."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.value: Tensor | None = None
        # What the estimators took: flipout's perturbation, its signs for every batch shape, and whether `local` has
        # used up its one draw.
        self.perturbation: Tensor | None = None
        self.signs: dict[torch.Size, Tensor] = {}
        self.used_once = False


class RandomParameter:
    """The posterior family and the prior of one parameter; tied layers share one such object.

    Args:
        posterior: the family; its tensors are the layer's parameters `<name>_<key>`.
        prior: the recipe; its tensors are the layer's buffers `<name>_prior_<key>`.
    """

    def __init__(self, posterior: Posterior, prior: Prior) -> None:
        self.posterior = posterior
        self.prior = prior
        self._open: dict[int, Slot] = {}
        self._frozen: dict[int, Frozen] = {}

    def tensors(self, module: nn.Module, name: str) -> dict[str, Tensor]:
        """The posterior's tensors where `module` keeps them."""
        return {key: getattr(module, f"{name}_{key}") for key in self.posterior.keys}

    def prior_tensors(self, module: nn.Module, name: str) -> dict[str, Tensor]:
        """The prior's tensors where `module` keeps them."""
        head = f"{name}_prior_"
        return {k[len(head) :]: b for k, b in module._buffers.items() if k.startswith(head) and b is not None}

    def value(self, module: nn.Module, name: str) -> Tensor:
        """The drawn value: the open draw's, taken from it at the first reading, or a fresh one if none is open."""
        slot = self.slot()
        if slot is None:
            return self.draw(module, name, Draw())
        if slot.value is None:
            slot.value = self.draw(module, name, slot.draw)
        return slot.value

    def draw(self, module: nn.Module, name: str, draw: Draw) -> Tensor:
        """One draw from the posterior."""
        tensors = self.tensors(module, name)
        frozen = self._frozen_with(tensors)
        return self.posterior.draw(tensors if frozen is None else frozen.tensors, draw.source)

    def perturbation(self, module: nn.Module, name: str, draw: Draw) -> Tensor:
        """One draw less the posterior's mean, where it is a factorised normal."""
        tensors = self.tensors(module, name)
        frozen = self._frozen_with(tensors)
        return self.posterior.perturbation(tensors if frozen is None else frozen.tensors, draw.source)

    def moments(self, module: nn.Module, name: str) -> Moments | None:
        """The posterior's elementwise mean and scale, where it is a factorised normal."""
        tensors = self.tensors(module, name)
        frozen = self._frozen_with(tensors)
        return self.posterior.moments(tensors) if frozen is None else frozen.moments

    def kl(self, module: nn.Module, name: str) -> Tensor:
        """KL(posterior || prior) in nats, a scalar; in float32 at least: a sum overflows float16."""
        prior = self.prior.distribution(_widened(self.prior_tensors(module, name)))
        return self.posterior.kl(_widened(self.tensors(module, name)), prior)

    def normal_pair(self, module: nn.Module, name: str) -> NormalPair | None:
        """Posterior and prior, where both are factorised normals."""
        if not isinstance(self.posterior, MeanFieldNormal):
            return None
        moments = self.prior.normal_moments(_widened(self.prior_tensors(module, name)))
        tensors = _widened(self.tensors(module, name))
        return None if moments is None else NormalPair(tensors["loc"], tensors["rho"], *moments)

    def slot(self) -> Slot | None:
        """What this thread has open, if anything."""
        slot = self._open.get(_thread())
        return None if slot is None or slot.draw.closed else slot

    def open(self, draw: Draw) -> bool:
        """Take values from `draw` until `close`; refused (False) where this thread has a draw open already."""
        if self.slot() is not None:
            return False
        self._open[_thread()] = Slot(draw)
        return True

    def close(self) -> None:
        """End what `open` began."""
        self._open.pop(_thread(), None)

    @property
    def frozen(self) -> "Frozen | None":
        """What this thread has frozen (see `frozen_posterior`)."""
        return self._frozen.get(_thread())

    def freeze(self, frozen: "Frozen") -> None:
        """Use this for draws without gradients until `thaw`."""
        self._frozen[_thread()] = frozen

    def thaw(self, frozen: "Frozen") -> None:
        """End what `freeze` began."""
        if self.frozen is frozen:
            del self._frozen[_thread()]

    def _frozen_with(self, tensors: dict[str, Tensor]) -> "Frozen | None":
        """What was computed of these very tensors, where it may be used."""
        if torch.compiler.is_compiling() or torch.is_grad_enabled():
            return None
        frozen = self.frozen
        return frozen if frozen is not None and frozen.is_of(tensors) else None

    def __getstate__(self) -> tuple[Posterior, Prior]:
        return self.posterior, self.prior

    def __setstate__(self, state: tuple[Posterior, Prior]) -> None:
        self.posterior, self.prior = state
        self._open = {}
        self._frozen = {}

    def __repr__(self) -> str:
        return f"{self.posterior!r}, prior={self.prior!r}"


def _widened(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: t.float() if t.dtype in (torch.float16, torch.bfloat16) else t for key, t in tensors.items()}


def _thread() -> int:
    # Dynamo would fold the identifier of the tracing thread into the graph.
    return 0 if torch.compiler.is_compiling() else threading.get_ident()
