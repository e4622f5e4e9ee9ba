"""Any plot of points and lines as SVG, in the style of the other figures."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from voxlake.evaluation.figures import QUIET, line_style, render_svg
from voxlake.evaluation.parts import Guide, Plot, Trace

__all__ = ["plot_svg"]

_ROW = 0.3  # inches for each name on the vertical axis


def plot_svg(plot: Plot) -> str:
    """Draw a plot.

    Parameters
    ----------
    plot : Plot
        What to draw; names are escaped.

    Returns
    -------
    str
        An ``<svg>`` element with its title as its label.
    """
    height = 1.0 + _ROW * len(plot.ticks) if plot.ticks else 3.5
    return render_svg(
        plot.name, plot.title, (7.2 if plot.wide else 3.5, height), lambda figure: _draw(figure, plot)
    )


def _draw(figure: Figure, plot: Plot) -> None:
    axes = figure.add_subplot()
    for guide in plot.guides:
        _guide(axes, guide)
    for number, trace in enumerate(plot.traces):
        _trace(axes, trace, number)
    axes.set(xlabel=plot.x_label, ylabel=plot.y_label)
    if plot.x_range is not None:
        axes.set_xlim(*plot.x_range)
    if plot.y_range is not None:
        axes.set_ylim(*plot.y_range)
    if plot.ticks:
        axes.set_yticks(np.arange(len(plot.ticks)), plot.ticks)
        axes.set_ylim(len(plot.ticks) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
    names = [*(trace.name for trace in plot.traces), *(guide.name for guide in plot.guides)]
    if any(names):
        axes.legend(loc="best")


def _guide(axes: Axes, guide: Guide) -> None:
    style: dict[str, Any] = {
        "color": QUIET,
        "linewidth": 1,
        "linestyle": (0, (2, 3)),
        "label": guide.name or None,
    }
    if guide.direction == "horizontal":
        axes.axhline(guide.at, **style)
    elif guide.direction == "vertical":
        axes.axvline(guide.at, **style)
    else:
        axes.axline((0, 0), slope=1, **style)


def _trace(axes: Axes, trace: Trace, number: int) -> None:
    style = line_style(number)
    label = trace.name or None
    if trace.form == "bars":
        axes.bar(trace.x, trace.y, width=0.8, color=style["color"], label=label)
    elif trace.form == "points":
        axes.plot(trace.x, trace.y, "o", markersize=3, alpha=0.5, color=style["color"], label=label)
    elif trace.form in ("errors", "forest"):
        _whiskers(axes, trace, style["color"])
    else:
        drawstyle = "steps-post" if trace.form == "step" else "default"
        axes.plot(trace.x, trace.y, drawstyle=drawstyle, label=label, **style)
        if trace.low is not None and trace.high is not None:
            axes.fill_between(
                trace.x,
                trace.low,
                trace.high,
                step="post" if trace.form == "step" else None,
                color=style["color"],
                alpha=0.15,
                linewidth=0,
            )


def _whiskers(axes: Axes, trace: Trace, colour: str) -> None:
    along = trace.x if trace.form == "forest" else trace.y
    ends = None
    if trace.low is not None and trace.high is not None:
        # A point whose interval is not defined is drawn without whiskers.
        ends = np.nan_to_num(np.stack((along - trace.low, trace.high - along)).clip(min=0))
    axes.errorbar(
        trace.x,
        trace.y,
        xerr=ends if trace.form == "forest" else None,
        yerr=ends if trace.form == "errors" else None,
        label=trace.name or None,
        color=colour,
        marker="o",
        markersize=4,
        elinewidth=1.2,
        capsize=2,
        linestyle="none" if trace.form == "forest" else "-",
        linewidth=1.5,
    )
