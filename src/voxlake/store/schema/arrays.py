"""Prepared arrays."""

from __future__ import annotations

import pyarrow as pa

from voxlake.store.schema.column import REAL, TEXT, TEXTS, TIME, WHOLE, WHOLES, Column, Table

__all__ = ["MASKS", "VOLUMES"]


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
        Column("stack", WHOLE, "Number of the stack in the series, see `stacks`; null for a flat image"),
        Column("stack_label", TEXT, "What tells the stack from the others of its series; JSON"),
        Column("inputs", TEXTS, "SHA-256 of the instances, in slice order"),
        Column("inputs_digest", TEXT, "Digest of the series or instance when it was prepared"),
        Column("array", TEXT, "Array under arrays/"),
        Column("position", WHOLE, "Index in a stacked array; null for an array of its own"),
        Column("shape", pa.list_(pa.int64()), "Slices, rows, columns (, 3)"),
        Column("dtype", TEXT, "Type of the values"),
        Column("unit", TEXT, "HU, SUVbw, arbitrary, normalised or fraction"),
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

MASKS = Table(
    "masks",
    "Which voxels of volumes belong to what: from segmentations, structure sets and mask plans.",
    ("mask_id",),
    (
        Column("mask_id", TEXT, "Digest over the volume and the object with its labels, or the mask plan"),
        Column(
            "volume_id",
            TEXT,
            "Prepared volume on whose grid the mask lies; null if made of the series as assembled",
        ),
        Column("plan_digest", TEXT, "Plan of the volume, with step versions"),
        Column("mask_plan_digest", TEXT, "Mask plan, with the versions of its parts; null for objects"),
        Column("mask_plan_version", WHOLE, "Version that the mask plan gives itself"),
        Column("series_instance_uid", TEXT, "Series of the image"),
        Column("study_instance_uid", TEXT, "Study of the image"),
        Column("patient_id", TEXT, "Pseudonym of the patient"),
        Column("source_series_instance_uid", TEXT, "Series of the segmentation or structure set"),
        Column("sop_instance_uid", TEXT, "The segmentation or structure set"),
        Column("kind", TEXT, "RTSTRUCT, BINARY, FRACTIONAL or LABELMAP; PLAN (mask plan) or MODEL (network)"),
        Column("number", WHOLE, "ROI or segment number; null for a mask of several segments"),
        Column("labels", TEXT, "Values and what they mean: [{value, name, code: [value, scheme]}]; JSON"),
        Column("voxels", WHOLES, "Number of voxels of every label, in the order of `labels`"),
        Column("array", TEXT, "Array under arrays/"),
        Column("position", WHOLE, "Index in a stacked array; null for an array of its own"),
        Column("shape", pa.list_(pa.int64()), "Slices, rows, columns"),
        Column("dtype", TEXT, "Type of the values"),
        Column("grid", TEXT, "Shape, affine (index to LPS mm), frame, flat; JSON"),
        Column("inputs", TEXTS, "SHA-256 of the object, or of the instances of the image"),
        Column("steps", TEXTS, "What was done, in order"),
        Column("sha256", TEXT, "SHA-256 of the array's values, C order, little endian"),
        Column("shards", WHOLE, "Number of stored shards of the array"),
        Column("run_id", TEXT, "Run"),
        Column("committed_at", TIME, "When the row was committed"),
    ),
)
