"""Programs with discrete variables, and their log densities summed by hand, one assignment after the other."""

import itertools

import torch

import posterity as pt
from posterity.distributions import Bernoulli, Categorical, Dirichlet, Normal

PARALLEL = {"enumerate": "parallel"}


def assignments(sizes, shapes):
    """Every assignment of variables with `sizes[name]` values (0, 1, ...) to places of `shapes[name]`."""
    names = [name for name in sizes for _ in range(torch.Size(shapes[name]).numel())]
    for flat in itertools.product(*(range(sizes[name]) for name in names)):
        parts = torch.tensor(flat).split([torch.Size(shapes[name]).numel() for name in sizes])
        yield {name: part.reshape(shapes[name]) for name, part in zip(sizes, parts, strict=True)}


def joint(model, sizes, shapes=None, args=(), values=None):
    """The assignments, and the log joint density of each, `[num_assignments]`."""
    shapes = shapes or dict.fromkeys(sizes, ())
    every = list(assignments(sizes, shapes))
    densities = []
    for assignment in every:
        given = pt.handlers.substitute(model, {**assignment, **(values or {})})
        densities.append(pt.handlers.trace(given).get_trace(*args).log_prob_sum())
    return every, torch.stack(densities)


def rows(*shape, seed=0):
    """Probabilities along the last dimension, in float64."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(shape, generator=generator, dtype=torch.float64) + 0.1
    return weights / weights.sum(-1, keepdim=True)


def reals(*shape, seed=0):
    """Standard normal numbers, in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mixture(x, locs):
    weights = pt.sample("weights", Dirichlet(torch.ones(len(locs), dtype=locs.dtype)))
    with pt.plate("data", len(x)):
        z = pt.sample("z", Categorical(weights), infer=PARALLEL)
        pt.sample("x", Normal(locs[z], 1.0), obs=x)


def hidden_markov(y, initial, transition, locs):
    x = None
    for t in pt.markov(range(len(y))):
        x = pt.sample(f"x_{t}", Categorical(initial if t == 0 else transition[x]), infer=PARALLEL)
        pt.sample(f"y_{t}", Normal(locs[x], 1.0), obs=y[t])


def nested(data, top, middle, locs):
    """A variable outside, one for each row, one for each cell; `data` is `[cells, rows]`."""
    a = pt.sample("a", Categorical(top), infer=PARALLEL)
    with pt.plate("rows", data.shape[1], dim=-1):
        b = pt.sample("b", Categorical(middle[a]), infer=PARALLEL)
        with pt.plate("cells", data.shape[0], dim=-2):
            c = pt.sample("c", Bernoulli(middle[b, 0]), infer=PARALLEL)
            pt.sample("d", Normal(pt.ppl.Vindex(locs)[a, c.long()], 1.0), obs=data)


def coupled(y, first, second, locs):
    """Two variables that share a child and a parent."""
    a = pt.sample("a", Categorical(first[0]), infer=PARALLEL)
    b = pt.sample("b", Categorical(first[a]), infer=PARALLEL)
    c = pt.sample("c", Categorical(first[a]), infer=PARALLEL)
    d = pt.sample("d", Categorical(pt.ppl.Vindex(second)[b, c]), infer=PARALLEL)
    pt.sample("y", Normal(locs[d], 1.0), obs=y)


def factorial(y, transition, locs):
    """Two chains that are seen together."""
    w, x = torch.tensor(0), torch.tensor(0)
    for t in pt.markov(range(len(y))):
        w = pt.sample(f"w_{t}", Categorical(transition[0][w]), infer=PARALLEL)
        x = pt.sample(f"x_{t}", Categorical(transition[1][x]), infer=PARALLEL)
        pt.sample(f"y_{t}", Normal(pt.ppl.Vindex(locs)[w, x], 1.0), obs=y[t])
