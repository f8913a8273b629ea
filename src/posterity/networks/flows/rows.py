"""Tables of rows to fit a density to: taken in, checked and split before any training."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

LEAST_ROWS = 10
# A column with no more values than this, each of them repeated, is taken for a discrete one, as is one of whose rows
# this share has one value: rounded measurements have more values, and ties of a few rows.
_FEW_VALUES, _MOST_TIED = 20, 0.1


class Rows(NamedTuple):
    """Rows of data.

    Attributes:
        x: `[num_rows, features]`.
        context: `[num_rows, context_features]`; None without one.
    """

    x: Tensor
    context: Tensor | None

    def at(self, chosen: Any) -> "Rows":
        """The rows of an index."""
        return Rows(self.x[chosen], None if self.context is None else self.context[chosen])

    @property
    def number(self) -> int:
        """How many there are."""
        return len(self.x)


def as_rows(owner: str, what: str, like: Tensor, x: Any, context: Any, features: int, context_features: int) -> Rows:
    """Tables of the flow's dtype and device, checked.

    Raises:
        TypeError: One is no table of numbers.
        ValueError: A size does not fit, a value is not finite, or the context is missing or not expected.
    """
    table = _table(f"{what} of {owner}.fit", like, x, features)
    if context is None:
        if context_features:
            raise ValueError(f"{owner} is conditional: fit needs a context of {context_features} features for {what}")
        return Rows(table, None)
    if not context_features:
        raise ValueError(f"{owner} takes no context, but fit got one: make the flow with context_features=")
    beside = _table(f"context of {owner}.fit", like, context, context_features)
    if len(beside) != len(table):
        raise ValueError(f"{owner}.fit: {what} has {len(table)} rows, but its context has {len(beside)}")
    return Rows(table, beside)


def split(
    owner: str,
    rows: Rows,
    validation: float | Tensor | tuple[Any, Any],
    held_out: Rows | None,
    generator: torch.Generator,
) -> tuple[Rows, Rows]:
    """Rows to train on and held-out ones.

    Raises:
        ValueError: There are too few of either.
    """
    if held_out is None:
        share = validation
        if not isinstance(share, float | int) or not 0 < share < 1:
            raise ValueError(
                f"{owner}.fit: validation must be a share of the rows between 0 and 1, or held-out rows, not {share!r}"
            )
        number = max(1, round(share * rows.number))
        order = torch.randperm(rows.number, generator=generator).to(rows.x.device)
        rows, held_out = rows.at(order[number:]), rows.at(order[:number])
    if rows.number < LEAST_ROWS or held_out.number < 1:
        raise ValueError(
            f"{owner}.fit has {rows.number} rows to train on and {held_out.number} held out: too few for a density. It "
            f"needs {LEAST_ROWS} and 1 at least"
        )
    return rows, held_out


def check_density(owner: str, x: Tensor, widths: Tensor | None) -> None:
    """Refuse columns that have no density: on a point or on a few, the likelihood grows without bound.

    Args:
        owner: The flow's name.
        x: `[num_rows, features]`, without noise.
        widths: `[features]`, of the noise that is added; None: none is.

    Raises:
        ValueError: Naming the columns.
    """
    # What varies by rounding only is constant too.
    deviation, mean = torch.std_mean(x, 0)
    constant = deviation <= 8 * torch.finfo(x.dtype).eps * mean.abs()
    few = torch.tensor([_is_discrete(column) for column in x.unbind(1)], device=x.device)
    noisy = torch.zeros_like(constant) if widths is None else widths > 0
    for found, what in (
        (constant & ~noisy, "constant"),
        (few & ~noisy, "discrete: few values, or one value in many rows"),
    ):
        columns = found.nonzero().flatten().tolist()
        if columns:
            raise ValueError(
                f"{owner}.fit: columns {columns} of x are {what}. They have no density: leave them out (or make them "
                "the context), or give the spacing of their values as dequantize="
            )


def dequantization(
    owner: str, widths: float | Sequence[float] | Tensor | None, like: Tensor, features: int
) -> Tensor | None:
    """The widths of the noise of each column, `[features]`.

    Raises:
        ValueError: They are negative, or too many or too few.
    """
    if widths is None:
        return None
    given = torch.as_tensor(widths, dtype=like.dtype, device=like.device)
    if given.shape not in ((), (features,)) or not bool((given.isfinite() & (given >= 0)).all()):
        raise ValueError(
            f"{owner}.fit: dequantize must be a spacing of at least 0, or one for each of {features} columns, not "
            f"{widths!r}"
        )
    return given.expand(features)


def _table(what: str, like: Tensor, values: Any, size: int) -> Tensor:
    try:
        table = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{what} must be a tensor or an array of numbers, not {type(values).__name__}") from error
    if table.is_complex() or table.dtype == torch.bool:
        raise TypeError(f"{what} must hold real numbers, not {table.dtype}")
    if table.dim() != 2 or table.shape[1] != size:
        raise ValueError(f"{what} must have the shape [num_rows, {size}], but has {list(table.shape)}")
    table = table.detach().to(like)
    finite = table.isfinite()
    if not bool(finite.all()):
        row, column = (~finite).nonzero()[0].tolist()
        raise ValueError(
            f"{what} has {int((~finite).sum())} entries that are NaN or infinite, the first in row {row}, "
            f"column {column}"
        )
    return table


def _is_discrete(column: Tensor) -> bool:
    values, counts = column.unique(return_counts=True)
    if len(values) == 1:
        return False  # constant
    few = len(values) <= _FEW_VALUES and 2 * len(values) <= len(column)
    return few or int(counts.max()) > max(2, _MOST_TIED * len(column))
