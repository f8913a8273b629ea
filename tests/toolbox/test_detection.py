"""The area under the ROC curve is a count of pairs."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from posterity.toolbox import auroc


@pytest.mark.parametrize("levels", [3, 20, 10**6])
def test_it_agrees_with_sklearn_with_and_without_ties(levels: int):
    metrics = pytest.importorskip("sklearn.metrics")
    generator = torch.Generator().manual_seed(levels)
    known = torch.randint(levels, (300,), generator=generator) / levels
    unknown = torch.randint(levels, (200,), generator=generator) / levels + 0.1 * (levels > 3)
    truth = torch.cat([torch.zeros(300), torch.ones(200)])
    theirs = metrics.roc_auc_score(truth.numpy(), torch.cat([known, unknown]).numpy())
    assert auroc(known, unknown).item() == pytest.approx(theirs, abs=1e-6)


scores = st.lists(st.integers(0, 5), min_size=1, max_size=12)


@given(scores, scores)
def test_it_counts_pairs_with_ties_by_half(known: list[int], unknown: list[int]):
    pairs = [(k < u) + 0.5 * (k == u) for k in known for u in unknown]
    area = auroc(torch.tensor(known, dtype=torch.float64), torch.tensor(unknown, dtype=torch.float64))
    assert area.item() == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)


def test_order_is_all_that_matters_infinity_included():
    known, unknown = torch.tensor([-torch.inf, 0.0]), torch.tensor([1.0, torch.inf])
    assert auroc(known, unknown) == 1
    assert auroc(unknown, known) == 0


def test_half_precision_and_mixed_types():
    assert auroc(torch.tensor([0.0, 1.0]).half(), torch.tensor([0.5, 2.0], dtype=torch.float64)) == 0.75


@pytest.mark.parametrize("argument", ["scores_known", "scores_unknown"])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.empty(0), r"at least one score; got shape \(0,\)"),
        (torch.ones(2, 2), r"vector.*\(2, 2\)"),
        (torch.tensor(1.0), r"vector.*\(\)"),
        (torch.tensor([1.0, torch.nan]), "NaN"),
    ],
)
def test_bad_input_is_named(argument: str, bad: torch.Tensor, message: str):
    arguments = {"scores_known": torch.ones(2), "scores_unknown": torch.ones(3), argument: bad}
    with pytest.raises(ValueError, match=f"{argument}.*{message}"):
        auroc(**arguments)
