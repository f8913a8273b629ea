"""Advice names what is wrong, the parameters that it is worst for, and what to do; a good run gets none."""

import math

import pytest
import torch

from posterity.infer.diagnostics import advice, summarize

from .processes import autoregressive


@pytest.fixture
def good():
    return {"mu": autoregressive(0.0, 4, 500), "theta": autoregressive(0.0, 4, 500, 5)}


def test_a_good_run_gets_none(good):
    nothing = advice(
        good,
        divergences=torch.zeros(4, 500, dtype=torch.bool),
        tree_depths=torch.full((4, 500), 3),
        max_tree_depth=10,
        energies=autoregressive(0.0, 4, 500),
    )
    assert nothing == []
    assert advice(good) == []


def test_parameters_that_are_constant_are_no_finding(good):
    assert advice({**good, "one": torch.ones(4, 500)}) == []


def test_chains_that_disagree_are_named(good):
    good["theta"][0, :, 3] += 2
    (said, *_) = advice(good)
    rhat = summarize(good)["theta"]["r_hat"][3].item()
    assert said.startswith(f"R-hat is above 1.01 for theta[3] ({rhat:.3g}): the chains disagree")
    assert "num_samples" in said
    assert "num_warmup" in said


def test_of_many_the_worst_are_named(good):
    good["theta"][0] += torch.tensor([1.0, 3.0, 2.0, 4.0, 5.0])
    (said, *_) = advice(good)
    assert said.startswith("R-hat is above 1.01 for 5 of 6 scalars (worst: theta[4] (")
    assert said.index("theta[4]") < said.index("theta[3]") < said.index("theta[1]")
    assert "theta[2]" not in said


def test_few_effective_draws_are_named_in_the_bulk_and_in_the_tails():
    draws = {"mu": autoregressive(0.0, 4, 500), "tau": autoregressive(0.9, 4, 500, seed=3)}
    statistics = summarize(draws)["tau"]
    bulk, tails = (said for said in advice(draws) if said.startswith("The effective sample size"))
    low, tail = statistics["ess_bulk"].item(), statistics["ess_tail"].item()
    assert bulk.startswith(f"The effective sample size in the bulk is below 400 (100 per chain) for tau ({low:.0f}):")
    assert f"in the tails is below 400 (100 per chain) for tau ({tail:.0f}): " in tails
    assert "num_samples" in bulk


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_draws_that_are_no_numbers_are_named(good, bad):
    good["theta"][1, 3, 2] = bad
    (said,) = advice(good)
    assert said.startswith("Draws are NaN or infinite for theta[2]: ")


def test_divergences_are_counted(good):
    divergences = torch.zeros(4, 500, dtype=torch.bool)
    divergences[2, :3] = True
    (said,) = advice(good, divergences=divergences)
    assert said.startswith("3 of 2000 transitions (0.15%) diverged: ")
    assert "target_accept" in said
    assert "handlers.reparam" in said


def test_trees_that_were_cut_off_are_counted(good):
    depths = torch.full((4, 500), 3)
    depths[0, :200] = 8
    (said,) = advice(good, tree_depths=depths, max_tree_depth=8)
    assert said.startswith("200 of 2000 trajectories (10%) reached the largest tree depth of 8, ")
    assert "max_tree_depth" in said
    assert advice(good, tree_depths=depths, max_tree_depth=9) == []


def test_slow_energies_are_named(good):
    energies = autoregressive(0.0, 4, 500)
    energies[1] = autoregressive(0.95, 1, 500)
    (said,) = advice(good, energies=energies)
    assert said.startswith("E-BFMI is below 0.3 for chain 1 (lowest: 0.")
    energies[2] = energies[1]
    (said,) = advice(good, energies=energies)
    assert said.startswith("E-BFMI is below 0.3 for 2 of 4 chains (lowest: 0.")
    assert "handlers.reparam" in said


def test_a_summary_spares_the_work(good):
    good["theta"][0] += 1
    assert advice(summarize(good)) == advice(good)


def test_what_it_cannot_use_is_refused(good):
    with pytest.raises(ValueError, match="advice: tree_depths need max_tree_depth="):
        advice(good, tree_depths=torch.ones(4, 500))
    with pytest.raises(ValueError, match="energies must be"):
        advice(good, energies=torch.ones(2000))
