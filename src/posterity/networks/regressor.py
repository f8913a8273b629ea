"""What regression networks share: a body, a head on its features, standardised units, and one call to fit them."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from posterity.networks.checks import check_count
from posterity.networks.fitting import FitResult, check_fit_arguments, fit_by_epochs, hold_out
from posterity.networks.standardization import Standardization
from posterity.nn import random_parameters
from posterity.prediction import elbo_loss
from posterity.runtime import eval_mode, validation_enabled


class Regressor(nn.Module, ABC):
    """A network from inputs to a statement about targets, trained by `fit` or in a plain loop by `loss`.

    Args:
        body: any module that gives features `[batch, in_features]`.
        in_features: the width of those features.
        out_features: targets are vectors `[batch, out_features]`; None: single numbers, `[batch]`.
        num_outputs: the head's outputs; 0: no head.

    Raises:
        TypeError: if `body` is not a module.
        ValueError: if a width is not positive, or the body's does not fit where that can be tried out.
    """

    head: Any

    def __init__(self, body: nn.Module, in_features: int, out_features: int | None, num_outputs: int) -> None:
        super().__init__()
        check_body(type(self).__name__, body, in_features)
        self.in_features, self.out_features = in_features, out_features
        self.body = body
        self.head = nn.Linear(in_features, num_outputs) if num_outputs else nn.Identity()
        self.inputs = Standardization()
        self.targets = Standardization()

    @abstractmethod
    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """The mean loss over a batch, a scalar, in nats where it is a likelihood."""

    def fit(
        self,
        x: Tensor,
        y: Tensor,
        *,
        validation_data: tuple[Tensor, Tensor] | None = None,
        validation_fraction: float = 0.1,
        num_epochs: int = 500,
        batch_size: int = 128,
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        clip_norm: float | None = 10.0,
        patience: int | None = 50,
        standardize: bool = True,
        seed: int | None = None,
        progress: bool = True,
    ) -> FitResult:
        """Train on examples, and keep the weights that did best on held-out ones.

        Where weights are random (`bayesianize`, Bayesian layers), the negative evidence lower bound is minimised, and
        the held-out loss is that of one draw of them.

        Args:
            x: inputs, `[num_examples, ...]`.
            y: targets, `[num_examples, out_features]`, or `[num_examples]`.
            validation_data: held-out inputs and targets. Default: `validation_fraction` of the examples.
            validation_fraction: of the examples, held out at random; 0: none, and the last weights are kept.
            num_epochs: the most passes over the data.
            batch_size: examples in a step.
            lr: AdamW's step size at the beginning; it falls to zero along half a cosine.
            weight_decay: AdamW's decay.
            clip_norm: the greatest norm that all gradients together may have.
            patience: how many epochs without a better held-out loss end the fit; None: never.
            standardize: whether inputs and targets are brought to mean 0 and standard deviation 1 inside.
            seed: of the split, the batches' order and the network's own draws.
            progress: whether a live line is shown.

        Returns:
            The losses, and which epoch was best.

        Raises:
            TypeError: if data are not tensors, or targets are not floating.
            ValueError: if shapes do not fit, values are NaN or infinite, or a number is out of range.
            FloatingPointError: if a loss is not finite.
            KeyboardInterrupt: after Ctrl-C; the network has the best weights until then.
        """
        x, y = self._checked(x, y)
        held_out: list[Tensor] = [] if validation_data is None else [*self._checked(*validation_data)]
        check_fit_arguments((x, y), held_out, num_epochs, batch_size, lr, weight_decay, clip_norm, patience)
        if validation_data is None:
            data, held_out = hold_out((x, y), validation_fraction, seed)
        else:
            data = [x, y]
        self._check_fit()
        if standardize:
            if x.is_floating_point():
                self.inputs.measure(data[0])
            self.targets.measure(data[1])
        self._begin(data[0])
        return fit_by_epochs(
            self, self._training_loss(len(data[0])), data, held_out, validation_loss=self.loss, num_epochs=num_epochs,
            batch_size=batch_size, lr=lr, weight_decay=weight_decay, clip_norm=clip_norm, patience=patience, seed=seed,
            progress=progress,
        )  # fmt: skip

    def features(self, x: Tensor) -> Tensor:
        """The body's features of standardised inputs, `[batch, in_features]`.

        Raises:
            ValueError: if the body gives another shape.
        """
        features: Tensor = self.body(self.inputs(x))
        check_features(type(self).__name__, features, self.in_features)
        return features

    def _check_fit(self) -> None:
        """Refuse what cannot be fitted."""

    def _begin(self, x: Tensor) -> None:
        """What depends on the training inputs, once the units are known."""

    def _training_loss(self, num_data: int) -> Callable[[Tensor, Tensor], Tensor]:
        """What is minimised: the loss, or the bound where weights are random."""
        if next(random_parameters(self), None) is None:
            return self.loss
        return lambda x, y: elbo_loss(self, self.loss(x, y), num_data)

    def _checked(self, x: Any, y: Any) -> tuple[Tensor, Tensor]:
        """Inputs, and targets in the shape that the network's own outputs have."""
        for name, data in (("x", x), ("y", y)):
            if not isinstance(data, Tensor):
                raise TypeError(f"{type(self).__name__}: {name} must be a tensor, got {type(data).__name__}")
        y = self._checked_targets(y)
        if x.dim() < 1 or len(x) != len(y):
            raise ValueError(
                f"{type(self).__name__}: x and y must have the same number of examples, got shapes {list(x.shape)} "
                f"and {list(y.shape)}"
            )
        if validation_enabled():
            for name, data in (("x", x), ("y", y)):
                if data.is_floating_point() and not data.isfinite().all():
                    count = int((~data.isfinite()).sum())
                    raise ValueError(f"{type(self).__name__}: {name} has {count} values that are NaN or infinite")
        return x, y

    def _checked_targets(self, y: Tensor) -> Tensor:
        if not y.is_floating_point():
            raise TypeError(f"{type(self).__name__}: y must be floating, got {y.dtype}; use y.float()")
        event = () if self.out_features is None else (self.out_features,)
        if y.dim() != 1 + len(event) or y.shape[1:] != event:
            wanted = ", ".join(["batch", *map(str, event)])
            hint = ""
            if self.out_features is None and y.dim() == 2 and y.shape[1] == 1:
                hint = "; use y.squeeze(-1), or out_features=1"
            elif self.out_features == 1 and y.dim() == 1:
                hint = "; use y.unsqueeze(-1), or out_features=None"
            raise ValueError(f"{type(self).__name__}: y must have shape [{wanted}], got {list(y.shape)}{hint}")
        return y


def check_body(owner: str, body: Any, in_features: Any) -> None:
    """Refuse a body that is no module, and one whose features have another width, where that can be tried out.

    A body is tried out where its first layer tells which inputs it takes: a dense layer, or a sequence that begins
    with one.

    Raises:
        TypeError: if `body` is not a module.
        ValueError: if `in_features` is not positive, or the body's features have another width.
    """
    if not isinstance(body, nn.Module):
        raise TypeError(f"{owner}: body must be a torch.nn.Module, got {type(body).__name__}")
    check_count(owner, "in_features", in_features)
    first: Any = body
    while isinstance(first, nn.Sequential) and len(first):
        first = first[0]
    if not isinstance(first, nn.Linear) or any(is_lazy(p) for p in body.parameters()):
        return
    like = next(first.parameters())
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), eval_mode(body):
            features = body(like.new_zeros(2, first.in_features))
    except RuntimeError:
        return  # it takes something else than vectors, which its first call will tell
    check_features(owner, features, in_features)


def check_features(owner: str, features: Any, in_features: int) -> None:
    """Refuse features that do not fit the head.

    Raises:
        TypeError: if they are no tensor.
        ValueError: if their shape is not `[batch, in_features]`.
    """
    if not isinstance(features, Tensor):
        raise TypeError(f"{owner}: body must return a tensor of features, got {type(features).__name__}")
    if features.dim() != 2 or features.shape[1] != in_features:
        hint = f"; set in_features={features.shape[1]}" if features.dim() == 2 else "; end it with nn.Flatten()"
        raise ValueError(
            f"{owner}: body must return features [batch, in_features={in_features}], got {list(features.shape)}{hint}"
        )


def inverse_softplus(value: float) -> float:
    """The number whose softplus is `value`.

    Example:
        >>> round(inverse_softplus(math.log(2.0)), 6)
        0.0
    """
    return value + math.log(-math.expm1(-value))
