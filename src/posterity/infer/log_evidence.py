"""The log evidence of a model, by importance sampling with a guide."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from posterity.handlers import Trace, replay, trace
from posterity.handlers import seed as seeded
from posterity.handlers.enumerate import max_plate_nesting
from posterity.infer.enumeration import log_density
from posterity.infer.pareto_smoothing import pareto_smooth
from posterity.infer.simulation import Pair, Program, check_sites, is_enumerated, over_particles
from posterity.kernels import NoiseRecorder, Source
from posterity.runtime import without_validation


class LogEvidence(NamedTuple):
    """An estimate of a log evidence.

    Attributes:
        value: The estimate in nats: the logarithm of an unbiased estimate of the evidence.
        standard_error: Its standard error, as far as the weights show it.
        log_weights: The logarithms of the importance weights, whose mean (not of the logarithms) is the evidence;
            `[num_samples, *batch]`.
    """

    value: Tensor
    standard_error: Tensor
    log_weights: Tensor

    @property
    def pareto_k(self) -> Tensor:
        """The shape of the weights' tail, `[*batch]`: above 0.7 neither value nor standard error can be trusted."""
        columns = self.log_weights.reshape(len(self.log_weights), -1).unbind(-1)
        shapes = [pareto_smooth(column).pareto_k for column in columns]
        return self.value.new_tensor(shapes).reshape(self.value.shape)

    @property
    def effective_sample_size(self) -> Tensor:
        """How many equal weights would tell as much, `[*batch]`."""
        return (2 * self.log_weights.logsumexp(0) - (2 * self.log_weights).logsumexp(0)).exp()


@torch.no_grad()
def log_evidence(
    model: Program,
    guide: Program,
    *args: Any,
    num_samples: int = 1000,
    num_at_once: int = 1000,
    plate: str | None = None,
    seed: int | None = None,
    **kwargs: Any,
) -> LogEvidence:
    r"""Estimate the log evidence $\log p(x)$ by importance sampling: the mean of p(x, z) / q(z) over draws of a guide.

    The estimate is too small rather than too large, the less the nearer the guide is to the posterior. Discrete
    variables that the model marks for enumeration are summed out.

    Args:
        model: The model.
        guide: The guide, trained; give `param` statements of a function their values by `handlers.substitute(guide,
            svi.params)`.
        *args: Their positional arguments.
        num_samples: How many draws.
        num_at_once: How many of them are computed together, by `torch.vmap`; a program that cannot be vectorised
            takes 1.
        plate: A plate in which all sites of both programs stand: each of its elements gets an estimate of its own,
            as one reports it for each example of a test set.
        seed: A whole number; None takes one from torch's global generator.
        **kwargs: Their keyword arguments.

    Returns:
        The estimate, its standard error, and the weights.

    Raises:
        ValueError: A number is out of range; guide and model do not fit each other, or they see only a subsample.
        FloatingPointError: A weight is NaN or infinite.

    Source: Robert and Casella (2004), "Monte Carlo Statistical Methods", section 3.3; Burda, Grosse and
    Salakhutdinov (2016), "Importance weighted autoencoders".

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     z = pt.sample("z", pt.distributions.Normal(0.0, 1.0))
        ...     pt.sample("x", pt.distributions.Normal(z, 1.0), obs=2.0)
        >>> def guide():
        ...     pt.sample("z", pt.distributions.Normal(1.0, 1.0))
        >>> estimate = log_evidence(model, guide, seed=0)
        >>> exact = pt.distributions.Normal(0.0, 2.0**0.5).log_prob(torch.tensor(2.0))
        >>> bool((estimate.value - exact).abs() < 4 * estimate.standard_error)
        True
    """
    for name, number in (("num_samples", num_samples), ("num_at_once", num_at_once)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ValueError(f"log_evidence: {name} must be a whole number of at least 1, not {number!r}")
    cpu = torch.device("cpu")
    generator = torch.Generator(cpu).manual_seed(int(torch.randint(2**62, ())) if seed is None else seed)
    generators = {cpu: generator}
    pair = Pair(model, guide, args, kwargs)
    pair.simulate(NoiseRecorder(generators))  # a guide that sets itself up does it here
    model_trace, guide_trace = pair.simulate(NoiseRecorder(generators))
    check_sites(model_trace, guide_trace)
    enumerated = any(is_enumerated(site) for site in model_trace.latents() if site.name not in guide_trace)
    if enumerated and plate is not None:
        raise ValueError("log_evidence: plate= is for models without enumerated variables")
    _check_plates(model_trace, plate)
    nesting = max_plate_nesting(replay(model, guide_trace), *args, **kwargs) if enumerated else 0

    def log_weight(source: Source) -> Tensor:
        with seeded(rng_seed=source):
            drawn = trace(guide).get_trace(*args, **kwargs)
            if enumerated:
                joint = log_density(model, args, kwargs, drawn, max_plate_nesting=nesting)
                return joint - drawn.log_prob_sum()
            joined = trace(replay(model, drawn)).get_trace(*args, **kwargs)
        if plate is not None:
            return _along(plate, joined) - _along(plate, drawn)
        return joined.log_prob_sum() - drawn.log_prob_sum()

    recorder = NoiseRecorder(generators)
    log_weight(recorder)
    layout, parts = recorder.layout(), []
    with without_validation():
        for start in range(0, num_samples, num_at_once):
            number = min(num_at_once, num_samples - start)
            pools = layout.draw(recorder.generators, (number,))
            parts.append(over_particles(log_weight, pools, number, vectorized=True))
    return evidence_of(torch.cat(parts))


def evidence_of(log_weights: Tensor) -> LogEvidence:
    """The log of the mean weight, with its standard error by the delta method.

    Args:
        log_weights: `[num_draws, *batch]`.

    Raises:
        FloatingPointError: One is NaN or plus infinity, or all are minus infinity.
    """
    if bool((log_weights.isnan() | (log_weights == math.inf)).any()) or not bool(log_weights.isfinite().any(0).all()):
        raise FloatingPointError(
            f"{int((~log_weights.isfinite()).sum())} of {log_weights.numel()} logarithms of importance weights are NaN "
            "or infinite: the log densities of model or guide are not finite at the guide's draws"
        )
    number = len(log_weights)
    value = log_weights.logsumexp(0) - math.log(number)
    relative = (log_weights - value).exp()
    error = relative.std(0) / number**0.5 if number > 1 else torch.full_like(value, math.nan)
    return LogEvidence(value, error, log_weights)


def _along(plate: str, found: Trace) -> Tensor:
    """The log density of each element of a plate, `[size]`."""
    total: Tensor | float = 0.0
    for site in found.samples():
        (dim,) = (frame.dim for frame in site.plates if frame.name == plate)
        assert dim is not None
        terms = found.log_prob(site).movedim(dim, 0)
        total = total + terms.reshape(len(terms), -1).sum(-1)
    assert isinstance(total, Tensor)
    return total


def _check_plates(found: Trace, plate: str | None) -> None:
    for site in found.samples():
        frames = {frame.name: frame for frame in site.plates}
        for frame in frames.values():
            if frame.size != frame.full_size:
                raise ValueError(
                    f"log_evidence: plate {frame.name!r} takes {frame.size} of its {frame.full_size} elements, and the "
                    "evidence is that of all data: leave the subsample away"
                )
        if plate is not None and (plate not in frames or not frames[plate].vectorized):
            raise ValueError(
                f"log_evidence: site {site.name!r} stands outside of plate {plate!r}, so that its elements have no "
                f"evidence each of its own\n{found.format_shapes()}"
            )
