"""Prepared arrays."""

from __future__ import annotations

import pyarrow as pa

from voxlake.store.schema.column import REAL, TEXT, TEXTS, TIME, WHOLE, Column, Table

__all__ = ["VOLUMES"]


VOLUMES = Table(
    "volumes",
    "Prepared arrays.",
    ("volume_id",),
    (
        Column("volume_id", TEXT, "Digest over inputs and plan"),
        Column("plan_digest", TEXT, "Plan, with step versions"),
        Column("series_instance_uid", TEXT, "Series that it was made from"),
        Column("study_instance_uid", TEXT, "Study"),
        Column("patient_id", TEXT, "Pseudonym of the patient"),
        Column("sop_instance_uid", TEXT, "Instance, where the volume is a single image; null otherwise"),
        Column("inputs", TEXTS, "SHA-256 of the instances, in slice order"),
        Column("inputs_digest", TEXT, "Digest of the series or instance when it was prepared"),
        Column("array", TEXT, "Array under arrays/"),
        Column("position", WHOLE, "Index in a stacked array; null for an array of its own"),
        Column("shape", pa.list_(pa.int64()), "Slices, rows, columns (, 3)"),
        Column("dtype", TEXT, "Type of the values"),
        Column("unit", TEXT, "HU, SUVbw, arbitrary or normalised"),
        Column("modality", TEXT, "Modality"),
        Column("grid", TEXT, "Shape, affine (index to LPS mm), frame, flat; JSON"),
        Column("steps", TEXTS, "What was done, in order"),
        Column("sha256", TEXT, "SHA-256 of the array's values, C order, little endian"),
        Column("shards", WHOLE, "Number of stored shards of the array"),
        Column("minimum", REAL, "Smallest value"),
        Column("maximum", REAL, "Largest value"),
        Column("mean", REAL, "Mean value"),
        Column("run_id", TEXT, "Run"),
        Column("committed_at", TIME, "When the row was committed"),
    ),
)
