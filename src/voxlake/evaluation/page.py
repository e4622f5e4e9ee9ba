"""A report as one HTML page that needs nothing else: no network, no script, no other file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from voxlake.evaluation import figures
from voxlake.evaluation.content import ReportData, Table
from voxlake.evaluation.flow import flow_svg
from voxlake.evaluation.parts import Section
from voxlake.evaluation.pictures import png_uri
from voxlake.evaluation.plots import plot_svg
from voxlake.evaluation.wording import GROUPS, MetricWords, metric_words, show_cell, show_interval, show_value
from voxlake.metrics.estimate import Estimate

__all__ = ["render_report"]

# The figures that a clinician asks for first, large at the head of the page.
_KEY_FIGURES = ("roc_auc", "recall", "specificity", "accuracy", "f1")


@dataclass(frozen=True)
class _Bar:
    """Places on a scale, in percent of its width."""

    value: float
    low: float | None
    high: float | None
    guess: float | None


@dataclass(frozen=True)
class _Row:
    estimate: Estimate
    words: MetricWords
    value: str
    interval: str
    bar: _Bar | None

    @property
    def undefined(self) -> bool:
        return bool(np.isnan(self.estimate.value))


@dataclass(frozen=True)
class _Group:
    title: str
    ticks: tuple[tuple[float, str], ...]
    rows: tuple[_Row, ...]


def render_report(data: ReportData) -> str:
    """Draw a report.

    Parameters
    ----------
    data : ReportData
        What it says. Text is escaped, whatever it holds.

    Returns
    -------
    str
        HTML 5 in one piece: style, figures and pictures are inside. Equal data give equal text.
    """
    rows = tuple(_row(estimate) for estimate in data.estimates)
    page = _environment().get_template("report.html.j2")
    return page.render(
        data=data,
        key_figures=_key_figures(rows),
        groups=_grouped(rows),
        methods=_methods(data.estimates),
        confusion=_confusion(data),
        plots=_plots(data),
        training=figures.training_figure(data.training) if data.training else None,
        course=figures.course_figure(data.training) if any(c.figures for c in data.training) else None,
        flow=flow_svg(data.flow) if data.flow else None,
        sections=_sections(data),
        extra={section.anchor: section for section in data.sections},
    )


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("voxlake.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "cell": show_cell,
        "numeric_columns": _numeric_columns,
        "drawing": plot_svg,
        "picture": png_uri,
        "value": show_value,
    }
    return environment


def _sections(data: ReportData) -> list[tuple[str, str]]:
    """Anchor and heading of every section that has something to say."""
    curves = data.roc or data.calibration or data.confusion is not None
    every: Sequence[tuple[str, str, Any]] = (
        ("results", "Results", data.estimates),
        ("flow", "Flow of data", data.flow),
        ("cohort", "Who is in the data", data.cohort),
        *_placed(data, "data"),
        ("curves", "Curves and decisions", curves),
        *_placed(data, "results"),
        ("folds", "Training and folds", data.folds or data.training),
        ("examples", "What the model saw", data.mistakes or data.correct),
        ("limitations", "Limitations", data.limitations),
        *_placed(data, "appendix"),
        ("sheets", "Volumes and masks", data.sheets),
        ("ingest", "What came into the lake", data.ingest),
        ("settings", "Settings", data.settings),
        ("lineage", "Lineage", data.lineage),
    )
    return [(anchor, heading) for anchor, heading, content in every if content]


def _placed(data: ReportData, place: str) -> list[tuple[str, str, Section]]:
    return [(one.anchor, one.heading, one) for one in data.sections if one.place == place]


def _row(estimate: Estimate) -> _Row:
    words = metric_words(estimate.name)
    return _Row(
        estimate=estimate,
        words=words,
        value=show_value(estimate.value, percent=words.percent),
        interval=show_interval(estimate, percent=words.percent),
        bar=None,
    )


def _key_figures(rows: Sequence[_Row]) -> list[_Row]:
    by_name = {row.estimate.name: row for row in rows}
    chosen = [by_name[name] for name in _KEY_FIGURES if name in by_name]
    return (chosen or list(rows))[:3]


def _grouped(rows: Sequence[_Row]) -> list[_Group]:
    """Metrics under their headings, all bars on one scale."""
    lowest = [
        number
        for row in rows
        if row.words.bar
        for number in (row.estimate.value, row.estimate.low)
        if not np.isnan(number)
    ]
    start = 0.5 if lowest and min(lowest) >= 0.5 else 0.0
    groups = []
    for key, title in GROUPS.items():
        inside = tuple(_with_bar(row, start) for row in rows if row.words.group == key)
        drawn = [row.words.percent for row in inside if row.bar is not None]
        ticks = _ticks(start, percent=drawn[0]) if drawn else ()
        if inside:
            groups.append(_Group(title, ticks, inside))
    return groups


def _ticks(start: float, *, percent: bool) -> tuple[tuple[float, str], ...]:
    places = np.linspace(start, 1, 3)
    return tuple(
        (_place(float(place), start), f"{place:.0%}" if percent else f"{place:.2f}") for place in places
    )


def _with_bar(row: _Row, start: float) -> _Row:
    estimate = row.estimate
    if not row.words.bar or np.isnan(estimate.value):
        return row
    known = estimate.has_interval
    bar = _Bar(
        value=_place(estimate.value, start),
        low=_place(estimate.low, start) if known else None,
        high=_place(estimate.high, start) if known else None,
        guess=_place(0.5, start) if estimate.name == "roc_auc" and start < 0.5 else None,
    )
    return _Row(estimate, row.words, row.value, row.interval, bar)


def _place(number: float, start: float) -> float:
    # Two percent are left free on both sides, so that a dot at the end of the scale is whole.
    return round(2 + 96 * min(max((number - start) / (1 - start), 0.0), 1.0), 2)


def _methods(estimates: Sequence[Estimate]) -> list[tuple[str, str]]:
    """How the intervals were made, with the metrics that share a method."""
    shared: dict[str, list[str]] = {}
    for estimate in estimates:
        shared.setdefault(estimate.method, []).append(metric_words(estimate.name).title)
    return [(method, ", ".join(names)) for method, names in shared.items()]


def _confusion(data: ReportData) -> list[tuple[str, list[tuple[str, str, float, bool]]]] | None:
    """Rows of the confusion matrix: count, share of the row, shade, and whether the decision is right."""
    if data.confusion is None:
        return None
    table = np.asarray(data.confusion, dtype=np.float64)
    rows = []
    for number, (name, counts) in enumerate(zip(data.classes, table, strict=True)):
        total = counts.sum()
        cells = []
        for column, count in enumerate(counts):
            share = float(count / total) if total else 0.0
            percent = show_value(share, percent=True) if total else "not defined"
            cells.append((f"{count:,.0f}", percent, round(share, 3), column == number))
        rows.append((name, cells))
    return rows


def _plots(data: ReportData) -> list[tuple[str, str, str]]:
    """Heading, explanation and drawing of each curve."""
    point = data.operating_point
    plots = []
    if data.roc:
        plots.append(
            (
                "ROC curve",
                "Sensitivity gained for each false alarm accepted. The further up and left, the better.",
                figures.roc_figure(data.roc, point),
            )
        )
    if data.precision_recall:
        plots.append(
            (
                "Precision and sensitivity",
                "How many positive calls are right as more of the positive cases are found.",
                figures.precision_recall_figure(data.precision_recall, point, data.prevalence),
            )
        )
    if data.calibration:
        plots.append(
            (
                "Calibration",
                "Of cases given 70%, 70% should be positive: good probabilities lie on the diagonal.",
                figures.calibration_figure(data.calibration),
            )
        )
    return plots


def _numeric_columns(table: Table) -> list[bool]:
    """Which columns hold numbers only, and are set flush right."""
    columns = zip(*table.rows, strict=True) if table.rows else [()] * len(table.columns)
    return [
        any(cell is not None for cell in column) and not any(isinstance(cell, str) for cell in column)
        for column in columns
    ]
