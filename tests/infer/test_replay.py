"""Replayed graphs: to the bit the numbers of ordinary calls, and honest where they are not native."""

import ctypes

import pytest
import torch

from posterity.infer.capture import can_compile, capture
from posterity.infer.recording import NotReplayableError, Recording
from posterity.infer.recording import record as real_record
from posterity.infer.replay import Replay

pytestmark = pytest.mark.skipif(not can_compile(), reason="no C++ compiler")


def _normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def products():
    """A function of fused kernels, products of matrices and a triangular solve."""

    def function(x, factor):
        mean = torch.addmm(x[:3, :3], x[:3], x[:, :3]).exp()
        batch = x.reshape(2, 2, 4) @ x.reshape(2, 4, 2)
        solved = torch.linalg.solve_triangular(factor, x.tanh(), upper=False)
        return {"mean": mean, "rest": [(x @ x.mT).sin(), torch.baddbmm(batch, batch, batch), solved.mT]}

    example = [_normal(4, 4), _normal(4, 4, seed=1).tril() + 5 * torch.eye(4, dtype=torch.float64)]
    return function, Replay(function, example)


def test_a_replay_is_a_call(products):
    function, replay = products
    assert replay.reason == ""
    assert replay.is_native
    for seed in (2, 3):
        replay.inputs[0].copy_(_normal(4, 4, seed=seed))
        replay()
        expected = replay.compiled(*replay.inputs)
        assert all(map(torch.equal, replay.outputs, expected))
        eager = function(*replay.inputs)
        torch.testing.assert_close(replay.result["mean"], eager["mean"])
        torch.testing.assert_close(replay.result["rest"], eager["rest"])
    assert all(output.is_contiguous() for output in replay.outputs)


def test_an_error_of_an_operation_is_raised(products):
    _, replay = products
    call = next(call for call in replay._native._recording.calls if call.kind == 2)
    kind = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_void_p] * 4, ctypes.c_double, ctypes.c_double)
    refusing = kind(lambda *_: 1)
    at = replay._native._recording.calls.index(call)
    own = replay._native._calls[at].function
    replay._native._calls[at].function = ctypes.cast(refusing, ctypes.c_void_p).value
    try:
        with pytest.raises(RuntimeError, match="an operation refused its arguments"):
            replay()
    finally:
        replay._native._calls[at].function = own
    replay()


@pytest.fixture(scope="module")
def stepping():
    """Adds noise to a state in place, counts, and looks something up."""

    def function(state, noise, count, index):
        before = state.clone()
        state.mul_(0.9).add_(noise)
        return before, count + 1, before[index]

    return function


def _stepping_inputs():
    return [_normal(3), _normal(3, seed=1), torch.zeros((), dtype=torch.int64), torch.tensor([2, 0])]


def test_a_loop_feeds_noise_in_and_collects(stepping):
    replay = Replay(stepping, _stepping_inputs())
    assert replay.is_native
    # Recording and verifying leave the inputs as they were.
    assert all(map(torch.equal, replay.inputs, _stepping_inputs()))
    noise, trace = _normal(10, 3, seed=2), torch.full((10, 3), torch.nan, dtype=torch.float64)
    state = replay.inputs[0].clone()
    replay.loop(10, advancing=[(1, noise)], collecting=[(0, trace)], feedback=[(1, 2)])
    for i in range(10):
        assert torch.equal(trace[i], state)
        state = state * 0.9 + noise[i]
        torch.testing.assert_close(replay.outputs[2], trace[9][[2, 0]], rtol=0, atol=0)
    torch.testing.assert_close(replay.inputs[0], state, rtol=1e-15, atol=1e-15)
    assert int(replay.inputs[2]) == int(replay.outputs[1]) == 10


def test_an_index_out_of_range_is_an_error_as_in_a_call(stepping):
    replay = Replay(stepping, _stepping_inputs())
    replay.inputs[3].fill_(7)
    with pytest.raises(RuntimeError, match="index out of bounds"):
        replay()
    with pytest.raises(RuntimeError, match="index out of bounds"):
        replay.loop(3)
    entry = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)(replay.entry)
    assert entry(replay.context) == 1
    with pytest.raises(RuntimeError, match="index out of bounds"):
        replay.check()
    replay.inputs[3].fill_(1)
    assert entry(replay.context) == 0
    replay.check()


def test_outputs_share_no_memory_with_inputs():
    x = _normal(3)
    replay = Replay(lambda x: (x, x[1:], x.mul_(2)), [x])
    assert replay.is_native
    replay()
    whole, part, doubled = (output.clone() for output in replay.outputs)
    replay.inputs[0].zero_()
    assert all(map(torch.equal, replay.outputs, (whole, part, doubled)))
    assert torch.equal(doubled, 2 * _normal(3))


def test_random_numbers_and_libraries_without_a_native_way_are_called():
    def function(x):
        return torch.linalg.eigvalsh(x @ x.mT).sum() + torch.rand_like(x).sum()

    x = _normal(3, 3)
    before = torch.get_rng_state()
    replay = Replay(function, [x])
    assert torch.equal(torch.get_rng_state(), before)
    assert not replay.is_native
    assert "draws random numbers" in replay.reason
    torch.manual_seed(1)
    replay()
    torch.manual_seed(1)
    torch.testing.assert_close(replay.outputs[0], function(x))
    # Every way to run it takes the same course.
    sums = torch.zeros(3, dtype=torch.float64)
    torch.manual_seed(1)
    replay.loop(3, collecting=[(0, sums)])
    torch.manual_seed(1)
    for value in sums:
        torch.testing.assert_close(value, function(x))
    entry = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)(replay.entry)
    torch.manual_seed(1)
    assert entry(replay.context) == 0
    assert torch.equal(replay.outputs[0], sums[0])


def test_an_operation_that_takes_more_than_tensors_and_numbers_is_named():
    replay = Replay(lambda x: torch.linalg.eigvalsh(x @ x.mT), [_normal(3, 3)])
    assert "it calls aten._linalg_eigh" in replay.reason
    replay()
    torch.testing.assert_close(replay.outputs[0], torch.linalg.eigvalsh(replay.inputs[0] @ replay.inputs[0].mT))


def _lacking_a_call(compiled, modules, inputs):
    recording = real_record(compiled, modules, inputs)
    return Recording(recording.calls[:-1], *recording[1:])


def _refusing(compiled, modules, inputs):
    raise NotReplayableError("on purpose")


def _without_names(compiled, modules, inputs):
    return real_record(compiled, [], inputs)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (_lacking_a_call, "other numbers than a call"),
        (_refusing, "on purpose"),
        (_without_names, "compiled into 0 modules"),
    ],
)
def test_a_recording_that_fails_leaves_an_ordinary_call(monkeypatch, record, reason):
    monkeypatch.setattr("posterity.infer.replay.record", record)
    x = _normal(3)
    replay = Replay(lambda x: x.add_(1).square(), [x])
    assert reason in replay.reason
    assert torch.equal(x, _normal(3))
    replay.loop(2, feedback=[(0, 0)])
    torch.testing.assert_close(x, ((_normal(3) + 1).square() + 1).square())


def test_a_call_from_native_code_keeps_the_error_of_python(monkeypatch):
    monkeypatch.setattr("posterity.infer.replay.record", _refusing)
    replay = Replay(lambda x: x.add_(1).square(), [_normal(3)])
    entry = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)(replay.entry)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(replay, "compiled", interrupted)
    assert entry(replay.context) == 1
    with pytest.raises(KeyboardInterrupt):
        replay.check()
    replay.check()


def test_a_replay_is_what_capture_gives():
    x = _normal(5)
    replay = Replay(lambda x: (x.sin(), x.cumsum(0)), [x])
    replay()
    assert all(map(torch.equal, replay.outputs, capture(lambda x: (x.sin(), x.cumsum(0)), [x])(x)))


def test_wrong_arguments(products):
    _, replay = products
    with pytest.raises(ValueError, match=r"advancing got a tensor \(2, 4\) .* but needs \(2, 4, 4\)"):
        replay.loop(2, advancing=[(0, torch.zeros(2, 4, dtype=torch.float64))])
    with pytest.raises(ValueError, match=r"collecting got .*float32.* but needs \(2, 3, 3\) of torch.float64"):
        replay.loop(2, collecting=[(0, torch.zeros(2, 3, 3))])
    with pytest.raises(ValueError, match=r"feedback got a tensor \(3, 3\)"):
        replay.loop(2, feedback=[(0, 0)])
    with pytest.raises(ValueError, match="advancing takes contiguous tensors"):
        replay.loop(2, advancing=[(0, torch.zeros(4, 4, 2, dtype=torch.float64).permute(2, 0, 1))])
    with pytest.raises(TypeError, match="must return tensors, not a int"):
        Replay(lambda x: (x, 1), [torch.zeros(2)])
