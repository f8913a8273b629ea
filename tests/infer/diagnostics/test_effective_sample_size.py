"""Effective sample sizes are ArviZ's, and those of processes whose autocorrelation is known."""

import math

import arviz
import pytest
import torch

from posterity.infer.diagnostics import chains as chains_module
from posterity.infer.diagnostics import effective_sample_size

from ...statistical import quantile
from .processes import SHAPES, TIED, autoregressive, kinds


def from_arviz(draws, **options):
    columns = draws.numpy().transpose(2, 0, 1)
    return torch.tensor([float(arviz.ess(column, **options)) for column in columns], dtype=torch.float64)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "options",
    [{"method": m} for m in ("bulk", "tail", "mean", "sd", "median")]
    + [{"method": "quantile", "prob": 0.2}, {"method": "tail", "prob": 0.1}, {"method": "mean", "relative": True}],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_it_is_that_of_arviz(shape, options):
    for name, draws in kinds(*shape).items():
        if name == TIED and options["method"] in ("tail", "median", "quantile"):
            continue
        ours, theirs = effective_sample_size(draws, **options), from_arviz(draws, **options)
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=0, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("method", ["mean", "bulk"])
@pytest.mark.parametrize("phi", [0.9, 0.5, -0.5])
def test_that_of_an_autoregressive_process_is_known(phi, method):
    num_chains, num_draws, copies = 4, 20_000, 30
    number = num_chains * num_draws
    draws = autoregressive(phi, num_chains, num_draws, copies, seed=1)
    time = number / effective_sample_size(draws, method=method)
    expected = (1 + phi) / (1 - phi)
    # The relative variance is 2 (2 M + 1) / N for a window of M lags (Sokal, 1997, equation 3.19), here at most to
    # where correlations fall below 1 / sqrt(N). The sequence ends where a pair falls below its standard error
    # sqrt(2 tau / N) (Bartlett), and loses the pairs behind, a geometric series in phi^2.
    window = -math.log(number**0.5) / math.log(abs(phi))
    error = (2 * (2 * window + 1) / number / copies) ** 0.5
    cut = 2 * (2 * expected / number) ** 0.5 / ((1 - phi**2) * expected)
    assert abs(float(time.mean()) / expected - 1) < quantile() * error + cut


def test_ranks_alone_decide_the_bulk_and_the_tails():
    draws = autoregressive(0.6, 4, 300, 3)
    for method in ("bulk", "tail"):
        ours = effective_sample_size(draws, method=method)
        # The rank of a number is that of its exponential, exactly.
        torch.testing.assert_close(effective_sample_size(draws.exp(), method=method), ours, rtol=1e-12, atol=0)


def test_that_of_a_quantile_is_that_of_the_share_of_draws_up_to_it():
    draws = kinds(4, 500)[TIED]
    for prob, order in ((0.2, 399), (0.5, 999), (0.95, 1899)):  # (2000 - 1) prob, rounded down
        limit = draws.flatten(0, 1).sort(0).values[order]
        share = effective_sample_size((draws <= limit).double(), method="mean")
        ours = effective_sample_size(draws, method="quantile", prob=prob)
        torch.testing.assert_close(ours, share, rtol=1e-10, atol=0)


def test_a_quantile_that_is_a_draw_includes_it():
    assert int(0.29 * (101 - 1)) == 28  # as floating point has it
    draws = autoregressive(0.0, 1, 101)
    limit = draws.flatten().sort().values[29]
    share = effective_sample_size((draws <= limit).double(), method="mean")
    torch.testing.assert_close(effective_sample_size(draws, method="quantile", prob=0.29), share, rtol=1e-12, atol=0)


@pytest.mark.parametrize("method", ["bulk", "tail", "mean", "sd", "median"])
def test_units_do_not_matter(method):
    draws = autoregressive(0.6, 4, 300, 3)
    ours = effective_sample_size(draws, method=method)
    for scale in (1e-300, 1e-20, 1e200):
        torch.testing.assert_close(effective_sample_size(scale * draws, method=method), ours, rtol=1e-10, atol=0)


@pytest.mark.parametrize("method", ["bulk", "tail", "mean", "sd", "median"])
@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6 / 3])
def test_draws_that_are_all_equal_count_each(method, constant):
    draws = torch.full((3, 101), constant, dtype=torch.float64)
    assert effective_sample_size(draws, method=method) == 300  # the halves hold 50 each
    assert effective_sample_size(draws, method=method, relative=True) == 1
    assert arviz.ess(draws.numpy(), method=method) == 300


@pytest.mark.parametrize("method", ["bulk", "tail", "mean", "sd", "median"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_draw_that_is_no_number_makes_its_scalar_nan_and_no_other(method, bad):
    draws = autoregressive(0.3, 2, 50, 3)
    whole = effective_sample_size(draws, method=method)
    draws[1, 7, 1] = bad
    ours = effective_sample_size(draws, method=method)
    assert ours.isnan().tolist() == [False, True, False]
    torch.testing.assert_close(ours[[0, 2]], whole[[0, 2]])


def test_integers_and_bools_are_numbers():
    whole = torch.randint(0, 5, (4, 200, 2), generator=torch.Generator().manual_seed(0))
    for draws in (whole, whole > 2):
        ours = effective_sample_size(draws, method="mean")
        assert ours.dtype == torch.get_default_dtype()
        # Rounding of float32 in sums of 800 numbers.
        torch.testing.assert_close(ours.double(), from_arviz(draws.double(), method="mean"), rtol=1e-4, atol=0)


@pytest.mark.parametrize("method", ["bulk", "tail", "mean", "sd", "median"])
def test_single_precision_is_kept_and_suffices(method):
    draws = (1000 + autoregressive(0.8, 4, 500, 5)).float()
    ours = effective_sample_size(draws, method=method)
    assert ours.dtype == torch.float32
    # Autocorrelations are exact to some 1e-6; the sequence adds about thirty of them.
    torch.testing.assert_close(ours.double(), effective_sample_size(draws.double(), method=method), rtol=1e-4, atol=0)


def test_half_precision_is_computed_in_single():
    draws = autoregressive(0.0, 2, 100).to(torch.bfloat16)
    assert torch.equal(effective_sample_size(draws), effective_sample_size(draws.float()))


def test_blocks_change_nothing(monkeypatch):
    draws = autoregressive(0.5, 2, 60, 5, 3)
    ours = effective_sample_size(draws)
    assert ours.shape == (5, 3)
    monkeypatch.setattr(chains_module, "_BLOCK", 4 * 120)
    torch.testing.assert_close(effective_sample_size(draws), ours, rtol=1e-12, atol=0)
    torch.testing.assert_close(effective_sample_size(draws[:, :, 1, 2]), ours[1, 2], rtol=1e-12, atol=0)


def test_no_scalars_have_no_sizes():
    assert effective_sample_size(torch.zeros(4, 10, 0, 2)).shape == (0, 2)


def test_gradients_are_not_asked_for():
    draws = autoregressive(0.5, 2, 60).requires_grad_()
    assert not effective_sample_size(draws).requires_grad


def test_it_stays_on_its_device():
    draws = torch.zeros(4, 10, 3, device="meta")
    for method in ("bulk", "tail", "mean", "sd", "median"):
        ours = effective_sample_size(draws, method=method)
        assert ours.device.type == "meta"
        assert ours.shape == (3,)


def test_what_it_cannot_use_is_refused():
    draws = torch.zeros(4, 10)
    with pytest.raises(TypeError, match="draws must be a real tensor .*, not list"):
        effective_sample_size([[1.0, 2.0]])
    with pytest.raises(TypeError, match=r"not torch\.complex64"):
        effective_sample_size(draws.to(torch.complex64))
    with pytest.raises(ValueError, match=r"must be \[num_chains, num_draws, ...\], not of shape \(10,\); .*unsqueeze"):
        effective_sample_size(draws[0])
    with pytest.raises(ValueError, match=r"not of shape \(0, 10\)"):
        effective_sample_size(draws[:0])
    with pytest.raises(ValueError, match=r"\(4, 3\) have 3 draws per chain.*at least 4 draws"):
        effective_sample_size(draws[:, :3])
    with pytest.raises(ValueError, match="method must be one of bulk, tail, .*, not 'mode'"):
        effective_sample_size(draws, method="mode")
    with pytest.raises(ValueError, match="method='quantile' needs prob="):
        effective_sample_size(draws, method="quantile")
    with pytest.raises(ValueError, match="prob= belongs to method='quantile' or 'tail', not to 'bulk'"):
        effective_sample_size(draws, prob=0.1)
    with pytest.raises(ValueError, match=r"prob must lie between 0 and 1, not 1\.5"):
        effective_sample_size(draws, method="quantile", prob=1.5)
