"""What every sampler must do: follow its law from each source, and give a key's draws in every mode of execution."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from posterity.kernels import Key
from tests.statistical import FALSE_ALARM

SOURCES = {
    "global": lambda: None,
    "generator": lambda: torch.Generator().manual_seed(12),
    "key": lambda: Key(34),
}


def assert_follows(draws: Tensor, law) -> None:
    """Kolmogorov and Smirnov's test against a continuous law of scipy's."""
    assert draws.isfinite().all()
    assert stats.kstest(draws.detach().double().flatten().numpy(), law.cdf).pvalue > FALSE_ALARM


def assert_counts_follow(draws: Tensor, law) -> None:
    """The chi-squared test against a discrete law of scipy's, in cells of about equal probability."""
    x = draws.double().flatten().numpy()
    assert np.array_equal(x, np.rint(x))
    # The ends of the cells are quantiles; draws of float32 are rounded far below the width of these.
    ends = np.unique(law.ppf(np.concatenate([np.linspace(0.02, 0.98, 33), [1e-4, 1e-3, 1 - 1e-3, 1 - 1e-4]])))
    if len(ends) == 1:
        ends = np.array([ends[0] - 1, ends[0]])
    expected = np.diff(np.concatenate([[0.0], law.cdf(ends), [1.0]])) * len(x)
    observed = np.bincount(np.searchsorted(ends, x, side="left"), minlength=len(ends) + 1)
    assert observed[expected <= 1e-9].sum() == 0
    # Cells with fewer than five expected draws go together.
    few = expected < 5
    observed = np.append(observed[~few], observed[few].sum())
    expected = np.append(expected[~few], expected[few].sum())
    if expected[-1] < 5:
        observed, expected = (np.append(c[:-2], c[-2:].sum()) for c in (observed, expected))
    if len(expected) == 1:
        assert observed[0] == len(x)
        return
    assert stats.chisquare(observed, expected * (observed.sum() / expected.sum())).pvalue > FALSE_ALARM


def assert_same_in_every_mode(sampler: Callable[..., Tensor], parameters: Sequence[Tensor]) -> None:
    """A key's draws are equal in eager code, in a graph, and under `vmap` over keys and over parameters.

    The parameters have one shape `[n]`.
    """
    key = Key(5)
    alone = sampler(*parameters, (40,), source=key)
    assert alone.shape[:2] == (40, len(parameters[0]))
    assert torch.equal(alone, sampler(*parameters, (40,), source=Key(5)))
    assert not torch.equal(alone, sampler(*parameters, (40,), source=key.at(1)))

    torch._dynamo.reset()
    compiled = torch.compile(lambda data, *p: sampler(*p, (40,), source=Key(data)), fullgraph=True, backend="aot_eager")
    assert_close(compiled(key.data, *parameters), alone)

    keys = torch.stack([k.data for k in key.split(3)])
    mapped = torch.vmap(lambda data: sampler(*parameters, (40,), source=Key(data)))(keys)
    assert_close(mapped, torch.stack([sampler(*parameters, (40,), source=k) for k in key.split(3)]))

    # Each element of the batch reads the key from its beginning.
    mapped = torch.vmap(lambda *p: sampler(*p, (40,), source=key))(*parameters)
    each = [sampler(*(p[i] for p in parameters), (40,), source=key) for i in range(len(parameters[0]))]
    assert_close(mapped, torch.stack(each))


def assert_new_under_vmap(sampler: Callable[..., Tensor], parameters: Sequence[Tensor]) -> None:
    """Without a key, each element of a `vmap` has draws of its own; a generator gives them again when seeded again."""

    def draw(generator: torch.Generator | None) -> Tensor:
        def one(_: Tensor) -> Tensor:
            return sampler(*parameters, (20,), source=generator)

        return torch.vmap(one, randomness="different")(torch.zeros(2))

    first = draw(None)
    assert first.shape[:2] == (2, 20)
    assert not torch.equal(first[0], first[1])
    seeded = [draw(torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*seeded)
    assert not torch.equal(seeded[0][0], seeded[0][1])


def assert_nothing_on_the_cpu(sampler: Callable[..., Tensor], parameters: Sequence[Tensor]) -> None:
    """On the `meta` device, draws have the right shape, dtype and device."""
    parameters = [p.to("meta") for p in parameters]
    for source in (None, Key(0), Key(0, device="meta")):
        draws = sampler(*parameters, (3,), source=source)
        assert draws.device.type == "meta"
        assert draws.shape[:2] == (3, len(parameters[0]))


def assert_close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=64 * torch.finfo(torch.float32).eps, atol=0)
