"""Plots as SVG, drawn with Matplotlib's objects and without its global state.

Every function gives an ``<svg>`` element as text that is safe to put into a page as it is: names are escaped.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from voxlake.evaluation.content import OperatingPoint, TrainingCurve
from voxlake.evaluation.wording import metric_words
from voxlake.metrics.curves import CalibrationCurve, PrecisionRecallCurve, RocCurve

__all__ = [
    "QUIET",
    "calibration_figure",
    "course_figure",
    "line_style",
    "precision_recall_figure",
    "render_svg",
    "roc_figure",
    "training_figure",
]

# Okabe and Ito's colours, dark ones first: told apart by readers with any colour vision, and in print.
_COLOURS = ("#0b5c73", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#5b3f8c", "#444444")
_DASHES = ("-", "--", "-.", ":")
_INK, QUIET, _GRID = "#1c2a35", "#52606b", "#d9dfe3"

_STYLE: Mapping[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with Matplotlib, so that layout is the same on every machine
    "font.size": 9,
    "text.color": _INK,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": _INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "legend.frameon": True,
    "legend.framealpha": 0.9,
    "legend.edgecolor": "none",
    "legend.fontsize": 8,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "svg.fonttype": "none",  # text stays text, in the font of the page
    "text.parse_math": False,  # a dollar sign in the name of a class is a dollar sign
}


def roc_figure(curves: Mapping[str, RocCurve], point: OperatingPoint | None = None) -> str:
    """ROC curves with the line of guessing and the operating point.

    Parameters
    ----------
    curves : mapping of str to RocCurve
        One line for each name.
    point : OperatingPoint, optional
        Where decisions are made.
    """

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle=(0, (2, 3)), label="guessing")
        for number, (name, curve) in enumerate(curves.items()):
            x, y = _corners(curve.false_positive_rate, curve.true_positive_rate)
            axes.plot(x, y, label=name, **line_style(number))
        _mark(axes, None if point is None else (point.false_positive_rate, point.recall))
        _unit_square(axes, "false alarms (1 \N{MINUS SIGN} specificity)", "found (sensitivity)")
        axes.legend(loc="lower right")

    return _square("roc", "ROC curve: share found against share of false alarms, at every threshold", draw)


def precision_recall_figure(
    curves: Mapping[str, PrecisionRecallCurve],
    point: OperatingPoint | None = None,
    prevalence: float | None = None,
) -> str:
    """Precision-recall curves with the level of a useless model.

    Parameters
    ----------
    curves : mapping of str to PrecisionRecallCurve
        One line for each name.
    point : OperatingPoint, optional
        Where decisions are made.
    prevalence : float, optional
        Share of positive samples.
    """

    def draw(axes: Axes) -> None:
        if prevalence is not None:
            axes.axhline(prevalence, color=QUIET, linewidth=1, linestyle=(0, (2, 3)), label="guessing")
        for number, (name, curve) in enumerate(curves.items()):
            axes.step(curve.recall, curve.precision, where="pre", label=name, **line_style(number))
        _mark(axes, None if point is None else (point.recall, point.precision))
        _unit_square(axes, "found (sensitivity)", "calls that are right (precision)")
        axes.legend(loc="lower left")

    return _square("precision-recall", "Precision against sensitivity, at every threshold", draw)


def calibration_figure(curves: Mapping[str, CalibrationCurve]) -> str:
    """Observed frequency against predicted probability, with intervals.

    Parameters
    ----------
    curves : mapping of str to CalibrationCurve
        One set of points for each name.
    """

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle=(0, (2, 3)), label="perfect")
        for number, (name, curve) in enumerate(curves.items()):
            ends = np.stack((curve.observed - curve.low, curve.high - curve.observed))
            style = line_style(number)
            axes.errorbar(
                curve.predicted,
                curve.observed,
                yerr=np.maximum(ends, 0),
                label=name,
                marker="o",
                markersize=4,
                elinewidth=1,
                capsize=2,
                clip_on=False,
                **style,
            )
        _unit_square(axes, "predicted probability", "observed share of positives")
        axes.legend(loc="upper left")

    return _square("calibration", "Observed share of positives against predicted probability", draw)


def training_figure(curves: Sequence[TrainingCurve]) -> str:
    """Loss over the epochs, a panel for each fold, on one scale.

    Parameters
    ----------
    curves : sequence of TrainingCurve
        At least one.
    """
    columns = min(3, len(curves))
    rows = -(-len(curves) // columns)

    def draw(figure: Figure) -> None:
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, curve in zip(panels, curves, strict=False):
            _draw_training(axes, curve)
        for axes in panels[len(curves) :]:
            axes.set_axis_off()
        # The last used panel of each column carries the epochs, also where the row below is not full.
        for axes in panels[max(0, len(curves) - columns) : len(curves)]:
            axes.tick_params(labelbottom=True)
            axes.set_xlabel("epoch")
        for axes in panels[::columns]:
            axes.set_ylabel("loss")
        panels[0].legend(loc="upper right")

    return render_svg(
        "training", "Training and validation loss over the epochs", (7.2, 2.3 * rows + 0.3), draw
    )


def course_figure(curves: Sequence[TrainingCurve]) -> str:
    """Figures of the validation part over the epochs, a panel for each figure, a line for each fold.

    Parameters
    ----------
    curves : sequence of TrainingCurve
        At least one with figures.
    """
    names = list(dict.fromkeys(name for curve in curves for name in curve.figures))
    columns = min(3, len(names))
    rows = -(-len(names) // columns)

    def draw(figure: Figure) -> None:
        panels = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
        for axes, name in zip(panels, names, strict=False):
            for number, curve in enumerate(curves):
                values = curve.figures.get(name, ())
                axes.plot(np.arange(1, len(values) + 1), values, label=curve.name, **line_style(number))
            axes.set_title(metric_words(name).title, fontsize=9, loc="left")
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        for axes in panels[len(names) :]:
            axes.set_axis_off()
        panels[0].legend(loc="best")

    return render_svg("course", "Validation figures over the epochs", (7.2, 2.3 * rows + 0.3), draw)


def _draw_training(axes: Axes, curve: TrainingCurve) -> None:
    for number, (name, values) in enumerate((("training", curve.training), ("validation", curve.validation))):
        axes.plot(np.arange(1, len(values) + 1), values, label=name, **line_style(number))
    if curve.best is not None:
        axes.axvline(curve.best, color=QUIET, linewidth=1, linestyle=(0, (2, 3)), label="kept")
    axes.set_title(curve.name, fontsize=9, loc="left")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def line_style(number: int) -> dict[str, Any]:
    """Colour, dashes and width of the line with this number, for Matplotlib."""
    return {
        "color": _COLOURS[number % len(_COLOURS)],
        "linestyle": _DASHES[number % len(_DASHES)],
        "linewidth": 1.8,
    }


def _mark(axes: Axes, place: tuple[float, float] | None) -> None:
    if place is not None:
        axes.plot(
            [place[0]],
            [place[1]],
            marker="o",
            markersize=8,
            markerfacecolor="#ffffff",
            markeredgecolor=_COLOURS[1],
            markeredgewidth=2,
            linestyle="none",
            clip_on=False,
            zorder=5,
            label="operating point",
        )


def _unit_square(axes: Axes, x: str, y: str) -> None:
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel=x, ylabel=y, aspect="equal")
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_yticks(np.linspace(0, 1, 6))


def _corners(
    x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Leave out points inside a horizontal or vertical stretch: the same line in a smaller page."""
    inside = (np.diff(x)[:-1] == 0) & (np.diff(x)[1:] == 0) | (np.diff(y)[:-1] == 0) & (np.diff(y)[1:] == 0)
    kept = np.concatenate(([True], ~inside, [True]))[: x.size]
    return x[kept], y[kept]


def _square(name: str, title: str, draw: Callable[[Axes], None]) -> str:
    return render_svg(name, title, (3.5, 3.5), lambda figure: draw(figure.add_subplot()))


def render_svg(name: str, title: str, size: tuple[float, float], draw: Callable[[Figure], None]) -> str:
    """Draw in a style of our own and give an ``<svg>`` that can stand inside a page beside others.

    Parameters
    ----------
    name : str
        Begins every id inside, so that it must not be used twice on a page.
    title : str
        What a screen reader says.
    size : (float, float)
        Width and height in inches.
    draw : callable
        Puts axes into the figure and draws.
    """
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return _for_page(text.getvalue(), name, title)


def _for_page(svg: str, name: str, title: str) -> str:
    """Cut what belongs to a file of its own: prolog, global style, fixed size, ids that others use too."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<style[^>]*>.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<g id=\"[^\"]*\">", "<g>", body)
    body = re.sub(r"(\bid=\"|url\(#|href=\"#)", rf"\g<1>{name}-", body)
    # Matplotlib before 3.11 writes the short form "font: 9px 'DejaVu Sans', ...".
    body = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1; font-family: inherit", body)
    body = re.sub(r"font-family: [^;\"]*", "font-family: inherit", body)
    body = body.replace("xlink:href", "href")
    box = re.search(r"viewBox=\"([^\"]*)\"", body)
    inner = body[body.index(">") + 1 :]
    head = (
        f'<svg class="plot" role="img" aria-label="{escape(title)}" viewBox="{box.group(1) if box else ""}" '
        'stroke-linejoin="round">'
    )
    # Matplotlib escapes the text that it draws; everything else here is its own.
    return head + inner.strip()
