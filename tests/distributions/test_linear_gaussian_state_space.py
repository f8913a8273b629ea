"""Linear Gaussian state-space models against the dense joint normal distribution of states and observations."""

import pytest
import torch

from posterity import kernels
from posterity.distributions import LinearGaussianStateSpace, Normal
from tests.distributions.checks import assert_global_stream_untouched
from tests.statistical import assert_mean, assert_variance

td = torch.distributions
STEPS, STATE, SEEN = 6, 2, 3
NAMES = ("transition_matrix", "transition_noise", "observation_matrix", "observation_noise")


def parameters(time_varying=False, batch=(2,), steps=STEPS):
    generator = torch.Generator().manual_seed(3)

    def randn(*shape):
        return torch.randn(*batch, *shape, generator=generator, dtype=torch.float64)

    before, all_of_them = ((steps - 1,), (steps,)) if time_varying else ((), ())

    def root(*shape):
        return randn(*shape).tril(-1) * 0.3 + 0.5 * torch.eye(shape[-1], dtype=torch.float64)

    return {
        "f": randn(*before, STATE, STATE) * 0.5,
        "drift": randn(*before, STATE),
        "q": root(*before, STATE, STATE),
        "h": randn(*all_of_them, SEEN, STATE),
        "shift": randn(*all_of_them, SEEN),
        "r": root(*all_of_them, SEEN, SEEN),
        "loc": randn(STATE),
        "root": root(STATE, STATE),
    }


def build(p, steps=STEPS, time_varying=False):
    return LinearGaussianStateSpace(
        steps,
        p["f"],
        td.MultivariateNormal(p["drift"], scale_tril=p["q"], validate_args=False),
        p["h"],
        td.MultivariateNormal(p["shift"], scale_tril=p["r"], validate_args=False),
        td.MultivariateNormal(p["loc"], scale_tril=p["root"], validate_args=False),
        NAMES if time_varying else (),
    )


def dense(p, batch, time_varying=False):
    """Mean and covariance of all states and all observations of one element of the batch, from the equations."""
    p = {name: value[batch] for name, value in p.items()}

    def at(name, t):
        return p[name][t] if time_varying else p[name]

    # Each state is a linear map of (x_0's noise, w_0, ...), each observation of that and its own noise.
    size = STATE * STEPS + SEEN * STEPS
    mean, rows = p["loc"], torch.zeros(STATE, size, dtype=torch.float64)
    rows[:, :STATE] = p["root"]
    state_means, state_rows, seen_means, seen_rows = [mean], [rows], [], []
    for t in range(STEPS - 1):
        mean = at("f", t) @ mean + at("drift", t)
        rows = at("f", t) @ rows
        rows[:, STATE * (t + 1) : STATE * (t + 2)] = at("q", t)
        state_means.append(mean)
        state_rows.append(rows)
    for t in range(STEPS):
        seen_means.append(at("h", t) @ state_means[t] + at("shift", t))
        rows = at("h", t) @ state_rows[t]
        start = STATE * STEPS + SEEN * t
        rows[:, start : start + SEEN] = at("r", t)
        seen_rows.append(rows)
    x_mean, x_rows, y_mean, y_rows = (torch.cat(v) for v in (state_means, state_rows, seen_means, seen_rows))
    return x_mean, x_rows @ x_rows.mT, y_mean, y_rows @ y_rows.mT, x_rows @ y_rows.mT


@pytest.fixture(params=[False, True], ids=["constant", "varying"])
def case(request):
    p = parameters(request.param)
    d = build(p, time_varying=request.param)
    y = d.sample((4,), generator=kernels.Key(0))
    return d, y, [dense(p, b, request.param) for b in range(2)], p, request.param


def test_the_density_is_that_of_the_dense_normal(case):
    d, y, exact, _, _ = case
    assert (d.batch_shape, d.event_shape, y.shape) == ((2,), (STEPS, SEEN), (4, 2, STEPS, SEEN))
    for b, (_, _, mean, covariance, _) in enumerate(exact):
        joint = td.MultivariateNormal(mean, covariance)
        torch.testing.assert_close(d.log_prob(y)[:, b], joint.log_prob(y[:, b].flatten(1)), rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(d.entropy()[b], joint.entropy())
        torch.testing.assert_close(d.mean[b].flatten(), mean)
        torch.testing.assert_close(d.variance[b].flatten(), covariance.diagonal())
        torch.testing.assert_close(d.mode, d.mean)


@pytest.mark.parametrize("mask", [None, [True, False, True, True, False, False]])
def test_filtering_and_smoothing_condition_the_dense_normal(case, mask):
    d, y, exact, _, _ = case
    missing = None if mask is None else torch.tensor(mask)
    given = y if missing is None else torch.where(missing[:, None], torch.nan, y)
    filtered, smoothed = d.filter(given, missing), d.smooth(given, missing)
    seen_steps = [t for t in range(STEPS) if mask is None or not mask[t]]
    for b, (x_mean, x_cov, y_mean, y_cov, cross) in enumerate(exact):
        for found, until in ((filtered, lambda t: t), (smoothed, lambda t: STEPS - 1)):
            for t in range(STEPS):
                kept = [SEEN * s + i for s in seen_steps if s <= until(t) for i in range(SEEN)]
                own = slice(STATE * t, STATE * (t + 1))
                gain = torch.linalg.solve(y_cov[kept][:, kept], cross[own][:, kept].mT).mT
                residual = y[:, b].flatten(1)[:, kept] - y_mean[kept]
                torch.testing.assert_close(found.mean[:, b, t], x_mean[own] + residual @ gain.mT, rtol=1e-8, atol=1e-9)
                covariance = x_cov[own, own] - gain @ cross[own][:, kept].mT
                torch.testing.assert_close(
                    found.covariance[:, b, t], covariance.expand(4, STATE, STATE), rtol=1e-8, atol=1e-9
                )
        kept = [SEEN * s + i for s in seen_steps for i in range(SEEN)]
        joint = td.MultivariateNormal(y_mean[kept], y_cov[kept][:, kept])
        torch.testing.assert_close(
            d.log_prob(given, missing)[:, b], joint.log_prob(y[:, b].flatten(1)[:, kept]), rtol=1e-9, atol=1e-9
        )


def test_each_sequence_may_miss_other_steps():
    d = build(parameters())
    y = d.sample((3,), generator=kernels.Key(1))
    mask = torch.rand(3, 2, STEPS, generator=torch.Generator().manual_seed(0)) < 0.5
    together = d.log_prob(torch.where(mask[..., None], torch.nan, y), mask)
    smooth = d.smooth(torch.where(mask[..., None], torch.nan, y), mask)
    for i in range(3):
        torch.testing.assert_close(together[i], d.log_prob(y[i], mask[i]))
        torch.testing.assert_close(smooth.covariance[i], d.smooth(y[i], mask[i]).covariance)
    nothing = torch.ones(STEPS, dtype=torch.bool)
    torch.testing.assert_close(d.log_prob(torch.full_like(y, torch.nan), nothing), torch.zeros(3, 2).double())


def test_draws_have_the_mean_variance_and_correlation_of_the_model(case):
    d, _, exact, _, _ = case
    draws = d.sample((4000,), generator=kernels.Key(2))
    assert_mean(draws, d.mean)
    assert_variance(draws, d.variance)
    # The dense whitening of the draws leaves unit variances.
    for b, (_, _, mean, covariance, _) in enumerate(exact):
        root = torch.linalg.cholesky(covariance)
        white = torch.linalg.solve_triangular(root, (draws[:, b].flatten(1) - mean).mT, upper=False).mT
        assert_variance(white, 1.0)
        assert_mean(white[:, :-1] * white[:, 1:], 0.0)
    assert_global_stream_untouched(lambda g: d.sample((3,), generator=g))


def test_gradients_reach_every_parameter(case):
    _, y, _, p, time_varying = case
    names = list(p)

    def log_prob(*given):
        return build(dict(zip(names, given, strict=True)), time_varying=time_varying).log_prob(y[0])

    one = {name: value.clone().requires_grad_() for name, value in p.items()}
    assert torch.autograd.gradcheck(log_prob, tuple(one.values()), fast_mode=True)
    draw = build(one, time_varying=time_varying).rsample(generator=kernels.Key(0)).sum()
    assert all(bool(g.isfinite().all()) and bool(g.any()) for g in torch.autograd.grad(draw, tuple(one.values())))


def test_a_thousand_steps_in_float32():
    # A slowly turning oscillator seen through little noise: hard on covariances that are only subtracted.
    turn = torch.tensor(0.05, dtype=torch.float64)
    f = 0.999 * torch.stack([torch.stack([turn.cos(), -turn.sin()]), torch.stack([turn.sin(), turn.cos()])])

    def make(dtype):
        def noise(scale, size):
            return Normal(torch.zeros(size, dtype=dtype), scale).to_event(1)

        h = torch.tensor([[1.0, 0.0]], dtype=dtype)
        return LinearGaussianStateSpace(1000, f.to(dtype), noise(0.01, 2), h, noise(0.02, 1), noise(10.0, 2))

    y = make(torch.float64).sample(generator=kernels.Key(4))
    exact, single = make(torch.float64), make(torch.float32)
    # The data themselves, of size 10, round to 5e-7: 2e-5 standard errors of a prediction each.
    assert float(single.log_prob(y.float())) == pytest.approx(float(exact.log_prob(y)), rel=1e-4)
    for ours, theirs in ((single.filter(y.float()), exact.filter(y)), (single.smooth(y.float()), exact.smooth(y))):
        deviation = theirs.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
        assert float(((ours.mean - theirs.mean) / deviation).abs().max()) < 1e-2
        assert bool((torch.linalg.eigvalsh(ours.covariance.double()) > 0).all())


def test_one_step_is_a_normal_distribution():
    p = parameters(batch=())
    d = build(p, steps=1)
    covariance = p["h"] @ p["root"] @ p["root"].mT @ p["h"].mT + p["r"] @ p["r"].mT
    exact = td.MultivariateNormal(p["h"] @ p["loc"] + p["shift"], covariance)
    y = d.sample((3,), generator=kernels.Key(0))
    torch.testing.assert_close(d.log_prob(y), exact.log_prob(y.squeeze(-2)))
    torch.testing.assert_close(d.entropy(), exact.entropy())
    torch.testing.assert_close(d.smooth(y).mean, d.filter(y).mean)
    torch.testing.assert_close(d.variance, exact.variance.unsqueeze(0))


def test_batches_expand_compile_and_map():
    p = parameters()
    d = build(p)
    wide = d.expand((3, 2))
    y = wide.sample(generator=kernels.Key(0))
    assert y.shape == (3, 2, STEPS, SEEN)
    torch.testing.assert_close(wide.log_prob(y), d.log_prob(y))

    def log_prob(p, y):
        return build(p, steps=3).log_prob(y)

    y = y[0, :, :3]
    eager = log_prob(p, y)
    torch.compiler.reset()
    torch.testing.assert_close(torch.compile(log_prob, fullgraph=True, backend="aot_eager")(p, y), eager)
    torch.testing.assert_close(torch.vmap(log_prob)(p, y), eager)
    smooth = torch.vmap(lambda p, y: build(p, steps=3).smooth(y).mean)(p, y)
    torch.testing.assert_close(smooth, build(p, steps=3).smooth(y).mean)


NOISE = {n: Normal(torch.zeros(n), 1.0).to_event(1) for n in (2, 3)}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"num_steps": 0}, ValueError, "num_steps of LinearGaussianStateSpace must be a positive integer"),
        ({"transition_matrix": 1.0}, TypeError, "transition_matrix of .* must be a floating tensor, not float"),
        ({"observation_matrix": torch.ones(2)}, ValueError, r"observation_matrix .* must be a matrix, .*\(2,\)"),
        ({"transition_matrix": torch.ones(2, 3)}, ValueError, "transition_matrix .* must be square"),
        ({"transition_noise": NOISE[3]}, ValueError, r"transition_noise .* events of size 2, but has \(3,\)"),
        ({"initial": Normal(0.0, 1.0)}, TypeError, "initial .* must be a MultivariateNormal, or a Normal"),
        ({"time_varying": ("initial",)}, ValueError, r"takes names among .* not \['initial'\]"),
        ({"time_varying": ("transition_matrix",)}, ValueError, "transition_matrix .* must have 3 steps"),
        ({"transition_matrix": torch.ones(5, 2, 2), "observation_matrix": torch.ones(4, 3, 2)}, ValueError,
         "batch shapes in LinearGaussianStateSpace"),
    ],
)  # fmt: skip
def test_what_is_no_model_is_refused_by_name(change, error, message):
    given = {
        "num_steps": 4,
        "transition_matrix": torch.eye(2),
        "transition_noise": NOISE[2],
        "observation_matrix": torch.ones(3, 2),
        "observation_noise": NOISE[3],
        "initial": NOISE[2],
    }
    with pytest.raises(error, match=message):
        LinearGaussianStateSpace(**{**given, **change})


def test_masks_and_refusals():
    d = build(parameters())
    y = torch.zeros(STEPS, SEEN, dtype=torch.float64)
    with pytest.raises(TypeError, match="mask of LinearGaussianStateSpace must be a bool tensor"):
        d.log_prob(y, torch.zeros(STEPS))
    with pytest.raises(ValueError, match=r"mask of shape \(7, 1, 1\) does not fit observations of shape \(2, 6\)"):
        d.filter(y, torch.zeros(7, 1, 1, dtype=torch.bool))
    with pytest.raises(ValueError, match="value of LinearGaussianStateSpace must satisfy Real"):
        d.log_prob(torch.full_like(y, torch.nan))
    with pytest.raises(NotImplementedError, match="which parameters are free"):
        LinearGaussianStateSpace.fit(y)
