"""Several steps by one native call: the numbers of single ones, also around looks, checkpoints and interruptions."""

import pytest
import torch
from torch.distributions import constraints

import posterity as pt
from posterity import distributions as dist
from posterity.infer.capture import can_compile
from posterity.infer.replay import Replay
from posterity.kernels import NoiseLayout

pytestmark = pytest.mark.skipif(not can_compile(), reason="no C++ compiler")

X = torch.full((9,), 2.0, dtype=torch.float64)
ZERO = torch.zeros((), dtype=torch.float64)


def model(x):
    z = pt.sample("z", dist.Normal(ZERO, 1.0))
    shift = pt.sample("shift", dist.Laplace(ZERO, 1.0))
    with pt.plate("data", len(x)):
        pt.sample("x", dist.Normal(z + shift, 1.0), obs=x)


def guide(x):
    """Of normal and of uniform numbers."""
    loc = pt.param("loc", ZERO)
    scale = pt.param("scale", ZERO + 1, constraint=constraints.positive)
    pt.sample("z", dist.Normal(loc, scale))
    pt.sample("shift", dist.Laplace(loc, scale))


class Remembering(pt.infer.ELBO):
    """An objective with a state, which the loss shows."""

    def estimate(self, pair, pools, state):
        found = super().estimate(pair, pools, state)
        mean = 0.9 * state.get("mean", ZERO) + 0.1 * found.loss
        return found._replace(loss=found.loss + mean, state={"count": state.get("count", ZERO) + 1, "mean": mean})


def _svi(compile=True, **arguments):  # noqa: A002
    return pt.infer.SVI(
        model, guide, torch.optim.Adam, {"lr": 0.05}, loss=Remembering(), seed=0, progress=False, compile=compile,
        **arguments,
    )  # fmt: skip


@pytest.fixture(scope="module")
def eager():
    svi = _svi(False)
    return svi.run(120, X).losses, svi


def test_they_are_the_eager_steps(eager, monkeypatch):
    numbers = []
    loop = Replay.loop
    monkeypatch.setattr(
        Replay, "loop", lambda self, number, **rest: (numbers.append(number), loop(self, number, **rest))
    )
    svi = _svi()
    result = svi.run(120, X)
    torch.testing.assert_close(result.losses, eager[0], rtol=1e-8, atol=1e-10)
    assert numbers == [49, 50, 20]  # the first step captures the graph; a look after every 50
    assert eager[1].state_dict()["objective"].keys() == svi.state_dict()["objective"].keys() == {"count", "mean"}
    for name, value in eager[1].state_dict()["objective"].items():
        torch.testing.assert_close(svi.state_dict()["objective"][name], value, rtol=1e-8, atol=1e-10)
    again = svi.run(30, X).losses
    torch.testing.assert_close(again, eager[1].run(30, X).losses, rtol=1e-8, atol=1e-10)


def test_data_may_change_in_place_and_be_replaced():
    runs = {}
    for compile_ in (False, True):
        svi, x = _svi(compile_), X.clone()
        losses = [svi.run(10, x).losses]
        x += 1
        losses += [svi.run(10, x).losses, svi.run(10, X - 1).losses, svi.run(3, x).losses]
        runs[compile_] = torch.cat(losses)
    torch.testing.assert_close(runs[True], runs[False], rtol=1e-8, atol=1e-10)


def test_checkpoints_fall_where_they_are_wanted(eager, tmp_path):
    path = tmp_path / "svi.pt"
    _svi(checkpoint=path, checkpoint_every=35).run(119, X)
    resumed = _svi()
    resumed.load(path)
    losses = resumed.run(15, X).losses
    assert resumed.num_steps == 120
    torch.testing.assert_close(losses, eager[0][105:], rtol=1e-8, atol=1e-10)


def test_a_ctrl_c_loses_no_step_and_no_random_number(eager, monkeypatch):
    svi = _svi()
    with monkeypatch.context() as patch:
        fill = NoiseLayout.fill

        def interrupted_drawing(self, runs, generators):
            fill(self, runs[: (len(runs) + 1) // 2], generators)
            if len(runs) > 1:
                raise KeyboardInterrupt

        patch.setattr(NoiseLayout, "fill", interrupted_drawing)
        with pytest.raises(KeyboardInterrupt):
            svi.run(120, X)
    assert svi.num_steps == 1
    with monkeypatch.context() as patch:
        loop = Replay.loop

        def interrupted_loop(self, number, **rest):
            loop(self, number, **rest)
            raise KeyboardInterrupt

        patch.setattr(Replay, "loop", interrupted_loop)
        with pytest.raises(KeyboardInterrupt):
            svi.run(40, X)
    assert svi.num_steps == 41
    svi.run(79, X)
    torch.testing.assert_close(svi.state_dict()["losses"], eager[0], rtol=1e-8, atol=1e-10)


def test_drawing_ahead_is_bounded(eager, monkeypatch):
    monkeypatch.setattr("posterity.infer.svi_steps._NOISE_AHEAD", 13)
    svi = _svi()
    torch.testing.assert_close(svi.run(30, X).losses, eager[0][:30], rtol=1e-8, atol=1e-10)
    graph = svi._steps._compiled.native(*svi._steps._compiled._bound[:2])
    assert len(graph._rows) == 13 // 2
