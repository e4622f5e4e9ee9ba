"""A report about one run."""

from __future__ import annotations

from voxlake.core.reasons import REASONS
from voxlake.core.toml import to_toml
from voxlake.evaluation.content import Ingest, ReportData, Table, TextBlock
from voxlake.evaluation.intake_section import describe_intake, find_run
from voxlake.evaluation.sheets import sheets_of_run
from voxlake.lake.lake import Lake

__all__ = ["describe_run"]

_WITH_PICTURES = ("prepare", "segment")


def describe_run(lake: Lake, run_id: str, shown: Ingest | None) -> ReportData:
    """Describe a run: its balance, what it made, with pictures, and what became of every item that failed."""
    run = find_run(lake, run_id)
    if run.verb == "ingest" and shown is None:
        shown = describe_intake(lake, [run_id], None, ())
    reasons = tuple((name, count, REASONS.get(name, "")) for name, count in run.reasons.items())
    left = Table("Items that were not stored, and why", ("Reason", "Items", "Meaning"), reasons)
    if shown is None:
        shown = Ingest(run.balance(), (left,) if reasons else ())
    made = tuple((name, str(value)) for name, value in run.result.items() if name != "changes")
    return ReportData(
        title=f"Run of {run.verb}",
        task=f"Run {run.run_id}",
        summary=f"The run {'is done' if run.outcome == 'done' else 'failed'}: {run.balance()}.",
        created=run.started_at,
        sheets=sheets_of_run(lake, run_id) if run.verb in _WITH_PICTURES else (),
        ingest=shown,
        settings=(TextBlock("Arguments", to_toml(dict(run.arguments))),),
        lineage=(
            Table(
                "The run",
                ("What", "Value"),
                (
                    ("Run", run.run_id),
                    ("Code version", run.code_version),
                    ("Seconds", round(run.seconds, 1)),
                    ("Digest of what went in", run.input_digest),
                    *made,
                ),
            ),
        ),
        made_by=f"voxlake {run.code_version}",
        kind="Report about a run",
    )
