"""The reliability plot of a discriminator's score, made of the record of its evaluation."""

import matplotlib as mpl

from training.report import Report
from training.studies.figures import COLOURS, STYLE, axes, png

KINDS = {
    "raw": ("sigmoid of the logit", "score_ece_raw", COLOURS[6]),
    "temperature": ("temperature", "score_ece_temperature", COLOURS[4]),
    "platt": ("Platt", "score_ece_platt", COLOURS[0]),
    "monotone": ("piecewise linear, as served", "score_ece", COLOURS[1]),
}
"""Curve -> label, the result that holds its calibration error, colour."""


def reliability_png(report: Report) -> bytes | None:
    """Frequency of "real" against stated probability, above how many images each bin holds; None without a score."""
    if report.calibration is None:
        return None
    values = report.values()
    with mpl.rc_context(STYLE):
        figure, (above, below) = axes(
            2, 1, width=6.0, height=5.8, sharex=True, gridspec_kw={"height_ratios": (3, 1)}
        )
        above.plot((0, 1), (0, 1), color="#333333", linewidth=1, linestyle="--", label="right")
        for name, curve in report.calibration.curves.items():
            label, error, colour = KINDS[name]
            style = {"marker": "o", "markersize": 3.5, "color": colour}
            above.plot(curve.probability, curve.frequency, label=f"{label}: ECE {values[error]:.3f}", **style)
            below.plot(curve.probability, curve.count, **style)
        above.set(
            ylabel='frequency of "real"', ylim=(-0.02, 1.02), title=f"Reliability of {report.model}'s score"
        )
        above.legend(loc="lower right")
        below.set(
            xlabel='stated probability of "real"', ylabel="images a bin", xlim=(-0.02, 1.02), yscale="log"
        )
    return png(figure)
