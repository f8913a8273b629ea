"""Updates of discrete elements: their transition matrices keep the distribution, and are in detailed balance."""

import math

import pytest
import torch
from scipy import stats

from posterity.infer.mcmc.element_updates import exact, integer_steps, metropolised, random_walk
from tests.statistical import FALSE_ALARM, assert_mean

SCORES = torch.tensor([0.5, -1.0, 2.0, -math.inf, 0.0], dtype=torch.float64)
P = SCORES.softmax(0)
GRID = 400


def even(number):
    """Evenly spaced numbers in (0, 1): what a uniform one averages to, exactly up to 1 / number."""
    return (torch.arange(number, dtype=torch.float64) + 0.5) / number


def test_the_exact_rule_draws_by_the_probabilities():
    chance = even(100_000)
    drawn = exact(SCORES.unsqueeze(-1).expand(-1, len(chance)), chance)
    shares = torch.bincount(drawn, minlength=5) / len(chance)
    torch.testing.assert_close(shares.double(), P, rtol=0, atol=2e-5)


def transition_matrix():
    """That of the metropolised rule, by integrating over both uniform numbers."""
    first, second = torch.meshgrid(even(GRID), even(GRID), indexing="ij")
    scores = SCORES.reshape(-1, 1, 1).expand(-1, GRID, GRID)
    rows = []
    for current in range(5):
        new = metropolised(scores, torch.full((GRID, GRID), current), first, second)
        rows.append(torch.bincount(new.flatten(), minlength=5) / GRID**2)
    return torch.stack(rows).double()


def test_the_metropolised_rule_is_in_detailed_balance_and_moves_more_often():
    matrix = transition_matrix()
    flow = P.unsqueeze(-1) * matrix
    torch.testing.assert_close(flow, flow.mT, rtol=0, atol=4 / GRID)
    # Liu's matrix in closed form.
    for x in (0, 1, 2, 4):
        for y in (0, 1, 2, 4):
            if x != y:
                expected = P[y] / (1 - P[x]) * min(1.0, float((1 - P[x]) / (1 - P[y])))
                assert abs(float(matrix[x, y] - expected)) < 4 / GRID
                # Peskun's order: no entry off the diagonal is below the Gibbs sampler's.
                assert matrix[x, y] >= P[y] - 4 / GRID


def test_the_metropolised_rule_leaves_what_is_impossible_and_stays_where_nothing_else_is_possible():
    chance = torch.tensor(0.3, dtype=torch.float64)
    assert metropolised(SCORES, torch.tensor(3), chance, chance) != 3
    only = torch.tensor([-math.inf, 0.0, -math.inf], dtype=torch.float64)
    assert metropolised(only, torch.tensor(1), chance, chance) == 1
    # A value whose probability rounds to 1 is left as often as it should be: never, in this lifetime.
    sure = torch.tensor([0.0, -800.0], dtype=torch.float64)
    assert metropolised(sure, torch.tensor(0), chance, chance) == 0
    assert metropolised(sure, torch.tensor(1), chance, chance) == 0


@pytest.mark.parametrize("difference", [-math.inf, -1.0, 2.0, math.nan])
def test_the_random_walk_accepts_by_metropolis_rule(difference):
    chance = even(10_000)
    scores = torch.tensor([0.0, difference], dtype=torch.float64).unsqueeze(-1).expand(-1, len(chance))
    share = random_walk(scores, chance).double().mean()
    expected = 0.0 if math.isnan(difference) else min(1.0, math.exp(difference))
    assert abs(float(share) - expected) < 2e-4


def test_integer_steps_are_symmetric_and_reach_as_far_as_told():
    chance, sign = torch.rand(2, 50_000, dtype=torch.float64)
    steps = integer_steps(chance, sign, torch.tensor(20.0, dtype=torch.float64))
    assert steps.abs().min() == 1
    assert steps.abs().max() == 20
    assert_mean(steps.sign().double(), 0.0)
    positive = torch.bincount(steps[steps > 0], minlength=21)[1:]
    negative = torch.bincount(-steps[steps < 0], minlength=21)[1:]
    assert stats.chi2_contingency(torch.stack([positive, negative]).numpy()).pvalue > FALSE_ALARM
