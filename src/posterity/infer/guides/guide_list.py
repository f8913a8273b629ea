"""Several guides for the parts of one model."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, Self

import torch
from torch import Tensor, nn

from posterity.handlers import Trace, block, seed, trace
from posterity.infer.guides.guide import AutoGuide
from posterity.infer.guides.joint import AutoJoint
from posterity.infer.guides.plates import ModelPlates
from posterity.infer.sources import source_here
from posterity.kernels import Source

Part = Callable[..., Any]


class AutoGuideList(nn.Module):
    """Guides that together are the guide of one model, each independent of the others.

    A part is an automatic guide of what `posterity.handlers.block` leaves of the model, or any function or module that
    makes sample sites. Parts that stand in one subsampled plate take the same subsample.

    Args:
        guides: The parts, in the order in which they run.

    Raises:
        TypeError: A part is not callable.
        ValueError: (on use) there are no parts, or two draw one site.

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     pt.sample("x", pt.distributions.Normal(0.0, 1.0))
        ...     pt.sample("y", pt.distributions.Normal(0.0, 1.0))
        >>> guide = AutoGuideList([
        ...     pt.infer.AutoNormal(pt.handlers.block(model, hide=["y"])),
        ...     pt.infer.AutoDelta(pt.handlers.block(model, expose=["y"])),
        ... ])
        >>> sorted(guide())
        ['x', 'y']
    """

    def __init__(self, guides: Iterable[Part] = ()) -> None:
        super().__init__()
        self._parts: list[Part] = []
        for guide in guides:
            self.append(guide)

    def append(self, guide: Part) -> Self:
        """Add a part, which runs after the others.

        Raises:
            TypeError: It is not callable.
        """
        if not callable(guide):
            raise TypeError(f"a part of AutoGuideList must be a guide to call, not a {type(guide).__name__}")
        number = len(self._parts)
        if isinstance(guide, AutoJoint) and number:
            guide.site_name = f"{AutoJoint.site_name}_{number}"
        if isinstance(guide, nn.Module):
            self.add_module(str(number), guide)
        self._parts.append(guide)
        return self

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[Part]:
        return iter(self._parts)

    def __getitem__(self, index: int) -> Part:
        return self._parts[index]

    def setup(self, *args: Any, **kwargs: Any) -> Self:
        """Set up all automatic guides among the parts; see `AutoGuide.setup`.

        Raises:
            ValueError: There are no parts, or two guide one site.
        """
        self._require_parts()
        owners: dict[str, int] = {}
        for number, part in enumerate(self._parts):
            if isinstance(part, AutoGuide):
                part.setup(*args, **kwargs)
                for name in part.latents:
                    if name in owners:
                        raise ValueError(
                            f"site {name!r} is guided by parts {owners[name]} and {number} of AutoGuideList: hide it "
                            "from one of them, AutoNormal(handlers.block(model, hide=[...]))"
                        )
                    owners[name] = number
        return self

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Draw the latent variables of all parts, as sample sites.

        Args:
            *args: The model's arguments.
            **kwargs: The model's keyword arguments.

        Returns:
            Values in constrained space by site name.
        """
        self._require_parts()
        with trace() as recorded, ModelPlates():
            for part in self._parts:
                part(*args, **kwargs)
        return _latents(recorded.trace)

    def sample_posterior(
        self, sample_shape: int | Sequence[int] = (), *args: Any, generator: Source | int = None, **kwargs: Any
    ) -> dict[str, Tensor]:
        """Draws from the guide without gradients; those of parts that are no automatic guides are made one by one.

        Args:
            sample_shape: The shape of independent draws.
            *args: The model's arguments.
            generator: Where random numbers come from; see `AutoGuide.sample_posterior`.
            **kwargs: The model's keyword arguments.

        Returns:
            By name `[*sample_shape, *batch_shape, *event_shape]`, in constrained space.
        """
        self._require_parts()
        shape = (sample_shape,) if isinstance(sample_shape, int) else tuple(sample_shape)
        source = source_here(advance=True) if generator is None else generator
        values: dict[str, Tensor] = {}
        with ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(block())
            if source is not None:
                stack.enter_context(seed(rng_seed=source))
            for part in self._parts:
                if isinstance(part, AutoGuide):
                    values.update(part.sample_posterior(shape, *args, **kwargs))
                    continue
                runs = [_latents(trace(part).get_trace(*args, **kwargs)) for _ in range(math.prod(shape))]
                for name in runs[0]:
                    drawn = torch.stack([run[name] for run in runs])
                    values[name] = drawn.reshape(shape + drawn.shape[1:])
        return values

    def median(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Medians of all parts; see `AutoGuide.median`.

        Raises:
            TypeError: A part knows none.
        """
        return self._of_parts("median", args, kwargs)

    def quantiles(self, levels: Sequence[float] | Tensor, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Quantiles of all parts; see `AutoGuide.quantiles`.

        Raises:
            TypeError: A part knows none.
        """
        return self._of_parts("quantiles", (levels, *args), kwargs)

    def _of_parts(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Tensor]:
        self._require_parts()
        values: dict[str, Tensor] = {}
        for number, part in enumerate(self._parts):
            if not hasattr(part, method):
                raise TypeError(
                    f"part {number} of AutoGuideList, a {type(part).__name__}, has no {method}: take them from "
                    "sample_posterior"
                )
            values.update(getattr(part, method)(*args, **kwargs))
        return values

    def _require_parts(self) -> None:
        if not self._parts:
            raise ValueError("AutoGuideList has no parts: append a guide for each part of the model")


def _latents(found: Trace) -> dict[str, Tensor]:
    return {site.name: site.value for site in found.latents() if not site.infer.get("is_auxiliary")}
