"""Objectives made of importance weights: bounds that tighten with the number of draws."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from posterity.handlers import Trace, seed, trace
from posterity.infer.objective import Estimate
from posterity.infer.simulation import Pair, detached, is_enumerated, is_scored, over_particles
from posterity.infer.weighted_objective import WeightedObjective
from posterity.kernels import NoiseTape
from posterity.kernels.noise_tape import Pools


class IWAE(WeightedObjective):
    r"""The importance-weighted bound $E_q[\log \frac{1}{K} \sum_k p(x, z_k) / q(z_k)]$, in nats.

    It lies between the evidence lower bound (K = 1) and the log evidence, and rises with K.

    Args:
        num_particles: K, how many draws from the guide go into one bound.
        vectorized: Whether they are computed at once by `torch.vmap`, rather than one after the other.
        plate: The name of a plate of independent data, whose elements each get a bound of their own, from weights of
            their own; every site must stand inside. Without it, a draw has one weight for all data, and with subsampled
            data what comes out is no bound.
        doubly_reparameterized: Whether to use the guide's gradient of Tucker et al., whose signal does not drown in
            noise as K grows; it runs the programs a second time.

    Raises:
        ValueError: `num_particles` is no whole number of at least 1; at the first estimate, a site of the guide whose
            draws let no gradient through (`VIMCO` is for those).

    Source: Burda, Grosse and Salakhutdinov (2016), "Importance weighted autoencoders"; Tucker et al. (2019), "Doubly
    reparameterized gradient estimators for Monte Carlo objectives".

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     z = pt.sample("z", pt.distributions.Normal(0.0, 1.0))
        ...     pt.sample("x", pt.distributions.Normal(z, 1.0), obs=2.0)
        >>> def guide():
        ...     pt.sample("z", pt.distributions.Normal(0.5, 1.0))
        >>> bound = -IWAE(1000).loss(model, guide)
        >>> evidence = pt.distributions.Normal(0.0, 2.0**0.5).log_prob(torch.tensor(2.0))
        >>> bool((bound - evidence).abs() < 0.2)
        True
    """

    def __init__(
        self,
        num_particles: int,
        *,
        vectorized: bool = True,
        doubly_reparameterized: bool = False,
        plate: str | None = None,
    ) -> None:
        super().__init__(num_particles, vectorized, plate)
        self.doubly_reparameterized = doubly_reparameterized

    def estimate(
        self,
        pair: Pair,
        pools: Pools,
        state: Mapping[str, Tensor],
    ) -> Estimate:
        """One estimate; see `Objective.estimate`."""

        def particle(tape: NoiseTape) -> tuple[Tensor, Tensor, Tensor]:
            model_trace, guide_trace = self.traces(pair, tape)
            _refuse_scored(type(self).__name__, guide_trace)
            log_joint, log_guide = self.log_model(model_trace), self.log_guide(guide_trace)
            if not self.doubly_reparameterized:
                return log_joint - log_guide, torch.zeros_like(log_joint), torch.zeros_like(log_joint)
            fixed = detached(guide_trace)
            fixed_joint = self.log_joint(pair, fixed)
            fixed_guide = self.log_guide(pair.replayed_guide(fixed))
            return log_joint - log_guide, fixed_joint, fixed_guide

        log_weights, fixed_joint, fixed_guide = over_particles(particle, pools, self.num_particles, self.vectorized)
        bound = self.total(log_weights.logsumexp(0) - math.log(self.num_particles))
        if not self.doubly_reparameterized:
            return Estimate(-bound.detach(), -bound, {})
        weights = log_weights.detach().softmax(0)
        # Through the draws alone: what the parameters do at fixed draws is taken away.
        through_draws = log_weights - fixed_joint + fixed_guide
        return Estimate(-bound.detach(), -self.total(weights.square() * through_draws + weights * fixed_joint), {})


class RenyiELBO(WeightedObjective):
    r"""Renyi's bound $\frac{1}{1 - \alpha} \log \frac{1}{K} \sum_k (p(x, z_k) / q(z_k))^{1 - \alpha}$, in nats.

    At alpha = 0 it is the importance-weighted bound; towards 1 the evidence lower bound; a negative alpha gives (for
    many draws) an upper bound on the log evidence.

    Args:
        alpha: The order, not 1.
        num_particles: K, how many draws from the guide go into one bound.
        vectorized: Whether they are computed at once by `torch.vmap`, rather than one after the other.
        plate: The name of a plate of independent data, whose elements each get a bound of their own, from weights of
            their own; every site must stand inside. Without it, a draw has one weight for all data, and with subsampled
            data what comes out is no bound.

    Raises:
        ValueError: `alpha` is 1 (that is `ELBO`) or not finite, or `num_particles` is no whole number of at least 1.

    Source: Li and Turner (2016), "Renyi divergence variational inference".

    Example:
        >>> RenyiELBO(0.5, 8).alpha
        0.5
    """

    def __init__(
        self, alpha: float, num_particles: int = 2, *, vectorized: bool = True, plate: str | None = None
    ) -> None:
        super().__init__(num_particles, vectorized, plate)
        if not math.isfinite(alpha) or alpha == 1:
            raise ValueError(f"alpha of RenyiELBO must be finite and not 1 (that is ELBO), but it is {alpha}")
        self.alpha = alpha

    def estimate(
        self,
        pair: Pair,
        pools: Pools,
        state: Mapping[str, Tensor],
    ) -> Estimate:
        """One estimate; see `Objective.estimate`."""

        def particle(tape: NoiseTape) -> Tensor:
            model_trace, guide_trace = self.traces(pair, tape)
            _refuse_scored(type(self).__name__, guide_trace)
            return self.log_model(model_trace) - self.log_guide(guide_trace)

        log_weights = over_particles(particle, pools, self.num_particles, self.vectorized)
        order = 1 - self.alpha
        bound = self.total((order * log_weights).logsumexp(0) - math.log(self.num_particles)) / order
        return Estimate(-bound.detach(), -bound, {})


class VIMCO(WeightedObjective):
    """The importance-weighted bound, for guides with discrete sites.

    Every draw's score is weighted by what it adds to the bound, judged against the other draws; sites that let
    gradients through their draws use them.

    Args:
        num_particles: How many draws from the guide go into one bound, at least 2.
        vectorized: Whether they are computed at once by `torch.vmap`, rather than one after the other.
        plate: The name of a plate of independent data, whose elements each get a bound of their own, from weights of
            their own; every site must stand inside. Without it, a draw has one weight for all data, and with subsampled
            data what comes out is no bound.

    Raises:
        ValueError: `num_particles` is no whole number of at least 2.

    Source: Mnih and Rezende (2016), "Variational inference for Monte Carlo objectives".

    Example:
        >>> VIMCO(5).num_particles
        5
    """

    def __init__(self, num_particles: int, *, vectorized: bool = True, plate: str | None = None) -> None:
        super().__init__(num_particles, vectorized, plate)
        if num_particles < 2:
            raise ValueError("num_particles of VIMCO must be at least 2: each draw is judged against the others")

    def estimate(
        self,
        pair: Pair,
        pools: Pools,
        state: Mapping[str, Tensor],
    ) -> Estimate:
        """One estimate; see `Objective.estimate`."""

        def particle(tape: NoiseTape) -> tuple[Tensor, Tensor]:
            model_trace, guide_trace = self.traces(pair, tape)
            log_weight = self.log_model(model_trace) - self.log_guide(guide_trace)
            return log_weight, self.score(guide_trace, log_weight)

        log_weights, scores = over_particles(particle, pools, self.num_particles, self.vectorized)
        bounds = log_weights.logsumexp(0) - math.log(self.num_particles)
        signals = bounds.detach() - _bounds_without_each(log_weights.detach())
        return Estimate(-self.total(bounds.detach()), -self.total(bounds) - self.total(signals * scores), {})


class ReweightedWakeSleep(WeightedObjective):
    """Reweighted wake-sleep: the model climbs the importance-weighted bound, the guide the weighted draws' density.

    The guide is drawn towards the posterior (it minimises KL(p || q)) by adaptive importance sampling, without
    gradients through draws; discrete sites need nothing special. In the sleep phase the guide learns from what the
    model dreams: the programs must then take their data from a keyword argument `observations`, a mapping from
    observed sites' names to values (None: draw them).

    Args:
        num_particles: How many draws from the guide are weighted, at least 2.
        insomnia: The share of the wake phase in the guide's objective: 1 is without sleep.
        vectorized: Whether the draws are computed at once by `torch.vmap`, rather than one after the other.
        plate: The name of a plate of independent data, whose elements each get a bound of their own, from weights of
            their own; every site must stand inside. Without it, a draw has one weight for all data, and with subsampled
            data what comes out is no bound.

    Raises:
        ValueError: A number is out of range, or there is a sleep phase but no `observations`.

    Source: Bornschein and Bengio (2015), "Reweighted wake-sleep"; Le et al. (2019), "Revisiting reweighted
    wake-sleep".

    Example:
        >>> ReweightedWakeSleep(10).insomnia
        1.0
    """

    def __init__(
        self, num_particles: int = 2, *, insomnia: float = 1.0, vectorized: bool = True, plate: str | None = None
    ) -> None:
        super().__init__(num_particles, vectorized, plate)
        if num_particles < 2:
            raise ValueError("num_particles of ReweightedWakeSleep must be at least 2: draws are weighted")
        if not 0 <= insomnia <= 1:
            raise ValueError(f"insomnia of ReweightedWakeSleep must lie between 0 and 1, not {insomnia}")
        self.insomnia = insomnia

    def estimate(
        self,
        pair: Pair,
        pools: Pools,
        state: Mapping[str, Tensor],
    ) -> Estimate:
        """One estimate; see `Objective.estimate`."""

        def particle(tape: NoiseTape) -> _Phases:
            with torch.no_grad():
                _, guide_trace = self.traces(pair, tape)
            fixed = detached(guide_trace)
            log_joint = self.log_joint(pair, fixed)
            log_guide = self.log_guide(pair.replayed_guide(fixed))
            dreamt = self._dreamt(pair, tape) if self.insomnia < 1 else torch.zeros(())
            return _Phases(log_joint, log_guide, dreamt)

        log_joint, log_guide, dreamt = over_particles(particle, pools, self.num_particles, self.vectorized)
        log_weights = log_joint.detach() - log_guide.detach()
        weights = log_weights.softmax(0)
        bound = self.total(log_weights.logsumexp(0) - math.log(self.num_particles))
        wake_model, wake_guide = -self.total(weights * log_joint), -self.total(weights * log_guide)
        return Estimate(-bound, wake_model + self.insomnia * wake_guide - (1 - self.insomnia) * dreamt.mean(), {})

    def probe(self, pair: Pair, recorder: Any) -> tuple[Trace, Trace]:
        """Run what one particle runs, so that the recorder learns its noise; the traces of model and guide."""
        traces = super().probe(pair, recorder)
        if self.insomnia < 1:
            self._dreamt(pair, recorder)
        return traces

    def _dreamt(self, pair: Pair, source: Any) -> Tensor:
        """The guide's log density of latent values that the model drew with data of its own."""
        observations = pair.kwargs.get("observations")
        if not isinstance(observations, Mapping):
            raise ValueError(
                "ReweightedWakeSleep: for the sleep phase (insomnia below 1) model and guide must take a keyword "
                "argument observations, a mapping from observed sites' names to values"
            )
        with torch.no_grad(), seed(rng_seed=source):
            blank = {**pair.kwargs, "observations": dict.fromkeys(observations)}
            dream = trace(pair.model).get_trace(*pair.args, **blank)
        fixed = detached(dream)
        dreamt = {name: fixed[name].value for name in observations}
        told = replace(pair, kwargs={**pair.kwargs, "observations": dreamt})
        return told.replayed_guide(fixed).log_prob_sum()


class _Phases(NamedTuple):
    log_joint: Tensor
    log_guide: Tensor
    dreamt: Tensor


def _bounds_without_each(log_weights: Tensor) -> Tensor:
    """For each draw the bound with its weight replaced by the geometric mean of the others', `[num_particles, ...]`."""
    count = len(log_weights)
    others = (log_weights.sum(0) - log_weights) / (count - 1)
    own = torch.eye(count, dtype=torch.bool, device=log_weights.device).reshape(
        count, count, *(1,) * (log_weights.dim() - 1)
    )
    replaced = torch.where(own, others.unsqueeze(1), log_weights.unsqueeze(0))
    return replaced.logsumexp(1) - math.log(count)


def _refuse_scored(objective: str, guide_trace: Trace) -> None:
    scored = [site.name for site in guide_trace.samples() if is_scored(site) or is_enumerated(site)]
    if scored:
        raise ValueError(
            f"{objective} needs gradients through the guide's draws, which site {scored[0]!r} does not let through: "
            "use VIMCO or ReweightedWakeSleep"
        )
