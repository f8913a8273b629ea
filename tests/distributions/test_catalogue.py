"""Facts that hold for every scalar distribution of the catalogue, against its independent reference."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from posterity import kernels
from posterity.distributions import BetaBinomial, Distribution, kl_divergence
from posterity.distributions.expectation import expectation
from posterity.distributions.masses import mass_table
from posterity.distributions.quadrature import gauss_kronrod
from tests.distributions.catalogue import SCALAR
from tests.distributions.catalogue.entry import Entry, ask, parameters
from tests.statistical import FALSE_ALARM, assert_mean

# Relative accuracy of well-conditioned statistics: 25 units of rounding, and what scipy itself reaches.
ACCURACY = {torch.float32: 3e-6, torch.float64: 2e-13}
AT_VALUES = ("prob", "log_prob", "cdf", "log_cdf", "survival_function", "log_survival_function")
NUM_DRAWS = 2000

# Without checks of values: families that have no answer, with the reason.
NO_INFINITY = {"VonMises": "infinity is no angle"}

every = pytest.mark.parametrize("entry", SCALAR, ids=lambda e: e.family.__name__)
both_dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def points(entry: Entry, setting: int, dtype: torch.dtype) -> torch.Tensor:
    """Quantiles of the reference far into both tails, as `dtype` rounds them."""
    exact = entry.exact(setting, dtype)
    if hasattr(exact, "points"):
        x = exact.points
    else:
        levels = np.array(entry.levels)
        with np.errstate(all="ignore"):
            x = np.concatenate([exact.ppf(levels), [exact.median()], exact.isf(levels)])
    x = torch.tensor(np.unique(x), dtype=dtype)
    with np.errstate(all="ignore"):
        density = exact.pmf(x.double().numpy()) if entry.discrete else exact.pdf(x.double().numpy())
        lower, upper = exact.cdf(x.double().numpy()), exact.sf(x.double().numpy())
    smallest = torch.finfo(dtype).tiny
    usable = (density > smallest) & (np.minimum(lower, upper) > smallest) & np.isfinite(density)
    return x[torch.tensor(usable) & x.isfinite() & ((x == 0) | (x.abs() > smallest))]


def references(entry: Entry, setting: int, x: torch.Tensor) -> dict[str, np.ndarray]:
    exact, v = entry.exact(setting, x.dtype), x.double().numpy()
    with np.errstate(all="ignore"):
        log_prob = exact.logpmf(v) if entry.discrete else exact.logpdf(v)
        cdf, sf = exact.cdf(v), exact.sf(v)
        return {
            "prob": np.exp(log_prob),
            "log_prob": log_prob,
            "cdf": cdf,
            "survival_function": sf,
            # The logarithm of what is near 1, from its complement.
            "log_cdf": np.where(cdf > 0.5, np.log1p(-sf), exact.logcdf(v)),
            "log_survival_function": np.where(sf > 0.5, np.log1p(-cdf), exact.logsf(v)),
        }


def reach(entry: Entry, setting: int, x: torch.Tensor) -> np.ndarray:
    """How far a change of all inputs by one unit of rounding moves the point: |x| + |loc|; discrete points stay."""
    loc = entry.settings[setting].get("loc", 0.0)
    return np.zeros(len(x)) if entry.discrete else x.abs().double().numpy() + abs(loc)


def assert_close(actual: torch.Tensor, expected: np.ndarray, allowed: np.ndarray, what: str) -> None:
    error = np.abs(actual.detach().double().numpy() - expected)
    with np.errstate(all="ignore"):
        good = (error <= allowed) | (actual.detach().double().numpy() == expected)
    worst = int(np.argmax(np.where(good, -1, error / allowed)))
    assert good.all(), (
        f"{what}, point {worst}: {float(actual.ravel()[worst])!r} against {expected.ravel()[worst]!r}, an error of "
        f"{float(error.ravel()[worst] / allowed.ravel()[worst]):.3g} times what is allowed"
    )


@every
@both_dtypes
def test_density_and_tails_agree_with_the_reference(entry, dtype):
    for i in range(len(entry.settings)):
        x = points(entry, i, dtype)
        assert len(x) >= (1 if entry.discrete else 6), "the reference offers too few points"
        exact = references(entry, i, x)
        moved = reach(entry, i, x)
        wide = x.double().requires_grad_(not entry.discrete)
        log_prob = entry.make(i).log_prob(wide)
        # The density of a uniform distribution does not depend on the value.
        sloped = log_prob.requires_grad
        slope = torch.autograd.grad(log_prob.sum(), wide)[0].abs().numpy() if sloped else 0.0
        allowed = {
            "log_prob": 1 + np.abs(exact["log_prob"]) + moved * slope,
            "prob": exact["prob"] * (1 + np.abs(exact["log_prob"]) + moved * slope),
            "cdf": exact["cdf"] + moved * exact["prob"],
            "survival_function": exact["survival_function"] + moved * exact["prob"],
            "log_cdf": np.abs(exact["log_cdf"]) + moved * exact["prob"] / exact["cdf"],
            "log_survival_function": np.abs(exact["log_survival_function"])
            + moved * exact["prob"] / exact["survival_function"],
        }
        d = entry.make(i, dtype=dtype)
        for name in AT_VALUES:
            if name in entry.refused:
                continue
            value = getattr(d, name)(x)
            assert value.dtype == dtype, name
            tolerance = entry.factor(name, dtype) * ACCURACY[dtype] * allowed[name]
            # A probability from its logarithm, or above one half, has the conditioning of a tail at best.
            if name in ("cdf", "survival_function"):
                with np.errstate(all="ignore"):
                    tolerance = tolerance * (1 + np.abs(np.log(exact[name])))
            assert_close(value, exact[name], tolerance, f"{name} of setting {i} at {x.tolist()}")


@every
@both_dtypes
def test_quantiles_agree_with_the_reference(entry, dtype):
    for i in range(len(entry.settings)):
        d, x = entry.make(i, dtype=dtype), points(entry, i, dtype)
        exact = references(entry, i, x)
        if entry.discrete:
            # The middle of each step, where the step is wider than rounding.
            levels = torch.tensor(exact["cdf"] - 0.5 * exact["prob"], dtype=dtype)
            clear = torch.tensor(exact["prob"] > 1e3 * torch.finfo(dtype).eps * exact["cdf"])
            assert bool(clear.any())
            assert d.icdf(levels[clear]).double().tolist() == x[clear].double().tolist()
            continue
        levels = torch.tensor(exact["cdf"], dtype=dtype)
        resolved = levels < 1 - 1e2 * torch.finfo(dtype).eps
        found = d.icdf(levels)
        assert found.dtype == dtype
        allowed = reach(entry, i, x) + exact["cdf"] * (1 + np.abs(np.log(exact["cdf"]))) / exact["prob"]
        keep = resolved.numpy()
        tolerance = entry.factor("icdf", dtype) * ACCURACY[dtype] * allowed[keep]
        assert_close(found[resolved], x[resolved].double().numpy(), tolerance, f"icdf of setting {i}")


@every
def test_ends_of_the_support_have_all_and_nothing(entry):
    d = entry.make(0)
    for level, cdf in ((0.0, 0.0), (1.0, 1.0)):
        if {"icdf", "cdf"} & set(entry.refused):
            continue
        end = d.icdf(level)
        if not entry.discrete:
            assert float(d.cdf(end)) == cdf
            assert float(d.survival_function(end)) == 1 - cdf
    if entry.outside is not None and "cdf" not in entry.refused:
        below = entry.outside < float(points(entry, 0, torch.float64)[0])
        assert float(d.cdf(float(entry.outside))) == (0 if below else 1)
        assert float(d.survival_function(float(entry.outside))) == (1 if below else 0)


@every
@both_dtypes
def test_without_checks_nothing_lies_at_infinity(entry, dtype, no_validation):
    if entry.family.__name__ in NO_INFINITY:
        return
    for i in range(len(entry.settings)):
        d = entry.make(i, dtype=dtype)
        for value in (torch.inf, -torch.inf):
            assert float(d.log_prob(torch.tensor(value, dtype=dtype))) == -torch.inf, (i, value)


@every
def test_without_checks_what_lies_outside_the_support_is_impossible(entry, no_validation):
    if entry.outside is None:
        return
    d = entry.make(0)
    assert float(d.log_prob(torch.tensor(entry.outside, dtype=torch.float64))) == -torch.inf


@every
@both_dtypes
def test_without_checks_nan_stays_nan(entry, dtype, no_validation):
    for i in range(len(entry.settings)):
        d = entry.make(i, dtype=dtype)
        for name in AT_VALUES:
            if name not in entry.refused:
                assert math.isnan(float(getattr(d, name)(torch.tensor(math.nan, dtype=dtype)))), (i, name)


@every
@both_dtypes
def test_gradients_far_out_are_never_nan(entry, dtype):
    if entry.discrete:
        return
    for i in range(len(entry.settings)):
        given = {n: v.requires_grad_() for n, v in parameters([entry.settings[i]], dtype).items()}
        d = entry.build(given)
        far = 1e30 if dtype == torch.float32 else 1e200
        for x in (torch.tensor(far, dtype=dtype), torch.tensor(-far, dtype=dtype)):
            if not bool(d.support.check(x)):
                continue
            x.requires_grad_()
            slopes = torch.autograd.grad(d.log_prob(x), [x, *given.values()], allow_unused=True)
            for name, slope in zip(["value", *given], slopes, strict=True):
                assert slope is None or not bool(slope.isnan().any()), (i, float(x), name)


@every
@both_dtypes
def test_moments_and_entropy_agree_with_the_reference(entry, dtype):
    d = entry.make(dtype=dtype)
    exact = [entry.exact(i, dtype) for i in range(len(entry.settings))]
    spread = np.array([e.var() for e in exact]) ** 0.5
    spread = np.where(np.isfinite(spread), spread, 0)
    means = np.array([float(e.mean()) for e in exact])
    locs = np.array([np.abs(s.get("loc", 0.0)) for s in entry.settings])
    expected = {
        "mean": (means, np.abs(means) + spread + locs),
        "variance": (np.array([float(e.var()) for e in exact]),) * 2,
        "stddev": (np.array([float(e.var()) for e in exact]) ** 0.5,) * 2,
        "entropy": (np.array([float(e.entropy()) for e in exact]), 1.0),
    }
    for name, (value, size) in expected.items():
        if name in entry.refused:
            continue
        ours = getattr(d, name)
        ours = ours() if name == "entropy" else ours
        assert ours.shape == d.batch_shape, name
        closed = d._has_closed_form("variance" if name == "stddev" else name)
        # What is integrated states 1e-9; scipy integrates the entropy itself.
        floor = 1e-8 if name == "entropy" or not closed else 0.0
        tolerance = entry.factor(name, dtype) * max(
            4 * ACCURACY[dtype], floor, 0 if closed or dtype == torch.float64 else 5e-5
        )
        unusual = ~np.isfinite(value)
        same = np.where(np.isnan(value), np.isnan(ours.double().numpy()), ours.double().numpy() == value)
        assert same[unusual].all(), name
        if unusual.all():
            continue
        allowed = np.broadcast_to(tolerance * (np.abs(value) + size), value.shape)
        assert_close(ours[torch.tensor(~unusual)], value[~unusual], allowed[~unusual], name)


@every
def test_median_and_mode_are_what_they_are_called(entry):
    d = entry.make()
    for i in range(len(entry.settings)):
        one = entry.make(i)
        if "median" not in entry.refused:
            median = d.median[i]
            assert float(one.cdf(median)) >= 0.5 * (1 - 1e-12)
            assert float(one.survival_function(median)) <= 0.5 * (1 + 1e-12)
        if "mode" not in entry.refused:
            mode = d.mode[i]
            near = [mode] if entry.discrete else [mode + h * one.icdf(0.75).sub(one.icdf(0.25)) for h in (-0.01, 0.01)]
            x = torch.cat([points(entry, i, torch.float64), torch.stack(near).double()])
            inside = one.support.check(x)
            assert float(one.log_prob(x[inside]).max()) <= float(one.log_prob(mode)) + 1e-9


@every
def test_mass_is_one_in_all(entry):
    d = entry.make()
    if entry.discrete:
        total = mass_table(d)[1].sum(0)
    else:
        lower, upper = d.icdf(d._level(0.0)), d.icdf(d._level(1.0))
        total = gauss_kronrod(d.prob, d._landmarks().sort(0).values, lower, upper)[0]
    tolerance = entry.factor("mass") * 1e-8
    torch.testing.assert_close(total, torch.ones_like(total), rtol=tolerance, atol=0)


@every
@pytest.mark.parametrize("source", ["global", "generator", "key"])
def test_draws_follow_the_distribution(entry, source):
    generator = {"global": None, "generator": torch.Generator().manual_seed(3), "key": kernels.Key(3)}[source]
    draws = entry.make().sample((NUM_DRAWS,), generator=generator)
    assert not draws.requires_grad
    for i in range(len(entry.settings)):
        exact, x = entry.exact(i), draws[:, i].double().numpy()
        if not entry.discrete:
            # In the middle of the interval of numbers that round to the draw.
            assert stats.kstest(x, exact.cdf, method="asymp").pvalue > FALSE_ALARM
            continue
        cuts = np.unique(exact.ppf(np.linspace(0.02, 0.98, 25)))
        expected = np.diff(np.concatenate([[0], exact.cdf(cuts), [1]])) * NUM_DRAWS
        counts = np.bincount(np.searchsorted(cuts, x), minlength=len(cuts) + 1)
        assert (counts[expected <= 0] == 0).all()
        kept = expected > 0.01
        statistic = ((counts - expected)[kept] ** 2 / expected[kept]).sum()
        if kept.sum() > 1:
            assert stats.chi2.sf(statistic, kept.sum() - 1) > FALSE_ALARM


@every
def test_a_generator_decides_the_draws_alone(entry):
    d = entry.make(0).expand((3,))
    before = torch.get_rng_state()
    first, second, other = (d.sample((20,), generator=torch.Generator().manual_seed(seed)) for seed in (11, 11, 12))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(d.sample((20,), generator=kernels.Key(1)), d.sample((20,), generator=kernels.Key(1)))


@every
def test_gradients_of_draws_are_those_of_quantiles(entry):
    if not entry.family.has_rsample:
        with pytest.raises(NotImplementedError, match="no reparameterised draws"):
            entry.make(0).rsample()
        return
    given = {n: v.requires_grad_() for n, v in parameters([entry.settings[0]], torch.float64).items()}
    d = entry.build(given)
    if not entry.pathwise:
        draws = d.expand((NUM_DRAWS,)).rsample(generator=torch.Generator().manual_seed(0))
        center, width = d.median.detach(), (d.icdf(0.75) - d.icdf(0.25)).detach()

        def bounded(x):
            return torch.sigmoid((x - center) / width)

        for name, parameter in given.items():
            leaves = {n: v.detach().clone() for n, v in given.items()}
            leaves[name] = leaves[name].expand(NUM_DRAWS).clone().requires_grad_()
            each = entry.build(leaves).rsample(generator=torch.Generator().manual_seed(0))
            (slopes,) = torch.autograd.grad(bounded(each).sum(), leaves[name])
            (exact,) = torch.autograd.grad(expectation(d, bounded), parameter)
            assert_mean(slopes, exact)
        assert draws.requires_grad
        return
    draws = d.rsample((5,), generator=torch.Generator().manual_seed(0))
    x = draws.detach().numpy()
    for name, parameter in given.items():
        slopes = torch.stack([torch.autograd.grad(v, parameter, retain_graph=True)[0] for v in draws])
        step = 1e-5 * max(abs(entry.settings[0][name]), 1e-3)
        shifted = [entry.reference(**{**entry.settings[0], name: entry.settings[0][name] + s * step}) for s in (-1, 1)]
        # -(dF / d parameter) / density; the difference quotient has an error near 1e-10 of each.
        exact = -(shifted[1].cdf(x) - shifted[0].cdf(x)) / (2 * step) / entry.exact(0).pdf(x)
        tolerance = entry.factor("rsample") * 1e-5
        torch.testing.assert_close(
            slopes, torch.tensor(exact), rtol=tolerance, atol=tolerance * float(slopes.detach().abs().max())
        )


@every
def test_gradients_of_statistics_agree_with_finite_differences(entry):
    given = tuple(parameters([entry.settings[0]], torch.float64).values())
    names = list(entry.settings[0])
    for name, v in zip(names, given, strict=True):
        # A little beside a number of trials there is no distribution of counts.
        v.requires_grad_((entry.family, name) != (BetaBinomial, "total_count"))
    x = points(entry, 0, torch.float64)
    x = x[len(x) // 2 :][:2].clone()
    if not entry.discrete:
        x.requires_grad_()
    for name in ("log_prob", "cdf", "log_survival_function"):
        if name not in entry.refused:
            assert torch.autograd.gradcheck(
                lambda x, *p, name=name: getattr(
                    entry.build(dict(zip(names, p, strict=True)), validate_args=False), name
                )(x),
                (x, *given),
                rtol=1e-3 * entry.factor("gradient"),
            ), name


@every
def test_compiles_and_maps(entry):
    torch.compiler.reset()
    kernel_key = kernels.Key(5)

    def both(tensors, x):
        d = entry.build(tensors)
        return d.log_prob(x), d.sample((4,), generator=kernel_key)

    tensors = parameters(entry.settings, torch.float32, stack=True)
    x = torch.stack([points(entry, i, torch.float32)[:2][-1] for i in range(len(entry.settings))])
    compiled = torch.compile(both, fullgraph=True, backend="aot_eager")(tensors, x)
    for ours, eager in zip(compiled, both(tensors, x), strict=True):
        torch.testing.assert_close(ours, eager, rtol=1e-5, atol=1e-6)
    mapped = torch.vmap(
        lambda t, x: (entry.build(t).log_prob(x), entry.build(t).sample((50,))), randomness="different"
    )(tensors, x)
    torch.testing.assert_close(mapped[0], compiled[0], rtol=1e-5, atol=1e-6)
    same = torch.vmap(lambda t: entry.build(t).sample((50,)), randomness="different")(
        {n: v[:1].expand(2, *v.shape[1:]) for n, v in tensors.items()}
    )
    assert mapped[1].shape == (len(entry.settings), 50)
    assert not torch.equal(same[0], same[1])


@every
def test_batches_expand_and_become_events(entry):
    d, num = entry.make(), len(entry.settings)
    assert (d.batch_shape, d.event_shape) == ((num,), ())
    x = torch.stack([points(entry, i, torch.float64)[0] for i in range(num)])
    together = d.log_prob(x)
    torch.testing.assert_close(together, torch.stack([entry.make(i).log_prob(x[i]) for i in range(num)]))
    wide = d.expand((2, num))
    assert type(wide) is entry.family
    torch.testing.assert_close(wide.log_prob(x), together.expand(2, num))
    assert wide.sample((3,)).shape == (3, 2, num)
    event = d.to_event(1)
    assert (event.batch_shape, event.event_shape) == ((), (num,))
    torch.testing.assert_close(event.log_prob(x), together.sum())
    mask = torch.arange(num) == 0
    masked = d.mask(mask)
    torch.testing.assert_close(masked.log_prob(torch.where(mask, x, torch.nan)), torch.where(mask, together, 0))
    for name in AT_VALUES:
        if name not in entry.refused:
            assert getattr(d, name)(x).shape == (num,)
            assert getattr(d, name)(x.expand(4, num)).shape == (4, num)
    for name in ("mean", "variance", "stddev", "mode", "median"):
        if name not in entry.refused:
            assert torch.equal(getattr(wide, name).nan_to_num(), getattr(d, name).nan_to_num().expand(2, num)), name


@every
def test_an_empty_batch_is_no_error(entry):
    d = entry.make(0).expand((0,))
    built = entry.build({n: v.expand(0, *v.shape) for n, v in parameters([entry.settings[0]], torch.float64).items()})
    for empty in (d, built):
        assert empty.sample((2,)).shape == (2, 0)
        assert empty.log_prob(torch.zeros(0)).shape == (0,)
        assert empty.mean.shape == (0,)


@every
def test_it_is_torchs_and_survives_pickling_and_copying(entry):
    d = entry.make()
    torchs = getattr(torch.distributions, entry.family.__name__, None)
    composite = torchs is not None and issubclass(torchs, torch.distributions.TransformedDistribution)
    assert isinstance(d, torch.distributions.Distribution if torchs is None or composite else torchs)
    assert isinstance(d, Distribution)
    x = torch.stack([points(entry, i, torch.float64)[0] for i in range(len(entry.settings))])
    for twin in (pickle.loads(pickle.dumps(d)), copy.deepcopy(d)):
        assert torch.equal(twin.log_prob(x), d.log_prob(x))
    assert entry.family.__name__ in repr(d)


@every
def test_nothing_is_made_on_another_device(entry):
    d = entry.make(device="meta")
    x = d.sample((2,))
    made = [
        x,
        d.log_prob(x),
        *(getattr(d, name)(x) for name in ("cdf", "survival_function") if d._has_closed_form(name)),
    ]
    made += [
        getattr(d, name) for name in ("mean", "variance") if d._has_closed_form(name) and name not in entry.refused
    ]
    assert {t.device.type for t in made} == {"meta"}


@every
def test_wrong_parameters_and_values_are_refused_by_name(entry):
    assert set(entry.bad) == set(entry.settings[0]), "every parameter needs a bad value"
    for name, value in entry.bad.items():
        bad = {**entry.settings[0], name: value}
        with pytest.raises(ValueError, match=name):
            entry.build(parameters([bad], torch.float64))
        entry.build(parameters([bad], torch.float64), validate_args=False)
    d = entry.make(0)
    if entry.outside is not None:
        with pytest.raises(ValueError, match=f"value of {entry.family.__name__}"):
            d.log_prob(torch.tensor(entry.outside))
    if not entry.discrete:
        with pytest.raises(ValueError, match=f"value of {entry.family.__name__}"):
            d.log_prob(torch.tensor(math.nan))
    if "icdf" not in entry.refused:
        with pytest.raises(ValueError, match=f"value of icdf of {entry.family.__name__}"):
            d.icdf(torch.tensor(1.5))


@every
def test_what_is_undefined_says_why(entry):
    for name, reason in entry.refused.items():
        with pytest.raises(NotImplementedError, match=reason):
            ask(entry.make(0), name)


@every
def test_fit_maximises_the_likelihood(entry):
    if entry.fit is None:
        assert "fit" in entry.refused
        return
    d = entry.make(0).expand((2,))
    data = d.sample((120,), generator=torch.Generator().manual_seed(8))
    counts = torch.arange(120) % 3
    fitted = entry.family.fit(data, **entry.fit)
    assert fitted.batch_shape == (2,)
    best = fitted.log_prob(data).mean(0)
    assert bool((best >= d.log_prob(data).mean(0) - 1e-6).all())
    names = [n for n in entry.settings[0] if n in fitted.__dict__ and n not in entry.fit]
    assert names
    own = {n: fitted.__dict__[n] for n in entry.settings[0] if n in fitted.__dict__}
    for name in names:
        for value in _neighbours(fitted.__dict__[name], entry.family.arg_constraints[name]):
            other = entry.build({**own, name: value})
            if bool(other.support.check(data).all()):
                assert bool((other.log_prob(data).mean(0) <= best + entry.factor("fit") * 1e-7).all()), name
    weighted = entry.family.fit(data, weights=counts, **entry.fit)
    repeated = entry.family.fit(data.repeat_interleave(counts, dim=0), **entry.fit)
    for name in names:
        torch.testing.assert_close(
            getattr(weighted, name), getattr(repeated, name), rtol=1e-5 * entry.factor("fit"), atol=1e-7
        )


@every
def test_fit_refuses_what_is_no_data(entry):
    if entry.fit is None:
        return
    name = entry.family.__name__
    data = entry.make(0).sample((6,))
    with pytest.raises(ValueError, match=f"data of {name}.fit must hold draws"):
        entry.family.fit(data[:0], **entry.fit)
    if not entry.discrete:
        with pytest.raises(ValueError, match=f"data of {name}.fit must be finite"):
            entry.family.fit(torch.full((3,), math.nan), **entry.fit)
    if entry.outside is not None:
        with pytest.raises(ValueError, match=rf"data of {name}"):
            entry.family.fit(torch.full((3,), entry.outside).to(data.dtype), **{**entry.fit, **_limits(entry)})
    with pytest.raises(ValueError, match=rf"weights of {name}.fit must have shape \(6,\)"):
        entry.family.fit(data, weights=torch.ones(5), **entry.fit)
    for bad in (-torch.ones(6), torch.zeros(6), torch.full((6,), math.nan)):
        with pytest.raises(ValueError, match=f"weights of {name}.fit must be non-negative"):
            entry.family.fit(data, weights=bad, **entry.fit)


@every
def test_kl_is_the_integral_of_its_definition(entry):
    p = entry.make(0)
    itself = kl_divergence(p, entry.make(0))
    assert abs(float(itself)) <= 1e-9
    if entry.kl is None:
        return
    p, q = (entry.make(i) for i in entry.kl)
    exact = expectation(p, lambda x: p.log_prob(x) - q.log_prob(x), others=(q,))
    tolerance = 1e-7 * entry.factor("kl")
    torch.testing.assert_close(p.kl_divergence(q), exact, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(p.cross_entropy(q), exact + p.entropy(), rtol=tolerance, atol=tolerance)


shapes = st.lists(st.integers(1, 3), max_size=2).map(tuple)
several = [e for e in SCALAR if len(e.settings[0]) > 1 and all(isinstance(v, float) for v in e.settings[0].values())]


@given(entry=st.sampled_from(several), data=st.data())
@settings(max_examples=60 + 2 * len(several))
def test_parameters_broadcast_as_tensors_do(entry, data):
    whole = data.draw(st.lists(st.integers(0, 3), max_size=3).map(tuple))
    tensors = {}
    for name, value in entry.settings[0].items():
        shape = [1 if data.draw(st.booleans()) else size for size in whole][data.draw(st.integers(0, len(whole))) :]
        tensors[name] = torch.full(shape, value)
    d = entry.build(tensors)
    expected = torch.broadcast_shapes(*(t.shape for t in tensors.values()))
    assert d.batch_shape == expected
    assert all(getattr(d, name).shape == expected for name in tensors)


def _neighbours(value: torch.Tensor, constraint: torch.distributions.constraints.Constraint) -> list[torch.Tensor]:
    """Values near by that satisfy the constraint."""
    if constraint is torch.distributions.constraints.simplex:
        factors = torch.linspace(0.95, 1.05, value.shape[-1], dtype=value.dtype)
        return [v / v.sum(-1, keepdim=True) for v in (value * factors, value * factors.flip(0))]
    if constraint.is_discrete:
        return [value - 1, value + 1]
    onto = torch.distributions.biject_to(constraint)
    free = onto.inv(value.double())
    return [onto(free + shift * (1 + free.abs())).to(value.dtype) for shift in (-0.03, 0.03)]


def _limits(entry: Entry) -> dict[str, int]:
    return {"num_classes": 3} if entry.family.__name__ == "Categorical" else {}
