"""Sequential Monte Carlo: particles that are taken from the prior to the posterior through tempered likelihoods."""

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from posterity.distributions import Distribution
from posterity.infer.annealing import effective_share, next_inverse_temperature
from posterity.infer.mcmc.draw_store import Directory, fingerprint
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
from posterity.infer.smc_result import SMCResult, Stage
from posterity.kernels import Key
from posterity.runtime import Progress

# What the keys of a stage are for.
_RESAMPLING, _TUNING, _MUTATION = 0, 1, 2
# A covariance of fewer draws than that many for each dimension is not worth having.
_DRAWS_FOR_A_DIMENSION = 5


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
        directory: A folder for the state after each stage, so that a run that was stopped, however, goes on to the same
            particles when it is started again. A folder of another run, by its options, its first particles or the
            likelihood there, is refused. None: nothing is written.

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
        directory: str | os.PathLike[str] | None = None,
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
        self._given_seed = seed
        self.path = None if directory is None else Path(directory)

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
        directory = None if self.path is None else Directory(self.path, driver="SMC")
        saved = None if directory is None else directory.saved_run(self._options(), self._given_seed)
        self.seed = self.seed if saved is None else saved["seed"]
        key = Key(self.seed)
        potential = Potential(self.model, args, kwargs, source=key)
        worth = self.compile is True or (self.compile == "auto" and self.num_steps >= 400 and potential.vectorized)
        parts: InTwoParts = CompiledParts(potential) if worth else potential
        z = prior_draws(potential, self.num_particles, self.seed)
        run = _Run(_Particles(z, *_likelihood(parts, z), self.num_particles), [], [], [])
        start = {"point": z, "log_likelihood": run.particles.energy}
        if directory is not None:
            directory.check_start(saved, start)
        if saved is not None:
            run = _restored(saved, self._tuning_type(potential, z, key))
        with Progress("SMC", enabled=self.progress) as line:
            while run.beta < 1:
                run = self._advanced(parts, run, key.fold_in(len(run.stages)))
                line.update(temperature=1 / run.beta, ess=run.terms[-1].ess, acceptance=run.rates[-1])
                if directory is not None:
                    own = {"fingerprint": fingerprint({**self._options(), "seed": self.seed}), "seed": self.seed}
                    directory.save_state({**own, "start": start, **_as_plain(run)})
        return SMCResult(
            potential.constrain(run.particles.z),
            run.particles.z,
            torch.stack([term.log_mean for term in run.terms]).sum(),
            torch.stack([term.relative_variance for term in run.terms]).sum().sqrt(),
            z.new_tensor([1 / stage.inverse_temperature for stage in run.stages]),
            torch.stack([term.ess for term in run.terms]),
            torch.stack(run.rates),
            tuple(run.stages),
            self.model,
            args,
            kwargs,
        )

    def _options(self) -> dict[str, Any]:
        """What must be the same for a run to go on."""
        own = {name: getattr(self, name) for name in ("num_particles", "num_steps", "target_ess", "resampling")}
        options = {n: v for n, v in vars(self.kernel).items() if isinstance(v, bool | int | float | str | None)}
        planned = None if self.schedule is None else [stage.inverse_temperature for stage in self.schedule]
        own |= {"waste_free": self.waste_free, "schedule": planned}
        return {"method": "SMC", "kernel": type(self.kernel).__name__, **options, **own}

    def _tuning_type(self, parts: Potential, z: Tensor, key: Key) -> type[Any]:
        """What the kernel's tunings are."""
        if self.schedule is not None:
            return type(self.schedule[0].tunings[0])
        return type(first_tuning(self.kernel, Tempered(parts, z.new_tensor(1.0)), z[:1], key.fold_in(torch.arange(1))))

    def _advanced(self, parts: InTwoParts, run: "_Run", key: Key) -> "_Run":
        """One stage more."""
        planned = None if self.schedule is None else self.schedule[len(run.stages)]
        particles = run.particles
        after = self._next(particles, run.beta) if planned is None else planned.inverse_temperature
        log_weights = (after - run.beta) * particles.energy
        term = _weighed(log_weights, particles.num_groups)
        metric = _metric_of(particles.z, log_weights) if planned is None else planned.metric
        tuning = run.stages[-1].tunings[-1] if run.stages else None
        moved, rate, tunings = self._moved(parts, particles, log_weights, after, metric, tuning, planned, key)
        stages = [*run.stages, Stage(after, metric, tunings)]
        return _Run(moved, stages, [*run.terms, term], [*run.rates, rate])

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
        # The points of a chain follow each other.
        u = torch.stack(points, 1).flatten(0, 1) if self.waste_free else points[-1]
        z = metric.forward(u)
        moved = _Particles(z, *_likelihood(parts, z), number)
        return moved, torch.stack(rates).mean(), tuple(tunings)


class _Particles(NamedTuple):
    """Particles of equal weight, `num_groups` of them independent: those of one chain are not."""

    z: Tensor
    energy: Tensor
    num_groups: int


class _Run(NamedTuple):
    """How far a run has come: its particles, and what each stage was like."""

    particles: _Particles
    stages: list[Stage]
    terms: "list[_Weighing]"
    rates: list[Tensor]

    @property
    def beta(self) -> float:
        """The inverse temperature that it has reached."""
        return self.stages[-1].inverse_temperature if self.stages else 0.0


class _Weighing(NamedTuple):
    """What is known of the weights of a stage: the logarithm of their mean, how far it is off, and their ESS."""

    log_mean: Tensor
    relative_variance: Tensor
    ess: Tensor


def _as_plain(run: _Run) -> dict[str, Any]:
    """A run as tensors and numbers in lists, which a file takes without code."""
    stages = [
        {
            "inverse_temperature": stage.inverse_temperature,
            "is_dense": isinstance(stage.metric, DenseMetric),
            "metric": list(stage.metric),  # type: ignore[call-overload]  # a metric is a tuple of tensors
            "tunings": [list(tuning) for tuning in stage.tunings],
        }
        for stage in run.stages
    ]
    terms = [list(term) for term in run.terms]
    return {"particles": list(run.particles), "stages": stages, "terms": terms, "rates": run.rates}


def _restored(saved: Mapping[str, Any], tuning: type[Any]) -> _Run:
    stages = [
        Stage(
            stage["inverse_temperature"],
            (DenseMetric if stage["is_dense"] else DiagonalMetric)(*stage["metric"]),
            tuple(tuning(*parts) for parts in stage["tunings"]),
        )
        for stage in saved["stages"]
    ]
    terms = [_Weighing(*parts) for parts in saved["terms"]]
    return _Run(_Particles(*saved["particles"]), stages, terms, list(saved["rates"]))


def _weighed(log_weights: Tensor, num_groups: int) -> _Weighing:
    log_weights = log_weights.double()
    number = len(log_weights)
    log_mean = log_weights.logsumexp(0) - math.log(number)
    groups = (log_weights - log_mean).exp().reshape(num_groups, -1).mean(1)
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
