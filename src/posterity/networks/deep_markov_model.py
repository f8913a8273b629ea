"""The deep Markov model: states that move by a network, observations of them, and a guide that reads them backwards."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from posterity.distributions import Distribution
from posterity.kernels import Generator, Key
from posterity.kernels.random import split_source
from posterity.networks.checks import check_count
from posterity.networks.lengths import check_lengths, within
from posterity.networks.likelihoods import Likelihood, as_likelihood
from posterity.networks.particle_filter import Filtered, particle_filter
from posterity.networks.state_path import StatePath
from posterity.networks.transitions import Combiner, GatedTransition
from posterity.nn import kl_divergence, random_parameters, shared_draw
from posterity.ppl import plate, sample
from posterity.runtime import eval_mode, validation_enabled

# How many steps of paths are held at once where nobody waits for a gradient.
_STEPS_AT_ONCE = 2**17


class _Sequences(NamedTuple):
    """A checked batch: what is observed `[batch, time, obs_size]`, zero after the ends, and which steps count."""

    x: Tensor
    lengths: Tensor | None
    counted: Tensor | None


class DeepMarkovModel(nn.Module):
    r"""A model of sequences: $z_t \sim N(m(z_{t-1}), s(z_{t-1})^2)$, and what is observed at each step given $z_t$.

    The states of all steps are one site, so that densities of whole sequences are single calls of the networks; only
    drawing goes step by step. Train it by `dmm.loss(x, lengths)` in a loop of your own, whose gradients have the lower
    variance, or by `SVI(dmm.model, dmm.guide, ...)` with any objective. Without a transition of your own the gated one
    is used, whose linear part starts as the identity.

    Args:
        obs_size: the width of an observation.
        latent_size: the width of a state.
        likelihood: `"bernoulli"`, `"gaussian"`, another name that `VAE` takes, a `Likelihood`, or a function from the
            emission's outputs to a distribution.
        hidden_size: the width of the networks inside.
        rnn_size: the width of the guide's recurrent network.
        transition: a module from states `[..., latent_size]` to `(loc, scale)` of the next. Default: gated.
        emission: a module from states to what the likelihood takes. Default: one hidden layer.

    Raises:
        TypeError: an argument is not of its kind.
        ValueError: a size is below 1, or a name unknown; at the first use, a network's outputs or the sequences do
            not fit, lengths are out of range, or observations are NaN or outside the likelihood's support.

    Source: Krishnan, Shalit, Sontag (2017), "Structured inference networks for nonlinear state space models": the
    guide is the one that they call DKS (section 4), the transition the gated one of section 5.

    Example:
        >>> import posterity as pt
        >>> dmm = DeepMarkovModel(12, 4, hidden_size=16, rnn_size=16)
        >>> x, lengths = torch.rand(6, 8, 12).round(), torch.tensor([8, 8, 5, 3, 2, 1])
        >>> dmm.loss(x, lengths).backward()
        >>> svi = pt.infer.SVI(dmm.model, dmm.guide, torch.optim.Adam, {"lr": 1e-3}, progress=False)
        >>> losses = svi.run(5, x, lengths).losses
        >>> dmm.generate(3, length=10).shape, dmm.forecast(x, 2, lengths, num_samples=7).shape
        (torch.Size([3, 10, 12]), torch.Size([7, 6, 2, 12]))
    """

    def __init__(
        self,
        obs_size: int,
        latent_size: int,
        *,
        likelihood: str | Likelihood | Callable[[Any], torch.distributions.Distribution] = "bernoulli",
        hidden_size: int = 64,
        rnn_size: int = 64,
        transition: nn.Module | None = None,
        emission: nn.Module | None = None,
    ) -> None:
        super().__init__()
        sizes = {"obs_size": obs_size, "latent_size": latent_size, "hidden_size": hidden_size, "rnn_size": rnn_size}
        for name, size in sizes.items():
            check_count("DeepMarkovModel", name, size)
        for name, module in (("transition", transition), ("emission", emission)):
            if not (module is None or isinstance(module, nn.Module)):
                raise TypeError(f"DeepMarkovModel: {name} must be a torch.nn.Module, got {type(module).__name__}")
        self.obs_size, self.latent_size = obs_size, latent_size
        self.likelihood = as_likelihood(likelihood)
        self.transition = GatedTransition(latent_size, hidden_size) if transition is None else transition
        self.emission = emission or nn.Sequential(
            nn.Linear(latent_size, hidden_size), nn.Tanh(), nn.Linear(hidden_size, obs_size)
        )
        self.reader = nn.GRU(obs_size, rnn_size, batch_first=True)
        self.combiner = Combiner(latent_size, rnn_size)
        # The states before the first one, of the model and of the guide.
        self.start = nn.Parameter(torch.zeros(latent_size))
        self.guide_start = nn.Parameter(torch.zeros(latent_size))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Distribution:
        """The distribution of observations given states that the guide draws for `x`: a stochastic reconstruction."""
        seen = self._checked(x, lengths)
        return self._observed(self._posterior(seen).rsample(), seen.counted)

    def model(self, x: Tensor, lengths: Tensor | None = None, *, num_data: int | None = None) -> None:
        """The generative program, with the sites `z` and `x` in the plate `data`.

        Args:
            x: observations, `[batch, time, obs_size]`.
            lengths: how many steps of each sequence count, `[batch]`; None: all.
            num_data: how many sequences there are, of which `x` is a batch. None: these.
        """
        seen = self._prepared(x, lengths)
        with plate("data", len(x) if num_data is None else num_data, subsample_size=len(x)):
            path = sample("z", self._prior(seen.x.shape[0], seen.x.shape[1], seen.counted))
            sample("x", self._observed(path, seen.counted), obs=seen.x)

    def guide(self, x: Tensor, lengths: Tensor | None = None, *, num_data: int | None = None) -> None:
        """The guide over the site `z`: each state from the one before and from what is still to come."""
        seen = self._prepared(x, lengths)
        with plate("data", len(x) if num_data is None else num_data, subsample_size=len(x)):
            sample("z", self._posterior(seen))

    def loss(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        *,
        num_data: float | None = None,
        kl_weight: float = 1.0,
        generator: Generator = None,
    ) -> Tensor:
        """The negative bound on the log likelihood of one sequence, for a training loop of one's own.

        The divergence of each step from the transition is taken in closed form given the drawn state before it: its
        gradient has a half to an eighth of the variance that the difference of two densities drawn has.

        Args:
            x: observations, `[batch, time, obs_size]`.
            lengths: how many steps of each sequence count, `[batch]`; None: all.
            num_data: the size of the training set; needed where the networks are Bayesian, whose KL divergence is
                shared out over the sequences, and without effect elsewhere.
            kl_weight: 1 for the true bound; rising to it from 0 over the first epochs keeps states in use (annealing).
            generator: where the noise comes from; None: torch's global generator.

        Returns:
            A scalar in nats, the mean over the batch, to call `backward()` on.
        """
        if not (kl_weight >= 0 and math.isfinite(kl_weight)):
            raise ValueError(f"DeepMarkovModel.loss: kl_weight must be zero or positive and finite, got {kl_weight}")
        is_random = next(random_parameters(self), None) is not None
        if is_random and (num_data is None or not num_data > 0):
            raise ValueError(
                f"DeepMarkovModel.loss: num_data must be the size of the training set, got {num_data!r}: it shares out "
                "the KL divergence of the Bayesian layers inside"
            )
        seen = self._checked(x, lengths)
        with self._one_function(is_random):
            posterior = self._posterior(seen)
            prior = self._prior(len(seen.x), seen.x.shape[1], seen.counted)
            path = posterior.rsample(generator=generator)
            (q_loc, q_scale), (p_loc, p_scale) = posterior.parameters_given(path), prior.parameters_given(path)
            ratio = q_scale / p_scale
            # KL of two normal distributions.
            by_step = (0.5 * (ratio.square() + ((q_loc - p_loc) / p_scale).square() - 1) - ratio.log()).sum(-1)
            nll = -self._observed(path, seen.counted).log_prob(seen.x)
            loss = (nll + kl_weight * posterior.total(by_step)).mean()
        return loss + kl_weight * kl_divergence(self) / num_data if is_random and num_data else loss

    @torch.no_grad()
    def log_likelihood(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        num_importance_samples: int = 1000,
        *,
        generator: Generator = None,
    ) -> Tensor:
        r"""An estimate of $\log p(x)$ of each sequence, by importance sampling from the guide.

        In expectation it lies below the log likelihood, the less so the more samples and the better the guide; for long
        sequences `filter(x).log_likelihood` may be the closer one.

        Args:
            x: observations, `[batch, time, obs_size]`.
            lengths: how many steps of each sequence count, `[batch]`; None: all.
            num_importance_samples: how many paths are drawn for each sequence.
            generator: where the noise comes from; None: torch's global generator.

        Returns:
            `[batch]`, in nats.
        """
        check_count("DeepMarkovModel.log_likelihood", "num_importance_samples", num_importance_samples)
        seen = self._prepared(x, lengths)
        with eval_mode(self):
            posterior, prior = self._posterior(seen), self._prior(len(seen.x), seen.x.shape[1], seen.counted)
            at_once = max(1, _STEPS_AT_ONCE // (seen.x.shape[0] * seen.x.shape[1]))
            parts = []
            for i, start in enumerate(range(0, num_importance_samples, at_once)):
                count = min(at_once, num_importance_samples - start)
                source = generator.fold_in(i) if isinstance(generator, Key) else generator
                path = posterior.rsample((count,), generator=source)
                density = self._observed(path, seen.counted).log_prob(seen.x)
                parts.append((prior.log_prob(path) + density - posterior.log_prob(path)).logsumexp(0))
            return torch.stack(parts).logsumexp(0) - math.log(num_importance_samples)

    @torch.no_grad()
    def filter(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        num_particles: int = 1000,
        *,
        generator: Generator = None,
    ) -> Filtered:
        """States given the observations until then, by a particle filter that moves particles as the model does.

        It leaves the guide aside, and is exact as the number of particles grows.

        Args:
            x: observations, `[batch, time, obs_size]`.
            lengths: how many steps of each sequence count, `[batch]`; None: all.
            num_particles: for each sequence.
            generator: where the noise comes from; None: torch's global generator.

        Returns:
            `mean` and `variance` of the state at each step, `[batch, time, latent_size]`, and `log_likelihood`,
            `[batch]`. After a sequence's end the states are predictions.

        Source: Gordon, Salmond, Smith (1993), "Novel approach to nonlinear/non-Gaussian Bayesian state estimation".
        """
        check_count("DeepMarkovModel.filter", "num_particles", num_particles)
        seen = self._prepared(x, lengths)
        with eval_mode(self):
            return particle_filter(
                self._move, self._density, self.start, seen.x, seen.counted, num_particles, generator
            )

    @torch.no_grad()
    def smooth(
        self, x: Tensor, lengths: Tensor | None = None, num_samples: int = 100, *, generator: Generator = None
    ) -> Tensor:
        """Paths of states given all observations, drawn from the guide: as good as its training made it.

        Args:
            x: observations, `[batch, time, obs_size]`.
            lengths: how many steps of each sequence count, `[batch]`; None: all.
            num_samples: how many paths for each sequence.
            generator: where the noise comes from; None: torch's global generator.

        Returns:
            `[num_samples, batch, time, latent_size]`; what stands after a sequence's end means nothing.
        """
        check_count("DeepMarkovModel.smooth", "num_samples", num_samples)
        seen = self._prepared(x, lengths)
        with eval_mode(self):
            return self._posterior(seen).rsample((num_samples,), generator=generator)

    @torch.no_grad()
    def generate(self, num: int, length: int, *, draw: bool = True, generator: Generator = None) -> Tensor:
        """New sequences: a path from the model, and what is observed of it.

        Args:
            num: how many.
            length: their steps.
            draw: whether observations are drawn; otherwise they are the likelihood's typical values at each step.
            generator: where the noise comes from; None: torch's global generator.

        Returns:
            `[num, length, obs_size]`.
        """
        check_count("DeepMarkovModel.generate", "num", num)
        check_count("DeepMarkovModel.generate", "length", length)
        with eval_mode(self), self._one_function(next(random_parameters(self), None) is not None):
            first, second = split_source(generator)
            return self._shown(self._prior(num, length).rsample(generator=first), draw, second)

    @torch.no_grad()
    def forecast(
        self,
        x: Tensor,
        steps: int,
        lengths: Tensor | None = None,
        *,
        num_samples: int = 100,
        draw: bool = True,
        generator: Generator = None,
    ) -> Tensor:
        """What may follow after the end of each sequence.

        Args:
            x: observations, `[batch, time, obs_size]`.
            steps: how many steps ahead.
            lengths: how many steps of each sequence count, `[batch]`; None: all.
            num_samples: how many continuations of each sequence.
            draw: whether observations are drawn; otherwise they are the likelihood's typical values at each step.
            generator: where the noise comes from; None: torch's global generator.

        Returns:
            `[num_samples, batch, steps, obs_size]`; their mean over the samples is the point forecast.
        """
        check_count("DeepMarkovModel.forecast", "steps", steps)
        check_count("DeepMarkovModel.forecast", "num_samples", num_samples)
        seen = self._prepared(x, lengths)
        with eval_mode(self):
            first, rest = split_source(generator)
            second, third = split_source(rest)
            path = self._posterior(seen).rsample((num_samples,), generator=first)
            last = path[..., -1, :] if seen.lengths is None else _at_the_end(path, seen.lengths)
            future = StatePath(self._move, last, steps, len(x)).rsample((num_samples,), generator=second)
            return self._shown(future, draw, third)

    def _move(self, state: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        moved = self.transition(state)
        fits = isinstance(moved, tuple) and len(moved) == 2
        if not fits or moved[0].shape != state.shape or moved[1].shape not in (state.shape, state.shape[-1:], ()):
            shapes = [list(part.shape) for part in moved] if isinstance(moved, tuple) else type(moved).__name__
            raise ValueError(
                "DeepMarkovModel: transition must return (loc, scale) of the shape of the states, "
                f"{list(state.shape)}, got {shapes}"
            )
        return moved[0], moved[1].expand_as(state)

    def _prior(self, batch: int, time: int, counted: Tensor | None = None) -> StatePath:
        return StatePath(self._move, self.start, time, batch, counted=counted)

    def _posterior(self, seen: _Sequences) -> StatePath:
        future = self.reader(_reversed(self.likelihood.scaled(seen.x), seen.lengths))[0]
        context = _reversed(future, seen.lengths)
        return StatePath(self.combiner, self.guide_start, seen.x.shape[1], len(seen.x), context, seen.counted)

    def _at_each_step(self, path: Tensor) -> Distribution:
        """The distribution of each step's observation."""
        by_step: Distribution = self.likelihood(self.emission(path), path.dim() - 1)
        if by_step.event_shape != (self.obs_size,):
            raise ValueError(
                f"DeepMarkovModel: emission and likelihood describe observations of shape {list(by_step.event_shape)}, "
                f"but they must have shape [obs_size] = [{self.obs_size}]"
            )
        return by_step

    def _observed(self, path: Tensor, counted: Tensor | None) -> Distribution:
        by_step = self._at_each_step(path)
        return (by_step if counted is None else by_step.mask(counted)).to_event(1)

    def _density(self, state: Tensor, x: Tensor) -> Tensor:
        return self._at_each_step(state).log_prob(x)

    def _shown(self, path: Tensor, draw: bool, generator: Generator) -> Tensor:
        by_step = self._at_each_step(path)
        return by_step.sample(generator=generator) if draw else self.likelihood.typical(by_step)

    def _one_function(self, is_random: bool) -> AbstractContextManager[None]:
        # The same networks act at every step: Bayesian ones are drawn once.
        return shared_draw(self) if is_random else nullcontext()

    def _prepared(self, x: Tensor, lengths: Tensor | None) -> _Sequences:
        if next(random_parameters(self), None) is not None:
            raise ValueError(
                "DeepMarkovModel: a model with Bayesian layers inside is trained by dmm.loss(x, num_data=...), whose "
                "bound has its weights' KL divergence, and asked after pt.transform.deterministic(dmm)"
            )
        return self._checked(x, lengths)

    def _checked(self, x: Any, lengths: Any) -> _Sequences:
        if not isinstance(x, Tensor) or x.dim() != 3 or x.shape[-1] != self.obs_size or not x.numel():
            what = f"{list(x.shape)}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
            raise ValueError(f"DeepMarkovModel: x must be a tensor [batch, time, obs_size={self.obs_size}], got {what}")
        x = x.to(self.start.dtype)
        counted = None
        if lengths is not None:
            check_lengths("DeepMarkovModel", lengths, *x.shape[:2])
            counted = within(lengths, x.shape[1])
            # Padding becomes what the likelihood takes, so that no gradient of it is NaN.
            x = torch.where(counted.unsqueeze(-1), x, x[:, :1])
        if validation_enabled() and not x.is_meta:
            if not torch._is_all_true(x.isfinite()):
                raise ValueError("DeepMarkovModel: x holds NaN or infinite values within the lengths")
            self._check_support(x)
        return _Sequences(x, lengths, counted)

    @torch.no_grad()
    def _check_support(self, x: Tensor) -> None:
        at_start = self._at_each_step(self.start.detach())
        support = cast(constraints.Constraint, at_start.support)
        if not torch._is_all_true(support.check(x)):
            raise ValueError(
                "DeepMarkovModel: x holds values outside of the likelihood's support; they lie between "
                f"{float(x.min()):.6g} and {float(x.max()):.6g}, but it takes {self.likelihood.takes}"
            )

    def extra_repr(self) -> str:
        """The sizes."""
        return f"obs_size={self.obs_size}, latent_size={self.latent_size}"


def _reversed(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Each sequence `[batch, time, ...]` from its own end to its beginning, its padding left behind it."""
    if lengths is None:
        return x.flip(1)
    steps = torch.arange(x.shape[1], device=x.device)
    ends = lengths.unsqueeze(-1)
    index = torch.where(steps < ends, ends - 1 - steps, steps)
    return x.gather(1, index.unsqueeze(-1).expand_as(x))


def _at_the_end(path: Tensor, lengths: Tensor) -> Tensor:
    index = (lengths - 1).reshape(-1, 1, 1).expand(*path.shape[:-2], 1, path.shape[-1])
    return path.gather(-2, index).squeeze(-2)
