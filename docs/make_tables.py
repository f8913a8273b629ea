"""Writes docs/distributions.md: which statistic each distribution has, and how. Run: python -m docs.make_tables."""

import re
from pathlib import Path

import torch
from tests.distributions.catalogue import MULTIVARIATE, SCALAR
from tests.distributions.catalogue.entry import ask

from posterity import bijectors
from posterity import distributions as dist
from posterity.distributions import Distribution
from posterity.distributions.kl import _FORMULAS

PAGE = Path(__file__).with_name("distributions.md")
STATISTICS = ("log_prob", "cdf", "icdf", "mean", "variance", "mode", "median", "entropy", "fit")
HEAD = """# Distributions

Written by `python -m docs.make_tables` from the code. *closed*: a formula, or a special function. *sum*, *integral*:
over the support, to about 1e-9 in float64. *search*: for a root or a maximum of what the other columns say. KL is that
to another member of the family; between families it is closed for many pairs, and summed or integrated for the others.
Composites come last, each made of parts that have everything; *yes* is then as closed as the parts are.

"""


def _composites() -> list[Distribution]:
    normal, poisson, eye = dist.Normal(0.0, 1.0), dist.Poisson(3.0), torch.eye(2)
    weights, pair = dist.Categorical(probs=torch.tensor([0.4, 0.6])), dist.Normal(torch.tensor([0.0, 2.0]), 1.0)
    chain = dist.Categorical(probs=torch.tensor([[0.9, 0.1], [0.2, 0.8]]))
    vector = dist.MultivariateNormal(torch.zeros(2), eye)
    return [
        dist.Censored(normal, low=-1.0),
        dist.Delta(torch.tensor(0.5)),
        dist.Empirical(torch.tensor([0.0, 0.5, 2.0])),
        dist.HiddenMarkovModel(weights, chain, pair, num_steps=3),
        dist.Hurdle(poisson, gate=0.3),
        dist.ImproperUniform(torch.distributions.constraints.positive),
        dist.Independent(pair, 1),
        dist.LinearGaussianStateSpace(3, eye, vector, eye, vector, vector),
        dist.MaskedDistribution(normal, torch.tensor(True)),
        dist.Mixture([normal, dist.Laplace(0.0, 1.0)]),
        dist.MixtureSameFamily(weights, pair),
        dist.Quantized(normal),
        dist.TransformedDistribution(normal, [bijectors.Tanh()]),
        dist.Truncated(normal, low=1.0),
        dist.ZeroInflated(poisson, gate=0.3),
    ]


def page() -> str:
    """The page as it should be."""
    lines = ["| distribution | " + " | ".join(f"`{name}`" for name in STATISTICS) + " | KL | draws |"]
    lines.append("|---" * (len(STATISTICS) + 3) + "|")
    notes: dict[str, int] = {}
    # The catalogue tests composites as families that only it knows.
    entries = [e for e in (*SCALAR, *MULTIVARIATE) if e.family.__module__.startswith("posterity.")]
    leaves = sorted((entry.make(0) for entry in entries), key=lambda d: type(d).__name__)
    composites = _composites()
    for d in (*leaves, *composites):
        cells = [*(_cell(d, name, notes) for name in STATISTICS), _kl(d, notes)]
        if d in composites:
            cells = [cell if cell.startswith("no") else "yes" for cell in cells]
        draws = "reparameterised" if d.has_rsample else "plain"
        lines.append(f"| {type(d).__name__} | " + " | ".join(cells) + f" | {draws} |")
    reasons = "".join(f"\n[{number}] {reason}\n" for reason, number in notes.items())
    return HEAD + "\n".join(lines) + "\n" + reasons


def _cell(d: Distribution, statistic: str, notes: dict[str, int]) -> str:
    if statistic == "fit":
        inherited = type(d).fit.__func__ is Distribution.fit.__func__  # type: ignore[attr-defined]
        closed = not inherited
    else:
        closed = d._has_closed_form(statistic)
    try:
        ask(d, statistic) if statistic != "log_prob" else None
    except NotImplementedError as refusal:
        return _refused(refusal, notes)
    except (ValueError, ArithmeticError):
        pass  # it exists, but not at the value asked for
    if closed or (statistic == "median" and d._has_closed_form("icdf")):
        return "closed"
    if statistic in ("icdf", "median", "mode", "fit"):
        return "search"
    return "sum" if d._is_discrete() else "integral"


def _kl(d: Distribution, notes: dict[str, int]) -> str:
    if (type(d), type(d)) in _FORMULAS:
        return "closed"
    try:
        d.kl_divergence(d)
    except NotImplementedError as refusal:
        return _refused(refusal, notes)
    return "sum" if d._is_discrete() else "integral"


def _refused(refusal: NotImplementedError, notes: dict[str, int]) -> str:
    """A reference to the reason, which is the same one for all distributions that it holds for."""
    reason = re.sub(r"^(\w+\.\w+|KL\(\w+ \|\| \w+\)) ", "", str(refusal))
    reason = re.sub(r" of shape \([^)]*\)", "", reason)
    return f"no [{notes.setdefault(reason[0].upper() + reason[1:], len(notes) + 1)}]"


if __name__ == "__main__":
    PAGE.write_text(page())
