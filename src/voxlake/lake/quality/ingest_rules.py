"""Rules that `ingest` applies itself, because nobody else sees what came in."""

from __future__ import annotations

from collections.abc import Iterable

from voxlake.lake.quality.rule import Found, Rule, Scope

__all__ = ["INGEST_RULES"]


def _nothing_more(scope: Scope) -> Iterable[Found]:
    """What there is to find was found at ingest."""
    del scope
    return ()


INGEST_RULES = (
    Rule(
        "missing_patient_id",
        "warning",
        "study",
        "No PatientID",
        "Without a patient nobody can tell which studies belong together, so nobody can keep them together "
        "in "
        "a split.",
        "The object has no PatientID and the mapping names none. Found at ingest.",
        "Name the patient in the mapping. Until then the study is the group.",
        _nothing_more,
    ),
    Rule(
        "same_bytes_other_patient",
        "error",
        "instance",
        "The same file under two patients",
        "One of the two patients is wrong.",
        "A file whose bytes are in the lake already comes in under another patient. Found at ingest; the "
        "file "
        "stays with the patient whom it came in with first.",
        "Ask the source whose image it is.",
        _nothing_more,
    ),
)
