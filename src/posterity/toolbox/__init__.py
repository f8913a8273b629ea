"""Floor 9: what people do with uncertainty: calibration, detection, deferral, the report."""

from posterity.toolbox.calibration import (
    Reliability,
    expected_calibration_error,
    negative_log_likelihood,
    reliability,
)
from posterity.toolbox.comparison import Comparison
from posterity.toolbox.deferral import DeferralCurve, deferral_curve
from posterity.toolbox.detection import auroc
from posterity.toolbox.report import Answers, render_report
from posterity.toolbox.vae_report import Measure, render_vae_report

__all__ = [
    "Answers",
    "Comparison",
    "DeferralCurve",
    "Measure",
    "Reliability",
    "auroc",
    "deferral_curve",
    "expected_calibration_error",
    "negative_log_likelihood",
    "reliability",
    "render_report",
    "render_vae_report",
]
