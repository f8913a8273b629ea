"""What distributions cost, beside torch.distributions (values checked, as is its default) and scipy.special.

`log_prob` and `sample` of every scalar class that torch has too; `cdf` and `icdf` beside scipy; making a distribution
and asking its density; a compiled draw from a `Key`.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import scipy.special
import scipy.stats
import torch
from torch import Tensor

from benchmarks import tables
from benchmarks.timing import Call, measure
from posterity import distributions
from posterity.kernels import Key, normal

SIZES = (1, 1_000, 1_000_000)

# Parameters by family, as ranges that uniform numbers are drawn from.
FAMILIES: dict[str, dict[str, tuple[float, float]]] = {
    "Normal": {"loc": (-1, 1), "scale": (0.5, 2)},
    "LogNormal": {"loc": (-1, 1), "scale": (0.5, 2)},
    "HalfNormal": {"scale": (0.5, 2)},
    "Laplace": {"loc": (-1, 1), "scale": (0.5, 2)},
    "Gumbel": {"loc": (-1, 1), "scale": (0.5, 2)},
    "Cauchy": {"loc": (-1, 1), "scale": (0.5, 2)},
    "HalfCauchy": {"scale": (0.5, 2)},
    "StudentT": {"df": (1, 20), "loc": (-1, 1), "scale": (0.5, 2)},
    "Uniform": {"low": (-1, 0), "high": (1, 2)},
    "Exponential": {"rate": (0.5, 2)},
    "Gamma": {"concentration": (0.5, 10), "rate": (0.5, 2)},
    "InverseGamma": {"concentration": (0.5, 10), "rate": (0.5, 2)},
    "Chi2": {"df": (1, 20)},
    "Weibull": {"scale": (0.5, 2), "concentration": (0.5, 3)},
    "Pareto": {"scale": (0.5, 2), "alpha": (0.5, 3)},
    "GeneralizedPareto": {"loc": (-1, 1), "scale": (0.5, 2), "concentration": (0.1, 1)},
    "Beta": {"concentration1": (0.5, 10), "concentration0": (0.5, 10)},
    "Kumaraswamy": {"concentration1": (0.5, 10), "concentration0": (0.5, 10)},
    "FisherSnedecor": {"df1": (1, 20), "df2": (1, 20)},
    "VonMises": {"loc": (-1, 1), "concentration": (0.5, 10)},
    "ContinuousBernoulli": {"probs": (0.1, 0.4)},
    "Bernoulli": {"probs": (0.1, 0.9)},
    "Geometric": {"probs": (0.1, 0.9)},
    "Binomial": {"total_count": (10, 100), "probs": (0.1, 0.9)},
    "NegativeBinomial": {"total_count": (1, 20), "probs": (0.1, 0.9)},
    "Poisson": {"rate": (1, 50)},
    "RelaxedBernoulli": {"temperature": (0.5, 0.5), "probs": (0.1, 0.9)},
}

SPEED_LIMIT = 1.0
MAKING_LIMIT = 0.6


class Tail(NamedTuple):
    """A distribution function beside scipy's: what is called with which arguments."""

    family: str
    parameters: dict[str, tuple[float, float]]
    cdf: Callable[..., Any]
    icdf: Callable[..., Any] | None


TAILS = (
    Tail(
        "Gamma",
        {"concentration": (0.5, 50)},
        scipy.special.gammainc,
        scipy.special.gammaincinv,
    ),
    Tail(
        "Beta",
        {"concentration1": (0.5, 50), "concentration0": (0.5, 50)},
        scipy.special.betainc,
        scipy.special.betaincinv,
    ),
    Tail("StudentT", {"df": (1, 50)}, scipy.special.stdtr, scipy.special.stdtrit),
    Tail(
        "Binomial", {"total_count": (10, 100), "probs": (0.1, 0.9)}, lambda n, p, k: scipy.special.bdtr(k, n, p), None
    ),
    Tail("Poisson", {"rate": (1, 50)}, lambda r, k: scipy.special.pdtr(k, r), None),
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.distributions", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="how many turns each competitor has")
    parser.add_argument("--only", nargs="*", metavar="FAMILY", help="these families alone")
    parser.add_argument("--no-compile", action="store_true", help="leave out what is compiled")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    torch.distributions.Distribution.set_default_validate_args(True)
    names = options.only or list(FAMILIES)
    _making(options.rounds)
    for method in ("log_prob", "sample"):
        _beside_torch(method, names, options.rounds)
    _beside_scipy([tail for tail in TAILS if tail.family in names], options.rounds, not options.no_compile)
    if not options.no_compile:
        _key(options.rounds)


def _making(rounds: int) -> None:
    """Construction plus log_prob of a scalar normal, a thousand times."""
    loc, scale, x = torch.tensor(0.0), torch.tensor(1.0), torch.tensor(0.3)
    ours, theirs = distributions.Normal, torch.distributions.Normal
    calls: dict[str, Call] = {
        "torch": lambda: [theirs(loc, scale).log_prob(x) for _ in range(1000)],
        "torch, of numbers": lambda: [theirs(0.0, 1.0).log_prob(x) for _ in range(1000)],
        "torch, unchecked": lambda: [theirs(loc, scale, validate_args=False).log_prob(x) for _ in range(1000)],
        "ours": lambda: [ours(loc, scale).log_prob(x) for _ in range(1000)],
        "ours, of numbers": lambda: [ours(0.0, 1.0).log_prob(x) for _ in range(1000)],
    }
    timings = measure(calls, rounds=rounds)
    rows = []
    for name in calls:
        reference = "torch, of numbers" if "numbers" in name else "torch"
        ratio = timings.ratio(name, reference)
        limit = MAKING_LIMIT if name.startswith("ours") else None
        rows.append((name, f"{timings.milliseconds(name):.1f}", str(ratio), *tables.at_most(ratio, limit)))
    tables.show("Making a scalar Normal and asking log_prob", ("who", "us", "x torch", "target", "met"), rows)


def _beside_torch(method: str, names: Sequence[str], rounds: int) -> None:
    rows = []
    for name in names:
        cells = []
        for size in SIZES:
            parameters = _parameters(FAMILIES[name], size)
            ours = getattr(distributions, name)(**parameters)
            theirs = getattr(torch.distributions, name)(**parameters)
            value = theirs.sample() if method == "log_prob" else torch.Size()
            calls: dict[str, Call] = {
                "torch": _repeated(theirs, method, value, size),
                "ours": _repeated(ours, method, value, size),
            }
            cells.append(measure(calls, rounds=rounds, turn=0.05).ratio("ours", "torch"))
        slower = [size for size, cell in zip(SIZES, cells, strict=True) if cell.low > SPEED_LIMIT]
        rows.append((name, *map(str, cells), "NO" if slower else "yes"))
    columns = ("family", *(f"{size:,}" for size in SIZES), "not slower")
    tables.show(f"{method}: ours / torch, by number of elements", columns, rows)


def _repeated(d: Any, method: str, argument: Any, size: int) -> Call:
    function, times = getattr(d, method), max(1, 1000 // size)
    return lambda: [function(argument) for _ in range(times)]


def _beside_scipy(tails: Sequence[Tail], rounds: int, compiled: bool) -> None:
    rows = []
    for tail in tails:
        for dtype in (torch.float32, torch.float64):
            parameters = _parameters(tail.parameters, SIZES[-1], dtype)
            d = _standard(tail.family, parameters)
            draws, levels = d.sample(), torch.rand(SIZES[-1], dtype=dtype)
            for method, peer, argument in (("cdf", tail.cdf, draws), ("icdf", tail.icdf, levels)):
                arrays = [t.numpy() for t in (*parameters.values(), argument)]
                if peer is None:  # scipy.special has none: its quantiles of counts are those of scipy.stats
                    frozen = getattr(scipy.stats, "binom" if tail.family == "Binomial" else "poisson")
                    peer = _flipped(frozen.ppf)
                calls: dict[str, Call] = {
                    "scipy": lambda peer=peer, arrays=arrays: peer(*arrays),
                    "eager": lambda d=d, method=method, argument=argument: getattr(d, method)(argument),
                }
                # A graph's quantile of counts tries every digit of an integer: it takes longer to compile than to call.
                if compiled and not (method == "icdf" and tail.icdf is None):
                    calls["compiled"] = _compiled(tail.family, method, parameters, argument)
                timings = measure(calls, rounds=rounds, turn=0.0)
                ratios = [timings.ratio(name, "scipy") for name in calls if name != "scipy"]
                best = min(ratios, key=lambda ratio: ratio.value)
                rows.append(
                    (
                        f"{tail.family}.{method}",
                        str(dtype).removeprefix("torch."),
                        f"{timings.milliseconds('scipy'):.0f}",
                        *map(str, ratios),
                        *([""] if compiled and "compiled" not in calls else []),
                        "yes" if best.value <= SPEED_LIMIT else "NO",
                    )
                )
    columns = ("function", "dtype", "scipy, ns", "eager / scipy", *(["compiled / scipy"] if compiled else []), "met")
    tables.show("cdf and icdf of a million elements: ours / scipy", columns, rows)


def _compiled(family: str, method: str, parameters: dict[str, Tensor], argument: Tensor) -> Call:
    def function(parameters: dict[str, Tensor], argument: Tensor) -> Tensor:
        result: Tensor = getattr(_standard(family, parameters), method)(argument)
        return result

    # Each of these is a compilation of the same lines, of which Dynamo allows eight.
    torch.compiler.reset()
    graph = torch.compile(function, fullgraph=True, dynamic=False)
    return lambda: graph(parameters, argument)


def _standard(family: str, parameters: dict[str, Tensor]) -> Any:
    if family == "Gamma":
        return distributions.Gamma(rate=torch.ones_like(parameters["concentration"]), **parameters)
    return getattr(distributions, family)(**parameters)


def _flipped(quantile: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments: quantile(arguments[-1], *arguments[:-1])


def _key(rounds: int) -> None:
    data, size = Key(0).data, SIZES[-1]
    draw = torch.compile(lambda data: normal((size,), source=Key(data)), fullgraph=True)
    calls: dict[str, Call] = {"torch.randn": lambda: torch.randn(size), "from a Key, compiled": lambda: draw(data)}
    timings = measure(calls, rounds=rounds)
    rows = []
    for name in calls:
        own = timings.ratio(name, "torch.randn")
        cells = ("1", "", "") if name == "torch.randn" else (str(own), *tables.at_most(own, MAKING_LIMIT))
        rows.append((name, f"{timings.milliseconds(name):.2f}", *cells))
    tables.show("A million normal numbers", ("draw", "ns", "x torch.randn", "target", "met"), rows)


def _parameters(
    ranges: dict[str, tuple[float, float]], size: int, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    parameters = {name: low + (high - low) * torch.rand(size, dtype=dtype) for name, (low, high) in ranges.items()}
    if "total_count" in parameters:
        parameters["total_count"] = parameters["total_count"].round()
    return parameters


if __name__ == "__main__":
    main()
