"""Figures of subgroups as a section of the page."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from voxlake.evaluation.content import Cell, Guide, Plot, Section, Table, Trace
from voxlake.evaluation.judged import Judged
from voxlake.evaluation.subgroups import Division, Part, divide, divisions
from voxlake.evaluation.wording import metric_words
from voxlake.metrics.estimate import Estimate

__all__ = ["describe_subgroups"]

_SHOWN = (
    "roc_auc",
    "recall",
    "specificity",
    "accuracy",
    "mean_absolute_error",
    "mean_error",
    "concordance_index",
)
_MOST = 3


def describe_subgroups(judged: Judged, names: Sequence[str] = ()) -> Section | None:
    """Tables and a drawing; None where nothing divides the samples.

    Parameters
    ----------
    judged : Judged
        A scored model.
    names : sequence of str
        Variables beside those that every report looks at.
    """
    if judged.scored is None:
        return None
    known = divisions(judged)
    seen = {division.name for division in known}
    asked = [name for name in names if name not in seen]
    known += divisions(judged, asked) if asked else []
    if not known:
        return None
    parts = [divide(judged, division) for division in known]
    shown = _names([each for part in parts for one in part for each in one.estimates])
    if not shown:
        return None
    unit = judged.scored.unit
    return Section(
        "subgroups",
        "Subgroups",
        (
            (
                "The same figures for parts of the samples, each with its own interval. Few patients give "
                "wide "
                "intervals; with many subgroups some differ by chance alone, and no correction was made for "
                "that."
            ),
        ),
        plots=(_forest(known, parts, shown[0]),),
        tables=tuple(
            _table(division, part, shown, unit) for division, part in zip(known, parts, strict=True)
        ),
    )


def _names(found: Sequence[Estimate]) -> list[str]:
    there = {each.name for each in found}
    return [name for name in _SHOWN if name in there][:_MOST] or sorted(there)[:_MOST]


def _table(division: Division, parts: Sequence[Part], shown: Sequence[str], unit: str) -> Table:
    differs = any(one.differences for one in parts)
    titles = [metric_words(name).title for name in shown]
    columns = [division.title, "Samples", unit.capitalize(), "Positive", *titles]
    if differs:
        columns.append("Less all others")
    binary = any(one.positives is not None for one in parts)
    rows = []
    for one in parts:
        figures = {each.name: each for each in one.estimates}
        cells: list[Cell] = [one.value, one.samples, one.groups, one.positives]
        cells += [figures.get(name, "too few") for name in shown]
        if differs:
            cells.append(_difference(one, shown[0]))
        rows.append(tuple(cells) if binary else tuple(cells[:3] + cells[4:]))
    if not binary:
        columns.remove("Positive")
    note = f"The last column: {titles[0].lower()}, less that of all other samples." if differs else ""
    return Table(f"By {division.title.lower()}", tuple(columns), tuple(rows), note=note)


def _difference(part: Part, name: str) -> Cell:
    for each in part.differences:
        if each.name == name:
            return Estimate(
                name,
                each.difference,
                each.low,
                each.high,
                each.level,
                each.method,
                part.samples,
                part.groups,
            )
    return "not defined"


def _forest(known: Sequence[Division], parts: Sequence[Sequence[Part]], name: str) -> Plot:
    ticks, values = [], []
    for division, part in zip(known, parts, strict=True):
        for one in part:
            figure = next((each for each in one.estimates if each.name == name), None)
            if figure is not None and not math.isnan(figure.value):
                ticks.append(f"{division.title}: {one.value} ({one.samples:,})")
                values.append((figure.value, figure.low, figure.high))
    points = np.array(values, dtype=np.float64).reshape(-1, 3)
    guides = (Guide("guessing", "vertical", 0.5),) if name == "roc_auc" else ()
    return Plot(
        "subgroups",
        metric_words(name).title,
        "A point is the figure of a subgroup, the line its 95% interval; in brackets the number of samples.",
        metric_words(name).title.lower(),
        "",
        (
            Trace(
                "",
                points[:, 0],
                np.arange(len(points), dtype=np.float64),
                points[:, 1],
                points[:, 2],
                "forest",
            ),
        ),
        guides=guides,
        ticks=tuple(ticks),
        wide=True,
    )
