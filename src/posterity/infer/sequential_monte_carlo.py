"""Sequential Monte Carlo: particles that are taken from the prior to the posterior through tempered likelihoods."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from posterity.distributions import Distribution
from posterity.infer.annealing import effective_share, next_inverse_temperature
from posterity.infer.mcmc.first_tuning import first_tuning, is_tuned, target_accept
from posterity.infer.mcmc.kernel import Kernel
from posterity.infer.mcmc.metric import DenseMetric, DiagonalMetric, Metric, Preconditioned
from posterity.infer.mcmc.random_walk_metropolis import RandomWalkMetropolis
from posterity.infer.mcmc.tempered import CompiledParts, InTwoParts, Tempered
from posterity.infer.potential import Potential
from posterity.infer.prior_draws import prior_draws
from posterity.infer.prior_program import PriorAndLikelihood
from posterity.infer.resampling import RESAMPLING, Resampling
from posterity.infer.simulation import Program
from posterity.kernels import Key
from posterity.runtime import Progress

# What the keys of a stage are for.
_RESAMPLING, _TUNING, _MUTATION = 0, 1, 2
# A covariance of fewer draws than that many for each dimension is not worth having.
_DRAWS_FOR_A_DIMENSION = 5


class Stage(NamedTuple):
    """What was settled at one stage.

    Attributes:
        inverse_temperature: Of the likelihood.
        metric: The map from the space in which the kernel moved.
        tunings: What the kernel took at each of its transitions.
    """

    inverse_temperature: float
    metric: Metric
    tunings: tuple[Any, ...]


@dataclass(frozen=True)
class SMCResult:
    """What a run of `SMC` gives.

    Attributes:
        samples: The particles, by site name `[num_particles, ...]`: draws from the posterior, of equal weight.
        unconstrained: The particles on unconstrained space, `[num_particles, dim]`.
        log_evidence: The estimate of the log evidence in nats, a scalar.
        standard_error: Its standard error, where the kernel has moved the particles far from where they were at each
            stage; where it has not, too small.
        temperatures: The temperature of each stage, `[num_stages]`; the last one is 1.
        ess: The effective sample size of the weights at each stage, before resampling, `[num_stages]`.
        acceptance: The kernel's mean acceptance probability at each stage, `[num_stages]`; NaN for one without.
        schedule: What was settled on the way, for a run that adapts nothing.
    """

    samples: dict[str, Tensor]
    unconstrained: Tensor
    log_evidence: Tensor
    standard_error: Tensor
    temperatures: Tensor
    ess: Tensor
    acceptance: Tensor
    schedule: tuple[Stage, ...]

    def get_samples(self) -> dict[str, Tensor]:
        """The particles, by site name `[num_particles, ...]`."""
        return self.samples


class SMC:
    r"""Take particles from the prior to the posterior, through $p(z) \, p(x \mid z)^\beta$ with growing beta.

    At each stage beta grows until the weights $p(x \mid z)^{\Delta\beta}$ have the wanted effective sample size; the
    particles are resampled by them, and moved by a few transitions of a Markov kernel in the metric of their own
    covariance, with a step size that follows their acceptance. Modes are found as the prior's draws find them, without
    a chain having to cross between them, and the evidence comes along.

    The estimate of the evidence is unbiased (not that of its logarithm) where nothing adapts: `schedule=` takes that of
    a run before.

    Args:
        model: A program; its marked discrete variables are summed out.
        log_likelihood: Instead of a model: a function of one draw of `prior`, a scalar in nats.
        prior: For `log_likelihood`: a distribution, and it is called with a draw; or distributions by name, and it is
            called with a dict.
        kernel: From the model to the kernel that moves the particles: a class, or `partial(HMC, num_steps=8)`.
        num_particles: How many.
        num_steps: How many transitions at each stage.
        target_ess: The effective sample size to anneal down to, as a share of the particles.
        resampling: `"systematic"`, `"stratified"`, `"residual"` or `"multinomial"`.
        waste_free: Whether all points on the way of a transition count as particles, of which then only
            `num_particles / (num_steps + 1)` are resampled.
        schedule: The temperatures, metrics and step sizes to take, as a run before found them.
        seed: A whole number; None takes one from torch's global generator.
        progress: Whether `run` shows a live line.
        compile: Whether densities run as compiled graphs. `"auto"`: where `num_steps` is at least 400.

    Raises:
        TypeError: An argument is not of its kind.
        ValueError: A number is out of range.

    Source: Del Moral, Doucet and Jasra (2006), "Sequential Monte Carlo samplers", section 3; Dau and Chopin (2022),
    "Waste-free sequential Monte Carlo", algorithm 3 and, for the standard error, section 4.

    Example:
        >>> import posterity as pt
        >>> def model(x):
        ...     z = pt.sample("z", pt.distributions.Normal(0.0, 1.0))
        ...     pt.sample("x", pt.distributions.Normal(z, 1.0), obs=x)
        >>> found = SMC(model, seed=0, progress=False).run(2.0)
        >>> exact = pt.distributions.Normal(0.0, 2.0**0.5).log_prob(torch.tensor(2.0))
        >>> bool((found.log_evidence - exact).abs() < 4 * found.standard_error), found.get_samples()["z"].shape
        (True, torch.Size([1000]))
    """

    def __init__(
        self,
        model: Program | None = None,
        *,
        log_likelihood: Callable[..., Tensor] | None = None,
        prior: Distribution | Mapping[str, Distribution] | None = None,
        kernel: Callable[[Program], Kernel[Any, Any]] = RandomWalkMetropolis,
        num_particles: int = 1000,
        num_steps: int = 20,
        target_ess: float = 0.5,
        resampling: Resampling = "systematic",
        waste_free: bool = False,
        schedule: tuple[Stage, ...] | None = None,
        seed: int | None = None,
        progress: bool = True,
        compile: bool | Literal["auto"] = "auto",  # noqa: A002  # the name that drivers share
    ) -> None:
        self.model = _program(model, log_likelihood, prior)
        if isinstance(kernel, Kernel) or not callable(kernel):
            raise TypeError(
                "SMC: kernel must be a function from a model to a kernel: a class such as HMC, or "
                f"functools.partial(HMC, num_steps=8), not {kernel!r}"
            )
        self.kernel = kernel(self.model)
        if not isinstance(self.kernel, Kernel) or not getattr(self.kernel, "is_stateless", True):
            raise TypeError(
                f"SMC: kernel made a {type(self.kernel).__name__}, but particles are moved by a kernel whose state "
                "follows from a position, such as RandomWalkMetropolis or HMC"
            )
        for name, number, least in (("num_particles", num_particles, 2), ("num_steps", num_steps, 1)):
            if isinstance(number, bool) or not isinstance(number, int) or number < least:
                raise ValueError(f"SMC: {name} must be a whole number of at least {least}, not {number!r}")
        if not 0 < target_ess < 1:
            raise ValueError(f"SMC: target_ess must be between 0 and 1, not {target_ess!r}")
        if resampling not in RESAMPLING:
            raise ValueError(f"SMC: resampling must be one of {', '.join(map(repr, RESAMPLING))}, not {resampling!r}")
        if waste_free and num_particles % (num_steps + 1):
            raise ValueError(
                f"SMC: with waste_free, num_particles must be a multiple of num_steps + 1 = {num_steps + 1}, not "
                f"{num_particles}"
            )
        if schedule is not None and (not schedule or schedule[-1].inverse_temperature != 1):
            raise ValueError("SMC: schedule must end at the posterior: take SMCResult.schedule of a run before")
        if schedule is not None and any(len(stage.tunings) != num_steps for stage in schedule):
            raise ValueError(
                f"SMC: schedule has {len(schedule[0].tunings)} transitions at a stage, but num_steps is {num_steps}"
            )
        if compile not in (True, False, "auto"):
            raise ValueError(f"SMC: compile must be True, False or 'auto', not {compile!r}")
        self.num_particles, self.num_steps, self.target_ess = num_particles, num_steps, target_ess
        self.resampling, self.waste_free, self.schedule = resampling, waste_free, schedule
        self.progress, self.compile = progress, compile
        self.seed = int(torch.randint(2**62, ())) if seed is None else seed

    @torch.no_grad()
    def run(self, *args: Any, **kwargs: Any) -> SMCResult:
        """Go from the prior to the posterior.

        Args:
            *args: The model's arguments, with its data.
            **kwargs: Its keyword arguments.

        Returns:
            The particles and the evidence.

        Raises:
            ValueError: The model is none that `Potential` takes.
            FloatingPointError: A draw from the prior is at the edge of its support, or none of them has a likelihood.
        """
        key = Key(self.seed)
        potential = Potential(self.model, args, kwargs, source=key)
        worth = self.compile is True or (self.compile == "auto" and self.num_steps >= 400 and potential.vectorized)
        parts: InTwoParts = CompiledParts(potential) if worth else potential
        z = prior_draws(potential, self.num_particles, self.seed)
        particles = _Particles(z, *_likelihood(parts, z), self.num_particles)
        stages: list[Stage] = []
        terms: list[_Weighing] = []
        rates: list[Tensor] = []
        beta, tuning = 0.0, None
        with Progress("SMC", enabled=self.progress) as line:
            while beta < 1:
                own = key.fold_in(len(stages))
                planned = None if self.schedule is None else self.schedule[len(stages)]
                after = self._next(particles, beta) if planned is None else planned.inverse_temperature
                log_weights = (after - beta) * particles.energy
                terms.append(_weighed(log_weights, particles.num_groups))
                metric = _metric_of(particles.z, log_weights) if planned is None else planned.metric
                particles, rate, tunings = self._moved(
                    parts, particles, log_weights, after, metric, tuning, planned, own
                )
                beta, tuning = after, tunings[-1]
                stages.append(Stage(beta, metric, tunings))
                rates.append(rate)
                line.update(temperature=1 / beta, ess=terms[-1].ess, acceptance=rate)
        temperatures = z.new_tensor([1 / stage.inverse_temperature for stage in stages])
        return SMCResult(
            potential.constrain(particles.z),
            particles.z,
            torch.stack([term.log_mean for term in terms]).sum(),
            torch.stack([term.relative_variance for term in terms]).sum().sqrt(),
            temperatures,
            torch.stack([term.ess for term in terms]),
            torch.stack(rates),
            tuple(stages),
        )

    def _next(self, particles: "_Particles", beta: float) -> float:
        return next_inverse_temperature(particles.energy, beta, self.target_ess)

    def _moved(
        self,
        parts: InTwoParts,
        particles: "_Particles",
        log_weights: Tensor,
        beta: float,
        metric: Metric,
        tuning: Any,
        planned: Stage | None,
        key: Key,
    ) -> tuple["_Particles", Tensor, tuple[Any, ...]]:
        """Resample the particles, and move them; the acceptance, and what the kernel took at each transition."""
        number = self.num_particles // (self.num_steps + 1) if self.waste_free else self.num_particles
        chosen = RESAMPLING[self.resampling](log_weights, number, key.fold_in(_RESAMPLING))
        tempered = Tempered(parts, particles.z.new_tensor(beta))
        target = Preconditioned(tempered, metric)
        state = self.kernel.init(target, metric.inverse(particles.z[chosen]))
        each = torch.arange(number, device=particles.z.device)
        if planned is None and tuning is None:
            begin = first_tuning(self.kernel, target, state.position, key.fold_in(_TUNING).fold_in(each))
            tuning = type(begin)(*(_centre(part) for part in begin))
        points, rates, tunings = [state.position], [], []
        for step in range(self.num_steps):
            tuning = tuning if planned is None else planned.tunings[step]
            tunings.append(tuning)
            full = type(tuning)(*(part.expand(number, *part.shape[1:]) for part in tuning))
            state, info = self.kernel.step(target, state, full, key.fold_in(_MUTATION + step).fold_in(each))
            rates.append(getattr(info, "accept_prob", state.log_density.new_full((1,), math.nan)).mean())
            if is_tuned(self.kernel, tuning):
                # All particles tell of the same step size, so that their mean can be followed at once.
                factor = (rates[-1] - target_accept(self.kernel)).exp()
                tuning = tuning._replace(step_size=tuning.step_size * factor)
            points.append(state.position)
        u = torch.cat(points) if self.waste_free else points[-1]
        z = metric.forward(u)
        moved = _Particles(z, *_likelihood(parts, z), number)
        return moved, torch.stack(rates).mean(), tuple(tunings)


class _Particles(NamedTuple):
    """Particles of equal weight, `num_groups` of them independent: those of one chain are not."""

    z: Tensor
    energy: Tensor
    num_groups: int


class _Weighing(NamedTuple):
    """What is known of the weights of a stage: the logarithm of their mean, how far it is off, and their ESS."""

    log_mean: Tensor
    relative_variance: Tensor
    ess: Tensor


def _weighed(log_weights: Tensor, num_groups: int) -> _Weighing:
    log_weights = log_weights.double()
    number = len(log_weights)
    log_mean = log_weights.logsumexp(0) - math.log(number)
    groups = (log_weights - log_mean).exp().reshape(-1, num_groups).mean(0)
    return _Weighing(log_mean, groups.var() / num_groups, number * effective_share(log_weights))


def _likelihood(parts: InTwoParts, z: Tensor) -> tuple[Tensor]:
    """The log likelihood; one that cannot be computed counts as none."""
    return (parts.log_prior_and_likelihood(z)[1].nan_to_num(nan=-math.inf, posinf=math.inf, neginf=-math.inf),)


def _metric_of(z: Tensor, log_weights: Tensor) -> Metric:
    """The metric of weighted particles: their covariance, or their variances where they are too few."""
    weights = log_weights.double().softmax(0)
    number = float(1 / weights.square().sum())
    points = z.double()
    centred = points - weights @ points
    variance = weights @ centred.square()
    variance = torch.where(variance > 0, variance, 1.0)
    if number < _DRAWS_FOR_A_DIMENSION * z.shape[-1]:
        return DiagonalMetric(variance.sqrt().to(z.dtype).unsqueeze(0))
    covariance = (weights.unsqueeze(-1) * centred).mT @ centred
    shrunk = (number * covariance + 5 * variance.diag()) / (number + 5)
    factor, failed = torch.linalg.cholesky_ex(shrunk)
    factor = torch.where(failed.bool(), variance.sqrt().diag(), factor)
    return DenseMetric(factor.to(z.dtype).unsqueeze(0))


def _centre(part: Tensor) -> Tensor:
    """One value for all particles, `[1, ...]`: their median."""
    return part.median(0, keepdim=True).values


def _program(
    model: Program | None,
    log_likelihood: Callable[..., Tensor] | None,
    prior: Distribution | Mapping[str, Distribution] | None,
) -> Program:
    if (model is None) == (log_likelihood is None and prior is None):
        raise TypeError("SMC: give either a model, or log_likelihood and prior")
    if model is not None:
        if not callable(model):
            raise TypeError(f"SMC: model must be callable, not a {type(model).__name__}")
        return model
    if log_likelihood is None or prior is None:
        raise TypeError(f"SMC: {'prior' if prior is None else 'log_likelihood'} is missing: give both")
    return PriorAndLikelihood(log_likelihood, prior)
