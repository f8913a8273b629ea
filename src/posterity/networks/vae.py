"""The variational autoencoder, from an encoder and a decoder that are ordinary networks."""

import math
from collections.abc import Callable
from copy import copy
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributions import constraints
from torch.utils import _pytree as pytree

from posterity.bijectors import Bijector
from posterity.distributions import Distribution, TransformedDistribution, kl_divergence
from posterity.distributions.kl import has_closed_form
from posterity.infer import ELBO, IWAE
from posterity.infer.objective import Objective
from posterity.infer.weighted_objective import WeightedObjective
from posterity.kernels import Generator, Key
from posterity.kernels.random import split_source
from posterity.networks.checks import check_count, check_flow
from posterity.networks.latent_families import LatentFamily, as_family, through_flow
from posterity.networks.latent_priors import as_prior
from posterity.networks.likelihoods import Likelihood, as_likelihood
from posterity.nn import kl_divergence as weights_kl
from posterity.nn import random_parameters
from posterity.ppl import plate, sample
from posterity.runtime import eval_mode, validation_enabled

# How many codes are decoded at once where nobody waits for a gradient.
_CODES_AT_ONCE = 16384


class VAE(nn.Module):
    r"""A generative model of data: a code z from a prior, and data from what a decoder makes of it.

    The encoder gives `[batch, hidden_size]`; the model owns the map from there to the code's distribution, and from a
    code to the `[batch, hidden_size]` that the decoder takes. Train it by `SVI(vae.model, vae.guide, ...)`, or by
    `vae.loss(x)` in a loop of your own.

    Args:
        encoder: From data, `[batch, *data_shape]`, to `[batch, hidden_size]`.
        decoder: From `[batch, hidden_size]` to what the likelihood takes, mostly `[batch, *data_shape]`.
        hidden_size: The width between the networks and the code.
        latent_size: How many latent variables a code has.
        prior: The code's prior: a distribution over codes; a flow (`bijectors.RealNVP(latent_size)`), which is learnt;
            `VampPrior(x[:500])`, `MixturePrior(10, latent_size)`; or a module that returns a distribution (a
            distribution itself stays on its device). None: the family's own, standard normal or even odds.
        posterior: What the encoder says of a code: `"normal"`; `"bernoulli"`, `"relaxed_bernoulli"`,
            `CategoricalFamily(10)`, `RelaxedCategoricalFamily(10)`; or a flow through which normal noise goes
            (`bijectors.IAF(latent_size, context_features=hidden_size)`; without `context_features` all data share it).
        likelihood: `"bernoulli"`, `"continuous_bernoulli"`, `"gaussian"`, `"categorical"`, `"discretized_logistic"`
            (bytes), a `Likelihood`, or a function from the decoder's outputs to a distribution.

    Raises:
        TypeError: An argument is not of its kind.
        ValueError: A size is below 1, a name is unknown, or a flow or prior is of another size than the code; at the
            first use, the encoder's width is not `hidden_size`, the decoder's shape not the data's, or data hold NaN
            or lie outside the likelihood's support.

    Source: Kingma and Welling (2014), "Auto-encoding variational Bayes"; Rezende, Mohamed and Wierstra (2014).

    Example:
        >>> import posterity as pt
        >>> encoder = nn.Sequential(nn.Linear(64, 32), nn.ReLU())
        >>> decoder = nn.Sequential(nn.ReLU(), nn.Linear(32, 64))
        >>> vae = VAE(encoder, decoder, hidden_size=32, latent_size=2)
        >>> x = torch.rand(100, 64).bernoulli()
        >>> vae.loss(x).backward()
        >>> svi = pt.infer.SVI(vae.model, vae.guide, torch.optim.Adam, {"lr": 1e-3}, progress=False)
        >>> losses = svi.run(5, x).losses
        >>> vae.generate(3).shape, vae.reconstruct(x).shape, vae.encode(x).mean.shape
        (torch.Size([3, 64]), torch.Size([100, 64]), torch.Size([100, 2]))
    """

    condition_size = 0

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        hidden_size: int,
        latent_size: int,
        *,
        prior: Any = None,
        posterior: str | LatentFamily | Bijector = "normal",
        likelihood: str | Likelihood | Callable[[Any], torch.distributions.Distribution] = "bernoulli",
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        for name, network in (("encoder", encoder), ("decoder", decoder)):
            if not isinstance(network, nn.Module):
                raise TypeError(f"{owner}: {name} must be a torch.nn.Module, not a {type(network).__name__}")
        check_count(owner, "hidden_size", hidden_size)
        check_count(owner, "latent_size", latent_size)
        self.hidden_size, self.latent_size = hidden_size, latent_size
        self.encoder, self.decoder = encoder, decoder
        self.family = as_family(posterior)
        self.flow = posterior if isinstance(posterior, Bijector) else None
        if self.flow is not None:
            check_flow(owner, "posterior", self.flow, latent_size, hidden_size)
        if isinstance(prior, Bijector):
            check_flow(owner, "prior", prior, latent_size, None)
        # It remembers what it finds out of model and guide.
        self._default_objective = ELBO()
        self.prior = as_prior(prior, self.family, latent_size)
        self.likelihood = as_likelihood(likelihood)
        self._code_shape = self.family.prior(latent_size, torch.zeros(())).event_shape
        self.to_code = nn.Linear(hidden_size, self.family.num_parameters * latent_size)
        self.from_code = nn.Linear(self.family.width * latent_size + self.condition_size, hidden_size)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Distribution:
        """The distribution of data given the code that the encoder draws for `x`: a stochastic reconstruction."""
        x, condition = self._checked(x, y)
        return self._decoded(self._encoded(x, condition).rsample(), condition)

    def encode(self, x: Tensor, y: Tensor | None = None) -> Distribution:
        """The distribution of the codes of data.

        Args:
            x: `[batch, *data_shape]`.
            y: The condition, where the model has one.

        Returns:
            A distribution of batch shape `[batch]` and event shape `[latent_size]` (with the categories, if any).
        """
        return self._encoded(*self._checked(x, y))

    def decode(self, code: Tensor, y: Any = None) -> Distribution:
        """The distribution of data given codes.

        Args:
            code: `[*batch, latent_size]` (with the categories, if any).
            y: The condition of each code, where the model has one.
        """
        events = len(self.prior_distribution().event_shape)
        return self._decoded(code, self._condition(y, code.shape[: code.dim() - events]))

    def prior_distribution(self) -> Distribution:
        """The distribution of a code before any data, without a batch."""
        found = cast(Distribution, self.prior.distribution(self._encoded))
        if found.batch_shape or found.event_shape != self._code_shape:
            raise ValueError(
                f"{type(self).__name__}: the prior must be a distribution over codes, with event_shape "
                f"{tuple(self._code_shape)} and no batch, but has event_shape {tuple(found.event_shape)} and "
                f"batch_shape {tuple(found.batch_shape)}: Normal(zeros, ones).to_event(1) is of this kind"
            )
        return found

    def model(self, x: Tensor, y: Tensor | None = None, *, num_data: int | None = None) -> None:
        """The generative program, with the sites `z` and `x` in the plate `data`.

        Args:
            x: Data, `[batch, *data_shape]`.
            y: The condition, where the model has one.
            num_data: How many data there are, of which `x` is a batch: the bound is then scaled up. None: these.
        """
        x, condition = self._prepared(x, y)
        with plate("data", len(x) if num_data is None else num_data, subsample_size=len(x)):
            code = sample("z", self.prior_distribution())
            self._observe(code, condition, x)

    def guide(self, x: Tensor, y: Tensor | None = None, *, num_data: int | None = None) -> None:
        """The encoder as a program over the site `z`; arguments are those of `model`."""
        x, condition = self._prepared(x, y)
        with plate("data", len(x) if num_data is None else num_data, subsample_size=len(x)):
            sample("z", self._encoded(x, condition))

    def loss(
        self,
        x: Tensor,
        y: Tensor | None = None,
        *,
        num_data: float | None = None,
        objective: Objective | None = None,
        generator: Generator = None,
    ) -> Tensor:
        """The negative bound on the log likelihood of one datum, for a training loop of one's own.

        Args:
            x: A batch of data, `[batch, *data_shape]`.
            y: The condition, where the model has one.
            num_data: The size of the training set; needed where encoder or decoder are Bayesian networks, whose KL
                divergence is shared out over the data (and tempered by `kl_weight` too), and without effect elsewhere.
            objective: `ELBO(kl_weight=4.0)` for a beta-VAE, `IWAE(50)`, `VIMCO(50)`, ...; None: `ELBO()`. Importance
                weights are those of each datum (in `SVI`, that is `IWAE(50, plate="data")`).
            generator: Where the noise comes from; None: torch's global generator.

        Returns:
            A scalar in nats, the mean over the batch, to call `backward()` on.
        """
        bound = self._quick_bound(x, y, objective, generator)
        if bound is None:
            objective = self._default_objective if objective is None else objective
            if not (generator is None or isinstance(generator, torch.Generator)):
                raise TypeError(f"{type(self).__name__}.loss: {type(objective).__name__} takes a torch.Generator")
            if isinstance(objective, WeightedObjective) and objective.plate is None:
                objective = copy(objective)
                objective.plate = "data"
            nll = objective.loss(self.model, self.guide, x, y, generator=generator) / len(x)
        else:
            nll = -bound.mean()
        if next(random_parameters(self), None) is None:
            return nll
        weight = objective.kl_weight if isinstance(objective, ELBO) else 1.0
        return nll + weight * weights_kl(self) / self._size_of_data(num_data)

    @torch.no_grad()
    def log_likelihood(
        self,
        x: Tensor,
        y: Tensor | None = None,
        num_importance_samples: int = 1000,
        *,
        generator: Generator = None,
    ) -> Tensor:
        r"""An estimate of $\log p(x)$ for each datum, by importance sampling from the encoder's posterior.

        In expectation it lies below the log likelihood, the less so the more samples: it is the importance-weighted
        bound.

        Args:
            x: Data, `[batch, *data_shape]`.
            y: The condition, where the model has one.
            num_importance_samples: How many codes are drawn for each datum.
            generator: Where the noise comes from; None: torch's global generator.

        Returns:
            `[batch]`, in nats.

        Raises:
            ValueError: Encoder or decoder are Bayesian networks, of which each draw has a likelihood of its own.

        Source: Burda, Grosse and Salakhutdinov (2016), "Importance weighted autoencoders", section 5.
        """
        check_count(f"{type(self).__name__}.log_likelihood", "num_importance_samples", num_importance_samples)
        if next(random_parameters(self), None) is not None:
            raise ValueError(
                f"{type(self).__name__}.log_likelihood: each draw of the Bayesian layers inside has a likelihood of "
                "its own: ask posterity.transform.deterministic(vae)"
            )
        with eval_mode(self):
            x, condition = self._checked(x, y)
            rows = max(1, min(len(x), _CODES_AT_ONCE // num_importance_samples))
            found, number_of_draws = [], 0
            for start in range(0, len(x), rows):
                at = slice(start, start + rows)
                given = None if condition is None else condition[at]
                total = x.new_full((len(x[at]),), -math.inf, dtype=self.to_code.weight.dtype)
                left = num_importance_samples
                while left > 0:
                    number = min(left, max(1, _CODES_AT_ONCE // len(total)))
                    source = generator.fold_in(number_of_draws) if isinstance(generator, Key) else generator
                    weights = self._log_weights(x[at], given, number, source)
                    number_of_draws += 1
                    total = torch.logaddexp(total, weights.logsumexp(0))
                    left -= number
                found.append(total - math.log(num_importance_samples))
            return torch.cat(found)

    @torch.no_grad()
    def generate(self, num: int, y: Any = None, *, draw: bool = False, generator: Generator = None) -> Tensor:
        """New data: codes from the prior, decoded.

        Args:
            num: How many.
            y: The condition, where the model has one: one for all, or one for each.
            draw: Whether to draw the data too; otherwise they are the means that the decoder gives (the likeliest
                values where there is no mean).
            generator: Where the noise comes from; None: torch's global generator.

        Returns:
            `[num, *data_shape]`.
        """
        check_count(f"{type(self).__name__}.generate", "num", num)
        with eval_mode(self):
            condition = self._condition(y, torch.Size([num]))
            first, second = split_source(generator)
            code = self.prior_distribution().sample((num,), generator=first)
            return self._shown(self._decoded(code, condition), draw, second)

    @torch.no_grad()
    def reconstruct(
        self, x: Tensor, y: Tensor | None = None, *, draw: bool = False, generator: Generator = None
    ) -> Tensor:
        """Data as they come back from their codes.

        Args:
            x: `[batch, *data_shape]`.
            y: The condition, where the model has one.
            draw: Whether to draw codes and data; otherwise means are taken of both.
            generator: Where the noise comes from; None: torch's global generator.

        Returns:
            As `x`.
        """
        with eval_mode(self):
            x, condition = self._checked(x, y)
            codes = self._encoded(x, condition)
            first, second = split_source(generator)
            code = codes.sample(generator=first) if draw else self.centre(codes)
            return self._shown(self._decoded(code, condition), draw, second)

    @torch.no_grad()
    def interpolate(self, start: Tensor, end: Tensor, num: int = 8, y: Any = None) -> Tensor:
        """Data on the straight way between the codes of two.

        Args:
            start: `[batch, *data_shape]`.
            end: Likewise.
            num: How many steps the way has, both ends included.
            y: The condition, where the model has one.

        Returns:
            `[num, batch, *data_shape]`.
        """
        check_count(f"{type(self).__name__}.interpolate", "num", num)
        with eval_mode(self):
            first, last = (self.centre(self.encode(x, y)) for x in (start, end))
            share = torch.linspace(0, 1, num, dtype=first.dtype, device=first.device)
            codes = torch.lerp(first, last, share.reshape(-1, *[1] * first.dim()))
            return self._shown(self._decoded(codes, self._condition(y, first.shape[:1])), False, None)

    def _quick_bound(
        self, x: Tensor, y: Tensor | None, objective: Objective | None, generator: Generator
    ) -> Tensor | None:
        """The bound of each datum where tensors alone can say it, which spares a loop the language; else None."""
        x, condition = self._checked(x, y)
        return self._bound(x, condition, objective, generator)

    def _bound(
        self, x: Tensor, condition: Tensor | None, objective: Objective | None, generator: Generator
    ) -> Tensor | None:
        plain = objective is None or (type(objective) is ELBO and not objective.sticking_the_landing)
        weighted = type(objective) is IWAE and not objective.doubly_reparameterized
        if not plain and not weighted:
            return None
        codes = self._encoded(x, condition)
        if not codes.has_rsample:
            return None
        number = 1 if objective is None else objective.num_particles
        if weighted:
            weights = self._log_weights(x, condition, number, generator, codes)
            return weights.logsumexp(0) - math.log(number)
        code = codes.rsample(() if number == 1 else (number,), generator=generator)
        fit = self._log_prob(code, condition, x)
        fit = fit if number == 1 else fit.mean(0)
        prior = self.prior_distribution()
        if has_closed_form(codes, prior) and (objective is None or cast(ELBO, objective).closed_form_kl):
            divergence = kl_divergence(codes, prior)
        else:
            divergence = codes.log_prob(code) - prior.log_prob(code)
            divergence = divergence if number == 1 else divergence.mean(0)
        return fit - (1.0 if objective is None else cast(ELBO, objective).kl_weight) * divergence

    def _log_weights(
        self, x: Tensor, condition: Tensor | None, number: int, generator: Generator, codes: Distribution | None = None
    ) -> Tensor:
        """The logarithms of importance weights, `[number, batch]`."""
        codes = self._encoded(x, condition) if codes is None else codes
        code = (codes.rsample if codes.has_rsample else codes.sample)((number,), generator=generator)
        return self._log_prob(code, condition, x) + self.prior_distribution().log_prob(code) - codes.log_prob(code)

    def _log_prob(self, code: Tensor, condition: Tensor | None, x: Tensor) -> Tensor:
        data = self._decoded(code, condition)
        self._check_shape(data, x)
        try:
            return data.log_prob(x)
        except ValueError:
            self._check_values(data, x)
            raise

    def _observe(self, code: Tensor, condition: Tensor | None, x: Tensor) -> None:
        data = self._decoded(code, condition)
        self._check_shape(data, x)
        self._check_values(data, x)
        sample("x", data, obs=x)

    def _encoded(self, x: Tensor, condition: Tensor | None = None) -> Distribution:
        """The codes' distribution; a condition may have more batch dimensions on its left than data have."""
        hidden = self._hidden(x, condition)
        noise = self.family.posterior(self.to_code(hidden))
        if self.flow is None:
            return noise
        return through_flow(noise, self.flow, hidden if getattr(self.flow, "context_features", 0) else None)

    def _hidden(self, x: Tensor, condition: Tensor | None) -> Tensor:
        seen = self.likelihood.scaled(x)
        if condition is None:
            return self._of_width(self.encoder(seen), seen.shape[:1])
        batch = torch.broadcast_shapes(seen.shape[:1], condition.shape[:-1])
        seen = seen.expand(batch + seen.shape[1:]).flatten(0, len(batch) - 1)
        condition = condition.expand((*batch, -1)).flatten(0, len(batch) - 1)
        inputs = (torch.cat([seen, condition], -1),) if seen.dim() == 2 else (seen, condition)
        hidden = self._of_width(self.encoder(*inputs), seen.shape[:1])
        return hidden.reshape(*batch, self.hidden_size)

    def _of_width(self, hidden: Any, batch: torch.Size) -> Tensor:
        if isinstance(hidden, Tensor) and hidden.shape == (*batch, self.hidden_size):
            return hidden
        got = f"{list(hidden.shape)}" if isinstance(hidden, Tensor) else f"a {type(hidden).__name__}"
        raise ValueError(
            f"{type(self).__name__}: the encoder must return a tensor [batch, hidden_size] = "
            f"{[*batch, self.hidden_size]}, but returned {got}"
        )

    def _decoded(self, code: Tensor, condition: Tensor | None) -> Distribution:
        flat = self.family.flat(code)
        if condition is not None:
            batch = torch.broadcast_shapes(flat.shape[:-1], condition.shape[:-1])
            flat = torch.cat([flat.expand((*batch, -1)), condition.to(flat.dtype).expand((*batch, -1))], -1)
        batch = flat.shape[:-1]
        outputs = self.decoder(self.from_code(flat.reshape(-1, flat.shape[-1])))
        outputs = pytree.tree_map_only(Tensor, lambda part: self._unflattened(part, batch), outputs)
        return cast(Distribution, self.likelihood(outputs, len(batch)))

    def _unflattened(self, part: Tensor, batch: torch.Size) -> Tensor:
        """One of the decoder's outputs with the batch in its own shape."""
        if part.dim() == 0:
            return part
        if len(part) != batch.numel():
            raise ValueError(
                f"{type(self).__name__}: the decoder was given {batch.numel()} codes and must return tensors with as "
                f"many rows, but one of them is {list(part.shape)}: expand what all data share"
            )
        if len(batch) == 1:
            return part
        return part.unflatten(0, batch) if batch else part[0]

    def centre(self, codes: Distribution) -> Tensor:
        """The mean of a code's distribution; of a flow's image, where the noise's mean goes."""
        if not isinstance(codes, TransformedDistribution):
            return self.family.centre(codes)
        found = self.family.centre(codes.base_dist)
        for transform in codes.transforms:
            found = transform(found)
        return found

    def _prepared(self, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if next(random_parameters(self), None) is not None:
            raise ValueError(
                f"{type(self).__name__}: a network with Bayesian layers inside is trained by "
                "vae.loss(x, num_data=...) under ELBO or IWAE, whose bound has its weights' KL divergence; model and "
                "guide do not"
            )
        return self._checked(x, y)

    def _checked(self, x: Tensor, y: Any) -> tuple[Tensor, Tensor | None]:
        x = self._data(x)
        return x, self._condition(y, x.shape[:1])

    def _data(self, x: Tensor) -> Tensor:
        """Data as the likelihood takes them: checked, and as floating numbers where whole ones mean nothing else."""
        if not isinstance(x, Tensor) or x.dim() < 2 or not x.numel():
            what = f"of shape {list(x.shape)}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
            raise ValueError(f"{type(self).__name__}: x must be a tensor [batch, *data_shape], not {what}")
        if x.is_floating_point() or not self.likelihood.takes_whole_numbers:
            x = x.to(self.to_code.weight.dtype)
        # A sum is finite only where all its terms are, and ten times as fast as asking each.
        if validation_enabled() and not x.is_meta and not x.sum().isfinite() and not x.isfinite().all():
            raise ValueError(f"{type(self).__name__}: x holds NaN or infinite values")
        return x

    def _check_shape(self, data: Distribution, x: Tensor) -> None:
        if data.event_shape != x.shape[1:]:
            raise ValueError(
                f"{type(self).__name__}: the decoder describes data of shape {list(data.event_shape)}, but x holds "
                f"data of shape {list(x.shape[1:])}"
            )

    def _check_values(self, data: Distribution, x: Tensor) -> None:
        support = cast(constraints.Constraint, data.support)
        if validation_enabled() and not x.is_meta and not torch._is_all_true(support.check(x)):
            raise ValueError(
                f"{type(self).__name__}: x holds values outside of the likelihood's support; they lie between "
                f"{float(x.min()):.6g} and {float(x.max()):.6g}, but it takes {self.likelihood.takes}"
            )

    def _condition(self, y: Any, batch: torch.Size) -> Tensor | None:
        """The condition as a tensor `[*batch, condition_size]`; None for a model that has none."""
        if y is not None:
            raise ValueError(f"{type(self).__name__} takes no condition y: ConditionalVAE does")
        return None

    def _shown(self, data: Distribution, draw: bool, generator: Generator) -> Tensor:
        return data.sample(generator=generator) if draw else self.likelihood.typical(data)

    def _size_of_data(self, num_data: float | None) -> float:
        if num_data is None or not 0 < num_data < math.inf:
            raise ValueError(
                f"{type(self).__name__}.loss: num_data must be the size of the training set, not {num_data!r}: it "
                "shares out the KL divergence of the Bayesian layers inside"
            )
        return float(num_data)

    def extra_repr(self) -> str:
        """The sizes."""
        return f"hidden_size={self.hidden_size}, latent_size={self.latent_size}"
