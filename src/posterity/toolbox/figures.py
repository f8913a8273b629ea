"""The report's figures, as SVG that a page can hold: they take their colours and their font from the page."""

from typing import TYPE_CHECKING

from torch import Tensor

from posterity.toolbox.calibration import Reliability
from posterity.toolbox.deferral import DeferralCurve
from posterity.toolbox.page import (
    BAYESIAN,
    DETERMINISTIC,
    INK,
    KNOWN,
    MUTED,
    UNKNOWN,
    new_figure,
    restrain,
    svg,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def histograms(known: Tensor, unknown: Tensor, unit: str = "nats") -> str:
    """Two histograms over one axis: an uncertainty on known inputs, and on unknown ones.

    Args:
        known: `[known]`, finite.
        unknown: `[unknown]`, finite.
        unit: The unit of the axis.

    Returns:
        An `<svg>` element with a label for those who can't see it.
    """
    top = max(known.max().item(), unknown.max().item(), 1e-6)
    figure = new_figure()
    upper, lower = figure.subplots(2, 1, sharex=True)
    for axes, values, colour, name in ((upper, known, KNOWN, "known"), (lower, unknown, UNKNOWN, "unknown")):
        weights = [100 / len(values)] * len(values)
        axes.hist(values.tolist(), bins=24, range=(0, top), weights=weights, color=colour, rwidth=0.92)
        axes.text(
            0.98,
            0.86,
            f"{name} ({len(values)})",
            color=colour,
            ha="right",
            va="top",
            transform=axes.transAxes,
        )
        axes.set_ylabel("% of images")
        restrain(axes)
    lower.set_xlabel(f"epistemic uncertainty ({unit})")
    label = (
        "Two histograms of epistemic uncertainty. The median of the known images is "
        f"{known.median():.2g} {unit}, of the unknown ones {unknown.median():.2g} {unit}."
    )
    return svg(figure, "histograms", label)


def reliability_diagram(bayesian: Reliability, deterministic: Reliability) -> str:
    """Accuracy against confidence for two networks; the larger a dot, the more images it stands for.

    Args:
        bayesian: The Bayesian network's bins.
        deterministic: The deterministic network's bins.

    Returns:
        An `<svg>` element, as `histograms` gives.
    """
    figure = new_figure()
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    axes.text(0.16, 0.21, "perfectly calibrated", color=MUTED, rotation=33, rotation_mode="anchor", fontsize=9)
    for curve, colour, marker, name in (
        (deterministic, DETERMINISTIC, "s", "deterministic"),
        (bayesian, BAYESIAN, "o", "Bayesian"),
    ):
        filled = curve.count > 0
        confidence, accuracy = curve.confidence[filled].tolist(), curve.accuracy[filled].tolist()
        sizes = (12 + 150 * (curve.count[filled] / curve.count.sum()).sqrt()).tolist()
        axes.plot(confidence, accuracy, color=colour, linewidth=1.2)
        axes.scatter(confidence, accuracy, s=sizes, color=colour, marker=marker, alpha=0.85, label=name)
    axes.set(
        xlim=(0, 1.03),
        ylim=(0, 1.05),
        xlabel="how sure the network says it is",
        ylabel="how often it is right",
    )
    restrain(axes)
    _legend(axes)
    label = "Accuracy against confidence for both networks. The closer to the diagonal, the better calibrated."
    return svg(figure, "reliability", label)


def deferral_figure(bayesian: DeferralCurve, deterministic: DeferralCurve) -> str:
    """Accuracy on the images kept against the fraction handed on, for two networks.

    Args:
        bayesian: The Bayesian network's curve.
        deterministic: The deterministic network's curve.

    Returns:
        An `<svg>` element, as `histograms` gives.
    """
    figure = new_figure()
    axes = figure.subplots()
    lowest = 1.0
    for curve, colour, style, name in (
        (deterministic, DETERMINISTIC, (0, (5, 2)), "deterministic"),
        (bayesian, BAYESIAN, "-", "Bayesian"),
    ):
        shown = curve.fraction_deferred <= 0.5
        deferred, accuracy = curve.fraction_deferred[shown] * 100, curve.accuracy_of_the_rest[shown] * 100
        axes.plot(deferred.tolist(), accuracy.tolist(), color=colour, linewidth=2, linestyle=style, label=name)
        lowest = min(lowest, accuracy.min().item() / 100)
    margin = max(100 * (1 - lowest) * 0.08, 0.05)
    axes.set(
        xlim=(0, 50),
        ylim=(100 * lowest - margin, 100 + margin),
        xlabel="% of images handed on, the most uncertain first",
        ylabel="% right among the rest",
    )
    restrain(axes)
    _legend(axes)
    label = (
        f"Accuracy on the images kept, for both networks. With nothing handed on: Bayesian "
        f"{bayesian.accuracy_of_the_rest[0]:.1%}, deterministic {deterministic.accuracy_of_the_rest[0]:.1%}."
    )
    return svg(figure, "deferral", label)


def _legend(axes: "Axes") -> None:
    from matplotlib.collections import PathCollection

    legend = axes.legend(loc="lower right", frameon=False, labelcolor=INK, fontsize=10.5)
    for handle in legend.legend_handles:
        if isinstance(handle, PathCollection):
            handle.set_sizes([45.0])
