"""Shapes, validation, compilation and transforms of every distribution of the floor."""

import copy
import math
import pickle
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posterity import runtime
from posterity.distributions import (
    Categorical,
    Distribution,
    Laplace,
    Mixture,
    MixtureSameFamily,
    Normal,
    kl_divergence,
)

STATISTICS = ("mean", "variance", "stddev", "median", "mode")
AT_VALUES = ("prob", "log_prob", "cdf", "log_cdf", "survival_function", "log_survival_function")


def make(kind: str, loc: torch.Tensor) -> Distribution:
    """One distribution of each kind, with the batch shape of `loc`."""
    if kind == "categorical":
        return Categorical(logits=torch.stack([loc, -loc, 0 * loc], -1))
    if kind == "same family":
        return MixtureSameFamily(Categorical(loc.new_ones(2)), Normal(torch.stack([loc, loc + 1], -1), 1.0))
    if kind == "mixture":
        return Mixture([Normal(loc, 1.0), Laplace(loc, 2.0)])
    return {"normal": Normal, "laplace": Laplace}[kind](loc, 1.5)


KINDS = ["normal", "laplace", "categorical", "same family", "mixture"]
shapes = st.lists(st.integers(0, 3), max_size=2).map(tuple)


@given(kind=st.sampled_from(KINDS), batch=shapes, draws=shapes, ahead=shapes)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_shapes_are_sample_then_batch(kind, batch, draws, ahead):
    d = make(kind, torch.zeros(batch))
    x = d.sample(draws)
    assert x.shape == draws + batch
    for name in AT_VALUES:
        assert getattr(d, name)(x).shape == draws + batch
    wide = d.expand(ahead + batch)
    assert wide.batch_shape == ahead + batch
    assert wide.sample(draws).shape == draws + ahead + batch
    if 0 in ahead + batch:
        return
    for name in STATISTICS:
        assert getattr(wide, name).shape == ahead + batch
        assert torch.equal(getattr(wide, name), getattr(d, name).expand(ahead + batch))
    one = d.sample()
    assert torch.equal(wide.log_prob(one), d.log_prob(one).expand(ahead + batch))


@given(
    loc=st.sampled_from([(), (1,), (3,), (2, 1), (2, 3)]),
    scale=st.sampled_from([(), (1,), (3,), (1, 3), (2, 1)]),
)
@settings(deadline=None, derandomize=True)
def test_parameters_broadcast_as_tensors_do(loc, scale):
    d = Normal(torch.zeros(loc), torch.ones(scale))
    assert d.batch_shape == torch.broadcast_shapes(loc, scale) == d.loc.shape == d.scale.shape


@pytest.mark.parametrize("kind", KINDS)
def test_every_distribution_is_torchs_and_survives_pickling_and_copying(kind):
    d = make(kind, torch.tensor([0.0, 1.0]))
    assert isinstance(d, torch.distributions.Distribution)
    for twin in (pickle.loads(pickle.dumps(d)), copy.deepcopy(d)):
        assert torch.equal(twin.cdf(torch.ones(2)), d.cdf(torch.ones(2)))


def test_leaves_are_torchs_leaves():
    assert isinstance(Normal(0.0, 1.0), torch.distributions.Normal)
    assert isinstance(Laplace(0.0, 1.0), torch.distributions.Laplace)
    assert isinstance(Categorical(torch.ones(2)), torch.distributions.Categorical)
    assert isinstance(Normal(torch.zeros(2), 1.0).to_event(), torch.distributions.Independent)
    assert isinstance(make("same family", torch.zeros(2)), torch.distributions.MixtureSameFamily)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0.0, -1.0), ValueError, r"scale of Normal must satisfy GreaterThan.*holds tensor\(-1"),
        (
            (torch.tensor([0.0, math.nan]), 1.0),
            ValueError,
            r"loc of Normal must satisfy Real\(\).*shape \(2,\) holds tensor\(nan",
        ),
        (
            (torch.zeros(2), torch.ones(3)),
            ValueError,
            r"parameters of Normal must broadcast.*loc \(2,\), scale \(3,\)",
        ),
        (("0", 1.0), TypeError, "loc of Normal must be a number or a real tensor, not str"),
        ((0.0, torch.ones(2) * 1j), TypeError, "scale of Normal must be .* not torch.complex64"),
        (
            (torch.zeros(2, device="meta"), torch.ones(2)),
            ValueError,
            "one device, but got loc on meta, scale on cpu",
        ),
    ],
)
def test_wrong_parameters_are_refused_by_name(arguments, error, message):
    with pytest.raises(error, match=message):
        Normal(*arguments)


def test_wrong_values_are_refused():
    d = Normal(torch.zeros(2, 3), 1.0)
    with pytest.raises(ValueError, match=r"value of shape \(2,\) does not fit Normal with batch_shape \(2, 3\)"):
        d.log_prob(torch.zeros(2))
    with pytest.raises(ValueError, match=r"shape \(2,\) does not fit Independent .* event_shape \(3,\)"):
        d.to_event(1).log_prob(torch.zeros(2))
    with pytest.raises(TypeError, match="value of Normal must be a real tensor or a number, not list"):
        d.cdf([0.0])
    with pytest.raises(ValueError, match=r"batch_shape \(2, 3\) of Normal cannot be expanded to \(3, 3\)"):
        d.expand((3, 3))
    with pytest.raises(ValueError, match="cannot be expanded"):
        d.expand((1, 3))
    with pytest.raises(ValueError, match=r"value of Normal must satisfy .*holds tensor\(nan"):
        d.log_prob(torch.full((3,), math.nan))


def test_validation_follows_the_librarys_switch_alone():
    before = runtime.set_validation(False)
    try:
        assert bool(Normal(0.0, -1.0).log_prob(torch.tensor(math.nan)).isnan())
        with pytest.raises(ValueError, match="scale of Normal"):
            Normal(0.0, -1.0, validate_args=True)
    finally:
        runtime.set_validation(before)
    torch_before = torch.distributions.Distribution._validate_args
    torch.distributions.Distribution.set_default_validate_args(False)
    try:
        with pytest.raises(ValueError, match="scale of Normal"):
            Normal(0.0, -1.0)
    finally:
        torch.distributions.Distribution.set_default_validate_args(torch_before)
    assert float(Normal(0.0, -1.0, validate_args=False).scale) == -1


def test_numbers_follow_the_tensors_beside_them():
    assert Normal(torch.zeros(2, dtype=torch.float64), 1).scale.dtype == torch.float64
    assert Normal(torch.tensor([0, 1]), 2).loc.dtype == torch.get_default_dtype()
    assert Normal(torch.zeros(2), torch.ones(2, dtype=torch.float64)).loc.dtype == torch.float64


@pytest.mark.parametrize("kind", ["normal", "laplace", "same family", "mixture", "categorical"])
def test_nothing_is_made_on_another_device(kind):
    d = make(kind, torch.zeros(3, device="meta"))
    made = [
        d.sample((2,)),
        d.mean,
        d.variance,
        d.log_prob(d.sample()),
        d.cdf(1.0),
        d.log_survival_function(1.0),
    ]
    if kind in ("normal", "laplace", "categorical"):
        made += [d.icdf(0.3), d.median, d.entropy(), d.kl_divergence(d)]
    assert {t.device.type for t in made} == {"meta"}


def _everything(loc, rho, x):
    scale = torch.nn.functional.softplus(rho)
    p, q = Normal(loc, scale), Laplace(loc, scale)
    total = p.to_event().log_prob(x) + q.log_prob(x).sum() + p.expand((2, 3)).log_prob(x).sum()
    for a, b in ((p, q), (q, p), (p, Normal(0.0, 1.0)), (q, Laplace(0.0, 1.0))):
        total = total + kl_divergence(a, b).sum() + a.cross_entropy(b).sum()
    for d in (p, q):
        total = total + d.log_cdf(x).sum() + d.survival_function(x).sum() + d.icdf(torch.sigmoid(x)).sum()
    categorical = Categorical(logits=loc)
    total = total + categorical.entropy() + categorical.kl_divergence(Categorical(logits=rho))
    mixture = MixtureSameFamily(categorical, p)
    return total + mixture.log_prob(x).sum() + Mixture([p, q]).log_prob(x).sum()


def _arguments(seed):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(3, generator=generator) for _ in range(3))


def test_vmap_and_grad_agree_with_a_loop():
    rows = [_arguments(seed) for seed in range(4)]
    stacked = tuple(torch.stack(column) for column in zip(*rows, strict=True))
    values = torch.vmap(_everything)(*stacked)
    slopes = torch.vmap(torch.func.grad(_everything))(*stacked)
    torch.testing.assert_close(values, torch.stack([_everything(*row) for row in rows]))
    for slope, (loc, rho, x) in zip(slopes, rows, strict=True):
        leaf = loc.clone().requires_grad_()
        torch.testing.assert_close(slope, torch.autograd.grad(_everything(leaf, rho, x), leaf)[0])


def test_a_wrong_parameter_is_found_under_vmap():
    with pytest.raises(ValueError, match="scale of Normal must satisfy"):
        torch.vmap(lambda s: Normal(0.0, s).mean)(torch.tensor([1.0, -1.0]))


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiles_into_one_graph(backend):
    if backend == "inductor" and not (shutil.which("g++") or shutil.which("clang++")):
        pytest.skip("Inductor needs a C++ compiler (g++ or clang++), and none is on the path")
    torch.compiler.reset()
    arguments = _arguments(0)
    compiled = torch.compile(_everything, fullgraph=True, backend=backend)
    torch.testing.assert_close(compiled(*arguments), _everything(*arguments), rtol=1e-5, atol=1e-5)


def test_drawing_compiles_into_one_graph():
    torch.compiler.reset()

    def draw(loc):
        p, q = Normal(loc, 1.0), Laplace(loc, 1.0)
        mixed = MixtureSameFamily(Categorical(logits=loc), p).sample((5,))
        return p.rsample((5,)), q.rsample((5,)), mixed, Mixture([p, q]).sample((5,))

    draws = torch.compile(draw, fullgraph=True, backend="aot_eager")(torch.zeros(3))
    assert [d.shape for d in draws] == [(5, 3), (5, 3), (5,), (5, 3)]
    assert all(len(d.unique()) == d.numel() for d in draws)


def test_log_prob_of_torchs_validation_being_off_does_not_switch_ours_off():
    torch.compiler.reset()
    torch.compile(lambda x: Normal(x, 1.0).log_prob(x), fullgraph=True, backend="eager")(torch.zeros(2))
    with pytest.raises(ValueError, match="scale of Normal"):
        Normal(0.0, 0.0)
