"""A density model made of a base distribution, a bijector with parameters, and the scale of the data."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from posterity.bijectors import Bijector, Independent, ScalarAffine
from posterity.bijectors.module_bijector import Conditional
from posterity.distributions import Distribution, Normal, TransformedDistribution, lift
from posterity.kernels import Source
from posterity.networks.flows.fitting import FlowFit, fit_flow
from posterity.runtime import validation_enabled

Base = torch.distributions.Distribution | Callable[[], torch.distributions.Distribution]


class NormalizingFlow(nn.Module):
    """A density over vectors, p(x) or p(x | context), that is fitted to rows of data.

    x = loc + scale * f(u), where u is drawn from the base and f is the bijector. `loc` and `scale` are buffers which
    `fit` takes from the data, so that data of any scale will do; they count in the log-determinant. Log densities are
    in nats per row: divide by `features * log(2)` for bits per dimension.

    `RealNVP`, `MAF` and `NeuralSpline` choose the bijector; this class takes any.

    Args:
        features: The size of the vectors.
        bijector: From base to standardised data: a module, with parameters to train, such as a
            `posterity.bijectors.Flow`.
        base: A distribution with events `[features]`, or a module (or function) that gives one when called, so that
            its parameters are trained and moved too. Default: the standard normal.

    Raises:
        TypeError: `bijector` is no bijector that is a module, or `base` is no distribution and gives none.
        ValueError: The events of `base` are no vectors of that size.

    Source: Papamakarios et al. (2021), "Normalizing flows for probabilistic modeling and inference".

    Example:
        >>> from posterity.bijectors import ActNorm, Flow
        >>> flow = NormalizingFlow(2, Flow([ActNorm(2)]))
        >>> flow.log_prob(torch.zeros(5, 2)).shape, flow.sample(3).shape
        (torch.Size([5]), torch.Size([3, 2]))
    """

    loc: Tensor
    scale: Tensor
    context_loc: Tensor
    context_scale: Tensor

    def __init__(self, features: int, bijector: Bijector, base: Base | None = None) -> None:
        super().__init__()
        if not isinstance(bijector, Bijector) or not isinstance(bijector, nn.Module):
            raise TypeError(
                f"bijector of {self._name} must be a bijector that is a module, such as posterity.bijectors.Flow, not "
                f"{type(bijector).__name__}"
            )
        self.features, self.context_features = features, int(getattr(bijector, "context_features", 0))
        self.bijector, self.base = bijector, base
        self.register_buffer("loc", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.register_buffer("context_loc", torch.zeros(self.context_features))
        self.register_buffer("context_scale", torch.ones(self.context_features))
        if base is not None:
            self._base()

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """`log_prob(x, context)`."""
        return self.log_prob(x, context)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The log density of each row, in nats.

        Args:
            x: `[*batch, features]`.
            context: `[*batch, context_features]`, whose batch broadcasts against that of `x`; for a conditional flow.

        Returns:
            `[*batch]`.

        Raises:
            TypeError: A tensor has another dtype than the flow.
            ValueError: A size does not fit, a value is not finite, or the context is missing or not expected.
        """
        self._check("x", x, self.features)
        bijector = self._at(context)
        log_prob = self.standardised_log_prob(bijector, (x - self.loc) / self.scale)
        return log_prob - self.scale.log().sum()

    def sample(
        self, sample_shape: int | Sequence[int] = (), context: Tensor | None = None, *, generator: Source = None
    ) -> Tensor:
        """Draws, without gradients.

        Args:
            sample_shape: How many: a number or a shape.
            context: `[*batch, context_features]`: each draw has a row for each of its rows.
            generator: Source of the draws. Default: torch's global generator.

        Returns:
            `[*sample_shape, *batch, features]`.

        Raises:
            TypeError: The context has another dtype than the flow.
            ValueError: The context does not fit, is missing or not expected.
        """
        with torch.no_grad():
            return self.rsample(sample_shape, context, generator=generator)

    def rsample(
        self, sample_shape: int | Sequence[int] = (), context: Tensor | None = None, *, generator: Source = None
    ) -> Tensor:
        """As `sample`, with gradients through the draws to the flow's parameters and the context."""
        shape = (sample_shape,) if isinstance(sample_shape, int) else tuple(sample_shape)
        bijector = self._at(context)
        base = self._base()
        u = base.expand(bijector.batch_shape + base.batch_shape).rsample(shape, generator=generator)
        return bijector._forward(u) * self.scale + self.loc

    def distribution(self, context: Tensor | None = None) -> Distribution:
        """The density as a distribution, for `pt.sample` and wherever else one is taken.

        Args:
            context: `[*batch, context_features]`, for a conditional flow.

        Returns:
            A distribution with batch `[*batch]` and events `[features]`.

        Raises:
            TypeError: The context has another dtype than the flow.
            ValueError: The context does not fit, is missing or not expected.

        Example:
            >>> import posterity as pt
            >>> prior = pt.networks.RealNVP(2)
            >>> def model():
            ...     pt.module("prior", prior)  # its parameters are trained by SVI
            ...     return pt.sample("z", prior.distribution())
            >>> model().shape
            torch.Size([2])
        """
        standard = Independent(ScalarAffine(self.scale, self.loc), 1)
        return TransformedDistribution(self._base(), [self._at(context), standard])

    def fit(
        self,
        x: Any,
        context: Any = None,
        *,
        validation: float | Tensor | tuple[Any, Any] = 0.1,
        num_epochs: int | None = None,
        batch_size: int | None = None,
        lr: float = 1e-3,
        weight_decay: float = 1e-4,
        patience: int | None = None,
        clip_norm: float | None = 5.0,
        dequantize: float | Sequence[float] | Tensor | None = None,
        progress: bool = True,
        seed: int | None = None,
        compile: bool | Literal["auto"] = "auto",  # noqa: A002  # the name that drivers share
    ) -> FlowFit:
        """Maximise the likelihood of rows of data by AdamW, and keep the parameters that did best on held-out ones.

        The data's mean and standard deviation become `loc` and `scale` (and those of the context its own). The learning
        rate falls to zero along half a cosine. Ctrl-C ends the fit, after a warning: the flow has the best
        parameters so far.

        Args:
            x: `[num_rows, features]`, a tensor or an array, converted to the flow's dtype and device.
            context: `[num_rows, context_features]`, for a conditional flow.
            validation: The share of the rows held out, drawn at random; or held-out rows (with a context: a pair).
            num_epochs: At most so many passes over the data. Default: as many as make 3000 steps, at least 20.
            batch_size: Rows in a step. Default: 256, or an eighth of the training rows if that is less.
            lr: AdamW's first learning rate.
            weight_decay: AdamW's decay, per unit of `lr`.
            patience: The fit ends after so many epochs without a better held-out loss. Default: a fifth of
                `num_epochs`.
            clip_norm: The greatest norm that all gradients together may have; None: any.
            dequantize: For data on a grid: the grid's spacing, one number or one per column (0 for a continuous
                column). Noise uniform over a cell is added, drawn anew at each epoch; the density is that of the noisy
                values, and its mean over a cell, times the cell's size, bounds the probability of the value from below.
            progress: Whether a live line is shown.
            seed: Of the split, the batches and the noise. None takes one from torch's global generator.
            compile: Whether steps run as one compiled graph, several in one native call; `"auto"`: where a compiler is
                installed and there are steps enough to pay for compiling.

        Returns:
            The losses, mean negative log densities in nats per row.

        Raises:
            TypeError: `x` or `context` is no table of numbers.
            ValueError: Before any training: a size or an option does not fit, a value is not finite, there are fewer
                than 10 rows, or a column of x is constant or takes few values, so that its likelihood has no bound.
            FloatingPointError: The loss is not finite; the flow has the best parameters so far.

        Source: Theis, van den Oord and Bethge (2016), "A note on the evaluation of generative models", section 3.1.

        Example:
            >>> from posterity.networks import RealNVP
            >>> x = 100 + 5 * torch.randn(500, 2)
            >>> flow = RealNVP(2, num_layers=2)
            >>> record = flow.fit(x, num_epochs=5, progress=False, seed=0)
            >>> bool((flow.sample(1000).mean(0) - 100).abs().max() < 2)
            True
        """
        return fit_flow(
            self, x, context, validation=validation, num_epochs=num_epochs, batch_size=batch_size, lr=lr,
            weight_decay=weight_decay, patience=patience, clip_norm=clip_norm, dequantize=dequantize,
            progress=progress, seed=seed, compiled=compile,
        )  # fmt: skip

    def standardised_log_prob(self, bijector: Bijector, z: Tensor) -> Tensor:
        """Log density of standardised rows under the bijector at a context; unchecked."""
        u, log_det = bijector._inverse_and_log_det(z)
        if self.base is not None:
            return self._base().log_prob(u) + log_det
        return torch.add(log_det - 0.5 * self.features * math.log(2 * math.pi), u.square().sum(-1), alpha=-0.5)

    def at_standardised(self, context: Tensor | None) -> Bijector:
        """The bijector at a standardised context."""
        return self.bijector if context is None else cast(Conditional, self.bijector).condition(context)

    def extra_repr(self) -> str:
        """The sizes."""
        context = f", context_features={self.context_features}" if self.context_features else ""
        return f"features={self.features}{context}"

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _at(self, context: Tensor | None) -> Bijector:
        if context is None:
            if self.context_features:
                raise ValueError(
                    f"{self._name} is conditional: give a context with {self.context_features} features, as context="
                )
            return self.bijector
        if not self.context_features:
            raise ValueError(f"{self._name} takes no context: make it with context_features= for that")
        self._check("context", context, self.context_features)
        return self.at_standardised((context - self.context_loc) / self.context_scale)

    def _check(self, what: str, value: Tensor, size: int) -> None:
        if not isinstance(value, Tensor) or value.dtype != self.loc.dtype:
            kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(
                f"{what} of {self._name} must be a tensor of the flow's own {self.loc.dtype}, not {kind}: convert it, "
                "or the flow by .to(dtype)"
            )
        if value.dim() < 1 or value.shape[-1] != size:
            raise ValueError(
                f"{what} of {self._name} must have the shape [*batch, {size}], but has {list(value.shape)}"
            )
        if validation_enabled() and not value.is_meta and not torch._is_all_true(value.isfinite()):
            raise ValueError(f"{what} of {self._name} must be finite, but has NaN or infinite entries")

    def _base(self) -> Distribution:
        if self.base is None:
            return Normal(self.loc.new_zeros(self.features), self.loc.new_ones(self.features)).to_event(1)
        given = self.base if isinstance(self.base, torch.distributions.Distribution) else self.base()
        if not isinstance(given, torch.distributions.Distribution):
            raise TypeError(f"base of {self._name} must be, or give, a distribution, not a {type(given).__name__}")
        if given.event_shape != (self.features,):
            raise ValueError(
                f"base of {self._name} must have events of shape [{self.features}], but has {list(given.event_shape)}: "
                "use .to_event(1) where batch dimensions are meant"
            )
        return lift(given)
