"""Noise made ahead is what the recorder would have drawn by kind, and a tape hands it out once, in order."""

import pytest
import torch
from scipy import stats

from posterity.kernels import NoiseRecorder, NoiseTape, normal, uniform
from posterity.kernels.samplers import standard_gamma
from tests.statistical import FALSE_ALARM

CPU = torch.device("cpu")


def _recorder(seed=0):
    return NoiseRecorder({CPU: torch.Generator().manual_seed(seed)})


def _program(source):
    a = normal((2, 3), source=source)
    b = uniform((4,), source=source, dtype=torch.float64)
    c = normal((5,), source=source)
    d = standard_gamma(torch.tensor([0.5, 3.0]), source=source)
    return a, b, c, d


def test_a_tape_gives_the_shapes_and_dtypes_that_were_recorded():
    recorder = _recorder()
    recorded = _program(recorder)
    tape = NoiseTape(recorder.layout().draw(recorder.generators))
    for there, here in zip(recorded, _program(tape), strict=True):
        assert (there.shape, there.dtype) == (here.shape, here.dtype)


def test_numbers_are_handed_out_once():
    recorder = _recorder()
    _program(recorder)
    a, _, c, _ = _program(NoiseTape(recorder.layout().draw(recorder.generators)))
    assert len(torch.cat([a.flatten(), c]).unique()) == a.numel() + c.numel()


def test_runs_are_rows_of_the_same_layout():
    recorder = _recorder()
    _program(recorder)
    pools = recorder.layout().draw(recorder.generators, (7,))
    assert all(pool.shape[0] == 7 for pool in pools.values())
    vectorized = torch.vmap(lambda rows: _program(NoiseTape(rows))[0])(pools)
    looped = torch.stack([_program(NoiseTape({k: p[i] for k, p in pools.items()}))[0] for i in range(7)])
    assert torch.equal(vectorized, looped)


def test_shared_numbers_are_the_same_in_all_runs():
    recorder = _recorder()
    recorder.shared_uniform((3,), torch.float64, CPU)
    uniform((3,), source=recorder, dtype=torch.float64)
    pools = recorder.layout().draw(recorder.generators, (5,))

    def run(rows):
        tape = NoiseTape(rows)
        return tape.shared_uniform((3,), torch.float64, CPU), uniform((3,), source=tape, dtype=torch.float64)

    shared, own = torch.vmap(run)(pools)
    assert shared.unique().numel() == 3
    assert own.unique().numel() == 15


def test_what_a_program_does_to_its_numbers_does_not_change_the_tape():
    recorder = _recorder()
    normal((3,), source=recorder)
    pools = recorder.layout().draw(recorder.generators)
    first = normal((3,), source=NoiseTape(pools)).clone()
    normal((3,), source=NoiseTape(pools)).zero_()
    assert torch.equal(normal((3,), source=NoiseTape(pools)), first)


def test_the_same_seed_gives_the_same_noise_and_another_another():
    draws = []
    for seed in (0, 0, 1):
        recorder = _recorder(seed)
        _program(recorder)
        draws.append(_program(NoiseTape(recorder.layout().draw(recorder.generators)))[0])
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize(("draw", "law"), [(normal, stats.norm), (uniform, stats.uniform)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_goodness_of_fit(draw, law, dtype):
    recorder = _recorder()
    draw((50_000,), source=recorder, dtype=dtype)
    x = draw((50_000,), source=NoiseTape(recorder.layout().draw(recorder.generators)), dtype=dtype)
    assert stats.kstest(x.double().numpy(), law.cdf).pvalue > FALSE_ALARM
    assert draw is normal or bool(((x > 0) & (x < 1)).all())


def test_more_than_was_recorded_is_refused():
    recorder = _recorder()
    normal((2,), source=recorder)
    tape = NoiseTape(recorder.layout().draw(recorder.generators))
    normal((2,), source=tape)
    with pytest.raises(LookupError, match="asks for more normal numbers than in its first run"):
        normal((1,), source=tape)
    with pytest.raises(LookupError, match="more uniform numbers"):
        uniform((1,), source=tape)
