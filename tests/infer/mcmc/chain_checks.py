"""What is asked of every kernel, by plain loops over its step."""

import numpy as np
import torch
from scipy import stats
from torch.fx.experimental.proxy_tensor import make_fx

from posterity.kernels import Key
from tests.statistical import FALSE_ALARM

NUM_CHAINS = 20000


def keys_of(num_chains, transition, seed=0):
    """A key for each chain, whatever their number."""
    return Key(seed).fold_in(torch.arange(num_chains)).fold_in(transition)


def run(kernel, target, position, tuning, num_steps, seed=0):
    """States after each transition, and what was known of it."""
    state, path = kernel.init(target, position), []
    for transition in range(num_steps):
        state, info = kernel.step(target, state, tuning, keys_of(len(position), transition, seed))
        path.append((state, info))
    return path


def assert_law(draws, cdf, comparisons=1):
    """Kolmogorov-Smirnov test of draws against a distribution function."""
    p = stats.kstest(draws.numpy(), cdf).pvalue
    assert p > FALSE_ALARM / comparisons, f"p = {p}"


def assert_reversible(before, after, num_bins=12):
    """Of independent exact draws and where they went: as many moves from each cell to each other one as back.

    Bowker's test of symmetry; cells are quantiles of all points, pairs of cells with few moves are left out.
    """
    edges = np.quantile(torch.cat([before, after]).numpy(), np.linspace(0, 1, num_bins + 1)[1:-1])
    rows, columns = (np.digitize(x.numpy(), edges) for x in (before, after))
    counts = np.zeros((num_bins, num_bins))
    np.add.at(counts, (rows, columns), 1)
    above = np.triu_indices(num_bins, 1)
    there, back = counts[above], counts.T[above]
    enough = there + back >= 20
    assert enough.sum() >= num_bins
    statistic = ((there - back)[enough] ** 2 / (there + back)[enough]).sum()
    p = stats.chi2.sf(statistic, enough.sum())
    assert p > FALSE_ALARM, f"p = {p}"


def assert_chains_do_not_know_each_other(kernel, target, position, tuning):
    """The first of many chains goes where it goes alone."""
    many = run(kernel, target, position, tuning, 10)[-1][0]
    own = type(tuning)(*(part[:1] for part in tuning))
    one = run(kernel, target, position[:1], own, 10)[-1][0]
    for whole, alone in zip(many, one, strict=True):
        torch.testing.assert_close(whole[:1], alone, rtol=1e-8, atol=1e-8)


def assert_captured_is_eager(kernel, target, position, tuning, compiler=None):
    """Ten transitions of one graph are those of eager code, with the graph compiled or as it was captured."""
    state = kernel.init(target, position)
    size, kind = len(state), type(state)

    def step(*flat):
        new, info = kernel.step(target, kind(*flat[:size]), type(tuning)(*flat[size:-1]), Key(flat[-1]))
        return [*new, *info]

    example = [*state, *tuning, keys_of(len(position), 0).data]
    graph = (
        compiler(step, example)
        if compiler
        else make_fx(step, tracing_mode="fake", _allow_non_fake_inputs=True)(*example)
    )
    for transition, (eager, info) in enumerate(run(kernel, target, position, tuning, 10)):
        found = graph(*state, *tuning, keys_of(len(position), transition).data)
        for ours, theirs in zip(found, [*eager, *info], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)
        state = kind(*found[:size])


class Banana:
    """x of a Gumbel distribution, and y of a normal one around x^2 / 2."""

    dim = 2

    @staticmethod
    def log_density(z):
        x, y = z.unbind(-1)
        return -x - (-x).exp() - 0.5 * (y - 0.5 * x.square()).square()

    @staticmethod
    def draw(num_draws, seed=0):
        noise = torch.rand(2, num_draws, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        x = -(-noise[0].log()).log()
        return torch.stack([x, torch.special.ndtri(noise[1]) + 0.5 * x.square()], -1)

    @staticmethod
    def assert_drawn(z):
        x, y = z.unbind(-1)
        assert_law(x, stats.gumbel_r.cdf, comparisons=2)
        assert_law(y - 0.5 * x.square(), stats.norm.cdf, comparisons=2)
