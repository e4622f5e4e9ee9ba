"""Numbers that were measured in images, and vectors that stand for them."""

from __future__ import annotations

import pyarrow as pa

from voxlake.store.schema.column import REAL, TEXT, TEXTS, TIME, WHOLE, Column, Table

__all__ = ["EMBEDDINGS", "FEATURES"]


FEATURES = Table(
    "features",
    "Numbers that were measured in volumes, one row for each number.",
    ("volume_id", "mask_id", "label", "settings_digest", "family", "feature"),
    (
        Column("volume_id", TEXT, "Volume that was measured"),
        Column("mask_id", TEXT, "Mask inside of which it was measured; null for the whole volume"),
        Column("label", WHOLE, "Value of the label in the mask; null for the whole volume"),
        Column("label_name", TEXT, "What the label means"),
        Column("series_instance_uid", TEXT, "Series of the image"),
        Column("study_instance_uid", TEXT, "Study of the image"),
        Column("patient_id", TEXT, "Pseudonym of the patient"),
        Column("sop_instance_uid", TEXT, "Instance, where the volume is a single image; null otherwise"),
        Column("family", TEXT, "Family of features: intensity, histogram, shape"),
        Column("feature", TEXT, "Name of the feature"),
        Column("code", TEXT, "Its IBSI code, where it has one"),
        Column("value", REAL, "Value; null where it is not defined"),
        Column("unit", TEXT, "Unit of the value"),
        Column("settings_digest", TEXT, "Settings of the family, with its version"),
        Column("plan_digest", TEXT, "Plan of the volume, with step versions"),
        Column("inputs", TEXTS, "SHA-256 of the values of the volume and of the mask"),
        Column("run_id", TEXT, "Run"),
        Column("committed_at", TIME, "When the row was committed"),
    ),
)

EMBEDDINGS = Table(
    "embeddings",
    "Vectors that stand for subjects: similar subjects lie close together.",
    ("embedding_id", "subject_level", "subject"),
    (
        Column("embedding_id", TEXT, "Digest over what made it: task or model, settings and inputs"),
        Column("name", TEXT, "Name of the task or model"),
        Column("model_id", TEXT, "Model that made it"),
        Column("subject_level", TEXT, "volume, instance, series, study, patient or row"),
        Column("subject", TEXT, "Identifier of the subject in the lake, or key of the row"),
        Column("patient_id", TEXT, "Pseudonym of the patient"),
        Column("cohort_id", TEXT, "Cohort"),
        Column("vector", pa.list_(pa.float32()), "Its coordinates"),
        Column("run_id", TEXT, "Run"),
        Column("committed_at", TIME, "When the row was committed"),
    ),
)
