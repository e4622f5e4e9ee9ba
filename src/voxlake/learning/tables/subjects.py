"""Who the rows of a table are: the subjects of a cohort, and what of the lake belongs to each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from voxlake.core.errors import NotFoundError, UsageError
from voxlake.lake.cohorts import Cohort
from voxlake.lake.leakage import near_tokens
from voxlake.lake.splits import join_groups
from voxlake.learning.tables.table import GroupedBy, Left, Level

__all__ = ["Subjects", "find_subjects"]

_INSTANCES = """
select distinct instances.sop_instance_uid, instances.series_instance_uid, instances.study_instance_uid,
       instances.patient_id, instances.sha256
from instances where series_instance_uid in (select unnest($series)) order by all
"""
_VOLUMES = """
select volume_id, series_instance_uid, study_instance_uid, patient_id, sop_instance_uid, plan_digest, inputs
from volumes where series_instance_uid in (select unnest($series)) order by volume_id
"""


@dataclass(frozen=True, eq=False)
class Subjects:
    """The rows of a table.

    Parameters
    ----------
    level : str
        What they are.
    names : tuple of str
        Identifiers, sorted.
    patients, studies : tuple of str or None
        Of each; None where a row belongs to no patient, or a patient to several studies.
    groups : tuple of str
        What is never torn apart.
    grouped_by : str
        What the groups are.
    contents : tuple of tuple of str
        Digests of what each was made from, with tokens for near-duplicates.
    within : tuple of mapping of level to list of identifiers
        For each row everything of the lake that it belongs to, or that belongs to it.
    left : tuple of Left
        What has no place in the table.
    """

    level: Level
    names: tuple[str, ...]
    patients: tuple[str | None, ...]
    studies: tuple[str | None, ...]
    groups: tuple[str, ...]
    grouped_by: GroupedBy
    contents: tuple[tuple[str, ...], ...]
    within: tuple[Mapping[str, list[str]], ...]
    left: tuple[Left, ...] = ()


def find_subjects(cohort: Cohort, level: Level, *, plan_digest: str | None = None) -> Subjects:
    """The subjects of a cohort at a level.

    Parameters
    ----------
    cohort : Cohort
        Whose; patients who have withdrawn are left out.
    level : str
        ``volume``, ``instance``, ``series``, ``study`` or ``patient``.
    plan_digest : str, optional
        First characters of the plan of the volumes; needed if there are several plans.

    Raises
    ------
    NotFoundError
        The cohort has nothing at that level.
    UsageError
        Volumes of several plans, and none is named.
    """
    series = [member.series_instance_uid for member in cohort.members()]
    instances = cohort.lake.sql(_INSTANCES, {"series": series}).dicts()
    volumes = _of_plan(cohort.lake.sql(_VOLUMES, {"series": series}).dicts(), plan_digest, level)
    units = _units(level, instances, volumes)
    left: tuple[Left, ...] = ()
    if level == "volume":
        there = {row["series_instance_uid"] for row in volumes}
        left = tuple(
            Left(one, "no_volume", "the series was not prepared") for one in series if one not in there
        )
    if not units:
        raise NotFoundError(
            f"cohort '{cohort.name}' has no subject at level '{level}'"
            + ("; run `voxlake prepare` first" if level == "volume" else "")
        )
    near = near_tokens(cohort.lake, series)
    names = tuple(sorted(units))
    within = tuple(_within(units[name]) for name in names)
    contents = tuple(
        tuple(sorted({*(one["sha256"] for one in units[name]), *_tokens(near, related["series"])}))
        for name, related in zip(names, within, strict=True)
    )
    patients = tuple(_single(related["patient"]) for related in within)
    studies = tuple(_single(related["study"]) for related in within)
    owners = [patient or related["study"][0] for patient, related in zip(patients, within, strict=True)]
    # A study of two patients is a fault of the data; its rows stay together all the same.
    bound = [
        (*made_from, *(f"study {uid}" for uid in related["study"]))
        for made_from, related in zip(contents, within, strict=True)
    ]
    return Subjects(
        level=level,
        names=names,
        patients=patients,
        studies=studies,
        groups=tuple(join_groups(owners, bound)),
        grouped_by="patient" if any(patients) else "study",
        contents=contents,
        within=within,
        left=left,
    )


def _of_plan(rows: list[dict[str, Any]], plan_digest: str | None, level: Level) -> list[dict[str, Any]]:
    kept = [row for row in rows if row["plan_digest"].startswith(plan_digest or "")]
    plans = sorted({row["plan_digest"] for row in kept})
    if len(plans) > 1 and level == "volume":
        shown = [plan[:12] for plan in plans]
        raise UsageError(f"the cohort was prepared under the plans {shown}; name one as 'plan_digest'")
    return kept


def _units(
    level: Level, instances: Sequence[dict[str, Any]], volumes: Sequence[dict[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    """For each subject the instances that it is about, each with the volumes it went into."""
    by_instance: defaultdict[tuple[str, str | None], list[str]] = defaultdict(list)
    for row in volumes:
        by_instance[row["series_instance_uid"], row["sop_instance_uid"]].append(row["volume_id"])
    made: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    column = {
        "instance": "sop_instance_uid",
        "series": "series_instance_uid",
        "study": "study_instance_uid",
        "patient": "patient_id",
    }
    inputs = {row["volume_id"]: set(row["inputs"]) for row in volumes}
    for one in instances:
        whole = by_instance.get((one["series_instance_uid"], None), [])
        single = by_instance.get((one["series_instance_uid"], one["sop_instance_uid"]), [])
        unit = {**one, "volumes": [*whole, *single]}
        if level == "volume":
            for volume in unit["volumes"]:
                if one["sha256"] in inputs[volume]:
                    made[volume].append({**unit, "volumes": [volume]})
        elif level == "patient":
            made[one["patient_id"] or one["study_instance_uid"]].append(unit)
        else:
            made[one[column[level]]].append(unit)
    return dict(made)


def _within(unit: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    columns = {
        "instance": "sop_instance_uid",
        "series": "series_instance_uid",
        "study": "study_instance_uid",
        "patient": "patient_id",
    }
    related = {
        level: sorted({one[column] for one in unit if one[column] is not None})
        for level, column in columns.items()
    }
    related["volume"] = sorted({volume for one in unit for volume in one["volumes"]})
    return related


def _tokens(near: Mapping[str, Sequence[str]], series: Iterable[str]) -> list[str]:
    return [token for one in series for token in near.get(one, ())]


def _single(found: Sequence[str]) -> str | None:
    return found[0] if len(found) == 1 else None
