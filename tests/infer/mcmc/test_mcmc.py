import copy
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings

import pytest
import torch

import posterity as pt
from posterity import distributions as dist
from posterity.infer import HMC, MCMC, NUTS
from posterity.infer.capture import can_compile
from posterity.infer.diagnostics import standard_error
from posterity.infer.mcmc.stepping import Stepping
from tests.statistical import quantile

needs_compiler = pytest.mark.skipif(not can_compile(), reason="there is no C++ compiler")
X = torch.tensor([1.0, 2.0, 4.0, 5.0], dtype=torch.float64)


def conjugate(x):
    """The posterior of loc is normal: precision 1 / 4 + 4, mean 12 / 4.25."""
    loc = pt.sample("loc", dist.Normal(torch.zeros((), dtype=torch.float64), 2.0))
    pt.deterministic("double", 2 * loc)
    with pt.plate("data", len(x)):
        pt.sample("x", dist.Normal(loc, 1.0), obs=x)


def run(kernel, *args, **options):
    numbers = {"num_warmup": 20, "num_samples": 30, "num_chains": 2, "seed": 0, "progress": False, "compile": False}
    mcmc = MCMC(kernel, **(numbers | options))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mcmc.run(*args)
    return mcmc


def gaussian(z):
    return -0.5 * (z * z).sum()


@needs_compiler
@pytest.mark.parametrize("kernel", [NUTS, HMC])
def test_a_conjugate_posterior_within_its_monte_carlo_errors(kernel):
    draws = run(kernel(conjugate), X, num_warmup=500, num_samples=2000, num_chains=4, compile=True)
    loc = draws.get_samples(group_by_chain=True)["loc"]
    bound = quantile(2)
    assert abs(loc.mean() - 12 / 4.25) < bound * standard_error(loc)
    square = (loc - 12 / 4.25).square()
    assert abs(square.mean() - 1 / 4.25) < bound * standard_error(square)


def test_draws_have_the_sites_names_and_shapes():
    mcmc = run(NUTS(conjugate), X)
    samples = mcmc.get_samples()
    assert samples.keys() == {"loc", "double"}
    assert samples["loc"].shape == (60,)
    grouped = mcmc.get_samples(group_by_chain=True)
    assert grouped["loc"].shape == (2, 30)
    assert torch.equal(grouped["loc"].flatten(), samples["loc"])
    assert torch.equal(samples["double"], 2 * samples["loc"])
    fields = mcmc.get_extra_fields(group_by_chain=True)
    assert fields.keys() == {"log_density", "accept_prob", "is_divergent", "num_steps", "tree_depth", "energy"}
    assert {value.shape for value in fields.values()} == {(2, 30)}
    torch.testing.assert_close(
        fields["log_density"],
        dist.Normal(0.0, 2.0).log_prob(grouped["loc"])
        + dist.Normal(grouped["loc"].unsqueeze(-1), 1.0).log_prob(X).sum(-1),
    )


def test_a_constrained_site_stays_inside_of_its_support():
    def model():
        pt.sample("p", dist.Dirichlet(torch.ones(3)))
        pt.sample("s", dist.HalfCauchy(1.0))

    samples = run(NUTS(model)).get_samples()
    assert samples["p"].shape == (60, 3)
    torch.testing.assert_close(samples["p"].sum(-1), torch.ones(60))
    assert (samples["s"] > 0).all()


def test_the_same_seed_the_same_draws():
    first, again, other = (run(NUTS(conjugate), X, seed=s).get_samples()["loc"] for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_torchs_generator_decides_where_no_seed_is_given():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        first = run(NUTS(conjugate), X, seed=None).get_samples()["loc"]
        torch.manual_seed(3)
        assert torch.equal(first, run(NUTS(conjugate), X, seed=None).get_samples()["loc"])


def test_the_users_generator_is_left_alone():
    before = torch.random.get_rng_state()
    run(NUTS(conjugate), X, seed=0)
    assert torch.equal(before, torch.random.get_rng_state())


@needs_compiler
@pytest.mark.parametrize("kernel", [NUTS, HMC])
def test_compiled_and_eager_agree_over_warm_up_and_sampling(kernel):
    draws = [
        run(kernel(conjugate), X, num_warmup=10, num_samples=10, compile=mode).get_samples()["loc"]
        for mode in (True, False)
    ]
    torch.testing.assert_close(*draws, rtol=1e-8, atol=1e-8)


@needs_compiler
def test_a_chain_does_not_depend_on_how_many_there_are():
    options = {"num_warmup": 10, "num_samples": 10, "compile": True}
    many = run(NUTS(conjugate), X, num_chains=64, **options).get_samples(group_by_chain=True)["loc"]
    one = run(NUTS(conjugate), X, num_chains=1, **options).get_samples(group_by_chain=True)["loc"]
    torch.testing.assert_close(many[:1], one, rtol=1e-8, atol=1e-8)


def test_thinning_keeps_the_last_of_so_many():
    every = run(NUTS(conjugate), X, num_samples=12).get_samples(group_by_chain=True)["loc"]
    third = run(NUTS(conjugate), X, num_samples=4, thin=3).get_samples(group_by_chain=True)["loc"]
    assert torch.equal(every[:, 2::3], third)


def test_the_warm_up_is_kept_on_request():
    mcmc = run(NUTS(conjugate), X, collect_warmup=True)
    assert mcmc.get_warmup(group_by_chain=True)["loc"].shape == (2, 20)
    with pytest.raises(RuntimeError, match="use collect_warmup=True"):
        run(NUTS(conjugate), X).get_warmup()


def test_without_a_warm_up_the_kernel_is_not_tuned():
    mcmc = run(NUTS(conjugate, step_size=0.3), X, num_warmup=0)
    assert mcmc.adaptation.tuning.step_size.tolist() == [0.3, 0.3]


def test_a_log_density_starts_from_initial_values():
    mcmc = run(NUTS(log_density=gaussian), initial_values=torch.zeros(2, 3))
    assert mcmc.get_samples()["position"].shape == (60, 3)


def test_chains_of_a_model_start_from_initial_values():
    mcmc = run(
        NUTS(conjugate, step_size=1e-8, adapt_step_size=False, max_tree_depth=1),
        X,
        num_warmup=0,
        num_samples=4,
        initial_values={"loc": torch.tensor([1.0, -3.0])},
    )
    loc = mcmc.get_samples(group_by_chain=True)["loc"]
    torch.testing.assert_close(loc, torch.tensor([[1.0], [-3.0]]).double().expand(2, 4), atol=1e-5, rtol=0)


def test_pathfinder_finds_a_bulk_that_is_far_off():
    def far():
        pt.sample("z", dist.Normal(torch.tensor(5e4, dtype=torch.float64), 30.0))

    kernel = NUTS(far, step_size=1e-9, adapt_step_size=False, max_tree_depth=1)
    z = run(kernel, num_warmup=0, num_samples=4, num_chains=9, initial_values="pathfinder").get_samples()["z"]
    # Nine independent draws within six standard deviations; they do not move.
    assert ((z - 5e4).abs() < 180).all()
    assert len(z.unique()) > 5


def test_the_summary_has_a_row_for_each_parameter():
    summary = run(NUTS(conjugate), X).summary()
    assert summary.keys() == {"loc", "double"}
    assert "r_hat" in str(summary)


def test_what_is_wrong_is_said_with_what_to_do():
    def funnel():
        scale = pt.sample("scale", dist.Normal(0.0, 3.0))
        with pt.plate("d", 9):
            pt.sample("x", dist.Normal(0.0, (scale / 2).exp()))

    mcmc = MCMC(NUTS(funnel, max_tree_depth=5), 10, 20, 2, seed=0, progress=False, compile=False)
    with pytest.warns(UserWarning, match=r"MCMC: .*R-hat|MCMC: .*effective"):
        mcmc.run()


def test_draws_become_inference_data():
    pytest.importorskip("arviz")
    data = run(NUTS(conjugate), X).to_arviz()
    assert data.posterior["loc"].shape == (2, 30)
    assert {"acceptance_rate", "diverging", "n_steps", "tree_depth", "energy", "lp"} <= set(data.sample_stats)
    assert data.log_likelihood["x"].dims == ("chain", "draw", "data")


@needs_compiler
def test_a_run_on_disk_gives_the_draws_of_one_in_memory(tmp_path):
    options = {"num_warmup": 25, "num_samples": 300, "thin": 2, "compile": True}
    on_disk = run(NUTS(conjugate), X, directory=tmp_path / "run", **options)
    in_memory = run(NUTS(conjugate), X, **options)
    assert torch.equal(on_disk.get_samples()["loc"], in_memory.get_samples()["loc"])
    assert len(list((tmp_path / "run").glob("sample-*.safetensors"))) == 2
    # Done is done: a second start reads what is there.
    again = run(NUTS(conjugate), X, directory=tmp_path / "run", **options)
    assert torch.equal(on_disk.get_samples()["loc"], again.get_samples()["loc"])


def test_a_finished_run_is_made_longer(tmp_path):
    run(NUTS(conjugate), X, directory=tmp_path, num_samples=20)
    longer = run(NUTS(conjugate), X, directory=tmp_path, num_samples=50).get_samples(group_by_chain=True)["loc"]
    assert torch.equal(longer, run(NUTS(conjugate), X, num_samples=50).get_samples(group_by_chain=True)["loc"])


def test_a_directory_belongs_to_one_run(tmp_path):
    run(NUTS(conjugate), X, directory=tmp_path)
    with pytest.raises(ValueError, match="holds another run, whose options were .*Give another directory"):
        run(NUTS(conjugate), X, directory=tmp_path, num_chains=3)


def test_a_directory_belongs_to_one_posterior(tmp_path):
    run(NUTS(conjugate), X, directory=tmp_path)
    with pytest.raises(ValueError, match="another run: its chains started at other points, or the log density"):
        run(NUTS(conjugate), X + 100, directory=tmp_path)

    def wider():
        pt.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))

    with pytest.raises(ValueError, match="holds another run"):
        run(NUTS(wider), directory=tmp_path)


def test_a_damaged_directory_is_told(tmp_path):
    run(NUTS(conjugate), X, directory=tmp_path)
    block = tmp_path / "sample-000000.safetensors"
    block.write_bytes(block.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"sample-000000.safetensors.*damaged"):
        run(NUTS(conjugate), X, directory=tmp_path)
    block.unlink()
    with pytest.raises(ValueError, match=r"sample-000000.safetensors.*missing"):
        run(NUTS(conjugate), X, directory=tmp_path)
    (tmp_path / "state.pt").write_bytes(b"no state")
    with pytest.raises(ValueError, match=r"state.pt.*damaged"):
        run(NUTS(conjugate), X, directory=tmp_path)
    with pytest.raises(ValueError, match="cannot be a directory of draws"):
        run(NUTS(conjugate), X, directory=block.with_name("state.pt"))


@needs_compiler
@pytest.mark.parametrize("kernel", [NUTS, HMC])
def test_data_of_another_type_than_the_latent_variables(kernel):
    def model(y):
        m = pt.sample("m", dist.Normal(0.0, 1.0))
        with pt.plate("d", 5):
            pt.sample("y", dist.Normal(m, 1.0), obs=y)

    options = {"num_warmup": 10, "num_samples": 5}
    ours, theirs = (
        run(kernel(model), torch.ones(5).double(), compile=mode, **options).get_samples()["m"] for mode in (True, False)
    )
    assert ours.dtype == torch.float32
    # Float32 draws part by rounding as they go.
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0.02)


@needs_compiler
def test_a_log_density_of_another_type_than_the_points():
    options = {"initial_values": torch.zeros(2, 3, dtype=torch.float64), "num_warmup": 10, "num_samples": 5}
    ours, theirs = (
        run(NUTS(log_density=lambda z: gaussian(z).float()), compile=mode, **options).get_samples()["position"]
        for mode in (True, False)
    )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3)


@needs_compiler
def test_a_finished_run_can_be_copied():
    mcmc = run(NUTS(log_density=gaussian), initial_values=torch.zeros(2, 3), compile=True)
    again = copy.deepcopy(mcmc)
    assert torch.equal(again.get_samples()["position"], mcmc.get_samples()["position"])


def test_more_draws_on_disk_than_fit_are_not_read_unasked(tmp_path, monkeypatch):
    monkeypatch.setattr("posterity.infer.mcmc.mcmc._MOST_NUMBERS", 50)
    mcmc = MCMC(NUTS(conjugate), 5, 30, 2, seed=0, progress=False, compile=False, directory=tmp_path)
    with pytest.warns(UserWarning, match=r"too many to be looked at .* see summary\(\)"):
        mcmc.run(X)
    assert mcmc._samples is None
    assert mcmc.get_samples()["loc"].shape == (60,)


@needs_compiler
def test_a_killed_run_goes_on_to_the_same_draws(tmp_path):
    script = textwrap.dedent(
        """
        import sys, torch, posterity as pt
        from posterity.infer import MCMC, NUTS
        def log_density(z):
            return -0.5 * (z * z).sum() - 0.1 * (z[0] * z[1]) ** 2
        mcmc = MCMC(NUTS(log_density=log_density), 300, 400_000, 2, seed=1, progress=False, compile=True,
                    initial_values=torch.zeros(2, 3, dtype=torch.float64), directory=sys.argv[1])
        mcmc.run()
        """
    )
    path = tmp_path / "run"
    process = subprocess.Popen([sys.executable, "-c", script, str(path)])
    try:
        deadline = time.monotonic() + 120
        while len(list(path.glob("sample-*.safetensors"))) < 4:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
        process.wait()

    def log_density(z):
        return -0.5 * (z * z).sum() - 0.1 * (z[0] * z[1]) ** 2

    blocks = len(list(path.glob("sample-*.safetensors")))
    options = {"num_warmup": 300, "num_samples": 250 * (blocks + 3), "seed": 1, "compile": True}
    options["initial_values"] = torch.zeros(2, 3, dtype=torch.float64)
    resumed = run(NUTS(log_density=log_density), directory=path, **options)
    whole = run(NUTS(log_density=log_density), **options)
    assert torch.equal(resumed.get_samples()["position"], whole.get_samples()["position"])


def test_what_was_drawn_before_an_interrupt_can_be_had():
    calls = 0

    def log_density(z):
        nonlocal calls
        calls += 1
        if calls > 400:
            raise KeyboardInterrupt
        return gaussian(z)

    mcmc = MCMC(
        NUTS(log_density=log_density), 0, 1000, 2, seed=0, progress=False, compile=False,
        initial_values=torch.zeros(2, 1),
    )  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        mcmc.run()
    assert 1 < mcmc.get_samples(group_by_chain=True)["position"].shape[1] < 400


def test_two_processes_share_the_chains(tmp_path):
    script = tmp_path / "chains.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys, torch
            import torch.distributed as group
            from posterity.infer import MCMC, NUTS
            group.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=int(sys.argv[2]), world_size=2)
            mcmc = MCMC(NUTS(log_density=lambda z: -0.5 * (z * z).sum()), 10, 10, 3, seed=4, progress=False,
                        compile=False, initial_values=torch.zeros(3, 2, dtype=torch.float64))
            import warnings; warnings.simplefilter("ignore")
            mcmc.run()
            torch.save(mcmc.get_samples(group_by_chain=True), f"{sys.argv[1]}-{sys.argv[2]}.pt")
            group.destroy_process_group()
            """
        )
    )
    processes = [
        subprocess.Popen([sys.executable, str(script), str(tmp_path / "meeting"), str(rank)]) for rank in range(2)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    alone = run(
        NUTS(log_density=gaussian), num_warmup=10, num_samples=10, num_chains=3, seed=4,
        initial_values=torch.zeros(3, 2, dtype=torch.float64),
    )  # fmt: skip
    gathered, own = (torch.load(tmp_path / f"meeting-{rank}.pt")["position"] for rank in range(2))
    assert torch.equal(gathered, alone.get_samples(group_by_chain=True)["position"])
    assert torch.equal(own, gathered[1:])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_samples": 0}, ValueError, "num_samples must be a whole number of at least 1"),
        ({"num_warmup": -1}, ValueError, "num_warmup must be a whole number of at least 0"),
        ({"num_chains": 1.5}, ValueError, "num_chains must be a whole number"),
        ({"thin": 0}, ValueError, "thin must be"),
        ({"compile": "yes"}, ValueError, "compile must be True, False or 'auto'"),
        ({"initial_values": torch.zeros(3)}, ValueError, r"must have shape \[num_chains, dim\]"),
        (
            {"initial_values": torch.zeros(3, 2)},
            ValueError,
            "2 chains, but the initial value of .* is values for 3",
        ),
        ({"initial_values": torch.zeros(2, 5)}, ValueError, "a point of this model has 1 numbers"),
        ({"initial_values": {"loc": torch.tensor(0.0)}}, ValueError, "'loc' is a single number"),
        ({"initial_values": {"loc": 0.0}}, ValueError, "'loc' is a single number"),
        ({"initial_values": "modes"}, ValueError, "must be tensors or 'pathfinder', not 'modes'"),
        ({"initial_values": [1.0]}, TypeError, "must be a mapping from site names"),
    ],
)
def test_arguments_out_of_range_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        run(NUTS(conjugate), X, **options)


def test_a_model_is_no_kernel():
    with pytest.raises(TypeError, match=r"kernel must be a kernel such as NUTS\(model\), not <function conjugate"):
        MCMC(conjugate)


def test_initial_values_are_looked_at():
    with pytest.raises(ValueError, match="there are 2 chains, but the initial value of 'loc' is values for 3"):
        run(NUTS(conjugate), X, initial_values={"loc": torch.zeros(3)})
    with pytest.raises(ValueError, match=r"initial values of chains \[1\] the log density is \[nan\]"):
        run(NUTS(log_density=gaussian), initial_values=torch.tensor([[0.0], [math.nan]]))
    with pytest.raises(ValueError, match="needs initial_values"):
        run(NUTS(log_density=gaussian))


def test_a_model_without_a_start_names_the_site():
    def model():
        z = pt.sample("z", dist.Normal(0.0, 1.0))
        pt.sample("bad", dist.Normal(z, 1.0), obs=torch.tensor(math.inf))

    with pytest.raises(ValueError, match="bad"):
        run(NUTS(model))


def test_a_discrete_variable_must_be_summed_out():
    def model():
        pt.sample("k", dist.Bernoulli(0.5))
        pt.sample("z", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match=r"discrete latent variables.*'k' \(Bernoulli\).*enumerate"):
        run(NUTS(model))


def test_marked_discrete_variables_are_summed_out():
    def model():
        k = pt.sample("k", dist.Bernoulli(0.5), infer={"enumerate": "parallel"})
        pt.sample("z", dist.Normal(2 * k, 1.0))

    assert run(NUTS(model)).get_samples().keys() == {"z"}


def test_a_model_that_changes_its_sites_is_refused():
    calls = 0

    def model():
        nonlocal calls
        calls += 1
        pt.sample("z", dist.Normal(0.0, 1.0))
        if calls > 3:
            pt.sample("new", dist.Normal(0.0, 1.0))

    with pytest.raises((ValueError, RuntimeError), match=r"sample sites have changed .*new: \['new'\]"):
        run(NUTS(model))


def test_a_kernel_is_an_object():
    with pytest.raises(TypeError, match="not <class .*NUTS"):
        MCMC(NUTS)


def test_an_interrupt_at_the_very_end_of_a_block_is_not_lost(monkeypatch):
    sample = Stepping.sample

    def interrupted(self, *args):
        result = sample(self, *args)
        self.interrupted = True
        return result

    monkeypatch.setattr(Stepping, "sample", interrupted)
    mcmc = MCMC(NUTS(conjugate), 5, 5, 2, seed=0, progress=False, compile=False)
    with pytest.raises(KeyboardInterrupt):
        mcmc.run(X)
    assert mcmc.get_samples()["loc"].shape == (10,)


def test_nothing_can_be_had_before_a_run():
    mcmc = MCMC(NUTS(conjugate))
    for ask in (mcmc.get_samples, mcmc.get_extra_fields, mcmc.summary):
        with pytest.raises(RuntimeError, match="call run first"):
            ask()


@needs_compiler
def test_a_model_that_cannot_be_captured_runs_uncompiled():
    def model():
        z = pt.sample("z", dist.Normal(0.0, 1.0))
        pt.factor("f", -z if z > 0 else torch.zeros(()))

    with pytest.warns(UserWarning, match="goes on uncompiled"):
        MCMC(NUTS(model), 5, 300, 1, seed=0, progress=False).run()
    with pytest.raises(RuntimeError, match="cannot be captured"):
        MCMC(NUTS(model), 5, 5, 1, seed=0, progress=False, compile=True).run()
