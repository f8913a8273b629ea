"""R-hat is ArviZ's, and sees chains that differ in location or in scale."""

import math

import arviz
import pytest
import torch

from posterity.infer.diagnostics import split_rhat

from .processes import SHAPES, autoregressive, kinds


@pytest.mark.filterwarnings("ignore:divide by zero")  # ArviZ's, where each half stands still
@pytest.mark.parametrize("method", ["rank", "split"])
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape[0] > 1])
def test_it_is_that_of_arviz(shape, method):
    for name, draws in kinds(*shape).items():
        columns = draws.numpy().transpose(2, 0, 1)
        theirs = torch.tensor([float(arviz.rhat(c, method=method)) for c in columns], dtype=torch.float64)
        ours = split_rhat(draws, method=method)
        # Where each half stands still it is infinite, which ArviZ misses by the rounding of a mean.
        ours, theirs = ours.clamp(max=1e6), theirs.clamp(max=1e6)
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=0, msg=lambda m, name=name: f"{name}: {m}")


def test_the_plain_one_is_its_formula():
    draws = torch.tensor([[0.0, 1.0, 0.0, 1.0], [2.0, 3.0, 2.0, 3.0]], dtype=torch.float64)
    # Variance within each half 1/2, of the halves' means 4/3: R^2 = (4/3) / (1/2) + (2 - 1) / 2.
    torch.testing.assert_close(split_rhat(draws, method="split").item(), (8 / 3 + 1 / 2) ** 0.5)


def test_chains_that_differ_in_scale_are_seen_by_ranks_alone():
    draws = autoregressive(0.0, 4, 2000)
    draws[0] *= 3
    assert split_rhat(draws) > 1.05
    assert split_rhat(draws, method="split") < 1.01


def test_a_drift_within_a_single_chain_is_seen():
    draws = autoregressive(0.0, 1, 2000)
    assert split_rhat(draws) < 1.01
    assert split_rhat(draws + torch.linspace(0, 3, 2000)) > 1.1


def test_one_chain_is_two_of_half_its_length():
    draws = autoregressive(0.5, 1, 200)
    quarters = draws.reshape(2, 100)
    theirs = arviz.rhat(quarters.numpy(), method="identity")
    torch.testing.assert_close(split_rhat(draws, method="split").item(), float(theirs), rtol=1e-10, atol=0)


def test_it_is_nan_where_nothing_varies_and_infinite_where_only_chains_do():
    for method in ("rank", "split"):
        assert split_rhat(torch.full((4, 100), 0.1), method=method).isnan()
        stuck = torch.arange(4.0).unsqueeze(-1).expand(4, 100)
        assert split_rhat(stuck, method=method) == math.inf


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_one_draw_that_is_no_number_makes_its_scalar_nan_and_no_other(bad):
    draws = autoregressive(0.3, 2, 50, 3)
    draws[1, 7, 1] = bad
    for method in ("rank", "split"):
        assert split_rhat(draws, method=method).isnan().tolist() == [False, True, False]


def test_what_it_cannot_use_is_refused():
    with pytest.raises(ValueError, match="split_rhat: method must be 'rank' or 'split', not 'plain'"):
        split_rhat(torch.zeros(4, 10), method="plain")
    with pytest.raises(ValueError, match="split_rhat: draws of shape .* have 3 draws per chain"):
        split_rhat(torch.zeros(4, 3))
