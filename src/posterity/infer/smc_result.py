"""What a run of sequential Monte Carlo gives: particles, the evidence, and what was settled on the way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from posterity.infer.arviz import to_arviz
from posterity.infer.diagnostics import Summary, summarize
from posterity.infer.mcmc.metric import Metric
from posterity.infer.simulation import Program


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
        model: The program.
        args: Its arguments.
        kwargs: Its keyword arguments.
    """

    samples: dict[str, Tensor]
    unconstrained: Tensor
    log_evidence: Tensor
    standard_error: Tensor
    temperatures: Tensor
    ess: Tensor
    acceptance: Tensor
    schedule: tuple[Stage, ...]
    model: Program = field(repr=False)
    args: Sequence[Any] = field(repr=False)
    kwargs: Mapping[str, Any] = field(repr=False)

    def get_samples(self, group_by_chain: bool = False) -> dict[str, Tensor]:
        """The particles, by site name `[num_particles, ...]`.

        Args:
            group_by_chain: Whether to have a dimension of chains in front: there is one.
        """
        return {name: value.unsqueeze(0) for name, value in self.samples.items()} if group_by_chain else self.samples

    def summary(self, prob: float = 0.9) -> Summary:
        """Mean, standard deviation, quantiles, Monte Carlo errors and effective sample sizes of each parameter.

        Particles stand in the order of those of the last stage that they come from, and are taken as one chain. So the
        effective sample sizes and errors count how much particles of one origin still have in common after the last
        moves, and nothing of what the stages before have left: where the kernel hardly moves they are too good. R-hat
        compares the particles of some origins with those of others, and is near 1 whatever the run was like.

        Args:
            prob: How much lies between the outer quantiles.
        """
        return summarize(self.get_samples(group_by_chain=True), prob=prob)

    def to_arviz(self, **options: Any) -> Any:
        """The particles as one chain of an `arviz.InferenceData`; options as of `infer.to_arviz`."""
        own: dict[str, Any] = {"model": self.model, "args": self.args, "kwargs": self.kwargs}
        return to_arviz(self.samples, **(own | options))
