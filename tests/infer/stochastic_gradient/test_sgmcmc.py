"""The driver: draws from posteriors over minibatches, the same ones however it is run."""

import subprocess
import sys
import warnings

import pytest
import torch
from torch import nn

import posterity as pt
from posterity import distributions as dist
from posterity.infer.capture import can_compile
from posterity.infer.initialization import init_to_sample
from posterity.infer.stochastic_gradient import PSGLD, SGHMC, SGLD, SGMCMC, SGNHT, CyclicalSGLD
from tests.infer import killed_runs
from tests.statistical import assert_mean, assert_normal_variance

ZERO = torch.zeros((), dtype=torch.float64)
DATA = torch.tensor([0.1, 0.4, 1.2, 2.5, -0.7, 1.1, 0.9, 3.0], dtype=torch.float64)


def model(x):
    loc = pt.sample("loc", dist.Normal(ZERO, 2.0))
    with pt.plate("data", len(x), subsample_size=4) as indices:
        pt.sample("x", dist.Normal(loc, 1.0), obs=x[indices])


def batched(batch):
    loc = pt.sample("loc", dist.Normal(ZERO, 2.0))
    with pt.plate("data", len(DATA), subsample_size=len(batch)):
        pt.sample("x", dist.Normal(loc, 1.0), obs=batch)


def drawn(kernel, data=DATA, **options):
    mcmc = SGMCMC(kernel, **{"num_warmup": 3, "num_samples": 10, "seed": 5, "progress": False, **options})
    mcmc.run(data)
    return mcmc


def samples(kernel, **options):
    return drawn(kernel, **options).get_samples(group_by_chain=True)["loc"]


KERNELS = [
    SGLD(model, step_size=0.01),
    PSGLD(model, step_size=0.01, correction=True),
    SGHMC(model, step_size=0.01),
    SGNHT(model, step_size=0.01),
    CyclicalSGLD(model, step_size=0.01, cycle_length=6),
]


def test_draws_have_the_known_law_of_a_conjugate_model_with_minibatches():
    """The gradient is linear, and its noise that of sampling without replacement: an autoregression of order 1."""
    step, taken, size = 0.05, 4, len(DATA)
    precision = 1 / 4 + size
    mean = float(DATA.sum()) / precision
    gradient_variance = size**2 * float(DATA.var()) / taken * (1 - taken / size)
    variance = (2 * step + step**2 * gradient_variance) / (1 - (1 - step * precision) ** 2)
    assert variance > 1.5 / precision  # the noise of minibatches is part of it
    # The start is forgotten at 0.59 a step.
    mcmc = drawn(SGLD(model, step_size=step), num_warmup=50, num_samples=1, num_chains=4096,
                 initial_values={"loc": torch.zeros(4096, dtype=torch.float64)})  # fmt: skip
    draws = mcmc.get_samples()["loc"]
    assert_mean(draws, mean)
    # Subsamples are not normal, but the sums over many steps nearly are.
    assert_normal_variance(draws, variance)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: type(kernel).__name__)
def test_a_chains_draws_do_not_depend_on_the_number_of_chains(kernel):
    alone, many = samples(kernel), samples(kernel, num_chains=64)
    assert many.shape == (64, 10)
    torch.testing.assert_close(many[:1], alone, rtol=1e-8, atol=1e-8)
    assert len(many[:, 0].unique()) == 64


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: type(kernel).__name__)
def test_a_run_that_goes_on_from_a_state_has_the_draws_of_one_that_was_not_interrupted(kernel):
    whole = drawn(kernel, num_chains=2, thin=2)
    first = drawn(kernel, num_chains=2, thin=2, num_samples=4)
    second = SGMCMC(kernel, num_warmup=3, num_samples=10, num_chains=2, thin=2, progress=False)
    second.load_state_dict(first.state_dict())
    second.run(DATA)
    assert second.num_steps == whole.num_steps
    assert torch.equal(second.get_samples()["loc"], whole.get_samples()["loc"])
    for name, values in whole.get_extra_fields().items():
        assert torch.equal(second.get_extra_fields()[name], values)


def test_a_run_over_batches_goes_on_too():
    batches = [DATA[:3], DATA[3:6], DATA[6:]]
    kernel = SGHMC(batched, step_size=0.01)
    options = {"num_warmup": 2, "thin": 1, "progress": False, "num_chains": 2}
    whole = SGMCMC(kernel, num_samples=10, seed=1, **options)
    whole.run_epochs(4, batches)
    first = SGMCMC(kernel, num_samples=5, seed=1, **options)
    first.run_epochs(4, batches)
    second = SGMCMC(kernel, num_samples=10, **options)
    second.load_state_dict(first.state_dict())
    second.run_epochs(4, batches)
    assert torch.equal(second.get_samples()["loc"], whole.get_samples()["loc"])


def test_an_interrupted_run_goes_on():
    calls = []

    def interrupted(x):
        calls.append(1)
        if len(calls) == 12:
            raise KeyboardInterrupt
        return model(x)

    mcmc = SGMCMC(SGLD(interrupted, step_size=0.01), num_warmup=3, num_samples=10, seed=5, progress=False)
    with pytest.raises(KeyboardInterrupt):
        mcmc.run(DATA)
    assert 0 < mcmc.num_steps < 13
    mcmc.run(DATA)
    assert torch.equal(mcmc.get_samples()["loc"], samples(SGLD(model, step_size=0.01))[0])


def test_the_same_seed_gives_the_same_draws_and_a_second_run_starts_afresh():
    mcmc = drawn(SGLD(model, step_size=0.01))
    first = mcmc.get_samples()["loc"].clone()
    mcmc.run(DATA)
    assert torch.equal(mcmc.get_samples()["loc"], first)
    assert not torch.equal(samples(SGLD(model, step_size=0.01), seed=6)[0], first)


def test_draws_after_the_warm_up_are_thinned():
    all_of_them = samples(SGLD(model, step_size=0.01), num_warmup=0, num_samples=13)
    assert torch.equal(samples(SGLD(model, step_size=0.01), num_samples=5, thin=2), all_of_them[:, 4::2])


def test_a_cycles_exploration_is_not_kept():
    kernel = CyclicalSGLD(model, step_size=0.01, cycle_length=6)
    mcmc = drawn(kernel, num_warmup=0, num_samples=6)
    assert mcmc.num_steps == 12
    assert (mcmc.get_extra_fields()["temperature"] == 1).all()
    sizes = [kernel.step_size(t) for t in (3, 4, 5, 9, 10, 11)]
    torch.testing.assert_close(mcmc.get_extra_fields()["step_size"], torch.tensor(sizes, dtype=torch.float64))


def test_epochs_spread_the_draws_over_the_steps():
    batches = list(DATA.split(3))
    mcmc = SGMCMC(SGLD(batched, step_size=0.01), num_warmup=10, num_samples=5, num_chains=3, progress=False)
    mcmc.run_epochs(10, batches)
    assert mcmc.num_steps == 30  # 20 after the warm-up, of which every fourth
    assert mcmc.get_samples()["loc"].shape == (15,)
    assert mcmc.get_samples(group_by_chain=True)["loc"].shape == (3, 5)


def test_a_data_loader_and_mappings_are_gone_through():
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(DATA), batch_size=4)
    draws = []
    for batches in (loader, [{"batch": DATA[:4]}, {"batch": DATA[4:]}], [DATA[:4], DATA[4:]]):
        mcmc = SGMCMC(SGLD(batched, step_size=0.01), num_warmup=0, num_samples=4, seed=0, progress=False)
        mcmc.run_epochs(2, batches)
        draws.append(mcmc.get_samples()["loc"])
    assert torch.equal(draws[0], draws[1])
    assert torch.equal(draws[0], draws[2])


@pytest.mark.skipif(not can_compile(), reason="no C++ compiler")
def test_compiled_steps_are_the_eager_ones():
    kernel = SGHMC(model, step_size=0.01)
    eager, compiled = (drawn(kernel, num_warmup=0, num_chains=2, compile=c) for c in (False, True))
    torch.testing.assert_close(compiled.get_samples(), eager.get_samples(), rtol=1e-8, atol=1e-8)
    for name, values in eager.get_extra_fields().items():
        torch.testing.assert_close(compiled.get_extra_fields()[name], values, rtol=1e-8, atol=1e-8)


def branching(x):
    loc = pt.sample("loc", dist.Normal(ZERO, 2.0))
    pt.factor("kink", -loc if loc > 0 else loc)


def test_a_model_that_branches_runs_uncompiled_and_says_so(monkeypatch):
    monkeypatch.setattr("posterity.infer.stochastic_gradient.sgmcmc._WORTH_COMPILING", 5)
    monkeypatch.setattr("posterity.infer.stochastic_gradient.sgmcmc.can_compile", lambda: True)
    kernel = SGLD(branching, step_size=0.01)
    expected = samples(kernel, num_chains=2, compile=False)
    with pytest.warns(UserWarning, match="branches on the value of a tensor.*This run goes on uncompiled"):
        found = samples(kernel, num_chains=2)
    torch.testing.assert_close(found, expected)


def test_weights_of_a_network_predict_what_they_have_seen():
    generator = torch.Generator().manual_seed(0)
    x = torch.linspace(-1, 1, 60).unsqueeze(-1)
    y = (2 * x).sin().squeeze(-1) + 0.1 * torch.randn(60, generator=generator)
    net = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))

    def regression(x, y=None):
        called = pt.module("net", net, prior=dist.Normal(0.0, 1.0))
        with pt.plate("data", 60, subsample_size=len(x)):
            return pt.sample("y", dist.Normal(called(x).squeeze(-1), 0.1), obs=y)

    kernel = SGHMC(regression, step_size=2e-5, friction=0.1, init=init_to_sample)
    mcmc = SGMCMC(kernel, num_warmup=400, num_samples=20, num_chains=4, seed=0, progress=False)
    mcmc.run_epochs(200, list(zip(x.split(20), y.split(20), strict=True)))
    draws = mcmc.get_samples()
    assert draws["net.0.weight"].shape == (80, 8, 1)
    weights = {name.removeprefix("net."): value for name, value in draws.items()}
    predicted = torch.func.vmap(lambda w: torch.func.functional_call(net, w, (x,)))(weights).squeeze(-1)
    # The noise has a standard deviation of 0.1; a constant would be off by that of the sine, 0.7.
    assert (predicted.mean(0) - (2 * x).sin().squeeze(-1)).square().mean().sqrt() < 0.1
    assert 0.005 < float(predicted.std(0).mean()) < 0.1


def test_batches_whose_likelihood_is_not_scaled_up_are_warned_about():
    def unscaled(batch):
        loc = pt.sample("loc", dist.Normal(ZERO, 2.0))
        with pt.plate("data", len(batch)):
            pt.sample("x", dist.Normal(loc, 1.0), obs=batch)

    def over(program, batches):
        SGMCMC(SGLD(program, step_size=0.01), num_warmup=0, num_samples=2, progress=False).run_epochs(2, batches)

    with pytest.warns(UserWarning, match="nothing scales the likelihood of a batch up to all data"):
        over(unscaled, [DATA[:4], DATA[4:]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        over(unscaled, [DATA])
        over(batched, [DATA[:4], DATA[4:]])


def test_a_gradient_that_is_not_finite_names_step_and_site_and_keeps_the_draws_before():
    def breaking(x):
        loc = pt.sample("loc", dist.Normal(ZERO, 2.0))
        pt.factor("cliff", -20 * (1 - loc).sqrt())  # draws upwards, and is no number above 1

    mcmc = SGMCMC(SGLD(breaking, step_size=0.01, init=lambda site: ZERO), num_warmup=0, num_samples=100, seed=0,
                  num_chains=2, progress=False)  # fmt: skip
    with pytest.raises(FloatingPointError, match=r"at step \d+ of chain [01].*site 'cliff' is nan"):
        mcmc.run(DATA)
    kept = mcmc.get_samples(group_by_chain=True)["loc"]
    assert kept.shape == (2, mcmc.num_steps)
    assert 0 < mcmc.num_steps < 100
    assert kept.isfinite().all()
    assert (kept[:, :-1] <= 1).all()


def test_steps_that_are_too_large_end_in_an_error():
    with pytest.raises(FloatingPointError, match="Take smaller steps"):
        drawn(SGLD(model, step_size=10.0), num_samples=1000)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"kernel": model}, TypeError, "SGMCMC: kernel must be one such as SGLD"),
        ({"kernel": SGLD(step_size=0.1)}, TypeError, "the kernel has no model: SGLD"),
        ({"num_samples": 0}, ValueError, "SGMCMC: num_samples must be a whole number of at least 1, not 0"),
        ({"num_warmup": -1}, ValueError, "num_warmup must be a whole number of at least 0"),
        ({"num_chains": 1.5}, ValueError, "num_chains must be a whole number of at least 1, not 1.5"),
        ({"thin": 0}, ValueError, "thin must be a whole number of at least 1"),
        ({"compile": "yes"}, ValueError, "compile must be True, False or 'auto', not 'yes'"),
        (
            {"initial_values": {"loc": torch.zeros(3)}, "num_chains": 2},
            ValueError,
            r"initial_values of site 'loc' have shape \(3,\), but there are 2 chains",
        ),
    ],
)
def test_bad_arguments_are_named(options, error, message):
    settings = {"kernel": SGLD(model, step_size=0.1), "num_warmup": 1, "num_samples": 1, **options}
    with pytest.raises(error, match=message):
        SGMCMC(settings.pop("kernel"), **settings)


def test_epochs_that_are_no_epochs_are_refused():
    mcmc = SGMCMC(SGLD(batched, step_size=0.01), num_warmup=2, num_samples=5, progress=False)
    with pytest.raises(ValueError, match="num_epochs must be a whole number of at least 1, not 0"):
        mcmc.run_epochs(0, [DATA])
    with pytest.raises(ValueError, match="there are no batches"):
        mcmc.run_epochs(1, [])
    with pytest.raises(ValueError, match="batches is an iterator, which ends for good after one epoch"):
        mcmc.run_epochs(2, iter([DATA, DATA]))
    with pytest.raises(ValueError, match="2 epochs of 3 batches are 6 steps, which after 2 of warm-up give 4 of the 5"):
        mcmc.run_epochs(2, [DATA, DATA, DATA])


def test_states_that_do_not_fit_are_refused():
    state = drawn(SGLD(model, step_size=0.01)).state_dict()
    with pytest.raises(ValueError, match="the kernel of the state is SGLD, but here it is SGHMC"):
        SGMCMC(SGHMC(model, step_size=0.01), num_warmup=1, num_samples=1).load_state_dict(state)
    with pytest.raises(ValueError, match="the number of chains of the state is 1, but here it is 2"):
        SGMCMC(SGLD(model, step_size=0.01), num_warmup=1, num_samples=1, num_chains=2).load_state_dict(state)
    other = SGMCMC(SGLD(model, step_size=0.01), num_warmup=8, num_samples=20, progress=False)
    other.load_state_dict(state)
    with pytest.raises(ValueError, match="the state has 10 draws of each chain after 13 steps, where .* have kept 5"):
        other.run(DATA)


def test_there_is_nothing_before_a_run():
    mcmc = SGMCMC(SGLD(model, step_size=0.01), num_warmup=1, num_samples=1)
    for ask in (mcmc.get_samples, mcmc.get_extra_fields, mcmc.state_dict):
        with pytest.raises(RuntimeError, match="there are no draws before a run"):
            ask()


def test_a_killed_run_goes_on_to_the_same_draws(tmp_path):
    path = tmp_path / "run"
    command = [sys.executable, "-m", "tests.infer.killed_runs", "sgmcmc", str(path)]
    assert subprocess.run(command, check=False).returncode == -9
    assert len(list(path.glob("sample-*.safetensors"))) == 2
    resumed, whole = killed_runs.sgmcmc(directory=path), killed_runs.sgmcmc()
    resumed.run(killed_runs.DATA)
    whole.run(killed_runs.DATA)
    assert torch.equal(resumed.get_samples()["loc"], whole.get_samples()["loc"])
    for name, value in whole.get_extra_fields().items():
        assert torch.equal(resumed.get_extra_fields()[name], value)
    # A longer run goes on from the end.
    longer = killed_runs.sgmcmc(num_samples=3100, directory=path)
    longer.run(killed_runs.DATA)
    draws = longer.get_samples(group_by_chain=True)["loc"]
    assert torch.equal(draws[:, :3000], whole.get_samples(group_by_chain=True)["loc"])


def test_a_run_over_batches_goes_on_in_a_directory(tmp_path):
    batches = [DATA[:3], DATA[3:6], DATA[6:]]
    options = {"num_warmup": 2, "thin": 1, "progress": False, "num_chains": 2, "seed": 1}
    whole = SGMCMC(SGHMC(batched, step_size=0.01), num_samples=10, **options)
    whole.run_epochs(4, batches)
    for number in (5, 10):
        own = SGMCMC(SGHMC(batched, step_size=0.01), num_samples=number, directory=tmp_path, **options)
        own.run_epochs(4, batches)
    assert torch.equal(own.get_samples()["loc"], whole.get_samples()["loc"])


def test_a_directory_of_another_run_or_a_damaged_one_is_refused(tmp_path):
    kernel = SGLD(model, step_size=0.01)
    drawn(kernel, directory=tmp_path)
    for other, options in ((kernel, {"seed": 6}), (kernel, {"thin": 2}), (SGLD(model, step_size=0.02), {})):
        with pytest.raises(ValueError, match="SGMCMC: the directory .* holds another run, whose options were"):
            drawn(other, directory=tmp_path, **options)
    with pytest.raises(ValueError, match="SGMCMC: the directory .* or the log density there was another"):
        drawn(kernel, data=DATA + 1, directory=tmp_path)
    with pytest.raises(ValueError, match="its chains started at other points"):
        drawn(kernel, directory=tmp_path, initial_values={"loc": ZERO[None] + 3})
    block = tmp_path / "sample-000000.safetensors"
    block.write_bytes(block.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"SGMCMC: the file .*sample-000000.safetensors.*damaged"):
        drawn(kernel, directory=tmp_path)
    (tmp_path / "state.pt").write_bytes(b"no state")
    with pytest.raises(ValueError, match=r"SGMCMC: the file .*state.pt.*damaged"):
        drawn(kernel, directory=tmp_path)


def test_the_summary_and_arviz_have_all_chains():
    mcmc = drawn(SGHMC(model, step_size=0.01), num_chains=3)
    summary = mcmc.summary()
    assert (summary.num_chains, summary.num_draws) == (3, 10)
    torch.testing.assert_close(summary["loc"]["mean"], mcmc.get_samples()["loc"].mean())
    pytest.importorskip("arviz")
    data = mcmc.to_arviz()
    assert data.posterior["loc"].shape == (3, 10)
    assert "gradient_norm" in data.sample_stats
    assert "log_likelihood" in mcmc.to_arviz(model=batched, args=(DATA,)).groups()


@pytest.mark.skipif(not can_compile(), reason="there is no C++ compiler")
def test_steps_that_are_replayed_many_at_once_are_those_of_eager_code():
    """More steps than the random numbers are made for at once, and draws that are kept between."""
    options = {"num_chains": 2, "num_warmup": 5, "num_samples": 60, "thin": 3}
    compiled, eager = (drawn(SGNHT(model, step_size=0.01), compile=mode, **options) for mode in (True, False))
    draws = [run.get_samples(group_by_chain=True)["loc"] for run in (compiled, eager)]
    torch.testing.assert_close(draws[0][:, :3], draws[1][:, :3], rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(*draws, rtol=1e-4, atol=1e-4)
    fields = [run.get_extra_fields() for run in (compiled, eager)]
    for name, values in fields[1].items():
        assert fields[0][name].shape == values.shape == (120,), name
    torch.testing.assert_close(fields[0]["step_size"], fields[1]["step_size"])
