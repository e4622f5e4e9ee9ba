"""Two models side by side as a section of the page."""

from __future__ import annotations

from voxlake.evaluation.comparison import Paired
from voxlake.evaluation.content import Cell, Section, Table
from voxlake.evaluation.wording import metric_words, show_p, show_value

__all__ = ["describe_comparison"]


def describe_comparison(paired: Paired) -> Section:
    """Differences with intervals, and the tests."""
    first, second = (_name(model.name, model.model_id) for model in (paired.first, paired.second))
    rows: list[tuple[Cell, ...]] = [
        (
            metric_words(each.name).title,
            float(each.first),
            float(each.second),
            float(each.difference),
            float(each.low),
            float(each.high),
            float(each.p_value),
        )
        for each in paired.differences
    ]
    tables = [
        Table(
            f"{first} and {second} on the same {paired.samples:,} samples of {paired.groups:,} {paired.unit}",
            ("Figure", first, second, "Difference", "from", "to", "p"),
            tuple(rows),
            note=f"A difference is {first} less {second}; intervals are 95%, over the same draws of "
            f"{paired.unit} for both. p values are not corrected for their number.",
        )
    ]
    words = []
    if paired.area is not None:
        area = paired.area
        words.append(
            f"DeLong's test of the areas under the ROC curves: difference {show_value(area.difference)} "
            f"({show_value(area.low)} to {show_value(area.high)}), z = {show_value(area.z)}, "
            f"p {show_p(area.p_value)}."
        )
    if paired.decisions is not None:
        calls = paired.decisions
        words.append(
            f"McNemar's test of the decisions: only {first} was right in {calls.first_only:g}, only {second} "
            "in "
            f"{calls.second_only:g} samples, p {show_p(calls.p_value)}."
        )
    return Section("comparison", f"Against {second}", tuple(words), tables=tuple(tables))


def _name(name: str, model: str) -> str:
    return f"{name} ({model[:8]})"
