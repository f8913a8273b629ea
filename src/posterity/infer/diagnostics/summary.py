"""What to report of the draws of Markov chains: the estimates, their precision, and whether to believe them."""

from collections.abc import Iterator, Mapping
from itertools import product

import numpy as np
import torch
from torch import Tensor

from posterity.infer.diagnostics.chains import Chains, check_draws, per_scalar
from posterity.infer.diagnostics.effective_sample_size import bulk_size, tail_size
from posterity.infer.diagnostics.split_rhat import rank_rhat
from posterity.infer.diagnostics.standard_error import mean_error, sd_error
from posterity.infer.diagnostics.summary_table import render


class Summary(Mapping[str, dict[str, Tensor]]):
    """The statistics of each parameter's draws; printed, a table with one row per scalar.

    `summary["theta"]["r_hat"]` is a tensor of the shape of `theta`. The statistics are `mean`, `sd`, the quantiles by
    their names (`5%`, `50%`, `95%`), `mcse_mean`, `mcse_sd`, `ess_bulk`, `ess_tail` and `r_hat`.

    Args:
        statistics: By parameter and statistic, each of the parameter's shape.
        num_chains: How many chains the draws come from.
        num_draws: How many draws each has.
    """

    def __init__(self, statistics: Mapping[str, dict[str, Tensor]], num_chains: int, num_draws: int) -> None:
        self._statistics = dict(statistics)
        self.num_chains = num_chains
        self.num_draws = num_draws

    def __getitem__(self, name: str) -> dict[str, Tensor]:
        if name not in self._statistics:
            raise KeyError(f"there is no parameter {name!r}; there are {', '.join(self._statistics)}")
        return self._statistics[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._statistics)

    def __len__(self) -> int:
        return len(self._statistics)

    def __repr__(self) -> str:
        return self.table()

    def table(self, max_rows: int | None = 40) -> str:
        """The table as text, after `max_rows` rows a line that says how many are left out; None shows all."""
        return render(self._rows(), sum(next(iter(s.values())).numel() for s in self.values()), max_rows)

    def column(self, statistic: str) -> Tensor:
        """One statistic of all scalars, row by row of the table."""
        return torch.cat([statistics[statistic].flatten() for statistics in self.values()])

    def label(self, row: int) -> str:
        """What a row of the table is called."""
        for name, statistics in self.items():
            shape = next(iter(statistics.values())).shape
            if row < shape.numel():
                return row_label(name, tuple(map(int, np.unravel_index(row, shape))))
            row -= shape.numel()
        raise IndexError("the table has no such row")

    def to_dict(self) -> dict[str, dict[str, float]]:
        """Plain numbers by row, such as `theta[0]`, and statistic: what `pandas.DataFrame.from_dict` takes by index."""
        return dict(self._rows())

    def _rows(self) -> Iterator[tuple[str, dict[str, float]]]:
        for name, statistics in self.items():
            shape = next(iter(statistics.values())).shape
            columns = [column.flatten().tolist() for column in statistics.values()]
            for index, numbers in zip(product(*map(range, shape)), zip(*columns, strict=True), strict=True):
                yield row_label(name, index), dict(zip(statistics, numbers, strict=True))


def row_label(name: str, index: tuple[int, ...]) -> str:
    """What one scalar of a parameter is called.

    Example:
        >>> row_label("theta", (0, 1)), row_label("mu", ())
        ('theta[0, 1]', 'mu')
    """
    return f"{name}[{', '.join(map(str, index))}]" if index else name


@torch.no_grad()
def summarize(draws: Mapping[str, Tensor], *, prob: float = 0.9) -> Summary:
    """Summarise the draws of Markov chains.

    Args:
        draws: By parameter, `[num_chains, num_draws, *event]`, as `get_samples(group_by_chain=True)` gives them;
            integers and bools are numbers too.
        prob: The probability of the central interval whose ends are shown beside the median.

    Returns:
        The statistics of each scalar: see `Summary`, and `effective_sample_size`, `split_rhat` and `standard_error`
        for what they mean. All are NaN where a draw is NaN or infinite.

    Raises:
        TypeError: A parameter's draws are no real tensor.
        ValueError: There is no parameter, the parameters differ in the number of their chains or draws, there are
            fewer than four draws per chain, or `prob` is no probability.

    Example:
        >>> draws = torch.randn(4, 1000, 3, generator=torch.Generator().manual_seed(0)).cumsum(1)
        >>> summary = summarize({"theta": draws, "mu": torch.ones(4, 1000)})
        >>> summary["theta"]["r_hat"].shape
        torch.Size([3])
        >>> print(summary)
                   mean   sd ... r_hat
        theta[0]    ...
        theta[1]    ...
        theta[2]    ...
        mu         1.00 0.000 1.00 1.00 1.00 0 nan 4000 4000 nan
    """
    if not 0 < prob < 1:
        raise ValueError(f"summarize: prob must lie between 0 and 1, not {prob!r}")
    if not draws:
        raise ValueError("summarize: draws holds no parameter")
    shapes = {name: check_draws("summarize", values, what=f"the draws of {name!r}") for name, values in draws.items()}
    first, shape = next(iter(shapes.items()))
    for name, other in shapes.items():
        if other[:2] != shape[:2]:
            raise ValueError(
                f"summarize: {name!r} has {other[0]} chains of {other[1]} draws, but {first!r} has {shape[0]} of "
                f"{shape[1]}; give draws of one run"
            )
    levels = ((1 - prob) / 2, 0.5, (1 + prob) / 2)
    names = ("mean", "sd", *(f"{100 * level:.4g}%" for level in levels))
    names += ("mcse_mean", "mcse_sd", "ess_bulk", "ess_tail", "r_hat")

    def columns(chains: Chains) -> Tensor:
        estimates = (chains.mean, chains.sd, *map(chains.quantile, levels))
        estimates = tuple(map(chains.only_finite, estimates))
        precision = (mean_error(chains), sd_error(chains), bulk_size(chains), tail_size(chains), rank_rhat(chains))
        return torch.stack([*estimates, *precision])

    tables = {name: per_scalar("summarize", values, columns) for name, values in draws.items()}
    statistics = {name: dict(zip(names, table.unbind(0), strict=True)) for name, table in tables.items()}
    return Summary(statistics, shape[0], shape[1])
