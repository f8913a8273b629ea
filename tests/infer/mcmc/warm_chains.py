"""Whole runs of a kernel with its warm-up, by a plain loop, on a badly scaled normal law."""

from typing import NamedTuple

import torch
from scipy import stats

from posterity.infer.mcmc.metric import Preconditioned
from tests.infer.mcmc.chain_checks import keys_of
from tests.statistical import FALSE_ALARM


class Warm(NamedTuple):
    """What a run gave.

    Attributes:
        adaptation: What tuned the kernel.
        draws: `[num_chains, num_draws, dim]`, by standard deviations.
        infos: What is known of each transition after the warm-up.
    """

    adaptation: object
    draws: torch.Tensor
    infos: list


class _Normal:
    """Independent normal coordinates with standard deviations from 0.01 to 100."""

    dim = 50
    scale = torch.logspace(-2, 2, 50, dtype=torch.float64)

    def log_density(self, z):
        return -0.5 * (z / self.scale).square().sum(-1)

    def value_and_grad(self, z):
        return self.log_density(z), -z / self.scale.square()


def scaled_normal(num_chains):
    """The law as a target, and where chains start: within two of zero."""
    noise = torch.rand(num_chains, 50, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return _Normal(), 4 * noise - 2


scaled_normal.scale = _Normal.scale


def warmed_up(kernel, target, position, num_warmup, num_draws, seed=0):
    """Draws of a kernel after its warm-up."""
    num_chains = len(position)
    adaptation = kernel.adaptation(target, position, num_warmup, keys_of(num_chains, 0, seed + 1))
    whitened = Preconditioned(target, adaptation.metric)
    state, draws, infos = kernel.init(whitened, adaptation.metric.inverse(position)), [], []
    for transition in range(num_warmup + num_draws):
        state, info = kernel.step(whitened, state, adaptation.tuning, keys_of(num_chains, transition, seed))
        if transition < num_warmup:
            before = adaptation.metric
            if adaptation.update(state, info):
                whitened = Preconditioned(target, adaptation.metric)
                state = kernel.init(whitened, adaptation.metric.inverse(before.forward(state.position)))
            if transition == num_warmup - 1:
                assert not adaptation.finish()
        else:
            draws.append(adaptation.metric.forward(state.position) / target.scale)
            infos.append(info)
    return Warm(adaptation, torch.stack(draws, 1), infos)


def assert_moments(draws, bias=0.0):
    """Means 0 and mean squares 1, by the spread between independent chains; squares may be off by a bias besides."""
    for power, expected, allowed in ((draws, 0.0, 0.0), (draws.square(), 1.0, bias)):
        means = power.mean(1)
        error = means.std(0) / len(means) ** 0.5
        most = stats.t.isf(FALSE_ALARM / (4 * means.shape[1]), len(means) - 1)
        off = (means.mean(0) - expected).abs() - allowed
        assert (off <= most * error).all(), f"off by {(off / error).max()} standard errors, {off.max()}"
