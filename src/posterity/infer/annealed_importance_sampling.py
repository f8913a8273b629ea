"""Annealed importance sampling: the log evidence of a model by a long way from its prior to its posterior."""

import itertools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from posterity.infer.capture import can_compile, capture
from posterity.infer.log_evidence import LogEvidence, evidence_of
from posterity.infer.potential import Potential
from posterity.infer.predictive import Predictive
from posterity.infer.simulation import Program
from posterity.kernels import Key, normal, uniform
from posterity.runtime import Progress

# The rate of acceptance that the pilot goes for. Where trajectories are this short, a chain that stands still costs
# more than one that takes small steps.
_ACCEPTANCE = 0.9
# A pilot has at least so many chains, and so many temperatures.
_PILOT_CHAINS = 32
_PILOT_TEMPERATURES = 40
# From how many gradients on compiling pays, which takes ten seconds.
_WORTH_COMPILING = 4000


class AnnealedImportance(NamedTuple):
    """What annealed importance sampling gives.

    Attributes:
        value: The estimate of the log evidence in nats: the logarithm of an unbiased estimate of the evidence.
        standard_error: Its standard error, as far as the weights show it.
        log_weights: The logarithms of the chains' weights, `[num_chains]`.
        samples: Where the chains ended, by site name `[num_chains, ...]`: draws from the posterior, under these
            weights.
        acceptance: The mean rate of acceptance at each temperature, `[num_temperatures]`.
    """

    value: Tensor
    standard_error: Tensor
    log_weights: Tensor
    samples: dict[str, Tensor]
    acceptance: Tensor

    @property
    def pareto_k(self) -> Tensor:
        """The shape of the weights' tail: above 0.7 neither value nor standard error can be trusted."""
        return LogEvidence(*self[:3]).pareto_k

    @property
    def effective_sample_size(self) -> Tensor:
        """How many equal weights would tell as much."""
        return LogEvidence(*self[:3]).effective_sample_size


@torch.no_grad()
def annealed_importance_sampling(
    model: Program,
    *args: Any,
    num_temperatures: int = 500,
    num_chains: int = 128,
    num_leapfrog: int = 8,
    num_transitions: int = 1,
    seed: int | None = None,
    progress: bool = True,
    compile: bool | Literal["auto"] = "auto",  # noqa: A002  # the name that drivers share
    **kwargs: Any,
) -> AnnealedImportance:
    r"""Estimate a model's log evidence by chains that go from the prior to the posterior in small steps.

    Between the prior and the posterior lie the densities $p(z) \, p(x \mid z)^\beta$. Each chain starts at a draw from
    the prior and makes transitions of Hamiltonian Monte Carlo at each inverse temperature beta; its weight is
    $\prod_t p(x \mid z_t)^{\beta_{t+1} - \beta_t}$, whose mean is the evidence. A pilot run of its own finds the
    step sizes, the scales of the variables and the temperatures, which then stay as they are: the estimate of the
    evidence is unbiased. All chains run together, by `torch.vmap`.

    Args:
        model: The model, with its data. Its latent variables must have priors to draw from; marked discrete ones are
            summed out.
        *args: Its positional arguments.
        num_temperatures: How many steps from prior to posterior. The variance of the logarithms of the weights falls
            in proportion; where it is much greater than 1, the estimate is too small.
        num_chains: How many chains.
        num_leapfrog: How many leapfrog steps a transition has.
        num_transitions: How many transitions there are at each temperature.
        seed: A whole number; None takes one from torch's global generator.
        progress: Whether to show a live line.
        compile: Whether density and gradient run as one compiled graph. `"auto"`: where there are at least 4000 of
            them, a compiler is installed, and the model can be vectorised.
        **kwargs: Its keyword arguments.

    Returns:
        The estimate, its standard error, the weights and the chains' ends.

    Raises:
        ValueError: A number is out of range, or the model is none that `Potential` takes.
        FloatingPointError: The log density of a draw from the prior is not finite.

    Source: Neal (2001), "Annealed importance sampling"; the temperatures at equal steps of thermodynamic length, after
    Gelman and Meng (1998), "Simulating normalizing constants", section 4.

    Example:
        >>> import posterity as pt
        >>> def model(x):
        ...     z = pt.sample("z", pt.distributions.Normal(0.0, 1.0))
        ...     pt.sample("x", pt.distributions.Normal(z, 1.0), obs=x)
        >>> found = annealed_importance_sampling(model, 2.0, num_temperatures=20, seed=0, progress=False)
        >>> exact = pt.distributions.Normal(0.0, 2.0**0.5).log_prob(torch.tensor(2.0))
        >>> bool((found.value - exact).abs() < 4 * found.standard_error)
        True
    """
    numbers = {
        "num_temperatures": num_temperatures,
        "num_chains": num_chains,
        "num_leapfrog": num_leapfrog,
        "num_transitions": num_transitions,
    }
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ValueError(f"annealed_importance_sampling: {name} must be a whole number >= 1, not {number!r}")
    if compile not in (True, False, "auto"):
        raise ValueError(f"annealed_importance_sampling: compile must be True, False or 'auto', not {compile!r}")
    first = int(torch.randint(2**62, ())) if seed is None else seed
    bits = torch.Generator().manual_seed(first)
    potential = Potential(model, args, kwargs, source=Key(first))
    generator = torch.Generator(potential.device).manual_seed(first)
    total = (_PILOT_TEMPERATURES + num_temperatures) * num_transitions
    compiled = compile is True or (
        compile == "auto" and total * (num_leapfrog + 1) >= _WORTH_COMPILING and can_compile() and potential.vectorized
    )
    chains = _Chains(potential, num_leapfrog, generator, compiled)
    with Progress("AIS", total=total, enabled=progress) as line:
        z = _prior_draws(potential, max(num_chains, _PILOT_CHAINS), bits)
        pilot_betas = torch.linspace(0, 1, _PILOT_TEMPERATURES + 1, dtype=z.dtype, device=z.device) ** 4
        pilot = chains.pilot(z, pilot_betas, num_transitions, line)
        betas = _equal_lengths(pilot_betas, pilot.deviations, num_temperatures)
        z = _prior_draws(potential, num_chains, bits)
        log_weights, rates = torch.zeros_like(z[:, 0]), []
        _, likelihood = potential.log_prior_and_likelihood(z)
        if not bool(likelihood.isfinite().any()):
            raise FloatingPointError("the log likelihood is not finite at any of the draws from the prior")
        for before, beta in itertools.pairwise(betas):
            log_weights = log_weights + (beta - before) * likelihood
            step, scale = _at(beta, pilot_betas[1:], pilot.steps), _at(beta, pilot_betas[1:], pilot.scales)
            accepted = []
            for _ in range(num_transitions):
                z, likelihood, rate = chains.transition(z, beta, step, scale)
                accepted.append(rate.mean())
                line.update(temperature=float(beta), acceptance=accepted[-1])
            rates.append(torch.stack(accepted).mean())
    return AnnealedImportance(*evidence_of(log_weights), potential.constrain(z), torch.stack(rates))


class _Pilot(NamedTuple):
    steps: Tensor
    scales: Tensor
    deviations: Tensor


class _Chains:
    """Transitions of Hamiltonian Monte Carlo for many chains at once."""

    def __init__(self, potential: Potential, num_leapfrog: int, generator: torch.Generator, compiled: bool) -> None:
        self.potential, self.num_leapfrog, self.generator = potential, num_leapfrog, generator
        self.compiled = compiled
        self.graphs: dict[torch.Size, Callable[..., Any]] = {}

    def transition(self, z: Tensor, beta: Tensor, step: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One transition at an inverse temperature; new points, their log likelihoods, and rates of acceptance."""
        like: dict[str, Any] = {"source": self.generator, "dtype": z.dtype, "device": z.device}
        # The same jitter for all steps of a trajectory, one for each chain: no period can lock in.
        own = step * scale * (0.8 + 0.4 * uniform((len(z), 1), **like))
        momentum = normal(z.shape, **like)
        density, likelihood, gradient = self._tempered(z, beta)
        start = density - momentum.square().sum(-1) / 2
        point, moved, slope = z, momentum, gradient
        for _ in range(self.num_leapfrog):
            moved = moved + own / 2 * slope
            point = point + own * moved
            new_density, new_likelihood, slope = self._tempered(point, beta)
            moved = moved + own / 2 * slope
        end = new_density - moved.square().sum(-1) / 2
        rate = (end - start).exp().clamp(max=1).nan_to_num(0.0)
        take = uniform((len(z),), **like) < rate
        return torch.where(take.unsqueeze(-1), point, z), torch.where(take, new_likelihood, likelihood), rate

    def pilot(self, z: Tensor, betas: Tensor, num_transitions: int, line: Progress) -> _Pilot:
        """Learn step sizes and scales on the way, and how much the log likelihood varies at each temperature."""
        step = torch.full_like(z[0, 0], 0.5 / z.shape[-1] ** 0.25)
        steps, scales = [], []
        _, likelihood = self.potential.log_prior_and_likelihood(z)
        deviations = [_spread(likelihood)]
        for beta in betas[1:]:
            for _ in range(num_transitions):
                scale = _spread(z)
                z, likelihood, rate = self.transition(z, beta, step, scale)
                step = step * (1.5 * (rate.mean() - _ACCEPTANCE)).exp()
                line.update(temperature=float(beta), acceptance=rate.mean())
            steps.append(step)
            scales.append(_spread(z))
            deviations.append(_spread(likelihood))
        return _Pilot(torch.stack(steps), torch.stack(scales), torch.stack(deviations))

    def _tempered(self, z: Tensor, beta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if not self.compiled:
            return self._tempered_eagerly(z, beta)
        if z.shape not in self.graphs:
            self.graphs[z.shape] = capture(lambda z, beta: self._tempered_eagerly(z, beta), [z, beta])
        density, likelihood, gradient = self.graphs[z.shape](z, beta)
        return density, likelihood, gradient

    def _tempered_eagerly(self, z: Tensor, beta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        with torch.enable_grad():
            leaf = z.detach().requires_grad_()
            prior, likelihood = self.potential.log_prior_and_likelihood(leaf)
            density = prior + beta * likelihood
            (gradient,) = torch.autograd.grad(density.sum(), leaf)
        return density.detach(), likelihood.detach(), gradient


def _prior_draws(potential: Potential, number: int, generator: torch.Generator) -> Tensor:
    names = list(potential.shapes)
    seed = int(torch.randint(2**62, (), generator=generator))
    program = Predictive(potential.model, num_samples=number, return_sites=names, seed=seed)
    points = potential.unconstrain(program(*potential.args, **potential.kwargs))
    if not bool(points.isfinite().all()):
        raise FloatingPointError("a draw from the prior is at the edge of its support, at infinity when unconstrained")
    return points


def _spread(values: Tensor) -> Tensor:
    """The standard deviation over chains, but never 0."""
    return values.std(0).nan_to_num(1.0, 1.0, 1.0).clamp(min=1e-6)


def _equal_lengths(betas: Tensor, deviations: Tensor, number: int) -> Tensor:
    """Inverse temperatures from 0 to 1 between which the log likelihood's deviation integrates to equal amounts."""
    lengths = (betas[1:] - betas[:-1]) * (deviations[1:] + deviations[:-1]) / 2
    # A little of the pilot's own grading goes in, so that no stretch is crossed in one step.
    share = 0.9 * lengths / lengths.sum() + 0.1 / len(lengths)
    passed = torch.cat([torch.zeros_like(share[:1]), share.cumsum(0)])
    wanted = torch.linspace(0, 1, number + 1, dtype=betas.dtype, device=betas.device)
    found = _at(wanted, passed / passed[-1], betas)
    found[0], found[-1] = 0, 1
    return found


def _at(where: Tensor, places: Tensor, values: Tensor) -> Tensor:
    """Values between given places by straight lines, and constant outside."""
    above = torch.searchsorted(places, where.contiguous()).clamp(1, len(places) - 1)
    low, high = places[above - 1], places[above]
    share = ((where - low) / (high - low).clamp(min=torch.finfo(low.dtype).tiny)).clamp(0, 1)
    if values.dim() > 1:
        share = share.unsqueeze(-1)
    return torch.lerp(values[above - 1], values[above], share)
