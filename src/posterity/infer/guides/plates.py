"""The model's plates in one run of a guide."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor

from posterity.handlers import mask
from posterity.infer.guides.latent import Latent
from posterity.ppl import Handler, Site, plate


class ModelPlates(Handler):
    """Opens the model's plates around a guide's sites.

    However often a plate is opened in one run, it takes the same subsample.

    Args:
        given: Plates to use in place of those that the latent variables know.
        full: Whether to take all elements of every plate.
    """

    def __init__(self, given: Iterable[plate] = (), *, full: bool = False) -> None:
        super().__init__()
        self.given = {own.name: own for own in given}
        self.full = full
        self._taken: dict[str, Tensor] = {}

    @contextmanager
    def around(self, latent: Latent) -> Iterator[None]:
        """The plates around one latent variable, and its mask."""
        with ExitStack() as stack:
            for frame in latent.frames:
                own = self.given.get(frame.name)
                if own is None:
                    own = plate(frame.name, frame.full_size, subsample_size=frame.size, dim=frame.dim)
                stack.enter_context(own)
            if latent.mask is not None:
                stack.enter_context(mask(mask=latent.mask))
            yield

    def process_message(self, site: Site) -> None:
        """Give a plate that was open before the same elements again."""
        if site.kind != "plate" or site.value is not None:
            return
        if site.name in self._taken:
            site.value = self._taken[site.name]
        elif self.full:
            site.value = torch.arange(site.infer["size"])

    def postprocess_message(self, site: Site) -> None:
        """Remember the elements that a plate takes."""
        if site.kind == "plate":
            self._taken[site.name] = site.value
