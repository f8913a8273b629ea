"""Monte Carlo standard errors are ArviZ's, and as large as the errors are."""

import math

import arviz
import pytest
import torch
from scipy import stats

from posterity.infer.diagnostics import standard_error

from ...statistical import assert_normal_variance
from .processes import SHAPES, TIED, autoregressive, kinds

STATISTICS = [{"method": m} for m in ("mean", "sd", "median")]
STATISTICS += [{"method": "quantile", "prob": 0.1}, {"method": "quantile", "prob": 0.975}]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("options", STATISTICS, ids=lambda options: "-".join(map(str, options.values())))
def test_it_is_that_of_arviz(shape, options):
    for name, draws in kinds(*shape).items():
        if name == TIED and options["method"] in ("median", "quantile"):
            continue
        columns = draws.numpy().transpose(2, 0, 1)
        theirs = torch.tensor([float(arviz.mcse(c, **options)) for c in columns], dtype=torch.float64)
        ours = standard_error(draws, **options)
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=0, msg=lambda m, name=name: f"{name}: {m}")


@pytest.fixture(scope="module")
def many_runs():
    return autoregressive(0.5, 4, 1000, 400, seed=2)


@pytest.mark.parametrize("options", STATISTICS, ids=lambda options: "-".join(map(str, options.values())))
def test_errors_are_as_large_as_it_says(options, many_runs):
    flat = many_runs.flatten(0, 1)
    method, prob = options["method"], options.get("prob", 0.5)
    estimate = {"mean": flat.mean(0), "sd": flat.std(0)}.get(method, flat.quantile(prob, 0))
    truth = {"mean": 0.0, "sd": 1.0}.get(method, stats.norm.ppf(prob))
    # That the standard errors are estimates themselves adds some percent to the variance, of which 40 are allowed.
    assert_normal_variance((estimate - truth) / standard_error(many_runs, **options), 1.0)


def test_it_has_the_units_of_the_draws():
    draws = autoregressive(0.5, 2, 100)
    for options in STATISTICS:
        torch.testing.assert_close(
            standard_error(1e180 * draws, **options), 1e180 * standard_error(draws, **options), rtol=1e-10, atol=0
        )


def test_what_does_not_vary_has_no_error():
    draws = torch.full((4, 100), 0.1)
    for options in STATISTICS:
        error = standard_error(draws, **options)
        assert error.isnan() if options["method"] == "sd" else error == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_one_draw_that_is_no_number_makes_its_scalar_nan_and_no_other(bad):
    draws = autoregressive(0.3, 2, 50, 3)
    draws[1, 7, 1] = bad
    for options in STATISTICS:
        assert standard_error(draws, **options).isnan().tolist() == [False, True, False]


def test_it_stays_on_its_device():
    for options in STATISTICS:
        assert standard_error(torch.zeros(4, 10, 3, device="meta"), **options).device.type == "meta"


def test_what_it_cannot_use_is_refused():
    draws = torch.zeros(4, 10)
    with pytest.raises(ValueError, match="standard_error: method must be one of mean, .*, not 'tail'"):
        standard_error(draws, method="tail")
    with pytest.raises(ValueError, match="standard_error: method='quantile' needs prob="):
        standard_error(draws, method="quantile")
    with pytest.raises(ValueError, match="standard_error: prob= belongs to method='quantile'"):
        standard_error(draws, method="mean", prob=0.5)
