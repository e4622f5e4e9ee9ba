"""Elements of a plain file to the columns of `instances`, equal to what `voxlake.dicom.scan` gives."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import lru_cache
from math import isfinite
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import pyarrow as pa
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from voxlake.dicom.fast_plain import Plain, pydicom_view
from voxlake.dicom.fast_values import NUMBERS, PLAIN_TEXTS, TEXTS, Charset, decode
from voxlake.dicom.guard import quiet
from voxlake.dicom.nodes import is_uid
from voxlake.dicom.parse_bytes import OddFileError
from voxlake.dicom.physics import read_physics
from voxlake.dicom.references import MASK_CLASSES
from voxlake.dicom.scan import header_columns
from voxlake.store.schema import HEADER_COLUMNS

__all__ = [
    "Reader",
    "blank",
    "columns_of",
    "csa_of",
    "csa_tells",
    "has_physics",
    "is_single",
    "readers_of",
]

_PADDING = " \0\t\r\n"
_LARGEST = 2**63 - 1
_UID = re.compile(rb"[0-9]+(?:\.[0-9]+)*\0?")
_LONGEST_UID = 64
# Results kept for each column, and the longest value (bytes) whose result is.
_KEPT, _LONGEST_KEPT = 256, 64
_SHORT_TEXTS = frozenset({"LO", "SH"})
# An integer with less is exact as a float too.
_DIGITS = 15


def _text(vr: str, value: bytes, charset: Charset) -> str | None:
    if vr in PLAIN_TEXTS:
        return value.decode("latin-1").split("\\", 1)[0].strip(_PADDING) or None
    if vr in _SHORT_TEXTS:
        return decode(value, charset).split("\\", 1)[0].strip(_PADDING) or None
    values = _all_texts(vr, value, charset)
    return (values[0].strip(_PADDING) or None) if values else None


def _texts(vr: str, value: bytes, charset: Charset) -> tuple[str, ...] | None:
    values = tuple([part.strip(_PADDING) for part in _all_texts(vr, value, charset)])
    return values if any(values) else None


def _all_texts(vr: str, value: bytes, charset: Charset) -> list[str]:
    read = TEXTS.get(vr)
    if read is None:
        raise OddFileError
    return read(value, charset)


def _all_numbers(vr: str, value: bytes, little: bool) -> list[Any]:
    read = NUMBERS.get(vr)
    if read is None:
        raise OddFileError
    return read(value, little)


def _number(vr: str, value: bytes, little: bool) -> float | None:
    if vr == "DS":
        try:
            found = float(value)
        except ValueError:
            pass
        else:
            return found if isfinite(found) else None
    values = _all_numbers(vr, value, little)
    return float(values[0]) if values and values[0] is not None and isfinite(values[0]) else None


def _whole(vr: str, value: bytes, little: bool) -> int | None:
    if vr == "US" and len(value) == 2:
        return int.from_bytes(value, "little" if little else "big")
    if vr == "IS" and value.strip().isdigit() and len(value) < _DIGITS:
        return int(value)
    found = _number(vr, value, little)
    return int(found) if found is not None and found == int(found) and abs(found) <= _LARGEST else None


def _numbers(vr: str, value: bytes, little: bool) -> tuple[float, ...] | None:
    values = _all_numbers(vr, value, little)
    if not values or None in values or not all(map(isfinite, values)):
        return None
    return tuple([float(part) for part in values])


def _numbers_of(count: int) -> NumberConverter:
    def convert(vr: str, value: bytes, little: bool) -> tuple[float, ...] | None:
        found = _numbers(vr, value, little)
        return found if found is not None and len(found) == count else None

    return convert


def _uid(vr: str, value: bytes, charset: Charset) -> str:
    if vr == "UI" and _UID.fullmatch(value) and len(value) <= _LONGEST_UID:
        return value.rstrip(b"\0").decode("ascii")
    values = _all_texts(vr, value, charset)
    uid = values[0].strip(_PADDING) if len(values) == 1 else ""
    if not is_uid(uid):
        # Wrong or absent: the tolerant way has the words for it.
        raise OddFileError
    return uid


TextConverter: TypeAlias = Callable[[str, bytes, Charset], Any]
NumberConverter: TypeAlias = Callable[[str, bytes, bool], Any]
_TEXTS_BY_TYPE: Mapping[pa.DataType, TextConverter] = MappingProxyType(
    {pa.string(): _text, pa.list_(pa.string()): _texts}
)
_NUMBERS_BY_TYPE: Mapping[pa.DataType, NumberConverter] = MappingProxyType(
    {pa.float64(): _number, pa.int64(): _whole, pa.list_(pa.float64()): _numbers}
)
_UIDS = MappingProxyType(
    {
        "sop_class_uid": "SOPClassUID",
        "sop_instance_uid": "SOPInstanceUID",
        "series_instance_uid": "SeriesInstanceUID",
        "study_instance_uid": "StudyInstanceUID",
    }
)
_TEXT_CONVERTERS: tuple[tuple[str, str, TextConverter], ...] = (
    *(
        (column.name, column.tag, _TEXTS_BY_TYPE[column.type])
        for column in HEADER_COLUMNS
        if column.type in _TEXTS_BY_TYPE and column.name not in _UIDS
    ),
    ("patient_id", "PatientID", _text),
    ("rescale_type", "RescaleType", _text),
)
_NUMBER_CONVERTERS: tuple[tuple[str, str, NumberConverter], ...] = (
    *(
        (column.name, column.tag, _NUMBERS_BY_TYPE[column.type])
        for column in HEADER_COLUMNS
        if column.type not in _TEXTS_BY_TYPE
    ),
    ("pixel_spacing", "PixelSpacing", _numbers_of(2)),
    ("image_position_patient", "ImagePositionPatient", _numbers_of(3)),
    ("image_orientation_patient", "ImageOrientationPatient", _numbers_of(6)),
    ("rescale_slope", "RescaleSlope", _number),
    ("rescale_intercept", "RescaleIntercept", _number),
    ("window_center", "WindowCenter", _number),
    ("window_width", "WindowWidth", _number),
)


def _tag(keyword: str) -> int:
    found = tag_for_keyword(keyword)
    if found is None:
        raise LookupError(keyword)
    return found


_UID_COLUMNS = tuple((name, _tag(keyword)) for name, keyword in _UIDS.items())
# Each with its results kept: most values are the same in all images of a series.
_TEXT_COLUMNS = tuple(
    (name, _tag(keyword), convert, lru_cache(maxsize=_KEPT)(convert))
    for name, keyword, convert in _TEXT_CONVERTERS
)
_NUMBER_COLUMNS = tuple(
    (name, _tag(keyword), convert, lru_cache(maxsize=_KEPT)(convert))
    for name, keyword, convert in _NUMBER_CONVERTERS
)
_FRAMES = _tag("NumberOfFrames")
_CLASS = _tag("SOPClassUID")
_ABSENT = ("", 0, 0)
_GROUPS = (_tag("SharedFunctionalGroupsSequence"), _tag("PerFrameFunctionalGroupsSequence"))

# Private elements that `read_physics` knows: group, first bytes of an element in its block, creator.
_PRIVATE_PHYSICS = (
    (0x0019, (0x0A, 0x0C, 0x0E), b"SIEMENS MR HEADER"),
    (0x0029, (0x10,), b"SIEMENS CSA HEADER"),
    (0x2001, (0x03,), b"Philips Imaging DD 001"),
    (0x0065, (0x09, 0x37, 0x50, 0x51), b"Image Private Header"),
    (0x0043, (0x39,), b"GEMS_PARM_01"),
    (0x7053, (0x00, 0x09), b"Philips PET Private Group"),
)
_CREATORS = MappingProxyType(
    {
        group << 16 | block: (name, tuple(group << 16 | block << 8 | element for element in elements))
        for group, elements, name in _PRIVATE_PHYSICS
        for block in range(0x10, 0x100)
    }
)
_CREATOR_TAGS = frozenset(_CREATORS)
_CSA = 0x0029
_CSA_NAMES = (b"B_value", b"DiffusionGradientDirection", b"NumberOfImagesInMosaic")
# What read_physics looks at in every object, and makes nothing of alone.
_COMMON = frozenset(
    {
        "Columns", "ImageOrientationPatient", "ImageType", "Modality", "PatientSex", "PatientSize",
        "PatientWeight", "Rows",
    }
)  # fmt: skip


def columns_of(plain: Plain) -> dict[str, Any]:
    """All header and derived columns and the identity of one plain file.

    Raises
    ------
    OddFileError
        A value is not of the kind that its column expects.
    """
    level, data, charset, little = plain.level, plain.data, plain.charset, plain.little
    row: dict[str, Any] = dict(blank())
    for name, tag in _UID_COLUMNS:
        vr, start, end = level.get(tag, _ABSENT)
        row[name] = _uid(vr, data[start:end], charset)
    for name, tag, convert, kept in _TEXT_COLUMNS:
        vr, start, end = level.get(tag, _ABSENT)
        if start != end:
            found = (kept if end - start <= _LONGEST_KEPT else convert)(vr, data[start:end], charset)
            row[name] = list(found) if type(found) is tuple else found
    for name, tag, number, known in _NUMBER_COLUMNS:
        vr, start, end = level.get(tag, _ABSENT)
        if start != end:
            found = (known if end - start <= _LONGEST_KEPT else number)(vr, data[start:end], little)
            row[name] = list(found) if type(found) is tuple else found
    row["transfer_syntax_uid"] = plain.syntax
    if not is_single(plain):
        with quiet():
            return header_columns(pydicom_view(plain))
    row["number_of_frames"] = 1 if plain.pixels is not None else None
    if has_physics(plain):
        row |= read_physics(pydicom_view(plain))
    return row


class Reader(NamedTuple):
    """How one column is read.

    Parameters
    ----------
    name : str
        The column.
    convert : callable
        Gets VR, value, and character set or whether the encoding is little endian.
    textual : bool
        Whether it gets the character set.
    mandatory : bool
        Whether an empty value is odd.
    """

    name: str
    convert: Callable[[str, bytes, Any], Any]
    textual: bool
    mandatory: bool


@lru_cache(maxsize=1)
def readers_of() -> Mapping[int, tuple[Reader, ...]]:
    """The readers by the tag of the element that they read."""
    readers: defaultdict[int, list[Reader]] = defaultdict(list)
    for name, tag in _UID_COLUMNS:
        readers[tag].append(Reader(name, _uid, True, True))
    for name, keyword, convert in _TEXT_CONVERTERS:
        readers[_tag(keyword)].append(Reader(name, convert, True, False))
    for name, keyword, number in _NUMBER_CONVERTERS:
        readers[_tag(keyword)].append(Reader(name, number, False, False))
    return MappingProxyType({tag: tuple(found) for tag, found in readers.items()})


def is_single(plain: Plain) -> bool:
    """Whether every column comes from one element of the data set: one frame, no groups, no mask."""
    level, data = plain.level, plain.data
    if _FRAMES in level:
        vr, start, end = level[_FRAMES]
        if start == end or _whole(vr, data[start:end], plain.little) != 1:
            return False
    vr, start, end = level.get(_CLASS, _ABSENT)
    if _uid(vr, data[start:end], plain.charset) in MASK_CLASSES:
        return False
    return not any(tag in level for tag in _GROUPS)


@lru_cache(maxsize=1)
def blank() -> Mapping[str, Any]:
    """The columns of an object in which nothing is."""
    with quiet():
        return MappingProxyType(header_columns(Dataset()))


@lru_cache(maxsize=1)
def _physics_tags() -> frozenset[int]:
    """Elements without which `read_physics` finds nothing: what it asks an empty data set for."""
    asked: set[str] = set()

    class Asked(Dataset):
        def __getitem__(self, key: Any) -> Any:
            asked.add(key)
            return super().__getitem__(key)

    read_physics(Asked())
    return frozenset(_tag(keyword) for keyword in asked - _COMMON)


def has_physics(plain: Plain) -> bool:
    """Whether `read_physics` may find something."""
    if not _physics_tags().isdisjoint(plain.level):
        return True
    return any(_tells(plain, creator) for creator in _CREATOR_TAGS.intersection(plain.level))


def _tells(plain: Plain, creator: int) -> bool:
    """Whether a block of private elements may hold some that `read_physics` knows."""
    name, elements = _CREATORS[creator]
    _, start, end = plain.level[creator]
    stated = plain.data[start:end]
    if name not in stated and b"\x1b" not in stated:
        return False
    found = [plain.level[tag] for tag in elements if tag in plain.level]
    if creator >> 16 != _CSA:
        return bool(found)
    return any(csa_tells(plain.data, start, end) for _, start, end in found)


def csa_of(plain: Plain) -> list[int]:
    """Elements in which a CSA header may stand, whatever stands there now."""
    found = [_CREATORS[tag] for tag in plain.level if tag >> 16 == _CSA and tag in _CREATORS]
    return [tag for _, elements in found for tag in elements if tag in plain.level]


def csa_tells(data: bytes, start: int, end: int) -> bool:
    """Whether the value between two places may be a CSA header with what `read_physics` knows."""
    return any(data.find(name, start, end) >= 0 for name in _CSA_NAMES)
