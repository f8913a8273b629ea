"""The variational autoencoder of data given a class or another condition; labels may be missing."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from posterity.bijectors import Bijector
from posterity.distributions import Categorical
from posterity.infer import ELBO
from posterity.infer.objective import Objective
from posterity.kernels import Generator
from posterity.networks.checks import check_count
from posterity.networks.latent_families import LatentFamily
from posterity.networks.latent_priors import VampPrior
from posterity.networks.likelihoods import Likelihood
from posterity.networks.vae import VAE
from posterity.ppl import factor, plate, sample
from posterity.runtime import validation_enabled

# The log odds of a class that a datum does not have: its probability is exactly 0, and 0 times this is 0.
_NEVER = -1e4


class ConditionalVAE(VAE):
    r"""A generative model of data given a condition: $p(x \mid y) = \int p(x \mid z, y) \, p(z) \, dz$.

    A condition is a class, which the networks see as a one-hot vector, or a vector. It is put beside data that are
    vectors on their last dimension; an encoder of other data is called as `encoder(x, condition)`. It is put beside
    the code before the decoder; the weights of a class start there as an embedding's do, standard normal, which an
    encoder's first layer had better do too.

    With a `classifier` labels may be missing (-1 in `y`): the classes are then latent, summed out exactly under what
    the classifier says, and `classify` tells them (the model M2 of Kingma et al.; all classes are equally probable
    beforehand).

    Further arguments and errors are those of `VAE`.

    Args:
        encoder: From data, `[batch, data_size + condition_size]` or data and condition, to `[batch, hidden_size]`.
        decoder: From `[batch, hidden_size]` to what the likelihood takes.
        hidden_size: The width between the networks and the code.
        latent_size: How many latent variables a code has.
        num_classes: How many classes there are; or
        condition_size: How long a condition is that is a vector.
        classifier: From data, `[batch, *data_shape]`, to logits `[batch, num_classes]`.
        label_weight: How much the cross entropy of the known labels adds to the bound, where there is a classifier.

    Raises:
        ValueError: Not exactly one of `num_classes` and `condition_size` is given, or a classifier without classes; at
            the first use, `y` is missing, of another shape, or out of range.

    Source: Sohn, Lee and Yan (2015), "Learning structured output representation using deep conditional generative
    models"; Kingma, Rezende, Mohamed and Welling (2014), "Semi-supervised learning with deep generative models".

    Example:
        >>> encoder = nn.Sequential(nn.Linear(64 + 10, 32), nn.ReLU())
        >>> decoder = nn.Sequential(nn.ReLU(), nn.Linear(32, 64))
        >>> vae = ConditionalVAE(encoder, decoder, hidden_size=32, latent_size=2, num_classes=10)
        >>> x, y = torch.rand(100, 64).bernoulli(), torch.randint(10, (100,))
        >>> vae.loss(x, y).backward()
        >>> vae.generate(3, y=7).shape
        torch.Size([3, 64])
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        hidden_size: int,
        latent_size: int,
        num_classes: int | None = None,
        *,
        condition_size: int | None = None,
        classifier: nn.Module | None = None,
        label_weight: float = 1.0,
        prior: Any = None,
        posterior: str | LatentFamily | Bijector = "normal",
        likelihood: str | Likelihood | Callable[[Any], torch.distributions.Distribution] = "bernoulli",
    ) -> None:
        if (num_classes is None) == (condition_size is None):
            raise ValueError("ConditionalVAE: give num_classes, or condition_size for conditions that are vectors")
        if num_classes is not None:
            check_count("ConditionalVAE", "num_classes", num_classes)
            condition_size = num_classes
        assert condition_size is not None
        check_count("ConditionalVAE", "condition_size", condition_size)
        self.condition_size = condition_size
        super().__init__(
            encoder, decoder, hidden_size, latent_size, prior=prior, posterior=posterior, likelihood=likelihood
        )
        if isinstance(self.prior, VampPrior):
            raise ValueError(
                "ConditionalVAE: a VampPrior's pseudo-data would need conditions: use MixturePrior or a flow"
            )
        if classifier is not None and num_classes is None:
            raise ValueError("ConditionalVAE: a classifier needs num_classes")
        if classifier is not None and not isinstance(classifier, nn.Module):
            raise TypeError(f"ConditionalVAE: classifier must be a torch.nn.Module, not a {type(classifier).__name__}")
        if not 0 <= label_weight < math.inf:
            raise ValueError(f"ConditionalVAE: label_weight must not be negative, but is {label_weight}")
        self.num_classes, self.classifier, self.label_weight = num_classes, classifier, label_weight
        if num_classes is not None:
            # As an embedding starts: by torch's default a class is one faint number among many, the code learns to
            # tell it too, and a code drawn at random contradicts it.
            with torch.no_grad():
                self.from_code.weight[:, -num_classes:].normal_()

    def classify(self, x: Tensor) -> Categorical:
        """What the classifier says of data.

        Args:
            x: `[batch, *data_shape]`.

        Returns:
            A distribution over the classes, of batch shape `[batch]`.

        Raises:
            ValueError: There is no classifier, or its outputs are not `[batch, num_classes]`.
        """
        if self.classifier is None:
            raise ValueError("ConditionalVAE: there is no classifier to ask")
        seen = self.likelihood.scaled(self._data(x))
        logits = self.classifier(seen)
        if logits.shape != (len(x), self.num_classes):
            raise ValueError(
                f"ConditionalVAE: the classifier must return logits {[len(x), self.num_classes]}, but returned "
                f"{list(logits.shape)}"
            )
        return Categorical(logits=logits, validate_args=False)

    def model(self, x: Tensor, y: Tensor | None = None, *, num_data: int | None = None) -> None:
        """The generative program, with the sites `z`, `x` and, with a classifier, `y`, in the plate `data`.

        Args:
            x: Data, `[batch, *data_shape]`.
            y: The condition; with a classifier, -1 where a label is missing.
            num_data: How many data there are, of which `x` is a batch: the bound is then scaled up. None: these.
        """
        if self.classifier is None:
            super().model(x, y, num_data=num_data)
            return
        x, y = self._with_labels(x, y)
        with plate("data", len(x) if num_data is None else num_data, subsample_size=len(x)):
            equal = x.new_zeros(self.num_classes or 0, dtype=self.to_code.weight.dtype)
            label = sample("y", Categorical(logits=equal, validate_args=False))
            code = sample("z", self.prior_distribution())
            self._observe(code, self._one_hot(label), x)
            factor("labels", self.label_weight * self._known_log_prob(self.classify(x), y))

    def guide(self, x: Tensor, y: Tensor | None = None, *, num_data: int | None = None) -> None:
        """Encoder and classifier as a program over the sites `z` and `y`; arguments are those of `model`."""
        if self.classifier is None:
            super().guide(x, y, num_data=num_data)
            return
        x, y = self._with_labels(x, y)
        with plate("data", len(x) if num_data is None else num_data, subsample_size=len(x)):
            label = sample("y", self._labels(self.classify(x), y), infer={"enumerate": "parallel"})
            sample("z", self._encoded(x, self._one_hot(label)))

    def _quick_bound(
        self, x: Tensor, y: Tensor | None, objective: Objective | None, generator: Generator
    ) -> Tensor | None:
        if self.classifier is None:
            return super()._quick_bound(x, y, objective, generator)
        if objective is not None and not isinstance(objective, ELBO):
            raise ValueError(
                f"ConditionalVAE: labels that may be missing are summed out, which {type(objective).__name__} does not "
                "do for each datum: use ELBO"
            )
        if objective is not None and objective.sticking_the_landing:
            return None
        x, y = self._with_labels(x, y)
        found = self.classify(x)
        known = self.label_weight * self._known_log_prob(found, y)
        prior = -math.log(self.num_classes or 1)
        if validation_enabled() and bool((y >= 0).all()):
            bound = self._bound(x, self._one_hot(y), objective, generator)
            weight = 1.0 if objective is None else objective.kl_weight
            return None if bound is None else bound + weight * prior + known
        labels = self._labels(found, y)
        each = torch.eye(self.num_classes or 1, dtype=self.to_code.weight.dtype, device=x.device).unsqueeze(1)
        bound = self._bound(x, each, objective, generator)
        if bound is None:
            return None
        probs = labels.probs.movedim(-1, 0)
        weight = 1.0 if objective is None else objective.kl_weight
        divergence = (probs * labels.logits.movedim(-1, 0)).sum(0) - prior
        return (probs * bound).sum(0) - weight * divergence + known

    def _with_labels(self, x: Tensor, y: Any) -> tuple[Tensor, Tensor]:
        x = self._data(x)
        return x, self._classes(y, x.shape[:1], missing=True)

    def _labels(self, found: Categorical, y: Tensor) -> Categorical:
        """The labels' distribution: what is known has probability 1."""
        known = torch.where(self._one_hot(y).bool(), 0.0, _NEVER)
        return Categorical(logits=torch.where((y >= 0).unsqueeze(-1), known, found.logits), validate_args=False)

    def _known_log_prob(self, found: Categorical, y: Tensor) -> Tensor:
        return torch.where(y >= 0, found.log_prob(y.clamp(min=0)), 0.0)

    def _condition(self, y: Any, batch: torch.Size) -> Tensor | None:
        if self.num_classes is not None:
            return self._one_hot(self._classes(y, batch, missing=False))
        if not isinstance(y, Tensor) or not y.is_floating_point() or y.shape[-1:] != (self.condition_size,):
            raise ValueError(
                f"ConditionalVAE: the condition y must be a tensor of floating numbers [{self.condition_size}] or "
                f"{[*batch, self.condition_size]}, not {_described(y)}"
            )
        if y.dim() > 1 and y.shape[:-1] != batch:
            raise ValueError(f"ConditionalVAE: y must be {[*batch, self.condition_size]}, but is {list(y.shape)}")
        if validation_enabled() and not y.is_meta and not y.isfinite().all():
            raise ValueError("ConditionalVAE: the condition y holds NaN or infinite values")
        vectors: Tensor = y.to(self.to_code.weight.dtype)
        return vectors.expand((*batch, self.condition_size))

    def _classes(self, y: Any, batch: torch.Size, missing: bool) -> Tensor:
        least = -1 if missing else 0
        allowed = f"whole numbers from 0 to {(self.num_classes or 0) - 1}" + (
            ", or -1 where missing" if missing else ""
        )
        if isinstance(y, int) and not isinstance(y, bool):
            y = torch.tensor(y, device=self.to_code.weight.device)
        if not isinstance(y, Tensor) or y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
            raise ValueError(f"ConditionalVAE: the condition y must be classes, {allowed}, not {_described(y)}")
        y = y.long()
        if y.dim() and y.shape != batch:
            raise ValueError(f"ConditionalVAE: y must be a class for each datum, {list(batch)}, but is {list(y.shape)}")
        if validation_enabled() and not y.is_meta and not ((y >= least) & (y < (self.num_classes or 0))).all():
            hint = "" if missing or int(y.min()) != -1 else "; labels may be missing where there is a classifier"
            raise ValueError(
                f"ConditionalVAE: y must hold {allowed}, but holds values from {int(y.min())} to {int(y.max())}{hint}"
            )
        classes: Tensor = y.expand(batch)
        return classes

    def _one_hot(self, y: Tensor) -> Tensor:
        classes = torch.arange(self.num_classes or 0, device=y.device)
        return (y.unsqueeze(-1) == classes).to(self.to_code.weight.dtype)


def _described(y: Any) -> str:
    return f"{y.dtype} of shape {list(y.shape)}" if isinstance(y, Tensor) else repr(y)
