"""Facts that hold for every distribution over vectors or matrices of the catalogue."""

import copy
import pickle

import numpy as np
import pytest
import torch

from posterity import kernels
from posterity.distributions import Distribution, kl_divergence, kl_monte_carlo
from tests.distributions.catalogue import MULTIVARIATE
from tests.distributions.catalogue.entry import ask, parameters
from tests.statistical import assert_mean, assert_variance, quantile

ACCURACY = {torch.float32: 2e-5, torch.float64: 1e-11}
NUM_DRAWS = 4000

every = pytest.mark.parametrize("entry", MULTIVARIATE, ids=lambda e: e.family.__name__)


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_log_density_agrees_with_the_reference(entry, dtype):
    x = entry.points(dtype)
    together = entry.make(dtype=dtype).log_prob(x.unsqueeze(1))
    assert together.shape == (len(x), len(entry.settings))
    for i, setting in enumerate(entry.settings):
        rounded = {n: torch.tensor(v, dtype=dtype).double().numpy() for n, v in setting.items()}
        exact = np.array([entry.log_prob(v.double().numpy(), **rounded) for v in x])
        ours = entry.make(i, dtype=dtype).log_prob(x)
        assert ours.dtype == dtype
        tolerance = entry.factor("log_prob") * ACCURACY[dtype]
        for value in (ours, together[:, i]):
            torch.testing.assert_close(value.double(), torch.tensor(exact), rtol=tolerance, atol=tolerance)


@every
def test_moments_and_entropy_agree_with_the_reference(entry):
    d = entry.make()
    for name, exact in (("mean", entry.mean), ("entropy", entry.entropy)):
        if exact is None:
            assert name in entry.refused, f"{name} needs a reference or a reason for its refusal"
            continue
        ours = getattr(d, name)
        ours = ours() if name == "entropy" else ours
        expected = np.stack([exact(**{n: np.array(v) for n, v in s.items()}) for s in entry.settings])
        tolerance = entry.factor(name) * 1e-8
        torch.testing.assert_close(ours, torch.tensor(expected, dtype=torch.float64), rtol=tolerance, atol=tolerance)


@every
@pytest.mark.parametrize("source", ["global", "generator", "key"])
def test_draws_have_the_mean_variance_and_entropy(entry, source):
    generator = {"global": None, "generator": torch.Generator().manual_seed(3), "key": kernels.Key(3)}[source]
    d = entry.make()
    draws = d.sample((NUM_DRAWS,), generator=generator)
    assert draws.shape == (NUM_DRAWS, *d.batch_shape, *d.event_shape)
    assert not draws.requires_grad
    assert bool(d.support.check(draws).all())
    for name, judge in (("mean", assert_mean), ("variance", assert_variance)):
        if name not in entry.refused:
            judge(draws, getattr(d, name))
    if "entropy" not in entry.refused:
        assert_mean(-d.log_prob(draws), d.entropy())


@every
def test_a_generator_decides_the_draws_alone(entry):
    d = entry.make()
    before = torch.get_rng_state()
    first, second, other = (d.sample((5,), generator=torch.Generator().manual_seed(seed)) for seed in (11, 11, 12))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@every
def test_gradients_of_draws_are_right_in_the_mean(entry):
    if not entry.family.has_rsample:
        with pytest.raises(NotImplementedError, match="no reparameterised draws"):
            entry.make().rsample()
        return
    # Stein's identity for the score: the derivative of E[f(X)] by a parameter is E[f(X) d log p], and that of draws.
    weights = torch.linspace(-1, 1, entry.make(0).event_shape.numel(), dtype=torch.float64)
    for name, value in parameters([entry.settings[0]], torch.float64).items():
        each = {
            n: v.expand(NUM_DRAWS, *v.shape).clone() for n, v in parameters([entry.settings[0]], torch.float64).items()
        }
        each[name].requires_grad_()
        d = entry.build(each)
        draws = d.rsample(generator=torch.Generator().manual_seed(0))

        def bounded(x):
            return torch.tanh(x.reshape(NUM_DRAWS, -1) @ weights)

        (pathwise,) = torch.autograd.grad(bounded(draws).sum(), each[name])
        fixed = draws.detach()
        baseline = bounded(fixed).mean()
        (score,) = torch.autograd.grad(
            ((bounded(fixed) - baseline) * entry.build(each).log_prob(fixed)).sum(), each[name]
        )
        gap = (pathwise - score).reshape(NUM_DRAWS, -1)
        error = gap.std(0) / NUM_DRAWS**0.5
        # The baseline, made of the same draws, biases by one part in their number.
        assert bool(
            (
                gap.mean(0).abs()
                <= quantile(gap.shape[1]) * error + 1e-9 + score.reshape(NUM_DRAWS, -1).abs().mean(0) / NUM_DRAWS
            ).all()
        ), name
        assert value.shape == pathwise.shape[1:]


@every
def test_compiles_and_maps(entry):
    torch.compiler.reset()
    kernel_key = kernels.Key(5)

    def both(tensors, x):
        d = entry.build(tensors)
        return d.log_prob(x), d.sample((4,), generator=kernel_key)

    tensors = parameters(entry.settings, torch.float32, stack=True)
    x = entry.points(torch.float32)[:1]
    compiled = torch.compile(both, fullgraph=True, backend="aot_eager")(tensors, x)
    for ours, eager in zip(compiled, both(tensors, x), strict=True):
        torch.testing.assert_close(ours, eager, rtol=1e-4, atol=1e-5)
    log_prob, draws = torch.vmap(
        lambda t: (entry.build(t).log_prob(x[0]), entry.build(t).sample((3,))), randomness="different"
    )({n: v[:1].expand(2, *v.shape[1:]) for n, v in tensors.items()})
    torch.testing.assert_close(log_prob, compiled[0][:1].expand(2), rtol=1e-4, atol=1e-5)
    assert not torch.equal(draws[0], draws[1])


@every
def test_batches_expand_and_become_events(entry):
    d, num, x = entry.make(), len(entry.settings), entry.points()
    event = x.shape[1:]
    assert (d.batch_shape, d.event_shape) == ((num,), event)
    wide = d.expand((2, num))
    torch.testing.assert_close(wide.log_prob(x[0]), d.log_prob(x[0]).expand(2, num))
    assert wide.sample((3,)).shape == (3, 2, num, *event)
    assert wide.to_event(1).event_shape == (num, *event)
    torch.testing.assert_close(wide.to_event(1).log_prob(x[0].expand(num, *event)), d.log_prob(x[0]).sum().expand(2))
    masked = d.mask(torch.arange(num) == 0).log_prob(x[0])
    torch.testing.assert_close(masked, torch.where(torch.arange(num) == 0, d.log_prob(x[0]), 0))
    one = entry.make(0)
    for empty in (
        one.expand((0,)),
        entry.build({n: v.expand(0, *v.shape) for n, v in parameters([entry.settings[0]], torch.float64).items()}),
    ):
        assert empty.sample((2,)).shape == (2, 0, *event)
        assert empty.log_prob(x[0].expand(0, *event)).shape == (0,)


@every
def test_it_is_torchs_and_survives_pickling_and_copying(entry):
    d = entry.make()
    torchs = getattr(torch.distributions, entry.family.__name__, None)
    composite = torchs is not None and issubclass(torchs, torch.distributions.TransformedDistribution)
    assert isinstance(d, torch.distributions.Distribution if torchs is None or composite else torchs)
    assert isinstance(d, Distribution)
    x = entry.points()[0]
    for twin in (pickle.loads(pickle.dumps(d)), copy.deepcopy(d)):
        assert torch.equal(twin.log_prob(x), d.log_prob(x))
    assert entry.make(device="meta").log_prob(entry.points().to("meta")[0]).device.type == "meta"


@every
def test_wrong_parameters_and_values_are_refused_by_name(entry):
    for name, value in entry.bad.items():
        with pytest.raises(ValueError, match=name):
            entry.build(parameters([{**entry.settings[0], name: value}], torch.float64))
    if entry.outside is not None:
        with pytest.raises(ValueError, match=f"value of {entry.family.__name__}"):
            entry.make(0).log_prob(torch.tensor(entry.outside, dtype=torch.float64))


@every
def test_what_is_undefined_says_why(entry):
    d = entry.make(0)
    for name in ("cdf", "survival_function", "icdf"):
        with pytest.raises(NotImplementedError, match="vectors have no order"):
            getattr(d, name)(entry.points()[0])
    with pytest.raises(NotImplementedError, match="vectors have no order"):
        _ = d.median
    for name, reason in entry.refused.items():
        if name != "kl":
            with pytest.raises(NotImplementedError, match=reason):
                ask(d, name)


@every
def test_fit_is_at_least_as_likely_as_the_truth(entry):
    if entry.fit is None:
        assert "fit" in entry.refused
        return
    d = entry.make(0).expand((2,))
    data = d.sample((200,), generator=torch.Generator().manual_seed(8))
    fitted = entry.family.fit(data, **entry.fit)
    assert bool((fitted.log_prob(data).mean(0) >= d.log_prob(data).mean(0) - 1e-6).all())
    counts = torch.arange(200) % 3
    weighted = entry.family.fit(data, weights=counts, **entry.fit)
    repeated = entry.family.fit(data.repeat_interleave(counts, dim=0), **entry.fit)
    tolerance = 1e-5 * entry.factor("fit")
    torch.testing.assert_close(weighted.log_prob(data), repeated.log_prob(data), rtol=tolerance, atol=tolerance)


@every
def test_kl_agrees_with_draws(entry):
    if "kl" in entry.refused:
        return
    p, q = entry.make(0), entry.make(1)
    assert abs(float(kl_divergence(p, entry.make(0)))) <= 1e-9
    value, error = kl_monte_carlo(p, q, NUM_DRAWS, torch.Generator().manual_seed(1))
    assert abs(float(value - p.kl_divergence(q))) <= quantile() * float(error)
