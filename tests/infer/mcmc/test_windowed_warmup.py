import pytest
import torch

from posterity.infer.mcmc.kernel import Tuning
from posterity.infer.mcmc.nuts import NUTS
from posterity.infer.mcmc.step_size import find_step_size
from posterity.infer.mcmc.target import LogDensity
from posterity.infer.mcmc.trajectory import HamiltonianState
from posterity.infer.mcmc.windowed_warmup import windows
from posterity.kernels import Key
from tests.infer.mcmc.chain_checks import keys_of

SD = torch.tensor([0.01, 1.0, 30.0], dtype=torch.float64)
TARGET = LogDensity(lambda z: -0.5 * (z / SD).square().sum(-1), 3, batched=True)


@pytest.mark.parametrize("number", [0, 1, 9, 10, 20, 75, 150, 1000, 5000])
def test_windows_leave_a_tenth_to_the_step_size(number):
    lengths = windows(number)
    assert all(length >= 10 for length in lengths)
    assert sum(lengths) <= number
    assert lengths == [] or number - sum(lengths) <= max(10, number // 10) + 10
    assert lengths == sorted(lengths)


def warmed_up(kernel, num_chains=6, num_warmup=60):
    keys = Key(0).fold_in(torch.arange(num_chains))
    position = torch.randn(num_chains, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    adaptation = kernel.adaptation(TARGET, position, num_warmup, keys)
    return adaptation, position


def test_the_state_of_a_warm_up_can_be_saved_and_loaded():
    kernel = NUTS(log_density=TARGET.log_density, max_tree_depth=1)
    (one, position), (two, _) = warmed_up(kernel), warmed_up(kernel)
    for t in range(14):
        state = HamiltonianState.at(TARGET, position * (1 + t))
        _, info = kernel.step(TARGET, state, Tuning(torch.full((6,), 1e-3)), keys_of(6, t))
        if t == 12:
            two.load_state_dict(one.state_dict())
        changed = one.update(state, info)
        if t >= 12:
            assert two.update(state, info) == changed
    assert torch.equal(one.tuning.step_size, two.tuning.step_size)
    assert torch.equal(one.metric.scale, two.metric.scale)


def test_the_metric_changes_at_the_end_of_a_window():
    kernel = NUTS(log_density=TARGET.log_density, max_tree_depth=1)
    adaptation, _ = warmed_up(kernel)
    generator = torch.Generator().manual_seed(1)
    changes = []
    for t in range(60):
        draws = SD * torch.randn(6, 3, dtype=torch.float64, generator=generator)
        if adaptation.metric is not None:
            draws = adaptation.metric.inverse(draws)
        state = HamiltonianState(draws, torch.zeros(6), -draws * (adaptation.metric.scale / SD).square())
        info = kernel.step(TARGET, HamiltonianState.at(TARGET, draws), Tuning(torch.full((6,), 1e-3)), keys_of(6, t))[1]
        if adaptation.update(state, info):
            changes.append(t + 1)
    assert changes == torch.tensor(windows(60)).cumsum(0).tolist()
    torch.testing.assert_close(adaptation.metric.scale, SD.expand(6, 3))


def test_the_first_step_is_about_the_smallest_scale():
    state = HamiltonianState.at(TARGET, SD * torch.randn(50, 3, dtype=torch.float64))
    for start in (1e-6, 1e3):
        step = find_step_size(TARGET, state, keys_of(50, 0), torch.full((50,), start))
        assert (step > 0.01 / 8).all()
        assert (step < 0.01 * 8).all()


def test_a_given_step_size_stays_where_it_is_not_to_be_tuned():
    kernel = NUTS(log_density=TARGET.log_density, step_size=0.123, adapt_step_size=False, metric=None)
    adaptation, position = warmed_up(kernel)
    state = HamiltonianState.at(TARGET, position)
    _, info = kernel.step(TARGET, state, adaptation.tuning, keys_of(6, 0))
    for _ in range(60):
        assert not adaptation.update(state, info)
    assert adaptation.finish() is False
    assert adaptation.tuning.step_size.tolist() == [0.123] * 6
