"""What a series is."""

from __future__ import annotations

from voxlake.store.schema.column import REALS, TEXT, TEXTS, TIME, WHOLE, WHOLES, Column, Table
from voxlake.store.schema.instances import HEADER_COLUMNS

__all__ = ["SERIES", "STACKS"]


# Header columns that describe a whole series.
_OF_A_SERIES = frozenset(
    {
        "sop_class_uid",
        "modality",
        "body_part_examined",
        "study_date",
        "study_description",
        "series_description",
        "protocol_name",
        "manufacturer",
        "manufacturer_model_name",
        "patient_sex",
        "patient_age",
        "series_number",
        "slice_thickness",
        "magnetic_field_strength",
        "rows",
        "columns",
        "photometric_interpretation",
        "convolution_kernel",
        "view_position",
    }
)

SERIES = Table(
    "series",
    "One row for each series as it stands: counts, vendor, geometry verdict.",
    ("series_instance_uid",),
    (
        Column("series_instance_uid", TEXT, "Identifier, pseudonymised"),
        Column("study_instance_uid", TEXT, "Study, pseudonymised"),
        Column("patient_id", TEXT, "Pseudonym of the patient"),
        Column("members_digest", TEXT, "Digest over the stored bytes of all instances"),
        Column("instances", WHOLE, "Number of instances"),
        Column("images", WHOLE, "Number of frames with pixels"),
        Column("slices", WHOLE, "Slices of the volume; null where the verdict gives none"),
        Column("stacks", WHOLE, "Number of stacks, which `stacks` lists"),
        Column("geometry", TEXT, "regular, gap, uneven, tilt, duplicates, mixed, flat or none"),
        Column("geometry_note", TEXT, "What was measured"),
        Column("spacing", REALS, "Slice, row, column", "", "mm"),
        Column("bytes", WHOLE, "Stored size", "", "byte"),
        *(
            column
            for column in HEADER_COLUMNS
            if column.name in _OF_A_SERIES
        ),
        Column("format", TEXT, "dicom, png, jpeg, tiff, nifti or nrrd"),
        Column("policy_digest", TEXT, "De-identification policy"),
        Column("run_id", TEXT, "Run that made the row"),
        Column("committed_at", TIME, "When the row was committed"),
    ),
    keep="last",
)  # fmt: skip

STACKS = Table(
    "stacks",
    "The volumes of a series: one row for each echo, time point, b-value, orientation, with its slice order.",
    ("series_instance_uid", "members_digest", "policy_digest", "stack"),
    (
        Column("series_instance_uid", TEXT, "Series"),
        Column("policy_digest", TEXT, "De-identification policy"),
        Column("members_digest", TEXT, "Digest over the stored bytes of all instances of the series"),
        Column("stack", WHOLE, "Number of the stack, from 1"),
        Column("patient_id", TEXT, "Pseudonym of the patient"),
        Column("label", TEXT, "What tells it from the other stacks; JSON, name to value"),
        Column("geometry", TEXT, "As in `series`, for this stack alone"),
        Column("geometry_note", TEXT, "What was measured"),
        Column("slices", WHOLE, "Slices of the volume; null where the verdict gives none"),
        Column("spacing", REALS, "Slice, row, column", "", "mm"),
        Column("grid", TEXT, "Shape, affine (index to LPS mm), frame, flat; JSON; null without a volume"),
        Column("sop_instance_uids", TEXTS, "Instance of every slice, in slice order"),
        Column("frames", WHOLES, "Frame (or tile of a mosaic) of every slice, in slice order, from 0"),
        Column("run_id", TEXT, "Run that made the row"),
        Column("committed_at", TIME, "When the row was committed"),
    ),
)
