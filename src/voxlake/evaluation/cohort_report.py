"""A report about a cohort: who is in it, and pictures of what was made of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from voxlake.evaluation.content import Cell, Ingest, ReportData, Table, TextBlock
from voxlake.evaluation.sheets import sheets_of_cohort
from voxlake.lake.cohorts import Cohort, cohort_show

__all__ = ["describe_cohort_page"]

_WORDS = (("series", "Series"), ("studies", "Studies"), ("patients", "Patients"), ("withdrawn", "Withdrawn"))


def describe_cohort_page(cohort: Cohort, shown: Ingest | None) -> ReportData:
    """Describe a cohort: its counts, the condition that selected it, and its volumes and masks."""
    name = f"{cohort.name}@{cohort.version}"
    facts = cohort_show(cohort.lake, name)
    counts = tuple((words, int(facts[key])) for key, words in _WORDS)
    tables = [Table("Size of the cohort", ("What", "Number"), counts)]
    for key in ("modalities", "geometry", "labels"):
        rows = facts.get(key)
        if isinstance(rows, list) and rows and isinstance(rows[0], Mapping):
            tables.append(_table(key, rows))
    patients, series = (f"{int(facts[key]):,}" for key in ("patients", "series"))
    return ReportData(
        title=f"Cohort {cohort.name}",
        task=f"Version {cohort.version}, identifier {cohort.cohort_id}",
        summary=f"{series} series of {patients} patients, frozen so that nothing can change them unseen.",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        cohort=tuple(tables),
        sheets=sheets_of_cohort(cohort.lake, cohort.cohort_id),
        ingest=shown,
        settings=(TextBlock("Condition", cohort.condition),) if cohort.condition else (),
        made_by=f"voxlake {version('voxlake')}",
        kind="Report about a cohort",
    )


def _table(key: str, rows: list[Mapping[str, Any]]) -> Table:
    cells: tuple[tuple[Cell, ...], ...] = tuple(
        tuple(
            value if value is None or isinstance(value, str | int | float) else str(value)
            for value in row.values()
        )
        for row in rows
    )
    return Table(key.capitalize(), tuple(str(column).capitalize() for column in rows[0]), cells)
