"""What one sample is made from: a volume, or the volumes of a patient in the order of their dates."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from voxlake.lake.cohorts import Cohort
from voxlake.lake.lake import Lake
from voxlake.learning.task import Task

__all__ = ["Left", "Unit", "find_units", "fitting_units", "group_of"]


@dataclass(frozen=True)
class Left:
    """A volume, series or patient that cannot be learned from, and why."""

    item: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Unit:
    """One sample of a task.

    Parameters
    ----------
    level : {"volume", "patient"}
        What it is.
    subject : str
        Its identifier: of the volume, or of the patient (of the study where no patient is known).
    patient_id : str or None
        Pseudonym.
    rows : tuple of mapping
        Rows of `volumes`, in order.
    """

    level: str
    subject: str
    patient_id: str | None
    rows: tuple[dict[str, Any], ...]

    @property
    def volume_id(self) -> str | None:
        """The volume, where the unit is one."""
        return self.subject if self.level == "volume" else None

    @property
    def group(self) -> str:
        """What it is kept together with."""
        return group_of(self.rows[0])

    @property
    def series(self) -> tuple[str, ...]:
        """Series of its volumes, each once."""
        return tuple(dict.fromkeys(str(row["series_instance_uid"]) for row in self.rows))

    @property
    def contents(self) -> tuple[str, ...]:
        """Digests of what it was made from."""
        return tuple(dict.fromkeys(str(one) for row in self.rows for one in row["inputs"]))

    @property
    def table_key(self) -> str:
        """Subject of its row in a table."""
        return self.subject if self.level == "patient" else str(self.rows[0]["series_instance_uid"])


def group_of(row: Mapping[str, Any]) -> str:
    """What a volume is kept together with: its patient, or its study where no patient is known."""
    return str(row["patient_id"] if row["patient_id"] is not None else row["study_instance_uid"])


def find_units(cohort: Cohort, task: Task, rows: Sequence[dict[str, Any]]) -> tuple[list[Unit], list[Left]]:
    """Units of the prepared volumes of a cohort, and series or patients that are none.

    Parameters
    ----------
    cohort : Cohort
        Whose.
    task : Task
        Says what a unit is.
    rows : sequence of dict
        Of `volumes`, sorted.
    """
    there = {row["series_instance_uid"] for row in rows}
    left = [
        Left(member.series_instance_uid, "no_volume", "the series was not prepared under this plan")
        for member in cohort.members()
        if member.series_instance_uid not in there
    ]
    if task.level == "volume":
        return [Unit("volume", str(row["volume_id"]), row["patient_id"], (row,)) for row in rows], left
    dates = _dates(cohort.lake, there)
    visits: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        visits[group_of(row)].append(row)
    units = []
    for subject, volumes in sorted(visits.items()):
        known = [dates.get(row["series_instance_uid"]) for row in volumes]
        if len(volumes) > 1 and None in known:
            left.append(Left(subject, "no_date", "a study has no date; visits have no order"))
            continue
        ordered = sorted(zip(known, range(len(volumes)), volumes, strict=True), key=lambda one: one[:2])
        units.append(Unit("patient", subject, volumes[0]["patient_id"], tuple(row for *_, row in ordered)))
    return units, left


def fitting_units(
    units: Iterable[Unit], task: Task, shape: Sequence[int] | None
) -> tuple[list[Unit], list[Left], tuple[int, ...]]:
    """Units whose volumes have the extent that the network takes, those that do not, and that extent.

    Parameters
    ----------
    units : iterable of Unit
        Units.
    task : Task
        Of a sequence of slices, their number may differ; of a table, the extent does not matter.
    shape : sequence of int or None
        Extent of one image; None for that which most have.
    """
    found = list(units)
    if task.takes == "table" or not found:
        return found, [], ()
    sizes = Counter(_extent(row, task) for unit in found for row in unit.rows)
    wanted = tuple(shape) if shape is not None else sizes.most_common(1)[0][0]
    kept, left = [], []
    for unit in found:
        other = [_extent(row, task) for row in unit.rows if _extent(row, task) != wanted]
        if other:
            whose = "most have" if shape is None else "the model takes"
            left.append(Left(unit.subject, "shape_mismatch", f"shape {other[0]}, {whose} {wanted}"))
        else:
            kept.append(unit)
    return kept, left, wanted


def _extent(row: Mapping[str, Any], task: Task) -> tuple[int, ...]:
    """Extent of an image as the network would see it."""
    sizes = tuple(int(size) for size in row["shape"][:3])
    if task.takes == "sequence" and task.sequence.of == "slices":
        return sizes[1:]
    return sizes[1:] if task.dimensions == 2 and sizes[0] == 1 else sizes


def _dates(lake: Lake, series: Iterable[str]) -> dict[str, str]:
    rows = lake.sql(
        "select series_instance_uid, study_date from series "
        "where study_date is not null and series_instance_uid in (select unnest($series))",
        {"series": sorted(series)},
    ).rows()
    return {str(uid): str(date) for uid, date in rows}
