"""The summary holds what the diagnostics say of each scalar, and prints it."""

import math

import arviz
import numpy as np
import pytest
import torch

from posterity.infer.diagnostics import Summary, effective_sample_size, split_rhat, standard_error, summarize
from posterity.infer.diagnostics.summary_table import render

from .processes import autoregressive, kinds

STATISTICS = ["mean", "sd", "5%", "50%", "95%", "mcse_mean", "mcse_sd", "ess_bulk", "ess_tail", "r_hat"]


@pytest.fixture
def summary():
    return summarize({"mu": autoregressive(0.2, 4, 200), "theta": autoregressive(0.5, 4, 200, 3, 2)})


@pytest.mark.parametrize("shape", [(4, 250), (2, 40)])
def test_it_is_that_of_arviz(shape):
    for name, draws in kinds(*shape).items():
        table = arviz.summary(
            arviz.from_dict({"x": draws.numpy()}), round_to="none", stat_focus="mean", kind="all", hdi_prob=0.9
        )
        ours = summarize({"x": draws})["x"]
        for column in ("mean", "sd", "mcse_mean", "mcse_sd", "ess_bulk", "ess_tail", "r_hat"):
            if (name, column) == ("rejections", "ess_tail"):
                continue  # see processes.TIED
            theirs = torch.from_numpy(table[column].to_numpy(dtype=float).copy())
            torch.testing.assert_close(
                ours[column], theirs, rtol=1e-10, atol=1e-13, msg=lambda m, at=(name, column): f"{at}: {m}"
            )


@pytest.mark.parametrize("num_draws", [100, 101])
def test_its_quantiles_are_those_of_all_draws(num_draws):
    draws = autoregressive(0.5, 3, num_draws, 2)
    ours = summarize({"x": draws}, prob=0.95)["x"]
    assert list(ours)[2:5] == ["2.5%", "50%", "97.5%"]
    for name, level in (("2.5%", 0.025), ("50%", 0.5), ("97.5%", 0.975)):
        theirs = np.quantile(draws.numpy(), level, axis=(0, 1))
        torch.testing.assert_close(ours[name], torch.from_numpy(theirs), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("num_draws", [100, 101])
def test_it_says_what_each_diagnostic_says(num_draws):
    draws = autoregressive(0.5, 3, num_draws, 2, 2)
    ours = summarize({"x": draws})["x"]
    assert list(ours) == STATISTICS
    assert torch.equal(ours["ess_bulk"], effective_sample_size(draws))
    assert torch.equal(ours["ess_tail"], effective_sample_size(draws, method="tail"))
    assert torch.equal(ours["r_hat"], split_rhat(draws))
    assert torch.equal(ours["mcse_mean"], standard_error(draws))
    assert torch.equal(ours["mcse_sd"], standard_error(draws, method="sd"))


def test_statistics_have_the_shape_of_their_parameter(summary):
    assert list(summary) == ["mu", "theta"]
    assert {name: {s.shape for s in statistics.values()} for name, statistics in summary.items()} == {
        "mu": {torch.Size([])},
        "theta": {torch.Size([3, 2])},
    }
    assert (summary.num_chains, summary.num_draws) == (4, 200)
    with pytest.raises(KeyError, match="there is no parameter 'tau'; there are mu, theta"):
        summary["tau"]


def test_rows_are_the_scalars_by_name(summary):
    rows = summary.to_dict()
    assert list(rows) == ["mu", *(f"theta[{i}, {j}]" for i in range(3) for j in range(2))]
    assert [summary.label(row) for row in range(7)] == list(rows)
    assert rows["theta[2, 1]"]["r_hat"] == summary["theta"]["r_hat"][2, 1].item()
    assert summary.column("mean").tolist() == [row["mean"] for row in rows.values()]
    with pytest.raises(IndexError, match="no such row"):
        summary.label(7)


def test_the_text_is_a_table_with_aligned_columns(summary):
    lines = str(summary).splitlines()
    assert lines[0].split() == STATISTICS
    assert [line.split("  ")[0] for line in lines[1:]] == list(summary.to_dict())
    assert len({len(line) for line in lines}) == 1  # columns end where their heads do
    assert repr(summary) == str(summary)


def test_long_tables_say_what_they_leave_out():
    summary = summarize({"x": autoregressive(0.5, 2, 20, 50)})
    lines = str(summary).splitlines()
    assert len(lines) == 1 + 40 + 1
    assert lines[-1] == "... and 10 more rows: table(max_rows=None) shows all, to_dict() holds all"
    assert summary.table(3).splitlines()[-1].startswith("... and 47 more rows")
    assert len(summary.table(max_rows=None).splitlines()) == 51
    assert len(summary.table(max_rows=50).splitlines()) == 51


def test_wide_labels_and_brackets_are_shown_as_they_are():
    name = "a_rather_long_name." * 20 + "[bold]"
    assert name in str(summarize({name: autoregressive(0.5, 2, 20)}))


@pytest.mark.parametrize(
    ("mean", "sd", "shown"),
    [
        (1.23456, 0.5, "1.235 0.500"),
        (1234.56, 321.0, "1235 321"),
        (5.0001234, 0.00123, "5.00012 0.00123"),
        (-0.0001, 1.0, "0.00 1.00"),
        (1.5e12, 2.0e11, "1.500e+12 2.000e+11"),
        (1.5e-12, 2.0e-13, "1.500e-12 2.000e-13"),
        (0.0, 0.0, "0.000 0.000"),
        (math.nan, math.inf, "nan inf"),
    ],
)
def test_numbers_show_three_digits_of_the_standard_deviation(mean, sd, shown):
    assert render([("x", {"mean": mean, "sd": sd})], 1, None).splitlines()[1].split() == ["x", *shown.split()]


def test_precision_and_sizes_have_digits_of_their_own():
    row = {"mcse_mean": 0.012345, "mcse_sd": 1234.5, "ess_bulk": 812.6, "r_hat": 1.00049}
    assert render([("x", row)], 1, None).splitlines()[1].split() == ["x", "0.012", "1234", "813", "1.000"]
    row = {"mcse_mean": 1.23e9, "mcse_sd": 0.0, "ess_tail": math.nan, "r_hat": 54321.0}
    assert render([("x", row)], 1, None).splitlines()[1].split() == ["x", "1.2e+09", "0", "nan", "5.4e+04"]


def test_what_is_no_plain_number_is_summarised_too():
    draws = autoregressive(0.0, 2, 50)
    summary = summarize(
        {
            "constant": torch.full((2, 50), 0.1),
            "bad": draws.masked_fill(draws == draws.max(), torch.inf),
            "count": draws.round().long(),
            "flag": draws > 0,
            "nothing": torch.zeros(2, 50, 0),
        }
    )
    constant = summary["constant"]
    assert constant["mean"] == torch.tensor(0.1)
    assert constant["sd"] == 0 == constant["mcse_mean"]
    assert constant["ess_bulk"] == 100 == constant["ess_tail"]
    assert constant["r_hat"].isnan()
    assert all(statistic.isnan() for statistic in summary["bad"].values())
    torch.testing.assert_close(summary["count"]["mean"], draws.round().mean().float())
    torch.testing.assert_close(summary["flag"]["mean"], (draws > 0).float().mean())
    assert summary["nothing"]["r_hat"].shape == (0,)
    assert list(summary.to_dict()) == ["constant", "bad", "count", "flag"]
    assert str(Summary({"nothing": summary["nothing"]}, 2, 50)).strip() == ""


def test_it_stays_on_its_device():
    summary = summarize({"x": torch.zeros(4, 10, 3, device="meta")})
    assert {statistic.device.type for statistic in summary["x"].values()} == {"meta"}


def test_what_it_cannot_use_is_refused():
    draws = torch.zeros(4, 10)
    with pytest.raises(ValueError, match="summarize: draws holds no parameter"):
        summarize({})
    with pytest.raises(ValueError, match="prob must lie between 0 and 1, not 90"):
        summarize({"x": draws}, prob=90)
    with pytest.raises(ValueError, match="'y' has 4 chains of 9 draws, but 'x' has 4 of 10"):
        summarize({"x": draws, "y": draws[:, 1:]})
    with pytest.raises(ValueError, match=r"the draws of 'y' of shape \(4, 3\) have 3 draws per chain"):
        summarize({"x": draws, "y": draws[:, :3]})
    with pytest.raises(TypeError, match="the draws of 'y' must be a real tensor"):
        summarize({"y": 3.0})
