"""Where the figures of a report come from."""

from __future__ import annotations

from voxlake.evaluation.content import Table
from voxlake.lake.lineage import Lineage
from voxlake.learning.model import Model

__all__ = ["describe_lineage"]


def describe_lineage(model: Model, lineage: Lineage) -> tuple[Table, ...]:
    """Digests and identifiers from the figures back to the stored bytes, and the runs between."""
    rows = (
        ("Model", lineage.model_id),
        ("Weights, SHA-256 of each network", ", ".join(digest[:16] for digest in model.card["weights"])),
        ("Task", lineage.task_digest),
        ("Split", lineage.split_digest),
        ("Seed", int(model.row["seed"])),
        ("Plan", lineage.plan_digest),
        ("Cohort", f"{model.card['cohort']} ({lineage.cohort_id})"),
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
