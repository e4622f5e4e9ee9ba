"""The leakage audit as a section of the page."""

from __future__ import annotations

from voxlake.evaluation.audit import KINDS, Audit
from voxlake.evaluation.content import Section, Table

__all__ = ["describe_audit"]


def describe_audit(audit: Audit) -> Section:
    """What was compared, how many of each kind, and what could not be known."""
    shared = {kind: sum(leak.count for leak in audit.leaks if leak.kind == kind) for kind in KINDS}
    rows = tuple(
        (words.capitalize(), audit.compared[kind] or None, shared[kind])
        for kind, words in KINDS.items()
        if kind != "near_duplicate"
    )
    near = (
        KINDS["near_duplicate"].capitalize(),
        audit.compared["near_duplicate"] if audit.measured else None,
        shared["near_duplicate"] if audit.measured else None,
    )
    words = [
        (
            "Before anything was scored, the parts of every fold were compared with one another. Nothing may "
            "stand in "
            "two of them: a run that finds a patient, a study or an image on two sides stops and gives no "
            "figures."
        )
    ]
    if audit.images and audit.measured < audit.images:
        words.append(
            f"Near-duplicates are known among the {audit.measured:,} of {audit.images:,} images that "
            "the command check has measured; of the others they are not known. Blank images are not measured."
        )
    if audit.without_patient:
        words.append(
            f"Of {audit.without_patient:,} subjects no patient is known; that one person stands behind "
            "several "
            "of them, on two sides, cannot be excluded."
        )
    parts = tuple((name.capitalize(), count) for name, count in audit.parts.items())
    return Section(
        "audit",
        "Leakage audit",
        tuple(words),
        tables=(
            Table("What must not be shared by two parts", ("What", "Compared", "Shared"), (*rows, near)),
            Table("The parts, all folds together", ("Part", "Subjects"), parts),
        ),
        place="data",
    )
