"""`predict`: many posterior draws of a network's output, made into one `Prediction`."""

import math
import numbers
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from posterity import distributions as dist
from posterity.kernels import Generator, Key
from posterity.nn import RandomModule, random_parameters
from posterity.nn.predictive import call, forked, stack_outputs, stochastic_draws
from posterity.nn.random_module import shared_draw
from posterity.ppl.stack import outside_programs
from posterity.prediction.prediction import Prediction
from posterity.runtime import eval_mode, validation_enabled

Likelihood = Callable[[Tensor], torch.distributions.Distribution] | float


@torch.no_grad()
def predict(
    module: nn.Module,
    x: Any,
    num_samples: int = 64,
    *,
    task: str,
    likelihood: Likelihood | None = None,
    joint: bool = False,
    generator: Generator = None,
) -> Prediction:
    """Ask a stochastic network what it knows about a batch, and how sure it is.

    The network is put into eval mode for the call, and back into the mode it was in. Over many batches, calls inside
    `with posterity.nn.frozen_posterior(module):` compute what all draws share (scales, variances) once.

    Args:
        module: the network: converted, built from Bayesian layers, or any module with
            `predictive_draws(x, num_samples, generator)`.
        x: its input: a tensor `[batch, ...]`, a tuple (positional arguments) or a mapping (keyword arguments).
        num_samples: number of posterior draws. The Monte Carlo error of a probability p is
            sqrt(p (1 - p) / num_samples) at most.
        task: `"classification"` (the network returns logits, `[batch, classes, *dims]`) or `"regression"` (it returns
            `(mean, scale)`, or a `Distribution`).
        likelihood: for a regression network that returns a bare mean: the noise, as a function from the mean to a
            distribution, or the standard deviation of normal noise.
        joint: whether every draw is one function for all examples. `reparam` layers are so anyway; this makes `local`
            and `flipout` layers use one weight draw too.
        generator: source of the draws, a `torch.Generator` or a `Key`. Default: torch's global generator.

    Returns:
        The prediction.

    Raises:
        TypeError: if `module` is not a module, `generator` is not one, or the network returns something that no task
            knows.
        ValueError: if `num_samples < 1`, the task is unknown, `x` is empty or has NaN, the output does not fit the
            task, or a bare mean comes without `likelihood`.

    Warns:
        UserWarning: if a converted network was never trained, so that its spread is only the initial one; and if all
            draws are the same.

    Example:
        >>> import torch, torch.nn.functional as F, posterity as pt
        >>> net = torch.nn.Sequential(pt.nn.Linear(4, 8), torch.nn.ReLU(), pt.nn.Linear(8, 3))
        >>> optimizer, x, y = torch.optim.Adam(net.parameters()), torch.randn(100, 4), torch.arange(100) % 3
        >>> for _ in range(5):
        ...     optimizer.zero_grad()
        ...     pt.elbo_loss(net, F.cross_entropy(net(x), y), num_data=100).backward()
        ...     optimizer.step()
        >>> p = pt.predict(net, x[:5], num_samples=16, task="classification")
        >>> torch.allclose(p.mean.sum(-1), torch.ones(5)), bool((p.epistemic >= 0).all())
        (True, True)
    """
    batch = _check_arguments(module, x, num_samples, task, likelihood, generator)
    _warn_if_untrained(module)
    with eval_mode(module):
        draws = _draws(module, x, num_samples, joint, generator)
    if task == "classification":
        return _classification(draws, batch)
    return _regression(draws, batch, likelihood)


def _draws(module: nn.Module, x: Any, num_samples: int, joint: bool, generator: Generator) -> Any:
    inner = getattr(module, "_orig_mod", module)
    if joint and next(random_parameters(module), None) is not None:
        outputs = []
        with forked(generator, module), outside_programs():
            for _ in range(num_samples):
                with shared_draw(inner):
                    outputs.append(call(inner, x))
        return stack_outputs(outputs)
    own: Any = getattr(type(inner), "predictive_draws", RandomModule.predictive_draws)
    if own is not RandomModule.predictive_draws:
        return own(inner, x, num_samples, generator)
    return stochastic_draws(module, x, num_samples, generator)


def _classification(logits: Any, batch: int) -> Prediction:
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        raise ValueError("predict: for task='classification' the network must return one tensor of logits")
    if logits.dim() < 3 or logits.shape[1] != batch or logits.shape[2] < 2:
        raise ValueError(
            "predict: for task='classification' the network must return logits [batch, classes, ...] with at least "
            f"two classes; got {list(logits.shape[1:])} for a batch of {batch}"
        )
    log_probs = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    log_probs = log_probs.log_softmax(2)
    if validation_enabled() and log_probs.isnan().any():  # single logits may be -inf: a class that is excluded
        raise ValueError("predict: the network returned NaN or infinite values")
    _warn_if_identical(log_probs)
    log_mean = log_probs.logsumexp(0) - math.log(len(log_probs))
    probs = log_probs.exp()
    # Each term p (log p - log mean) sums to a KL divergence: never below zero but by rounding, where the difference
    # of two entropies would cancel. xlogy keeps 0 log 0 = 0.
    terms = torch.xlogy(probs, probs)
    aleatoric = -terms.sum(2).mean(0)
    epistemic = (terms - torch.where(probs > 0, probs * log_mean, 0)).sum(2).mean(0)
    mean = log_mean.exp()
    return Prediction(mean, epistemic.clamp(min=0), aleatoric, dist.Categorical(logits=log_mean.movedim(1, -1)))


def _regression(draws: Any, batch: int, likelihood: Likelihood | None) -> Prediction:
    if isinstance(draws, Tensor):
        draws = _with_noise(draws, likelihood)
    elif likelihood is not None:
        raise ValueError("predict: likelihood= is for a network that returns a bare mean; this one returns its noise")
    if isinstance(draws, list) and all(type(d) in (dist.Normal, torch.distributions.Normal) for d in draws):
        draws = torch.stack([d.loc for d in draws]), torch.stack([d.scale for d in draws])
    if isinstance(draws, list):
        means, variances = torch.stack([d.mean for d in draws]), torch.stack([d.variance for d in draws])
        mixture: torch.distributions.Distribution = dist.Mixture(draws)
    else:
        means, scales = _mean_and_scale(draws)
        variances = scales.square()
        uniform = dist.Categorical(logits=means.new_zeros(len(means)).expand(*means.shape[1:], len(means)))
        mixture = dist.MixtureSameFamily(uniform, dist.Normal(means.movedim(0, -1), scales.movedim(0, -1)))
    if means.dim() < 2 or means.shape[1] != batch:
        raise ValueError(
            f"predict: the network returned a mean of shape {list(means.shape[1:])} for a batch of {batch} examples"
        )
    _check_finite(means)
    _warn_if_identical(means)
    return Prediction(means.mean(0), means.var(0, correction=0), variances.mean(0), mixture)


def _with_noise(means: Tensor, likelihood: Likelihood | None) -> Any:
    if likelihood is None:
        raise ValueError(
            "predict: the network returned a bare mean, which says nothing of the noise in the data. Give likelihood=, "
            "a function such as lambda mean: Normal(mean, 0.1) or the noise's standard deviation; or let the network "
            "return (mean, scale)"
        )
    _check_finite(means)
    if not callable(likelihood):
        return means, torch.full_like(means, likelihood)
    distributions = [likelihood(mean) for mean in means]
    if not all(isinstance(d, torch.distributions.Distribution) for d in distributions):
        raise TypeError(f"predict: likelihood must return a Distribution, got {type(distributions[0]).__name__}")
    return distributions


def _mean_and_scale(draws: Any) -> tuple[Tensor, Tensor]:
    if not isinstance(draws, tuple) or len(draws) != 2 or draws[0].shape != draws[1].shape:
        shapes = [list(part.shape[1:]) for part in draws]
        raise ValueError(
            f"predict: for task='regression' the network must return (mean, scale) of one shape, got shapes {shapes}"
        )
    means, scales = draws
    _check_finite(means)
    if validation_enabled() and not (scales > 0).all():
        raise ValueError(
            f"predict: the network's scale must be positive, got a smallest value of {scales.min().item():.4g}; "
            "pass it through softplus"
        )
    return means, scales


def _check_arguments(
    module: nn.Module, x: Any, num_samples: int, task: str, likelihood: Likelihood | None, generator: Generator
) -> int:
    """Check everything that can be checked before any work, and return the size of the batch."""
    if not isinstance(module, nn.Module):
        raise TypeError(f"predict: module must be a torch.nn.Module, got {type(module).__name__}")
    count: Any = num_samples
    if isinstance(count, bool) or not isinstance(count, numbers.Integral) or int(count) < 1:
        raise ValueError(f"predict: num_samples must be a whole number of at least 1, got {num_samples!r}")
    if not (generator is None or isinstance(generator, torch.Generator | Key)):
        raise TypeError(f"predict: generator must be a torch.Generator or a posterity.kernels.Key, got {generator!r}")
    if task not in ("classification", "regression"):
        raise ValueError(f"predict: task must be 'classification' or 'regression', got {task!r}")
    if likelihood is not None and task == "classification":
        raise ValueError("predict: likelihood= is for task='regression'; classification's noise is the softmax")
    if likelihood is not None and not callable(likelihood):
        if not isinstance(likelihood, float | int):
            raise TypeError(
                "predict: likelihood= must be a function from the mean to a Distribution, or a number, "
                f"got {likelihood!r}"
            )
        if not likelihood > 0:
            raise ValueError(f"predict: likelihood= as a standard deviation must be positive, got {likelihood}")
    values = x.values() if isinstance(x, Mapping) else x if isinstance(x, tuple) else (x,)
    tensors = [value for value in values if isinstance(value, Tensor)]
    if not tensors:
        raise TypeError(f"predict: x must hold a tensor, got {type(x).__name__}; use torch.as_tensor")
    if tensors[0].dim() < 1 or tensors[0].shape[0] < 1:
        raise ValueError(
            "predict: x must be a batch [batch, ...] of at least one example, the batch first; "
            f"got shape {list(tensors[0].shape)}"
        )
    for tensor in tensors:
        if validation_enabled() and tensor.is_floating_point():
            # What comes beside the data may be a mask, which holds -inf.
            good = tensor.isfinite() if tensor is tensors[0] else ~tensor.isnan()
            if not good.all():
                raise ValueError(f"predict: x has {int((~good).sum())} values that are NaN or infinite")
    return tensors[0].shape[0]


def _check_finite(outputs: Tensor) -> None:
    if validation_enabled() and not outputs.isfinite().all():
        raise ValueError("predict: the network returned NaN or infinite values")


def _warn_if_untrained(module: nn.Module) -> None:
    """Warn where every spread is still the one number that it started with."""
    found = False
    for layer, name, random in random_parameters(module):
        rho = random.tensors(layer, name).get("rho")
        if rho is None or rho.numel() < 2 or rho.is_meta:
            continue
        found = True
        flat = rho.flatten()
        # After any training a few elements differ; only where they don't is the whole tensor looked at.
        few = flat[:: len(flat) // 32 + 1].tolist()
        if few.count(few[0]) < len(few) or (flat != flat[0]).any():
            return
    if found:
        warnings.warn(
            f"{type(module).__name__} has never been trained as a Bayesian network: the spread of its predictions is "
            "only the initial one. Train it for a while with posterity.elbo_loss.",
            stacklevel=4,
        )


def _warn_if_identical(draws: Tensor) -> None:
    if len(draws) > 1 and torch.equal(draws[0], draws[1]):
        warnings.warn(
            "all draws of the network are the same, so its epistemic uncertainty is zero: nothing in it is random in "
            "eval mode. Convert it with posterity.bayesianize.",
            stacklevel=5,
        )
