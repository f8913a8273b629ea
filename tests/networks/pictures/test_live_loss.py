"""A live loss keeps every loss, and shows the curve in a notebook only."""

import sys
import types

import pytest
import torch

from posterity.networks.pictures import LiveLoss

pytest.importorskip("matplotlib")


def test_every_loss_is_kept_one_by_one_and_in_blocks():
    with LiveLoss("Training", total=5) as live:
        live.update(3.0)
        loss = torch.tensor(2.0, requires_grad=True)
        live.update(2 * loss)
        block = torch.tensor([1.0, 0.5, 0.25])
        live.update(block)
        block.zero_()  # a training may write its next losses into the same memory
    assert live.losses.tolist() == [3.0, 4.0, 1.0, 0.5, 0.25]
    assert not live.losses.requires_grad


def test_the_curve_says_what_it_cuts_off():
    live = LiveLoss()
    live.update(torch.cat([torch.tensor([900.0]), torch.linspace(2, 1, 199)]))
    axes = live.figure().axes[0]
    assert axes.get_ylim()[1] < 10
    assert [text.get_text() for text in axes.texts] == ["begins at 900"]
    thin, thick = axes.lines
    assert len(thin.get_ydata()) == 200
    assert thick.get_ydata()[-1] == pytest.approx(live.losses[-4:].mean().item(), rel=1e-6)


def test_a_curve_without_losses_and_with_nan_is_drawn():
    LiveLoss().figure().canvas.draw()
    live = LiveLoss()
    live.update(torch.full((200,), torch.nan))
    live.figure().canvas.draw()


class Kernel:
    """What a notebook's IPython looks like from here."""

    def __init__(self) -> None:
        self.config = {"IPKernelApp": {}}
        self.shown: list[object] = []

    def display(self, figure: object, display_id: bool) -> "Kernel":
        assert display_id
        self.shown.append(figure)
        return self

    def update(self, figure: object) -> None:
        self.shown.append(figure)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel()
    ipython = types.SimpleNamespace(get_ipython=lambda: kernel)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(display=kernel.display))
    return kernel


def test_a_notebook_sees_the_curve_at_the_first_loss_and_at_the_end(kernel: Kernel):
    with LiveLoss() as live:
        for step in range(100):
            live.update(1 / (step + 1))
        during = len(kernel.shown)
        assert 1 <= during < 100
    assert len(kernel.shown) == during + 1
    assert len(kernel.shown[-1].axes[0].lines[0].get_ydata()) == 100


def test_nothing_is_shown_where_it_is_not_enabled_or_in_a_terminals_ipython(kernel: Kernel):
    with LiveLoss(enabled=False) as live:
        live.update(1.0)
    kernel.config = {}
    with LiveLoss() as live:
        live.update(1.0)
    assert kernel.shown == []


@pytest.mark.parametrize("losses", [torch.zeros(2, 2), torch.zeros(0)], ids=["matrix", "empty"])
def test_what_is_no_loss_is_refused(losses: torch.Tensor):
    with pytest.raises(ValueError, match=r"takes one loss, or a vector with one for each step, not \["):
        LiveLoss().update(losses)


def test_a_total_of_no_steps_is_refused():
    with pytest.raises(ValueError, match="total must be a positive number"):
        LiveLoss(total=0)
