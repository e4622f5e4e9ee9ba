"""The verb cohort diff: what changed from one frozen selection to another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from voxlake.core.errors import UsageError
from voxlake.lake.cohorts import Cohort, Member, get_cohort
from voxlake.lake.lake import Lake

__all__ = ["cohort_diff"]


def cohort_diff(lake: Lake, first: str, second: str | None = None) -> dict[str, Any]:
    """Compare two cohorts: series that were added, removed, or have other content.

    Parameters
    ----------
    lake : Lake
        The lake.
    first : str
        ``name`` or ``name@version``; with a bare name and nothing else, its last two versions are compared.
    second : str, optional
        The later one.

    Returns
    -------
    dict
        ``counts`` (series, studies, patients on each side and what was added, removed, changed),
        ``condition`` where it differs, and lists of series: ``added``, ``removed``, ``changed``. Patients
        who have withdrawn are on neither side.

    Raises
    ------
    NotFoundError
        There is no such cohort.
    UsageError
        One name is given, and it has one version only.

    Examples
    --------
    >>> cohort_diff(lake, "brains@1", "brains@2")  # doctest: +SKIP
    >>> cohort_diff(lake, "brains")  # doctest: +SKIP
    """
    before, after = _sides(lake, first, second)
    old = {member.series_instance_uid: member for member in before.members()}
    new = {member.series_instance_uid: member for member in after.members()}
    both = sorted(old.keys() & new.keys())
    changed = [uid for uid in both if old[uid].members_digest != new[uid].members_digest]
    added, removed = sorted(new.keys() - old.keys()), sorted(old.keys() - new.keys())
    levels = {
        "series": (set(old), set(new)),
        "studies": (_all(old, "study_instance_uid"), _all(new, "study_instance_uid")),
        "patients": (_all(old, "patient_id"), _all(new, "patient_id")),
    }
    conditions = {"before": before.condition, "after": after.condition}
    return {
        "before": f"{before.name}@{before.version}",
        "after": f"{after.name}@{after.version}",
        "same": not (added or removed or changed),
        "condition": conditions if before.condition != after.condition else "the same",
        "counts": [
            {
                "level": level,
                "before": len(left),
                "after": len(right),
                "added": len(right - left),
                "removed": len(left - right),
                "changed": len(changed) if level == "series" else None,
            }
            for level, (left, right) in levels.items()
        ],
        "added": _listed(new[uid] for uid in added),
        "removed": _listed(old[uid] for uid in removed),
        "changed": [
            {**_row(new[uid]), "before": old[uid].members_digest, "after": new[uid].members_digest}
            for uid in changed
        ],
    }


def _sides(lake: Lake, first: str, second: str | None) -> tuple[Cohort, Cohort]:
    if second is not None:
        return get_cohort(lake, first), get_cohort(lake, second)
    latest = get_cohort(lake, first)
    if latest.version == 1:
        raise UsageError(f"cohort '{latest.name}' has one version; name what to compare it with")
    return get_cohort(lake, f"{latest.name}@{latest.version - 1}"), latest


def _all(members: Mapping[str, Member], column: str) -> set[str]:
    found = (getattr(member, column) for member in members.values())
    return {value for value in found if value is not None}


def _row(member: Member) -> dict[str, Any]:
    return {
        "series_instance_uid": member.series_instance_uid,
        "study_instance_uid": member.study_instance_uid,
        "patient_id": member.patient_id,
    }


def _listed(members: Iterable[Member]) -> list[dict[str, Any]]:
    return [_row(member) for member in members]
