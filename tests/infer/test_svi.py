"""The driver: the same numbers eagerly, compiled and after an interruption; clear errors where programs do not fit."""

import contextlib
import math
import threading
import warnings

import pytest
import torch
from torch import nn
from torch.distributions import constraints

import posterity as pt
from posterity import distributions as dist
from posterity.infer.capture import can_compile

X = torch.full((9,), 2.0, dtype=torch.float64)
ZERO = torch.zeros((), dtype=torch.float64)

compiles = pytest.mark.skipif(not can_compile(), reason="no C++ compiler")


def model(x):
    z = pt.sample("z", dist.Normal(ZERO, 1.0))
    with pt.plate("data", len(x)):
        pt.sample("x", dist.Normal(z, 1.0), obs=x)


def guide(x):
    loc = pt.param("loc", ZERO)
    scale = pt.param("scale", ZERO + 1, constraint=constraints.positive)
    pt.sample("z", dist.Normal(loc, scale))


def _svi(guide=guide, optimizer=torch.optim.Adam, options=None, **arguments):
    arguments = {"seed": 0, "progress": False, "compile": False, **arguments}
    return pt.infer.SVI(model, guide, optimizer, options or {"lr": 0.05}, **arguments)


def test_it_finds_the_conjugate_posterior():
    result = _svi(loss=pt.infer.ELBO(4), scheduler=lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.99)).run(
        500, X
    )
    assert abs(float(result.params["loc"]) - 1.8) < 0.01  # n x / (n + 1)
    assert abs(float(result.params["scale"]) - 10**-0.5) < 0.02
    assert result.losses.shape == (500,)
    assert result.losses[-50:].mean() < result.losses[:50].mean()
    assert not result.converged


def test_the_same_seed_gives_the_same_steps_and_leaves_torchs_generator_alone():
    before = torch.get_rng_state()
    runs = [_svi(seed=seed).run(5, X).losses for seed in (0, 0, 1)]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    assert torch.equal(torch.get_rng_state(), before)


@compiles
@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        (torch.optim.Adam, {"lr": 0.05}),
        (torch.optim.AdamW, {"lr": 0.05, "weight_decay": 0.1}),
        (torch.optim.SGD, {"lr": 0.01, "momentum": 0.9, "nesterov": True}),
    ],
)
def test_compiled_steps_are_the_eager_ones(optimizer, options):
    arguments = {"optimizer": optimizer, "options": options, "clip_norm": 3.0}
    eager, compiled = (_svi(compile=c, **arguments) for c in (False, True))
    torch.testing.assert_close(compiled.run(12, X).losses, eager.run(12, X).losses, rtol=1e-8, atol=1e-10)
    for name, value in eager.params.items():
        torch.testing.assert_close(compiled.params[name], value, rtol=1e-8, atol=1e-10)


@compiles
def test_compiled_and_eager_steps_can_take_turns():
    turns, eager = _svi(), _svi()
    for compiled in (False, True, False, True):
        turns.compile = compiled
        turns.run(3, X)
    torch.testing.assert_close(turns.state_dict()["losses"], eager.run(12, X).losses, rtol=1e-8, atol=1e-10)


@compiles
def test_a_compiled_step_takes_new_minibatches_and_captures_again_for_new_shapes():
    svi = _svi(compile=True)
    for x in (X, X + 1, X[:4], X - 1):
        svi.step(x)
    assert len(svi._steps._compiled) == 2
    eager = _svi()
    for x in (X, X + 1, X[:4], X - 1):
        eager.step(x)
    torch.testing.assert_close(svi.state_dict()["losses"], eager.state_dict()["losses"], rtol=1e-8, atol=1e-10)


@compiles
def test_networks_in_programs_are_trained_and_their_buffers_kept():
    def run(compile):  # noqa: A002
        torch.manual_seed(1)
        encoder = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2)).double()
        decoder = nn.Linear(1, 3).double()

        def vae(x):
            net = pt.module("decoder", decoder)
            with pt.plate("data", len(x)):
                z = pt.sample("z", dist.Normal(torch.zeros(len(x), 1, dtype=x.dtype), 1.0).to_event(1))
                pt.sample("x", dist.Normal(net(z), 1.0).to_event(1), obs=x)

        def amortized(x):
            net = pt.module("encoder", encoder)
            with pt.plate("data", len(x)):
                loc, raw = net(x).chunk(2, -1)
                pt.sample("z", dist.Normal(loc, nn.functional.softplus(raw)).to_event(1))

        svi = pt.infer.SVI(vae, amortized, torch.optim.Adam, {"lr": 0.01}, seed=0, progress=False, compile=compile)
        x = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        return svi.run(8, x), encoder[1].running_mean, svi

    (eager, mean_eager, svi), (compiled, mean_compiled, _) = run(False), run(True)
    torch.testing.assert_close(compiled.losses, eager.losses, rtol=1e-8, atol=1e-10)
    # Inductor keeps the momentum of 0.1 in float32.
    torch.testing.assert_close(mean_compiled, mean_eager, rtol=1e-6, atol=1e-8)
    assert {"decoder.weight", "encoder.0.weight", "encoder.3.bias"} <= svi.params.keys()


@compiles
def test_dropout_in_a_compiled_step_is_drawn_anew_from_torchs_generator():
    def run(compile):  # noqa: A002
        torch.manual_seed(1)
        net = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1)).double()

        def dropped(x):
            mean = pt.module("net", net)(x).squeeze(-1)
            with pt.plate("data", len(x)):
                pt.sample("y", dist.Normal(mean, 1.0), obs=torch.ones(len(x), dtype=x.dtype))
            pt.sample("z", dist.Normal(ZERO, 1.0))

        def point(x):
            pt.sample("z", dist.Delta(pt.param("loc", ZERO)))

        svi = pt.infer.SVI(dropped, point, torch.optim.SGD, {"lr": 0.0}, seed=0, progress=False, compile=compile)
        x = torch.ones(5, 3, dtype=torch.float64)
        svi.init(x)
        torch.manual_seed(2)
        return svi.run(4, x).losses

    eager, compiled = run(False), run(True)
    assert len(eager.unique()) == 4
    torch.testing.assert_close(compiled, eager, rtol=1e-8, atol=1e-10)


def test_resumed_steps_are_those_of_an_uninterrupted_run(tmp_path):
    whole = _svi().run(12, X)
    first = _svi(checkpoint=tmp_path / "svi.pt", checkpoint_every=5)
    first.run(7, X)
    resumed = _svi()
    resumed.load(tmp_path / "svi.pt")
    assert resumed.num_steps == 0  # nothing is known of the parameters before the first step
    rest = resumed.run(7, X)
    assert resumed.num_steps == 12
    assert torch.equal(rest.losses, whole.losses[5:])
    assert torch.equal(rest.params["loc"], whole.params["loc"])


def test_ctrl_c_keeps_and_saves_the_steps_taken(tmp_path):
    svi = _svi(checkpoint=tmp_path / "svi.pt")
    calls = 0

    def interrupted(x):
        nonlocal calls
        calls += 1
        if calls == 20:
            raise KeyboardInterrupt
        return guide(x)

    svi.guide = interrupted
    with pytest.raises(KeyboardInterrupt):
        svi.run(100, X)
    assert 0 < svi.num_steps < 100
    resumed = _svi()
    resumed.load(tmp_path / "svi.pt")
    resumed.step(X)
    assert resumed.num_steps == svi.num_steps + 1


def test_epochs_over_a_loader():
    data = torch.utils.data.TensorDataset(X)
    loader = torch.utils.data.DataLoader(data, batch_size=4)
    result = _svi().run_epochs(3, loader)
    assert len(result.losses) == 9
    mappings = _svi().run_epochs(2, [{"x": X}, {"x": X[:3]}])
    assert len(mappings.losses) == 4


def amortised(x):
    with pt.plate("data", 100, subsample_size=len(x)):
        z = pt.sample("z", dist.Normal(ZERO, 1.0))
        pt.sample("x", dist.Normal(z, 1.0), obs=x)


def encoder(x):
    slope = pt.param("slope", ZERO)
    with pt.plate("data", 100, subsample_size=len(x)):
        pt.sample("z", dist.Normal(slope * x, 1.0))


def _amortised_svi():
    return pt.infer.SVI(amortised, encoder, optimizer_args={"lr": 0.05}, seed=0, progress=False, compile=False)


def test_a_batch_may_be_larger_than_the_first_one():
    # Each draws noise for itself: of ten, and of a hundred.
    svi = _amortised_svi()
    svi.run_epochs(3, [X[:2], X, X[:5]])
    assert math.isfinite(svi.evaluate(X.repeat(10)))


def test_resumed_steps_are_the_same_whichever_batch_comes_first():
    batches = [X[:2], X, X[:5], X[:3]]
    through, before, after = (_amortised_svi() for _ in range(3))
    expected = through.run_epochs(1, batches).losses
    before.run_epochs(1, batches[:1])
    after.load_state_dict(before.state_dict())
    assert torch.equal(after.run_epochs(1, batches[1:]).losses, expected[1:])


@compiles
def test_a_schedule_over_compiled_steps_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        _svi(compile=True, scheduler=lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9)).run(2, X)


def test_it_ends_when_the_loss_no_longer_falls():
    result = _svi(patience=100, loss=pt.infer.ELBO(2)).run(5000, X)
    assert result.converged
    assert 200 <= len(result.losses) < 5000
    assert abs(float(result.params["loc"]) - 1.8) < 0.1


def test_evaluating_changes_nothing():
    svi = _svi()
    svi.run(2, X)
    before = svi.params
    assert svi.evaluate(X) > 0
    assert all(torch.equal(before[name], value) for name, value in svi.params.items())
    assert svi.num_steps == 2


def test_parameters_belong_to_their_driver():
    one, other = _svi(), _svi()
    one.run(20, X)
    other.run(1, X)
    assert one.params["loc"] > 0.5 > other.params["loc"]


def test_subsamples_are_the_same_in_guide_and_model():
    seen = {}

    def subsampled(x):
        with pt.plate("data", len(x), subsample_size=3) as indices:
            seen["model"] = indices
            z = pt.sample("z", dist.Normal(ZERO, 1.0))
            pt.sample("x", dist.Normal(z, 1.0), obs=x[indices])

    def local(x):
        with pt.plate("data", len(x), subsample_size=3) as indices:
            seen["guide"] = indices
            loc = pt.param("loc", torch.zeros_like(x), event_dim=0)
            pt.sample("z", dist.Normal(loc, 1.0))

    svi = pt.infer.SVI(subsampled, local, torch.optim.Adam, {"lr": 0.03}, seed=0, progress=False, compile=False)
    svi.run(300, X)
    assert torch.equal(seen["model"], seen["guide"])
    assert (svi.params["loc"] - 1.0).abs().max() < 0.35


# Errors.


def test_a_site_in_one_of_the_two_alone():
    def lacking(x):
        pt.param("loc", ZERO)

    with pytest.raises(ValueError, match=r"the model has latent sites that the guide lacks: 'z'(.|\n)*site +kind"):
        _svi(lacking).step(X)

    def too_many(x):
        guide(x)
        pt.sample("w", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match="the guide has latent sites that the model lacks: 'w'"):
        _svi(too_many).step(X)


def test_a_site_of_another_shape():
    def wrong(x):
        loc = pt.param("loc", torch.zeros(3, dtype=X.dtype))
        pt.sample("z", dist.Normal(loc, 1.0))

    def plain(x):
        z = pt.sample("z", dist.Normal(ZERO, 1.0))
        pt.sample("x", dist.Normal(z.sum(), 1.0), obs=x[0])

    with pytest.raises(ValueError, match=r"site 'z' has shape \(3,\) in the guide and \(\) in the model"):
        pt.infer.SVI(plain, wrong, progress=False).step(X)


def test_nothing_to_train():
    with pytest.raises(ValueError, match="neither guide nor model has anything to train"):
        _svi(lambda x: pt.sample("z", dist.Normal(ZERO, 1.0))).step(X)


def _cliff(x):
    z = pt.sample("z", dist.Normal(ZERO, 100.0))
    pt.factor("cliff", torch.where(z < 0.5, 10 * z, torch.nan))


def _point(x):
    pt.sample("z", dist.Normal(pt.param("loc", ZERO), 1e-3))


@pytest.mark.parametrize("compile_", [False, pytest.param(True, marks=compiles)])
def test_a_loss_that_is_not_finite_names_the_site_and_keeps_the_parameters(compile_):
    svi = pt.infer.SVI(_cliff, _point, torch.optim.SGD, {"lr": 0.01}, seed=0, progress=False, compile=compile_)
    with pytest.raises((ValueError, FloatingPointError), match=r"cliff(.|\n)*NaN|NaN(.|\n)*cliff"):
        svi.run(500, X)
    assert bool(svi.params["loc"].isfinite())
    assert 0 < svi.num_steps < 100
    assert svi.state_dict()["losses"].isfinite().all()


def test_a_gradient_that_is_not_finite_is_said_to_be_one():
    def vertical(x):
        z = pt.sample("z", dist.Normal(ZERO, 1.0))
        pt.factor("root", (z - z.detach()).sqrt())

    with pytest.raises(FloatingPointError, match="step 1 gave a loss or a gradient that is not finite"):
        pt.infer.SVI(vertical, guide, seed=0, progress=False, compile=False).step(X)


@compiles
def test_a_program_that_branches_on_values_says_so_when_it_is_compiled():
    def branching(x):
        z = pt.sample("z", dist.Normal(ZERO, 1.0))
        if z > 0:
            pt.factor("bonus", 1.0)

    svi = pt.infer.SVI(branching, guide, torch.optim.Adam, {"lr": 0.1}, seed=0, progress=False, compile=True)
    with pytest.raises(RuntimeError, match="branches on the value of a tensor"):
        svi.step(X)


@compiles
def test_a_program_that_cannot_be_captured_goes_on_uncompiled_where_nobody_asked_for_a_graph(monkeypatch):
    def branching(x):
        z = pt.sample("z", dist.Normal(ZERO, 1.0))
        pt.factor("bonus", (1.0 if z > 0 else 0.0) + 0 * z)

    monkeypatch.setattr("posterity.infer.svi._WORTH_COMPILING", 3)
    losses = []
    for compile_ in ("auto", False):
        svi = pt.infer.SVI(branching, guide, torch.optim.Adam, {"lr": 0.1}, seed=0, progress=False, compile=compile_)
        context = pytest.warns(UserWarning, match="goes on uncompiled") if compile_ else contextlib.nullcontext()
        with context:
            losses.append(svi.run(5, X).losses)
    assert torch.equal(*losses)


@compiles
def test_an_optimizer_that_no_graph_holds_says_so():
    with pytest.raises(ValueError, match="a step of RMSprop with these options cannot be compiled"):
        _svi(optimizer=torch.optim.RMSprop, compile=True).step(X)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"loss": 3}, TypeError, "loss must be an objective"),
        ({"compile": "yes"}, ValueError, "compile must be True, False or 'auto'"),
        ({"clip_norm": -1.0}, ValueError, "clip_norm must be positive"),
        ({"patience": 0}, ValueError, "patience must be positive"),
        ({"checkpoint_every": 0}, ValueError, "checkpoint_every must be at least 1"),
        ({"guide": 3}, TypeError, "guide must be callable"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        _svi(**arguments)


def test_wrong_numbers_of_steps():
    for number in (0, 1.5, True):
        with pytest.raises(ValueError, match="num_steps must be a whole number"):
            _svi().run(number, X)
        with pytest.raises(ValueError, match="num_epochs must be a whole number"):
            _svi().run_epochs(number, [X])
    with pytest.raises(ValueError, match="there are no batches"):
        _svi().run_epochs(2, [])


def test_an_optimizer_instead_of_its_class():
    made = torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    with pytest.raises(TypeError, match="optimizer must be callable|give the optimizer's class"):
        _svi(optimizer=made)


class Batch:
    def __init__(self, x):
        self.x = x

    def __repr__(self):
        return "Batch"


@compiles
def test_arguments_that_are_no_tensors_are_not_mistaken_for_each_other():
    one, other = torch.zeros(2000, dtype=X.dtype), torch.zeros(2000, dtype=X.dtype)
    other[1000] = 9.0  # printed, the two look alike
    for batches in ([one.numpy(), other.numpy()], [Batch(one), Batch(other)]):
        losses = []
        for compile_ in (False, True):
            svi = pt.infer.SVI(
                lambda b: model(_data(b)), lambda b: guide(_data(b)), seed=0, progress=False, compile=compile_
            )
            losses.append(torch.tensor([svi.step(batch) for batch in batches], dtype=X.dtype))
        torch.testing.assert_close(losses[1], losses[0], rtol=1e-8, atol=1e-10)


def _data(batch):
    return batch.x if isinstance(batch, Batch) else torch.as_tensor(batch)


@compiles
def test_a_schedule_may_change_the_betas():
    def schedule(optimizer):
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=20)

    runs = [_svi(scheduler=schedule, compile=compile_).run(10, X) for compile_ in (False, True)]
    torch.testing.assert_close(runs[1].losses, runs[0].losses, rtol=1e-8, atol=1e-10)


@compiles
def test_compiled_steps_see_modes_and_frozen_parameters():
    def run(compile_):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.5), nn.Linear(8, 1)).double()

        def dropped(x):
            mean = pt.module("net", net)(x[:, None]).squeeze(-1)
            pt.sample("z", dist.Normal(ZERO, 1.0))
            with pt.plate("data", len(x)):
                pt.sample("y", dist.Normal(mean, 1.0), obs=x)

        def point(x):
            pt.sample("z", dist.Delta(ZERO))

        svi = pt.infer.SVI(dropped, point, torch.optim.SGD, {"lr": 1e-3}, seed=0, progress=False, compile=compile_)
        losses = [svi.step(X)]
        net.eval()
        losses.append(svi.step(X))
        net[0].weight.requires_grad_(False)
        kept = net[0].weight.clone()
        losses += [svi.step(X), svi.step(X)]
        assert torch.equal(net[0].weight, kept)
        return torch.tensor(losses)

    torch.testing.assert_close(run(True), run(False), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("compile_", [False, pytest.param(True, marks=compiles)])
def test_what_a_later_step_meets_first_is_trained_too(compile_):
    net = nn.Linear(1, 1).double()

    def more(x, late):
        shift = pt.param("shift", ZERO) + pt.module("net", net)(ZERO[None])[0] if late else 0.0
        guided = pt.param("loc", ZERO)
        pt.sample("z", dist.Normal(guided + shift, 1.0))

    svi = pt.infer.SVI(
        lambda x, late: model(x), more, torch.optim.Adam, {"lr": 0.1}, seed=0, progress=False, compile=compile_
    )
    svi.step(X, False)
    before = net.bias.clone()
    svi.step(X, True)
    svi.step(X, True)
    assert {"shift", "net.bias", "loc"} <= svi.params.keys()
    assert svi.params["shift"] > 0.05
    assert net.bias > before + 0.05


@pytest.mark.parametrize("compile_", [False, pytest.param(True, marks=compiles)])
def test_a_guide_that_uses_nothing_trained(compile_):
    def idle(x):
        pt.param("unused", ZERO)
        pt.sample("z", dist.Normal(ZERO, 1.0))

    with pytest.raises(ValueError, match="the loss depends on nothing that is trained"):
        _svi(idle, compile=compile_).step(X)


@compiles
def test_threads_compile_at_the_same_time():
    results = {}

    def run(seed):
        results[seed] = _svi(seed=seed, compile=True).run(5, X).losses

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results.keys() == {0, 1, 2}
    for seed, losses in results.items():
        torch.testing.assert_close(losses, _svi(seed=seed).run(5, X).losses, rtol=1e-8, atol=1e-10)
