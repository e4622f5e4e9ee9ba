"""Whether a tool did with every row of Table E.1-1 what the table says, and whether a value survived."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from typing import NamedTuple

from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.values import convert_SQ

from voxlake.core.errors import UsageError
from voxlake.testing.deidentification.annex_e import LEVELS, LINKED_UID, AnnexE, Plant
from voxlake.testing.deidentification.elements import stored_element
from voxlake.testing.deidentification.outcomes import (
    FULL_DATES,
    MODIFIED_DATES,
    Outcome,
    code_of,
    is_shared_date,
    is_valid,
    permitted,
    shift_of,
)
from voxlake.testing.deidentification.planting import Traces

__all__ = ["RowScore", "RowScores", "score_rows"]

_BYTES = frozenset({"OB", "OW", "UN", "US"})
_SEQUENCE_KEEPERS = (b"", b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0")


class RowScore(NamedTuple):
    """What became of one planted value.

    Parameters
    ----------
    row : str
        Tag of the row as in the table.
    name : str
        Attribute name.
    level : int
        0 at the top, 1 and 2 in sequences.
    tag : int
        ``group << 16 | element``.
    vr : str
        VR in the object.
    code : str
        Code that held.
    outcome : Outcome
        What was found at its place.
    right : bool
        The code allows it.
    must_go : bool
        The code does not let the value stay.
    survives : bool
        The value must go and is somewhere in the file.
    """

    row: str
    name: str
    level: int
    tag: int
    vr: str
    code: str
    outcome: Outcome
    right: bool
    must_go: bool
    survives: bool


@dataclass(frozen=True)
class RowScores:
    """Scores of all planted values of one object."""

    scores: tuple[RowScore, ...]

    @property
    def rows(self) -> int:
        """How many rows of the table are scored."""
        return len({score.row for score in self.scores})

    def share_right(self, level: int | None = None) -> float:
        """Return the share of rows that are right at one level, or at every level.

        Parameters
        ----------
        level : int or None
            0, 1 or 2; None for all.
        """
        at = [score for score in self.scores if level in (None, score.level)]
        wrong = {score.row for score in at if not score.right}
        return 1 - len(wrong) / len({score.row for score in at})

    def share_surviving(self, *, nested: bool) -> float:
        """Return the share of values that must go and survive, at the top or nested in sequences."""
        at = [score for score in self.scores if score.must_go and (score.level > 0) is nested]
        return sum(score.survives for score in at) / max(len(at), 1)

    def failures(self) -> tuple[RowScore, ...]:
        """Return what is wrong or survives."""
        return tuple(score for score in self.scores if score.survives or not score.right)


class _Found(NamedTuple):
    outcome: Outcome
    value: str


def score_rows(original: AnnexE, result: bytes, options: Iterable[str] = ()) -> RowScores:
    """Judge the output of a tool.

    Parameters
    ----------
    original : AnnexE
        What the tool was given.
    result : bytes
        What it wrote, in the DICOM file format.
    options : iterable of str
        Options of PS3.15 E.3 that it was told to apply, in snake case.

    Raises
    ------
    UsageError
        Full and modified dates at once, which PS3.15 E.3.6 excludes; or no DICOM file.
    """
    chosen = frozenset(options)
    if {FULL_DATES, MODIFIED_DATES} <= chosen:
        raise UsageError("full and modified dates exclude each other (PS3.15 E.3.6); choose one")
    try:
        dataset = dcmread(BytesIO(result))
    except InvalidDicomError:
        raise UsageError("the result is no DICOM file, expected preamble and file meta information") from None
    with warnings.catch_warnings():
        # The tool under test may have written values that pydicom warns of; they are judged here.
        warnings.simplefilter("ignore")
        levels = [_level(dataset, path) for path in LEVELS]
        found = [_found(plant, levels[plant.level], dataset) for plant in original.plants]
        found = _with_one_shift(original.plants, found, chosen)
        found = _with_links(original.plants, found, dataset)
    traces = Traces(result)
    expected = _expected_dates(original.plants, found)
    return RowScores(
        tuple(
            _score(plant, what, chosen, traces, expected)
            for plant, what in zip(original.plants, found, strict=True)
        )
    )


def _score(
    plant: Plant, found: _Found, options: frozenset[str], traces: Traces, expected: Counter[str]
) -> RowScore:
    allowed = permitted(plant.row, plant.vr, options, safe_private=plant.safe)
    must_go = Outcome.EQUAL not in allowed
    return RowScore(
        row=plant.row.tag,
        name=plant.row.name,
        level=plant.level,
        tag=plant.tag,
        vr=plant.vr,
        code=code_of(plant.row, options),
        outcome=found.outcome,
        right=found.outcome in allowed,
        must_go=must_go,
        survives=must_go and _survives(plant, found, traces, expected),
    )


def _survives(plant: Plant, found: _Found, traces: Traces, expected: Counter[str]) -> bool:
    token, search = plant.planted.token, plant.planted.search
    if found.outcome is Outcome.EQUAL:
        return True
    if search == "date":
        # A date that moved can end on the day of another one that was planted.
        return traces.count(token) > expected[token]
    return traces.holds(token, search)


def _level(dataset: Dataset, path: tuple[int, ...]) -> Dataset | None:
    for tag in path:
        items = dataset[tag].value if tag in dataset else []
        if not items:
            return None
        dataset = items[0]
    return dataset


def _found(plant: Plant, level: Dataset | None, top: Dataset) -> _Found:
    if plant.tag >> 16 == 2:
        level = top.file_meta
    if level is None or plant.tag not in level:
        return _Found(Outcome.ABSENT, "")
    if plant.vr == "SQ":
        items = _items(level, plant.tag)
        content = b"".join(_bytes(item) for item in items)
        if not items:
            return _Found(Outcome.EMPTY, "")
        equal = plant.planted.token.encode() in content
        return _Found(Outcome.EQUAL if equal else Outcome.CHANGED, "")
    value = _value(level, plant.tag)
    text = value.decode("latin-1")
    if plant.vr not in _BYTES or plant.planted.token in text:
        text = text.rstrip(" \0")
    if not text:
        return _Found(Outcome.EMPTY, "")
    if plant.planted.token in text:
        # A value that stays must stay whole.
        whole = text == _planted_text(plant)
        return _Found(Outcome.EQUAL if whole else Outcome.INVALID, text)
    return _Found(Outcome.CHANGED if is_valid(plant.vr, value) else Outcome.INVALID, text)


def _planted_text(plant: Plant) -> str:
    value = plant.planted.value
    if isinstance(value, bytes):
        return value.decode("latin-1").rstrip(" \0")
    return plant.planted.token if isinstance(value, int) else value


def _value(level: Dataset, tag: int) -> bytes:
    item = stored_element(level, tag)
    if isinstance(item, RawDataElement):
        return bytes(item.value or b"")
    return item.value if isinstance(item.value, bytes) else str(item.value or "").encode()


def _items(level: Dataset, tag: int) -> list[Dataset]:
    item = stored_element(level, tag)
    if isinstance(item, RawDataElement) and item.VR in (None, "UN"):
        # pydicom does not open sequences that its dictionary does not know.
        opens = (item.value or b"")[:4] in _SEQUENCE_KEEPERS
        return list(convert_SQ(item.value or b"", True, True)) if opens else [Dataset()]
    value = level[tag].value
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes) else [Dataset()]


def _bytes(dataset: Dataset) -> bytes:
    return b"\0".join(_element_bytes(dataset, tag) for tag in sorted(dataset.keys()))


def _element_bytes(dataset: Dataset, tag: int) -> bytes:
    if stored_element(dataset, tag).VR == "SQ":
        return b"\0".join(_bytes(child) for child in _items(dataset, tag))
    return _value(dataset, tag)


def _with_one_shift(plants: tuple[Plant, ...], found: list[_Found], options: frozenset[str]) -> list[_Found]:
    """Mark dates that moved by other days than the rest, or whose time of day changed."""
    if MODIFIED_DATES not in options:
        return found
    moved = [
        shift_of(plant.vr, str(plant.planted.value), what.value) if _should_shift(plant, what) else None
        for plant, what in zip(plants, found, strict=True)
    ]
    counted = Counter(shift for shift in moved if shift)
    usual = counted.most_common(1)[0][0] if counted else 0
    return [
        what._replace(outcome=Outcome.INCONSISTENT) if _should_shift(plant, what) and shift != usual else what
        for plant, what, shift in zip(plants, found, moved, strict=True)
    ]


def _should_shift(plant: Plant, found: _Found) -> bool:
    listed = plant.vr in ("DA", "DT") and MODIFIED_DATES in plant.row.options
    return listed and found.outcome is Outcome.CHANGED and not is_shared_date(plant.row)


def _with_links(plants: tuple[Plant, ...], found: Iterable[_Found], top: Dataset) -> list[_Found]:
    """Mark the UIDs that must equal another one and do not: of the study, and of the file meta group."""
    linked = _level(top, LINKED_UID[:1])
    tag = LINKED_UID[1]
    study = str(linked[tag].value) if linked is not None and tag in linked else ""
    meta = str(top.file_meta.get("MediaStorageSOPInstanceUID", ""))
    twins = {0x0020000D: study, 0x00080018: meta, 0x00020003: str(top.get("SOPInstanceUID", ""))}
    return [
        what._replace(outcome=Outcome.INCONSISTENT)
        if plant.level == 0 and plant.tag in twins and twins[plant.tag] != what.value
        else what
        for plant, what in zip(plants, found, strict=True)
    ]


def _expected_dates(plants: tuple[Plant, ...], found: list[_Found]) -> Counter[str]:
    dates = [
        what.value[:8]
        for plant, what in zip(plants, found, strict=True)
        if plant.vr in ("DA", "DT") and what.outcome in (Outcome.CHANGED, Outcome.EQUAL)
    ]
    return Counter(dates)
