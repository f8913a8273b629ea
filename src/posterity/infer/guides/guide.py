"""What all automatic guides share: set-up from a run of the model, the model's plates, and what they are asked."""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any, Self

import torch
from torch import Tensor, nn

from posterity.distributions import Delta
from posterity.handlers import Trace, block, seed
from posterity.infer.guides.latent import Latent, full_size, latents_of
from posterity.infer.guides.plates import ModelPlates
from posterity.infer.guides.quantiles import central_point, marginal_quantiles
from posterity.infer.initialization import Strategy, init_to_median
from posterity.infer.sources import source_here
from posterity.infer.start import find_start
from posterity.kernels import Key, Source
from posterity.ppl import plate, sample

Plates = plate | Iterable[plate]


class AutoGuide(nn.Module):
    """An approximate posterior that is made from its model.

    A guide is a program and a module: called with the model's arguments it draws the model's latent variables and
    returns them; its parameters are made by `setup`, at the latest in the first call.

    For those who write one: implement `_set_up(start)`, which makes the parameters from the values at the start, and
    `_draw(plates)`, which makes the sites. Override `_unconstrained_quantiles` where they are known.

    Args:
        model: The model.
        init: Where to start; a strategy of `posterity.infer.initialization`.
        create_plates: From the model's arguments to the plates that the guide is to use in place of its own, a plate
            or several: for models that are given the indices of their subsample.

    Raises:
        TypeError: `model` or `init` is not callable.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        *,
        init: Strategy = init_to_median,
        create_plates: Callable[..., Plates] | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("model", model), ("init", init)):
            if not callable(value):
                raise TypeError(f"{name} of {type(self).__name__} must be callable, not a {type(value).__name__}")
        # In a tuple: a model that is a module keeps its parameters for itself.
        self._model = (model,)
        self._create_plates = create_plates
        self.init = init
        self.latents: dict[str, Latent] = {}

    # What users call.

    @property
    def model(self) -> Callable[..., Any]:
        """The model."""
        return self._model[0]

    @property
    def is_set_up(self) -> bool:
        """Whether the parameters are there."""
        return bool(self.latents)

    def setup(self, *args: Any, **kwargs: Any) -> Self:
        """Make the parameters from a run of the model; on a guide that has them, check that the model still fits.

        Args:
            *args: The model's arguments.
            **kwargs: The model's keyword arguments.

        Returns:
            The guide itself.

        Raises:
            ValueError: The model has no latent variable, one that the guide cannot have, or other ones than at the
                first set-up; or no point with a finite log density was found.
        """
        start = find_start(self.model, args, kwargs, init=self.init)
        found = latents_of(start.trace)
        if self.is_set_up:
            self._require_same(found)
            return self
        self._require_choice(start.trace, found)
        self._require_fit(found)
        values = {name: full_size(latent, start.unconstrained[name]) for name, latent in found.items()}
        self._set_up(found, values)
        self.latents = found
        return self

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Draw the latent variables, as sample sites.

        Args:
            *args: The model's arguments.
            **kwargs: The model's keyword arguments.

        Returns:
            Values in constrained space by site name; of subsampled plates, those of the subsample.
        """
        if not self.is_set_up:
            self.setup(*args, **kwargs)
        given = self._create_plates(*args, **kwargs) if self._create_plates is not None else ()
        with ModelPlates([given] if isinstance(given, plate) else given) as plates:
            return self._draw(plates)

    def sample_posterior(
        self, sample_shape: int | Sequence[int] = (), *args: Any, generator: Source | int = None, **kwargs: Any
    ) -> dict[str, Tensor]:
        """Draws from the guide, all plates in full, without gradients.

        Args:
            sample_shape: The shape of independent draws.
            *args: The model's arguments; needed only before the guide is set up.
            generator: Where random numbers come from: a `torch.Generator`, a `posterity.kernels.Key` or a seed; None:
                the `posterity.handlers.seed` around, or torch's generator.
            **kwargs: The model's keyword arguments.

        Returns:
            By name `[*sample_shape, *batch_shape, *event_shape]`, in constrained space.

        Raises:
            ValueError: The sample shape is empty.
        """
        self._ensure(args, kwargs)
        shape = (sample_shape,) if isinstance(sample_shape, int) else tuple(sample_shape)
        if math.prod(shape) < 1:
            raise ValueError(f"sample_shape of sample_posterior must hold at least one draw, not {shape}")
        source = source_here(advance=True) if generator is None else generator
        draws = self._draws(math.prod(shape), source)
        return {name: value.reshape(shape + value.shape[1:]) for name, value in draws.items()}

    def median(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """A central point of the latent variables, in constrained space, all plates in full.

        It is the median of each entry on unconstrained space, mapped to constrained space: the median there too where
        constraints act on single entries, and a point of the support always (medians of a simplex's entries would not
        sum to one), so that programs can be run at it.

        Args:
            *args: The model's arguments; needed only before the guide is set up.
            **kwargs: The model's keyword arguments.

        Returns:
            By name `[*batch_shape, *event_shape]`.
        """
        self._ensure(args, kwargs)
        with torch.no_grad():
            return central_point(self.latents, self._unconstrained_quantiles, self._same_draws)

    def quantiles(self, levels: Sequence[float] | Tensor, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Quantiles of each entry of each latent variable, in constrained space, all plates in full.

        They are exact where the guide's family has them and constraints act on single entries. For other ones, such
        as simplices, they are those of 4096 draws, the same ones at each call.

        Args:
            levels: Probabilities between 0 and 1.
            *args: The model's arguments; needed only before the guide is set up.
            **kwargs: The model's keyword arguments.

        Returns:
            By name `[len(levels), *batch_shape, *event_shape]`.

        Raises:
            ValueError: The levels are no vector of probabilities.
        """
        self._ensure(args, kwargs)
        listed = torch.as_tensor(levels, dtype=torch.float64)
        if listed.dim() != 1 or not bool(((listed >= 0) & (listed <= 1)).all()):
            raise ValueError(f"levels of quantiles must be a list of probabilities between 0 and 1, not {levels}")
        with torch.no_grad():
            return self._quantiles(listed)

    def extra_repr(self) -> str:
        """The latent variables and their shapes."""
        return ", ".join(f"{name}: {tuple(latent.shape)}" for name, latent in self.latents.items()) or "not set up"

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """As torch's, once the guide is set up.

        Raises:
            RuntimeError: It is not.
        """
        if not self.is_set_up:
            raise RuntimeError(
                f"{type(self).__name__} has no parameters to load into: call setup(*args), with the model's "
                "arguments, first"
            )
        return super().load_state_dict(*args, **kwargs)

    # For the subclasses.

    @abstractmethod
    def _set_up(self, latents: dict[str, Latent], start: dict[str, Tensor]) -> None:
        """Make the parameters.

        Args:
            latents: The latent variables.
            start: Their values at the start, of their `unconstrained_shape`.
        """

    @abstractmethod
    def _draw(self, plates: ModelPlates) -> dict[str, Tensor]:
        """Make the guide's sites, each inside `plates.around(latent)`, and return the values."""

    def _require_fit(self, latents: dict[str, Latent]) -> None:
        """Refuse latent variables that this guide cannot have."""

    def _unconstrained_quantiles(self, levels: Tensor) -> dict[str, Tensor] | None:
        """By name `[len(levels), *unconstrained_shape]`; None where they are not known."""
        return None

    def _site_from_unconstrained(self, latent: Latent, unconstrained: Tensor) -> Tensor:
        """A site of a latent variable, as a function of a point on unconstrained space."""
        value, log_det = latent.bijector.forward_and_log_det(unconstrained)
        density = 0.0 if latent.is_real else -log_det
        return sample(latent.name, Delta(value, density, event_dim=len(latent.event_shape), validate_args=False))

    # The machinery.

    def _ensure(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self.is_set_up:
            self.setup(*args, **kwargs)

    def _draws(self, number: int, source: Source | int) -> dict[str, Tensor]:
        """Independent draws along a new first dimension, all plates in full."""
        rank = max(len(latent.batch_shape) for latent in self.latents.values())
        with ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(block())
            if source is not None:
                stack.enter_context(seed(rng_seed=source))
            # A plate beyond the dimensions of all others: every site is drawn that many times at once.
            stack.enter_context(plate("_draws", number, dim=-rank - 1))
            values = self._draw(stack.enter_context(ModelPlates(full=True)))
        return {name: values[name].detach().reshape((number, *latent.shape)) for name, latent in self.latents.items()}

    def _quantiles(self, levels: Tensor) -> dict[str, Tensor]:
        return marginal_quantiles(self.latents, levels, self._unconstrained_quantiles, self._same_draws)

    def _same_draws(self, number: int) -> dict[str, Tensor]:
        return self._draws(number, Key(0))

    def _require_choice(self, found: Trace, latents: dict[str, Latent]) -> None:
        if self._create_plates is not None:
            return
        for latent in latents.values():
            for frame in latent.frames:
                if frame.name in found and found[frame.name].infer.get("given"):
                    raise ValueError(
                        f"site {latent.name!r} stands in plate {frame.name!r}, whose subsample the model is given: "
                        f"give the guide the same plate from the same arguments, {type(self).__name__}(model, "
                        "create_plates=lambda *args: pt.plate(name, size, subsample=...))"
                    )

    def _require_same(self, found: dict[str, Latent]) -> None:
        missing = [name for name in found if name not in self.latents]
        extra = [name for name in self.latents if name not in found]
        for names, here, there in ((missing, "model", "guide"), (extra, "guide", "model")):
            if names:
                raise ValueError(
                    f"the {here} has latent sites that the {there} lacks: {', '.join(map(repr, names))}. The guide was "
                    "set up with another model or other arguments: make a new one"
                )
        for name, latent in self.latents.items():
            if latent.shape != found[name].shape:
                raise ValueError(
                    f"site {name!r} has shape {tuple(found[name].shape)} in the model, but had shape "
                    f"{tuple(latent.shape)} when the guide was set up: make a new guide, or put what changes its size "
                    "into a plate with subsample_size"
                )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.latents = {name: latent.moved(fn) for name, latent in self.latents.items()}
        return self
