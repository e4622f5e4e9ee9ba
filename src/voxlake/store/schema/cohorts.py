"""Labels, cohorts and who has withdrawn from them."""

from __future__ import annotations

from voxlake.store.schema.column import REAL, TEXT, TIME, WHOLE, Column, Table

__all__ = ["COHORTS", "COHORT_MEMBERS", "LABELS", "WITHDRAWALS"]


LABELS = Table(
    "labels",
    "What readers, files and folders say about a subject.",
    ("level", "subject", "name", "value", "reader", "source"),
    (
        Column("level", TEXT, "patient, study, series or instance"),
        Column("subject", TEXT, "Identifier in the lake"),
        Column("name", TEXT, "What is labelled, for example finding"),
        Column("value", TEXT, "The label; numbers as text"),
        Column("number", REAL, "The label as a number, where it is one"),
        Column("unit", TEXT, "Unit of the number"),
        Column("reader", TEXT, "Who said so"),
        Column("source", TEXT, "Digest of the file or mapping that it came from"),
        Column("labelled_at", TIME, "When the reader said so, if known"),
        Column("run_id", TEXT, "Run"),
        Column("committed_at", TIME, "When the row was committed"),
    ),
)

COHORTS = Table(
    "cohorts",
    "Frozen selections.",
    ("name", "version"),
    (
        Column("cohort_id", TEXT, "Digest over the members"),
        Column("name", TEXT, "Name"),
        Column("version", WHOLE, "1, 2, ...; a selection with other members makes a new version"),
        Column("condition", TEXT, "The SQL condition"),
        Column("table_versions", TEXT, "Version of each table that was read, JSON"),
        Column("series", WHOLE, "Number of series"),
        Column("studies", WHOLE, "Number of studies"),
        Column("patients", WHOLE, "Number of patients"),
        Column("run_id", TEXT, "Run"),
        Column("committed_at", TIME, "When the row was committed"),
    ),
)

COHORT_MEMBERS = Table(
    "cohort_members",
    "The series of every cohort version, with the digest that they had.",
    ("cohort_id", "series_instance_uid"),
    (
        Column("cohort_id", TEXT, "Cohort"),
        Column("series_instance_uid", TEXT, "Series"),
        Column("study_instance_uid", TEXT, "Study"),
        Column("patient_id", TEXT, "Pseudonym of the patient"),
        Column("members_digest", TEXT, "Digest of the series when it was selected"),
        Column("run_id", TEXT, "Run"),
        Column("committed_at", TIME, "When the row was committed"),
    ),
)

WITHDRAWALS = Table(
    "withdrawals",
    "Patients who may not be used any more; of those who were erased only a keyed digest is left.",
    ("patient_mac",),
    (
        Column("patient_mac", TEXT, "Keyed digest of the pseudonym"),
        Column("patient_id", TEXT, "Pseudonym of the patient; null once erased"),
        Column("reason", TEXT, "Why, as a code of your own"),
        Column("erased_at", TIME, "When the erasure was begun; null where nothing was erased"),
        Column("receipt", TEXT, "Identifier of the receipt of the erasure"),
        Column("run_id", TEXT, "Run"),
        Column("committed_at", TIME, "When the row was committed"),
    ),
    keep="last",
)
