"""Cohorts: frozen, versioned selections of series."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from voxlake.core.digest import digest_many
from voxlake.core.errors import NotFoundError, UsageError
from voxlake.core.hints import hint
from voxlake.core.run import Run
from voxlake.lake.lake import Lake
from voxlake.lake.quality.exclusion import without
from voxlake.lake.recorder import Recorder, start_run
from voxlake.lake.views import not_withdrawn

__all__ = [
    "Cohort",
    "Member",
    "check_name",
    "cohort_list",
    "cohort_show",
    "freeze",
    "get_cohort",
    "members_identifier",
    "select",
]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True)
class Member:
    """A series of a cohort, as it was when it was selected."""

    series_instance_uid: str
    study_instance_uid: str
    patient_id: str | None
    members_digest: str


@dataclass(frozen=True)
class Cohort:
    """A frozen selection.

    Parameters
    ----------
    lake : Lake
        Where it lies.
    cohort_id : str
        Digest over the members: equal members, equal identifier.
    name : str
        As people call it.
    version : int
        From 1; a cohort is written ``name@version``.
    condition : str
        The SQL condition that selected it.
    series, studies, patients : int
        Counts.
    frozen_at : datetime
        When it was frozen; what came in later is not part of it.
    run : Run or None
        The run that selected it, when it was just made.
    """

    lake: Lake = field(repr=False, compare=False)
    cohort_id: str
    name: str
    version: int
    condition: str
    series: int
    studies: int
    patients: int
    frozen_at: datetime
    run: Run | None = field(default=None, repr=False, compare=False)

    def members(self) -> list[Member]:
        """The series, sorted by identifier; those of patients who have withdrawn are left out."""
        return self._members(not_withdrawn())

    def withdrawn(self) -> list[Member]:
        """The series whose patients have withdrawn since; those that were erased are not among them."""
        return self._members(f"not {not_withdrawn()}")

    def _members(self, condition: str) -> list[Member]:
        rows = self.lake.sql(
            "select series_instance_uid, study_instance_uid, patient_id, members_digest from cohort_members "
            f"where cohort_id = $id and {condition} order by series_instance_uid",
            {"id": self.cohort_id},
        ).rows()
        return [Member(*row) for row in rows]


def select(lake: Lake, name: str, condition: str = "true", *, exclude: Sequence[str] = ()) -> Cohort:
    """Freeze a selection of series under a name.

    The same name with other members makes a new version; with the same members nothing is written. Patients
    who have withdrawn are left out.

    Parameters
    ----------
    lake : Lake
        The lake.
    name : str
        Letters, digits, ``_`` and ``-``; begins with a letter.
    condition : str
        SQL over the columns of ``series``.
    exclude : sequence of str
        Rules of `check`: series are left out if one found something about them, their images, study or
        patient. The condition of the cohort says so.

    Returns
    -------
    Cohort

    Raises
    ------
    QueryError
        The condition is no SQL over ``series``.
    UsageError
        The name is not allowed, or nothing fits the condition.
    NotFoundError
        There is no such rule.

    Examples
    --------
    >>> select(lake, "brains", "modality = 'MR' and slices >= 20")  # doctest: +SKIP
    >>> select(lake, "chests", "modality = 'CT'", exclude=["slices_missing"])  # doctest: +SKIP
    """
    check_name(name)
    condition = without(condition, exclude)
    arguments = {"name": name, "condition": condition, "exclude": sorted(set(exclude))}
    with start_run(lake, "select", arguments) as recorder:
        found = lake.sql(
            "select series_instance_uid, study_instance_uid, patient_id, members_digest from series "
            f"where ({condition}\n) and {not_withdrawn()} order by series_instance_uid"
        ).rows()
        members = [Member(*row) for row in found]
        if not members:
            raise UsageError(f'no series fits: {condition}; look with `voxlake sql "select * from series"`')
        frozen = freeze(recorder, name, condition, members)
        recorder.input_digest = frozen["cohort_id"]
        recorder.result |= frozen
    return replace(get_cohort(lake, frozen["cohort"]), run=recorder.run)


def freeze(recorder: Recorder, name: str, condition: str, members: Sequence[Member]) -> dict[str, Any]:
    """Freeze members under a name as items of a run; nothing is written where the newest version is the same.

    Returns
    -------
    dict
        ``cohort`` (name@version), ``cohort_id`` and the counts.
    """
    lake = recorder.lake
    recorder.saw(len(members))
    cohort_id = members_identifier(members)
    latest = _latest(lake, name)
    same = latest is not None and latest.cohort_id == cohort_id and latest.condition == condition
    version = latest.version if latest is not None and same else (latest.version if latest else 0) + 1
    counts = {
        "series": len(members),
        "studies": len({member.study_instance_uid for member in members}),
        "patients": len({member.patient_id for member in members if member.patient_id is not None}),
    }
    if not same:
        recorder.add("cohort_members", [{"cohort_id": cohort_id, **vars(member)} for member in members])
        row = {"cohort_id": cohort_id, "name": name, "version": version, "condition": condition}
        tables = json.dumps(lake.tables.versions(), sort_keys=True)
        recorder.add("cohorts", [{**row, **counts, "table_versions": tables}])
    for member in members:
        recorder.outcome(member.series_instance_uid, "already" if same else "stored")
    return {"cohort": f"{name}@{version}", "cohort_id": cohort_id, **counts}


def check_name(name: str) -> None:
    """Refuse what cannot name a cohort.

    Raises
    ------
    UsageError
        With what a name may be.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"'{name}' cannot name a cohort: use a letter, then letters, digits, '_' or '-', at most 64"
        )


def get_cohort(lake: Lake, name: str) -> Cohort:
    """Find a cohort by ``name`` (its newest version) or ``name@version``.

    Raises
    ------
    NotFoundError
        There is no such cohort; a near miss is named.
    """
    bare, _, version = name.partition("@")
    found = _versions(lake, bare)
    if version:
        found = [cohort for cohort in found if str(cohort.version) == version]
    if not found:
        names = [row[0] for row in lake.sql("select distinct name from cohorts").rows()]
        known = hint(bare, names) or "; make one with `voxlake select`"
        raise NotFoundError(f"no cohort '{name}'{known}")
    return found[-1]


def cohort_list(lake: Lake) -> list[dict[str, Any]]:
    """List all cohorts and versions.

    Parameters
    ----------
    lake : Lake
        The lake.

    Examples
    --------
    >>> cohort_list(lake)  # doctest: +SKIP
    """
    return lake.sql(
        "select name, version, series, studies, patients, condition, cohort_id, committed_at from cohorts "
        "order by name, version"
    ).dicts()


def cohort_show(lake: Lake, name: str) -> dict[str, Any]:
    """Show one cohort: its counts by modality, label and geometry.

    Parameters
    ----------
    lake : Lake
        The lake.
    name : str
        ``name`` or ``name@version``.

    Raises
    ------
    NotFoundError
        There is no such cohort.

    Examples
    --------
    >>> cohort_show(lake, "brains")  # doctest: +SKIP
    """
    cohort = get_cohort(lake, name)
    inside = (
        "from series where series_instance_uid in "
        f"(select series_instance_uid from cohort_members where cohort_id = $id and {not_withdrawn()})"
    )
    labels = (
        "select name, value, count(distinct series_instance_uid) as series from instances "
        "join labels on level = 'instance' and subject = sop_instance_uid where series_instance_uid in "
        f"(select series_instance_uid from cohort_members where cohort_id = $id and {not_withdrawn()}) "
        "group by all order by all"
    )
    key = {"id": cohort.cohort_id}
    return {
        "cohort": f"{cohort.name}@{cohort.version}",
        "cohort_id": cohort.cohort_id,
        "condition": cohort.condition,
        "series": cohort.series,
        "studies": cohort.studies,
        "patients": cohort.patients,
        "withdrawn": len(cohort.withdrawn()),
        "erased": cohort.series - len(cohort.members()) - len(cohort.withdrawn()),
        "modalities": lake.sql(
            f"select modality, count(*) as series {inside} group by 1 order by 1", key
        ).dicts(),
        "geometry": lake.sql(
            f"select geometry, count(*) as series {inside} group by 1 order by 1", key
        ).dicts(),
        "labels": lake.sql(labels, key).dicts(),
    }


def members_identifier(members: Sequence[Member]) -> str:
    """Digest over members in their order: equal members, equal identifier."""
    parts = [part for member in members for part in (member.series_instance_uid, member.members_digest)]
    return digest_many(parts)[:32]


def _versions(lake: Lake, name: str) -> list[Cohort]:
    rows = lake.sql(
        "select cohort_id, name, version, condition, series, studies, patients, committed_at from cohorts "
        "where name = $name order by version",
        {"name": name},
    ).rows()
    return [Cohort(lake, *row) for row in rows]


def _latest(lake: Lake, name: str) -> Cohort | None:
    found = _versions(lake, name)
    return found[-1] if found else None
