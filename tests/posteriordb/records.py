"""The files of posteriordb: data, and what is known of the posterior."""

import functools
import gzip
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

FOLDER = Path(os.environ.get("POSTERITY_DATA", Path(__file__).parents[3] / "shared" / "data")) / "posteriordb"


class Moments(NamedTuple):
    """What ten long chains of another program say of one parameter.

    Attributes:
        mean: Its posterior mean.
        sd: Its posterior standard deviation.
        q05: The quantile of 5%.
        q50: The median.
        q95: The quantile of 95%.
        mcse_mean: The Monte Carlo standard error of `mean`.
    """

    mean: float
    sd: float
    q05: float
    q50: float
    q95: float
    mcse_mean: float


class Record(NamedTuple):
    """A posterior of the collection.

    Attributes:
        data: By name, numbers and lists of numbers.
        reference: By parameter, such as `beta[1]`, in the file's order.
    """

    data: dict[str, Any]
    reference: dict[str, Moments]


def is_there() -> bool:
    """Whether the folder of all posteriors is."""
    return FOLDER.is_dir()


def load(name: str) -> Record:
    """A posterior by its file's name without the ending: from the small ones that stand here, or from the folder.

    Raises:
        FileNotFoundError: It is neither here nor there.
    """
    small = _small()
    if name in small["posteriors"]:
        found = small["posteriors"][name]
        return Record(small["data"][found["data"]], {p: Moments(*m) for p, m in found["reference"].items()})
    return load_file(name)


def load_file(name: str) -> Record:
    """A posterior from the folder."""
    for path, opened in ((FOLDER / f"{name}.json", open), (FOLDER / f"{name}.json.gz", gzip.open)):
        if path.exists():
            with opened(path, "rt", encoding="utf-8") as file:
                content = json.load(file)
            return Record(content["data"], {p: Moments(**m) for p, m in content["reference"].items()})
    raise FileNotFoundError(f"there is no {name}.json in {FOLDER}; set POSTERITY_DATA to the folder of posteriordb/")


def small_names() -> list[str]:
    """The posteriors whose data stand here."""
    return list(_small()["posteriors"])


def double(numbers: Any) -> Tensor:
    """Numbers as a tensor in double precision."""
    return torch.tensor(numbers, dtype=torch.float64)


def columns(data: dict[str, Any], *names: str) -> tuple[Tensor, ...]:
    """Entries of the data as tensors."""
    return tuple(double(data[name]) for name in names)


@functools.cache
def _small() -> dict[str, Any]:
    with open(Path(__file__).parent / "small.json", encoding="utf-8") as file:
        return json.load(file)
