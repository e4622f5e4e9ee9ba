"""What came into the lake, for a report: balances, reasons, what de-identification did, pictures."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from voxlake.core.errors import NotFoundError
from voxlake.core.reasons import REASONS
from voxlake.core.run import Run
from voxlake.evaluation.content import Cell, Example, Ingest, Question, Table
from voxlake.evaluation.slices import picture
from voxlake.lake.cohorts import get_cohort
from voxlake.lake.lake import Lake
from voxlake.privacy.pixels import Waiver
from voxlake.volumes.read import read_values

__all__ = ["answer_table", "describe_intake", "find_run"]

_CHANGES = {
    "removed": "Elements removed",
    "emptied": "Elements emptied",
    "replaced": "Values replaced by a dummy or pseudonym",
    "uid_mapped": "Identifiers (UIDs) replaced by keyed ones",
    "date_shifted": "Dates shifted, by the same number of days for all of a patient",
    "cleaned": "Descriptions cleaned of the patient's own header values",
    "private_removed": "Private elements removed because they are not known to be safe",
    "metadata_stripped": "Picture files stripped of their metadata",
}
_PICTURES = 12


def find_run(lake: Lake, run_id: str) -> Run:
    """Read a run from the table of runs.

    Raises
    ------
    NotFoundError
        There is no such run.
    """
    rows = lake.sql("select * from runs where run_id = $run", {"run": run_id}).dicts()
    if not rows:
        raise NotFoundError(f"no run '{run_id}'; see `voxlake sql \"select run_id, verb from runs\"`")
    row: dict[str, Any] = rows[0]
    plain = {name: json.loads(row[name]) for name in ("arguments", "counts", "reasons", "result")}
    return Run(
        run_id=row["run_id"],
        verb=row["verb"],
        outcome=row["outcome"],
        seconds=row["seconds"],
        started_at=row["started_at"].isoformat(timespec="seconds"),
        code_version=row["code_version"],
        input_digest=row["input_digest"],
        error=row["error"],
        **plain,
    )


def describe_intake(
    lake: Lake, runs: Sequence[str], gallery: str | None, questions: Sequence[tuple[str, str]]
) -> Ingest | None:
    """Describe some runs of ingest; None if there is nothing to say."""
    found = [find_run(lake, run_id) for run_id in runs]
    if not (found or gallery or questions):
        return None
    reasons: Counter[str] = Counter()
    changes: Counter[str] = Counter()
    for run in found:
        reasons.update(run.reasons)
        changes.update(run.result.get("changes", {}))
    tables = []
    if found:
        tables.append(_stored(lake, [run.run_id for run in found]))
    if reasons:
        tables.append(_reasons(reasons))
    if changes:
        tables.append(_changed(changes, found))
    if any(run.result.get("waived") for run in found):
        tables.append(_waived(found))
    return Ingest(
        balance="; ".join(run.balance() for run in found),
        tables=tuple(tables),
        questions=tuple(
            Question(question, statement, answer_table(lake, question, statement))
            for question, statement in questions
        ),
        gallery=_gallery(lake, gallery) if gallery is not None else (),
    )


def answer_table(lake: Lake, caption: str, statement: str) -> Table:
    """Answer of an SQL statement as a table of the page."""
    answer = lake.sql(statement)
    return Table(caption, tuple(answer.columns), tuple(tuple(map(_cell, row)) for row in answer.rows()))


def _cell(value: Any) -> Cell:
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _stored(lake: Lake, runs: Sequence[str]) -> Table:
    rows = lake.sql(
        "select coalesce(modality, 'not stated') as modality, count(*) as files, "
        "count(distinct series_instance_uid) as series, count(distinct patient_id) as patients, "
        "round(sum(length) / 1e6, 1) as megabytes from instances where run_id in (select unnest($runs)) "
        "group by 1 order by files desc, 1",
        {"runs": list(runs)},
    ).rows()
    columns = ("Modality", "Files", "Series", "Patients", "MB")
    return Table("What was stored", columns, tuple(tuple(map(_cell, row)) for row in rows))


def _reasons(reasons: Counter[str]) -> Table:
    rows = tuple((reason, count, REASONS.get(reason, "")) for reason, count in reasons.most_common())
    return Table(
        "What was not stored, and why",
        ("Reason", "Items", "Meaning"),
        rows,
        note="Quarantined files are kept, encrypted with the key of the lake, until a person decides.",
    )


def _changed(changes: Counter[str], runs: Sequence[Run]) -> Table:
    policies = sorted({str(run.result.get("policy")) for run in runs})
    rows = tuple((_CHANGES.get(name, name), count) for name, count in changes.most_common())
    return Table(
        f"What de-identification changed (policy {', '.join(policies)})", ("What was done", "Times"), rows
    )


def _waived(runs: Sequence[Run]) -> Table:
    counts: Counter[str] = Counter()
    reasons: dict[str, set[str]] = {}
    for run in runs:
        counts.update(run.result.get("waived", {}))
        for values in run.arguments.get("policy", {}).get("waivers", ()):
            waiver = Waiver.read(values)
            reasons.setdefault(waiver.rule, set()).add(waiver.reason)
    rows = tuple(
        (rule, count, "; ".join(sorted(reasons.get(rule, ())))) for rule, count in counts.most_common()
    )
    return Table(
        "Pixels that came in under a waiver of the policy",
        ("What is waived", "Files", "Reason"),
        rows,
        note="Nobody cleaned these pixels; the policy says why they may come in.",
    )


def _gallery(lake: Lake, name: str) -> tuple[Example, ...]:
    cohort = get_cohort(lake, name)
    rows = lake.sql(
        "select volumes.*, series.body_part_examined, series.manufacturer from volumes "
        "join cohort_members using (series_instance_uid) join series using (series_instance_uid) "
        "where cohort_members.cohort_id = $cohort order by volumes.modality, volumes.volume_id limit $most",
        {"cohort": cohort.cohort_id, "most": _PICTURES},
    ).dicts()
    return tuple(
        Example(
            image=picture(values),
            identifier=row["volume_id"][:12],
            note=" · ".join(
                str(part)
                for part in (row["modality"], row["manufacturer"], "x".join(map(str, row["shape"])))
                if part
            ),
        )
        for row, values in zip(rows, read_values(lake, rows), strict=True)
    )
