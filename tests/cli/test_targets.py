"""What the demo promises, over five splits of the digits rather than one."""

import pytest
import torch

from posterity.cli.digits import run_digits


@pytest.mark.slow
def test_the_demo_meets_its_targets_on_average():
    runs = [run_digits(seed=seed).metrics for seed in range(5)]
    mean = {name: torch.tensor([getattr(run, name) for run in runs]).mean() for name in runs[0]._fields}
    assert mean["accuracy"] >= 0.97
    assert mean["ece"] <= 0.03
    assert mean["nll"] <= 1.5 * mean["nll_deterministic"]
    assert mean["ood_auroc_epistemic"] >= mean["ood_auroc_softmax"]
