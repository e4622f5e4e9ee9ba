"""From a model or a score back to the digests of the stored bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from voxlake.core.digest import digest_many
from voxlake.core.errors import IntegrityError, NotFoundError
from voxlake.lake.lake import Lake
from voxlake.store.packs import read_member

__all__ = ["Lineage", "trace", "verify_inputs"]


@dataclass(frozen=True)
class Lineage:
    """What figures of a model rest on.

    Parameters
    ----------
    model_id, task_digest, plan_digest, cohort_id, split_digest, code_version : str
        What made the model.
    policy_digests : tuple of str
        De-identification policies of the instances.
    volumes : int
        Number of prepared volumes that were predicted, or measured for it.
    instances : tuple of str
        SHA-256 of the stored bytes of every instance behind them, sorted.
    instances_digest : str
        Digest over `instances`.
    runs : tuple of (run_id, verb, started_at)
        Every run that had a hand in it.
    """

    model_id: str
    task_digest: str
    plan_digest: str
    cohort_id: str
    split_digest: str
    code_version: str
    policy_digests: tuple[str, ...]
    volumes: int
    instances: tuple[str, ...]
    instances_digest: str
    runs: tuple[tuple[str, str, str], ...]


_LEVELS = (
    ("instance", "sop_instance_uid"),
    ("series", "series_instance_uid"),
    ("study", "study_instance_uid"),
    ("patient", "patient_id"),
)
_SPOKEN = "select volume_id from predictions where model_id = $model and volume_id is not null"


def _of_subjects(column: str, source: str, also: str = "true") -> str:
    """SQL of what belongs to the subjects of a table; `source` has the identifiers of all levels."""
    # A join for each level: there is no quick one on a condition that differs from row to row.
    return " union ".join(
        f"select {column} from predictions join {source} on predictions.subject = of.{name} and {also} "
        f"where predictions.model_id = $model and predictions.subject_level = '{level}'"
        for level, name in _LEVELS
    )


# A network speaks of volumes. A table is about volumes, or about what its level says: then it rests on all
# instances of its subjects that the cohort froze. Rows of a table from outside rest on no instance.
_FROZEN = """(
    select cohort_members.cohort_id, instances.* from cohort_members join cohorts using (cohort_id)
    join instances on instances.series_instance_uid = cohort_members.series_instance_uid
    where instances.committed_at <= cohorts.committed_at
) as of"""
_INPUTS = (
    f"select unnest(inputs) as sha256 from volumes where volume_id in ({_SPOKEN}) "
    f"union {_of_subjects('of.sha256', _FROZEN, 'predictions.cohort_id = of.cohort_id')}"
)
_VOLUMES = f"{_SPOKEN} union {_of_subjects('of.volume_id', 'features as of')}"


def trace(lake: Lake, model_id: str) -> Lineage:
    """Trace a model and its scores to instance digests.

    Raises
    ------
    NotFoundError
        There is no such model.
    IntegrityError
        A prediction rests on bytes that the catalogue does not know.
    """
    found = lake.sql("select * from models where model_id = $model", {"model": model_id}).dicts()
    if not found:
        raise NotFoundError(f"no model '{model_id}'")
    model = found[0]
    inputs = sorted(row[0] for row in lake.sql(_INPUTS, {"model": model_id}).rows())
    known = lake.sql(
        "select distinct sha256, policy_digest, run_id from instances "
        "where sha256 in (select unnest($inputs))",
        {"inputs": inputs},
    ).rows()
    missing = set(inputs) - {row[0] for row in known}
    if missing:
        raise IntegrityError(f"{len(missing)} inputs of model {model_id} are not among the stored instances")
    (volumes,) = lake.sql(f"select count(*) from ({_VOLUMES})", {"model": model_id}).rows()[0]
    runs = _runs(lake, model_id, sorted({row[2] for row in known}))
    return Lineage(
        model_id=model_id,
        task_digest=model["task_digest"],
        plan_digest=model["plan_digest"],
        cohort_id=model["cohort_id"],
        split_digest=model["split_digest"],
        code_version=next((row["code_version"] for row in runs if row["run_id"] == model["run_id"]), ""),
        policy_digests=tuple(sorted({row[1] for row in known})),
        volumes=int(volumes),
        instances=tuple(inputs),
        instances_digest=digest_many(inputs),
        runs=tuple((row["run_id"], row["verb"], f"{row['started_at']:%Y-%m-%d %H:%M:%S}") for row in runs),
    )


def verify_inputs(lake: Lake, digests: Sequence[str]) -> int:
    """Read the stored bytes behind digests and hash them again; returns how many were checked.

    Raises
    ------
    IntegrityError
        Stored bytes do not have the digest that the catalogue names.
    """
    rows = lake.sql(
        'select sha256, any_value(pack), any_value("offset"), any_value("length") from instances '
        "where sha256 in (select unnest($digests)) group by sha256",
        {"digests": list(digests)},
    ).rows()
    for sha256, pack, offset, length in rows:
        read_member(lake.objects, pack, offset, length, sha256=sha256)
    return len(rows)


def _runs(lake: Lake, model_id: str, ingests: Sequence[str]) -> list[dict[str, Any]]:
    return lake.sql(
        f"""
        select run_id, verb, started_at, code_version from runs where run_id in (
            select unnest($ingests)
            union select run_id from models where model_id = $model
            union select run_id from predictions where model_id = $model
            union select run_id from scores where model_id = $model
            union select run_id from volumes where volume_id in ({_VOLUMES})
            union select run_id from features where volume_id in ({_VOLUMES})
            union select run_id from cohorts
                where cohort_id in (select cohort_id from models where model_id = $model)
        ) order by run_id
        """,
        {"ingests": list(ingests), "model": model_id},
    ).dicts()
