"""What a series is."""

from __future__ import annotations

from voxlake.store.schema.column import REALS, TEXT, TIME, WHOLE, Column, Table
from voxlake.store.schema.instances import HEADER_COLUMNS

__all__ = ["SERIES"]


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
        Column("geometry", TEXT, "regular, gap, uneven, tilt, duplicates, mixed, flat or none"),
        Column("geometry_note", TEXT, "What was measured"),
        Column("spacing", REALS, "Slice, row, column", "", "mm"),
        Column("bytes", WHOLE, "Stored size", "", "byte"),
        *(
            column
            for column in HEADER_COLUMNS
            if column.name in _OF_A_SERIES
        ),
        Column("format", TEXT, "dicom, png, jpeg or nifti"),
        Column("policy_digest", TEXT, "De-identification policy"),
        Column("run_id", TEXT, "Run that made the row"),
        Column("committed_at", TIME, "When the row was committed"),
    ),
    keep="last",
)  # fmt: skip
