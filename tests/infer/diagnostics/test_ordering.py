"""Rows are sorted as torch sorts them, on every device."""

import pytest
import torch

from posterity.infer.diagnostics.ordering import sort_rows


@pytest.mark.parametrize("runs", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_are_in_order_and_places_lead_back(dtype, runs):
    rows = torch.randn(5, 301, dtype=dtype).mul(3).round()  # with many equal numbers
    rows[2, 5] = torch.nan
    rows[3, 7] = -torch.inf
    ordered, places = sort_rows(rows, runs=runs)
    torch.testing.assert_close(ordered, rows.sort(-1).values, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(rows.gather(-1, places), ordered, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(places.sort(-1).values, torch.arange(301).expand(5, 301))


def test_values_that_cannot_be_read_are_sorted_where_they_are():
    ordered, places = sort_rows(torch.zeros(2, 3, device="meta"))
    assert ordered.device == places.device == torch.device("meta")
