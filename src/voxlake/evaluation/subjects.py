"""What the lake knows of the subjects of a model: series, header values, labels and a volume to look at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from voxlake.core.errors import UsageError
from voxlake.core.hints import hint
from voxlake.lake.cohorts import Cohort
from voxlake.lake.lake import Lake
from voxlake.lake.resolve import resolve_labels

__all__ = ["Behind", "age_band", "behind", "header_values", "label_values", "volumes_of"]

_COLUMNS: Mapping[str, str] = {
    "instance": "sop_instance_uid",
    "series": "series_instance_uid",
    "study": "study_instance_uid",
    "patient": "patient_id",
}
_VOLUMES = """
select distinct volume_id, patient_id, study_instance_uid, series_instance_uid, unnest(inputs)
from volumes where volume_id in (select unnest($subjects)) order by all
"""
_INSTANCES = """
select distinct {column}, patient_id, study_instance_uid, series_instance_uid, sha256
from instances where {column} in (select unnest($subjects)) order by all
"""
_BANDS = ((18, "under 18"), (40, "18 to 39"), (60, "40 to 59"), (80, "60 to 79"), (1000, "80 and over"))


@dataclass(frozen=True)
class Behind:
    """A stored image behind a subject."""

    subject: str
    patient: str | None
    study: str
    series: str
    sha256: str


def behind(lake: Lake, level: str, subjects: Iterable[str]) -> list[Behind]:
    """Stored images behind subjects; none behind the rows of outside tables.

    Parameters
    ----------
    lake : Lake
        The lake.
    level : {"volume", "instance", "series", "study", "patient", "row"}
        What a subject is.
    subjects : iterable of str
        Identifiers in the lake.

    Raises
    ------
    UsageError
        The level is none of these.
    """
    if level == "row":
        return []
    if level != "volume" and level not in _COLUMNS:
        raise UsageError(f"unknown level '{level}'; expected volume, row or one of {list(_COLUMNS)}")
    statement = _VOLUMES if level == "volume" else _INSTANCES.format(column=_COLUMNS[level])
    return [Behind(*row) for row in lake.sql(statement, {"subjects": sorted(set(subjects))}).rows()]


def header_values(lake: Lake, images: Sequence[Behind], column: str) -> dict[str, str | None]:
    """A column of `series` for each subject; where its series disagree, ``"several"``.

    Raises
    ------
    UsageError
        `series` has no such column; a near miss is named.
    """
    known = lake.sql("select * from series limit 0").columns
    if column not in known:
        raise UsageError(f"table series has no column '{column}'{hint(column, known)}")
    series = sorted({image.series for image in images})
    # The name was compared with the columns of the table before it became part of the statement.
    rows = lake.sql(
        f'select series_instance_uid, "{column}" from series '
        "where series_instance_uid in (select unnest($ids))",
        {"ids": series},
    ).rows()
    return _one_each(images, {row[0]: None if row[1] is None else str(row[1]) for row in rows})


def label_values(cohort: Cohort, images: Sequence[Behind], name: str) -> dict[str, str | None]:
    """A label for each subject; where the labels of its series disagree, ``"several"``.

    Raises
    ------
    NotFoundError
        No series of the cohort has such a label; a near miss is named.
    """
    return _one_each(images, resolve_labels(cohort, name).values)


def age_band(age: str | None) -> str | None:
    """Band of an age as DICOM writes it (``"045Y"``), PS3.5 section 6.2, AS; None where it is not known."""
    if not age or len(age) != 4 or not age[:3].isdigit() or age[3] not in "DWMY":
        return None
    years = int(age[:3]) if age[3] == "Y" else 0
    return next(name for end, name in _BANDS if years < end)


def volumes_of(lake: Lake, level: str, subjects: Sequence[str]) -> dict[str, dict[str, Any]]:
    """A prepared volume of each subject that has one: the row of `volumes` that sorts first."""
    column = {"volume": "volume_id", **_COLUMNS}.get(level)
    if column is None:
        return {}
    rows = lake.sql(
        f"select * from volumes where {column} in (select unnest($ids)) order by volume_id desc",
        {"ids": sorted(set(subjects))},
    ).dicts()
    return {row[column]: row for row in rows}


def _one_each(images: Sequence[Behind], by_series: Mapping[str, str | None]) -> dict[str, str | None]:
    found: defaultdict[str, set[str | None]] = defaultdict(set)
    for image in images:
        found[image.subject].add(by_series.get(image.series))
    return {
        subject: next(iter(values)) if len(values) == 1 else "several" for subject, values in found.items()
    }
