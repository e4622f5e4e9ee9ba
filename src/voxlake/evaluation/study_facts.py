"""What a report about the de-identification of a study is made of, and what it says: plain values, no lake.

Nothing here holds a value of an element: only which elements there were, what was done to them, and why.
"""

from __future__ import annotations

from dataclasses import dataclass

from voxlake.privacy.policy import Policy
from voxlake.privacy.shapes import Shape

__all__ = [
    "DoneRow",
    "FileRow",
    "OptionRow",
    "PolicyPart",
    "RecordRow",
    "RemainsRow",
    "RuleRow",
    "StudyFacts",
    "StudyFile",
    "StudySummary",
    "WaiverRow",
]


@dataclass(frozen=True)
class StudyFile:
    """One file without identities.

    Parameters
    ----------
    name : str
        Name or UID by which whoever gets the file knows it; never that of the source.
    sha256 : str
        Of the bytes as written.
    shape : Shape or None
        What was done to it; None where that was not recorded.
    series : str or None
        Its series, pseudonymised.
    pack : str or None
        Object of a lake that holds the bytes; None for a file of its own.
    offset, length : int
        First byte in the pack and number of bytes.
    """

    name: str
    sha256: str
    shape: Shape | None
    series: str | None = None
    pack: str | None = None
    offset: int = 0
    length: int = 0


@dataclass(frozen=True)
class StudyFacts:
    """The files of a study that came in under one policy; a study under two policies has two.

    Parameters
    ----------
    study : str
        Identifier, pseudonymised.
    patient : str or None
        Pseudonym.
    policy : Policy
        What was done by.
    files : tuple of StudyFile
        In the order in which they are listed.
    """

    study: str
    patient: str | None
    policy: Policy
    files: tuple[StudyFile, ...]


@dataclass(frozen=True)
class OptionRow:
    """An option of PS3.15 E.3 with its code of CID 7050."""

    option: str
    code: str
    meaning: str


@dataclass(frozen=True)
class RuleRow:
    """An own rule of the policy, and to how many instances it did something."""

    number: int
    matches: str
    action: str
    why: str
    instances: int


@dataclass(frozen=True)
class WaiverRow:
    """A rule on pixels that was waived, and for how many instances."""

    rule: str
    reasons: tuple[str, ...]
    instances: int


@dataclass(frozen=True)
class DoneRow:
    """What was done to one element.

    `depth` is the number of sequences that it lies in, `within` their keywords from the top.
    """

    element: str
    keyword: str
    within: tuple[str, ...]
    depth: int
    action: str
    why: str
    instances: int


@dataclass(frozen=True)
class RemainsRow:
    """One element that is still there, as it came or with another value."""

    element: str
    keyword: str
    within: tuple[str, ...]
    depth: int
    value: str
    instances: int


@dataclass(frozen=True)
class RecordRow:
    """Digest of what was done, for how many instances."""

    digest: str
    format: str
    instances: int


@dataclass(frozen=True)
class PolicyPart:
    """What one policy did to the instances of a study."""

    name: str
    digest: str
    profile: str
    claims_profile: bool
    versions: tuple[str, ...]
    editions: tuple[str, ...]
    voxlake: tuple[str, ...]
    max_shift_days: int
    max_age: int | None
    options: tuple[OptionRow, ...]
    rules: tuple[RuleRow, ...]
    waivers: tuple[WaiverRow, ...]
    instances: int
    unrecorded: int
    formats: tuple[str, ...]
    records: tuple[RecordRow, ...]
    done: tuple[DoneRow, ...]
    remains: tuple[RemainsRow, ...]
    not_done: tuple[str, ...]

    @property
    def dates_shifted(self) -> bool:
        """Whether dates of patients are moved."""
        return any(row.option == "retain_longitudinal_modified_dates" for row in self.options)


@dataclass(frozen=True)
class FileRow:
    """One file with its digest and, in a lake, its place."""

    name: str
    sha256: str
    series: str | None
    record: str | None
    pack: str | None
    offset: int
    length: int


@dataclass(frozen=True)
class StudySummary:
    """All that the page says about a study.

    `files_digest` is the SHA-256 of the sorted SHA-256 (hex) of all files, a line each.
    """

    study: str
    patients: tuple[str, ...]
    instances: int
    series: int | None
    formats: tuple[tuple[str, int], ...]
    parts: tuple[PolicyPart, ...]
    files: tuple[FileRow, ...]
    files_digest: str
