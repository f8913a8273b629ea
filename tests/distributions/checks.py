"""What the tests of this folder share: exact references, and samplers judged at a stated false-alarm rate."""

from collections.abc import Callable, Iterable

import torch
from scipy import stats
from torch import Tensor

# A correct sampler fails a goodness-of-fit test once in this many seeds; each test fixes its seed.
FALSE_ALARM = 1e-4


def assert_relatively_close(actual: Tensor, expected: Iterable[object], tolerance: Tensor | float) -> None:
    """Entry by entry within `tolerance` of the exact value, relative to it."""
    reference = torch.tensor([float(e) for e in expected], dtype=torch.float64)
    error = (actual.double() - reference).abs()
    allowed = torch.as_tensor(tolerance, dtype=torch.float64) * reference.abs()
    worst = int((error - allowed).argmax())
    assert bool((error <= allowed).all()), (
        f"entry {worst}: {float(actual[worst])} against {float(reference[worst])}, "
        f"relative error {float(error[worst] / reference[worst].abs())}"
    )


def assert_follows(draws: Tensor, cdf: Callable[[object], object]) -> None:
    """Kolmogorov-Smirnov test of the draws against a continuous cdf."""
    assert stats.kstest(draws.double().numpy(), cdf).pvalue > FALSE_ALARM


def assert_global_stream_untouched(draw: Callable[[torch.Generator], Tensor]) -> None:
    """The same generator state gives the same draws, and torch's global generator stays where it was."""
    before = torch.get_rng_state()
    first = draw(torch.Generator().manual_seed(11))
    second = draw(torch.Generator().manual_seed(11))
    other = draw(torch.Generator().manual_seed(12))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
