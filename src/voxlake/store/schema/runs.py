"""What was executed, and what became of every item."""

from __future__ import annotations

from voxlake.store.schema.column import REAL, TEXT, TIME, WHOLE, Column, Table

__all__ = ["ITEMS", "RUNS"]


RUNS = Table(
    "runs",
    "Executions of verbs.",
    ("run_id",),
    (
        Column("run_id", TEXT, "Identifier, sorts by time"),
        Column("verb", TEXT, "ingest, prepare, ..."),
        Column("arguments", TEXT, "As called, JSON; without paths, keys and credentials"),
        Column("outcome", TEXT, "done or failed"),
        Column("counts", TEXT, "The balance, JSON"),
        Column("reasons", TEXT, "Reason codes and how often, JSON"),
        Column("result", TEXT, "What was made, JSON"),
        Column("error", TEXT, "Type of the error of a failed run"),
        Column("input_digest", TEXT, "Digest over what went in"),
        Column("code_version", TEXT, "Version of voxlake"),
        Column("seconds", REAL, "Wall time", "", "s"),
        Column("started_at", TIME, "Start"),
        Column("committed_at", TIME, "When the row was committed"),
    ),
)

ITEMS = Table(
    "items",
    "What became of every item of every run.",
    ("run_id", "number"),
    (
        Column("run_id", TEXT, "Run"),
        Column("number", WHOLE, "Number of the item within the run, from 1"),
        Column("item", TEXT, "Keyed digest of the source name, or identifier of a series or volume"),
        Column("outcome", TEXT, "stored, already, quarantined, rejected, ignored or failed"),
        Column("reason", TEXT, "Reason code; null if stored or already there"),
        Column("detail", TEXT, "What was got and expected; no patient data"),
        Column("attempts", WHOLE, "How often it was tried"),
        Column("seconds", REAL, "Time in the worker", "", "s"),
        Column("committed_at", TIME, "When the row was committed"),
    ),
)
