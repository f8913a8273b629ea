"""Regression networks on real data: the standard splits of the UCI sets in `POSTERITY_DATA`."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from posterity import distributions as dist
from posterity.networks import HeteroscedasticRegressor, MixtureDensityNetwork, QuantileRegressor, SparseVariationalGP
from tests.statistical import quantile

FOLDER = Path(os.environ.get("POSTERITY_DATA", Path(__file__).parents[3] / "shared" / "data")) / "uci"
SETS = ("boston-housing", "concrete", "energy", "wine-quality-red", "yacht")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOLDER.is_dir(), reason=f"there is no {FOLDER}; set POSTERITY_DATA"),
]


def split(name, number):
    """Training and test inputs and targets of one of the 20 splits."""
    file = np.load(FOLDER / name / "data.npz")
    x, y = (torch.tensor(file[key], dtype=torch.float32) for key in ("X", "y"))
    train, test = (torch.tensor(file[f"splits_{part}"][number], dtype=torch.long) for part in ("train", "test"))
    return x[train], y[train], x[test], y[test]


def body(num_features):
    return nn.Sequential(nn.Linear(num_features, 50), nn.ReLU())


def linear_nll(x, y, new_x, new_y):
    """Of least squares with one noise for all."""
    design, new_design = (torch.cat([part, part.new_ones(len(part), 1)], 1).double() for part in (x, new_x))
    weights = torch.linalg.lstsq(design, y.double(), driver="gelsd").solution
    scale = (y - design @ weights).std(correction=design.shape[1])
    return -dist.Normal(new_design @ weights, scale).log_prob(new_y.double()).mean().item()


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("kind", [HeteroscedasticRegressor, MixtureDensityNetwork])
def test_a_network_states_a_better_density_than_least_squares(name, kind):
    gains = []
    for number in range(4):
        x, y, new_x, new_y = split(name, number)
        net = kind(body(x.shape[1]), 50, **({"family": "student_t"} if kind is HeteroscedasticRegressor else {}))
        net.fit(x, y, batch_size=32, lr=5e-3, weight_decay=1e-2, num_epochs=200, patience=30, seed=0)
        gains.append(linear_nll(x, y, new_x, new_y) - net.loss(new_x, new_y).item())
    assert sum(gains) > 0, gains


@pytest.mark.parametrize("name", SETS)
def test_a_sparse_process_states_a_better_density_than_least_squares(name):
    pytest.importorskip("gpytorch")
    gains = []
    for number in range(2):
        x, y, new_x, new_y = split(name, number)
        gp = SparseVariationalGP(x.shape[1])
        gp.fit(x, y, num_epochs=200, batch_size=500, lr=3e-2, seed=0)
        gains.append(linear_nll(x, y, new_x, new_y) + gp.distribution(new_x).log_prob(new_y).mean().item())
    assert sum(gains) > 0, gains


@pytest.mark.parametrize("name", SETS)
def test_intervals_cover_about_what_they_say(name):
    covered, total, trained = 0.0, 0, 0
    for number in range(4):
        x, y, new_x, new_y = split(name, number)
        net = QuantileRegressor(body(x.shape[1]), 50)
        net.fit(x, y, batch_size=32, lr=5e-3, weight_decay=1e-2, num_epochs=100, seed=0)
        covered += net.interval_coverage(new_x, new_y, 0.9).item() * len(new_y)
        total, trained = total + len(new_y), trained + len(y)
    error = quantile() * math.sqrt(0.9 * 0.1 * (1 / total + 1 / trained))
    # The quantiles of few examples are drawn to them: the coverage of new ones falls short by some percent.
    assert covered / total > 0.9 - 0.1 - error
