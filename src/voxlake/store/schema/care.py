"""What was done to objects, what was not let in, what is worth knowing."""

from __future__ import annotations

from voxlake.store.schema.column import REAL, TEXT, TEXTS, TIME, WHOLE, Column, Table

__all__ = ["DEIDENTIFICATIONS", "FINDINGS", "FINGERPRINTS", "QUARANTINE"]


DEIDENTIFICATIONS = Table(
    "deidentifications",
    "What was done to objects and what remains, once for all objects to which the same was done; no values.",
    ("deidentification",),
    (
        Column("deidentification", TEXT, "Digest over the other columns that describe it"),
        Column("format", TEXT, "dicom, png, jpeg, tiff, nifti or nrrd"),
        Column("policy", TEXT, "De-identification policy, TOML"),
        Column("policy_digest", TEXT, "Digest of the policy, its tables and the version of its rules"),
        Column("policy_version", TEXT, "Version of the implementation of policies"),
        Column("profile_edition", TEXT, "Edition of PS3.15 Table E.1-1"),
        Column("code_version", TEXT, "Version of voxlake"),
        Column("waived", TEXTS, "Rules on pixels under whose waivers the objects came in"),
        Column("actions", TEXT, "[element, keyword, action, why] without numbers of items; JSON"),
        Column("remains", TEXT, "[element, keyword] of what the objects still hold; JSON"),
        Column("run_id", TEXT, "Run that first met it"),
        Column("committed_at", TIME, "When the row was committed"),
    ),
)

QUARANTINE = Table(
    "quarantine",
    "Items that were not let in, each with a reason; their bytes lie sealed under quarantine/.",
    ("quarantine_id",),
    (
        Column("quarantine_id", TEXT, "Name of the sealed object"),
        Column("source_mac", TEXT, "Keyed digest of the incoming bytes; null if they could not be read"),
        Column("policy_digest", TEXT, "Policy under which it was refused"),
        Column("reason", TEXT, "Reason code"),
        Column("detail", TEXT, "What was got and expected; no patient data"),
        Column("bytes", WHOLE, "Size of the incoming bytes", "", "byte"),
        Column("run_id", TEXT, "Run"),
        Column("committed_at", TIME, "When the row was committed"),
    ),
)

FINDINGS = Table(
    "findings",
    "Things worth knowing about data that were let in.",
    ("rule", "subject_level", "subject", "detail", "content"),
    (
        Column("rule", TEXT, "Identifier of the rule"),
        Column("severity", TEXT, "info, warning or error"),
        Column("subject_level", TEXT, "patient, study, series or instance"),
        Column("subject", TEXT, "Identifier of the subject"),
        Column("value", REAL, "Measured value, if any"),
        Column("detail", TEXT, "One sentence"),
        Column(
            "content",
            TEXT,
            "`members_digest` of the series in which it was found; null where a finding cannot pass",
        ),
        Column("run_id", TEXT, "Run"),
        Column("committed_at", TIME, "When the row was committed"),
    ),
)

FINGERPRINTS = Table(
    "fingerprints",
    "What the pixels of an object are like: digest, perceptual hash and a few figures of the stored values.",
    ("sha256", "version"),
    (
        Column("sha256", TEXT, "SHA-256 of the stored bytes"),
        Column("version", WHOLE, "Version of the way in which it is computed"),
        Column("pixel_digest", TEXT, "SHA-256 over shape, type and decoded values"),
        Column("perceptual_hash", TEXT, "256 bits of the middle frame, hexadecimal; null if it is blank"),
        Column("frames", WHOLE, "Number of frames"),
        Column("minimum", REAL, "Smallest stored value, padding left out"),
        Column("maximum", REAL, "Largest stored value, padding left out"),
        Column("mean", REAL, "Mean of the stored values, padding left out"),
        Column("share_low", REAL, "Share of pixels in the lowest 1/128 of the range between the two"),
        Column("share_high", REAL, "Share of pixels in the highest 1/128 of that range"),
        Column("share_common", REAL, "Share of pixels that have the most frequent value"),
        Column("share_padding", REAL, "Share of pixels that are padding"),
        Column("run_id", TEXT, "Run"),
        Column("committed_at", TIME, "When the row was committed"),
    ),
)
