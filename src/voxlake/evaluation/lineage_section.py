"""Where the figures of a report come from."""

from __future__ import annotations

from voxlake.evaluation.content import Cell, Table
from voxlake.evaluation.judged import Judged
from voxlake.lake.lineage import Lineage

__all__ = ["describe_lineage"]


def describe_lineage(judged: Judged, lineage: Lineage) -> tuple[Table, ...]:
    """Digests and identifiers from the figures back to the stored bytes, and the runs between."""
    model = judged.model
    rows: tuple[tuple[Cell, ...], ...] = (
        ("Digest of the predictions behind the figures", judged.digest()),
        ("Model", lineage.model_id),
        *_stored(judged),
        ("Task", lineage.task_digest),
        ("Split", lineage.split_digest),
        ("Seed", int(model.row["seed"] or 0)),
        ("Plan", lineage.plan_digest),
        ("Cohort", f"{model.card.get('cohort') or 'none'} ({lineage.cohort_id})"),
        ("De-identification policies", ", ".join(lineage.policy_digests)),
        ("Prepared volumes behind the figures", lineage.volumes),
        ("Stored instances behind them", len(lineage.instances)),
        ("Digest over their SHA-256", lineage.instances_digest),
        ("Code version", lineage.code_version),
    )
    runs = tuple((run_id, verb, started) for run_id, verb, started in lineage.runs)
    return (
        Table("What the figures rest on", ("What", "Value"), rows),
        Table("Runs that led here, in order", ("Run", "Verb", "Started (UTC)"), runs),
    )


def _stored(judged: Judged) -> tuple[tuple[str, str], ...]:
    card = judged.model.card
    if not judged.model.is_table:
        return (("Weights, SHA-256 of each network", ", ".join(digest[:16] for digest in card["weights"])),)
    files = ", ".join(f"{name} {digest[:16]}" for name, digest in sorted(card.get("artefacts", {}).items()))
    table = str(card.get("table", {}).get("digest", ""))
    return (("Stored parts, SHA-256", files), ("Table that went in", table))
