"""One object in which every row of PS3.15 Table E.1-1 is planted, on three levels."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from itertools import count
from typing import NamedTuple

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from voxlake.privacy.profile import Row, load_profile
from voxlake.testing.deidentification.planting import PlantedValue, planted_value, vr_of

__all__ = ["LEVELS", "LINKED_UID", "NOT_IN_A_FILE", "AnnexE", "Plant", "annex_e_object"]

LEVELS: tuple[tuple[int, ...], ...] = ((), (0x00082218,), (0x00082218, 0x00089215))
"""Sequences that lead to each level. No rule names them, so what is inside is judged by its own rules."""
NOT_IN_A_FILE = frozenset({"00001000", "00001001"})
"""Rows of the command set, which no file has (PS3.10 7.1)."""
LINKED_UID = (0x00081200, 0x0020000D)
"""Where the Study Instance UID of the top level is referred to once more: an unlisted sequence."""
_STUDY_UID, _SOP_INSTANCE_UID, _MEDIA_UID = 0x0020000D, 0x00080018, 0x00020003
_CODE_MEANING, _REFERENCED_UID = 0x00080104, 0x00081155
_PRIVATE_CREATOR, _SAFE_CREATOR = "SOMEBODY", "GEMS_ACQU_01"
_PLACES = {
    "50xxxxxx": ((0x50020022, "LO"), (0x50023000, "OW")),
    "60xx3000": ((0x60023000, "OW"),),
    "60xx4000": ((0x60FE4000, "LT"),),
    "private": ((0x00091001, "LO"), (0x00191001, "DA"), (0x00191123, "DS")),
}
_SAFE = 0x00191123


class Plant(NamedTuple):
    """One planted value.

    Parameters
    ----------
    row : Row
        Row of the table that speaks of it.
    level : int
        Index into `LEVELS`.
    tag : int
        ``group << 16 | element``.
    vr : str
        VR in the object.
    planted : PlantedValue
        The value; of a sequence the value of the element inside.
    safe : bool
        A private element that PS3.15 E.3.10 knows to be safe.
    """

    row: Row
    level: int
    tag: int
    vr: str
    planted: PlantedValue
    safe: bool = False


@dataclass(frozen=True)
class AnnexE:
    """The object and what is planted in it.

    Parameters
    ----------
    data : bytes
        In the DICOM file format.
    plants : tuple of Plant
        Every planted value; the row of the file meta information among them.
    """

    data: bytes
    plants: tuple[Plant, ...]


def annex_e_object(*, implicit: bool = False) -> AnnexE:
    """Make the object.

    Every row is planted at the top, in an item of a sequence and in an item of a sequence there, each time
    with another value; masked rows and private elements with several. The Study Instance UID is repeated.

    Parameters
    ----------
    implicit : bool
        Implicit VR little endian instead of explicit.
    """
    numbers = count(1)
    plants: list[Plant] = []
    levels = [_level(level, numbers, plants) for level in range(len(LEVELS))]
    for outer, inner, path in zip(levels[:-1], levels[1:], LEVELS[1:], strict=True):
        outer.add_new(path[-1], "SQ", Sequence([inner]))
    top = levels[0]
    link = Dataset()
    link.add_new(LINKED_UID[1], "UI", top[_STUDY_UID].value)
    top.add_new(LINKED_UID[0], "SQ", Sequence([link]))
    _make_image(top)
    meta = next(row for row in load_profile().rows if row.tag == f"{_MEDIA_UID:08x}")
    sop_uid = next(plant for plant in plants if plant.tag == _SOP_INSTANCE_UID)
    plants.append(Plant(meta, 0, _MEDIA_UID, "UI", sop_uid.planted))
    top.file_meta = FileMetaDataset()
    top.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    stream = BytesIO()
    dcmwrite(stream, top, enforce_file_format=True)
    return AnnexE(stream.getvalue(), tuple(plants))


def _level(level: int, numbers: count[int], plants: list[Plant]) -> Dataset:
    dataset = Dataset()
    dataset.add_new(0x00090010, "LO", _PRIVATE_CREATOR)
    dataset.add_new(0x00190010, "LO", _PRIVATE_CREATOR)
    dataset.add_new(0x00190011, "LO", _SAFE_CREATOR)
    for row in load_profile().rows:
        if row.tag in NOT_IN_A_FILE or row.tag.startswith("0002"):
            continue
        for tag, vr in _PLACES.get(row.tag) or ((int(row.tag, 16), vr_of(int(row.tag, 16))),):
            plant = _plant(row, level, tag, vr, next(numbers))
            plants.append(plant)
            value = plant.planted.value
            dataset.add_new(tag, vr, value if vr != "SQ" else Sequence([_content(row, plant.planted)]))
    return dataset


def _plant(row: Row, level: int, tag: int, vr: str, number: int) -> Plant:
    if tag == 0x00080201:
        # An offset from UTC has few values: one for each level.
        offset = f"+{9 + level:02d}45"
        return Plant(row, level, tag, vr, PlantedValue(offset, offset, "text"))
    inner = vr if vr != "SQ" else ("UI" if "U*" in row.basic else "LO")
    return Plant(row, level, tag, vr, planted_value(inner, number), safe=tag == _SAFE)


def _content(row: Row, planted: PlantedValue) -> Dataset:
    item = Dataset()
    # What stays of a sequence with code X/Z/U* is the sequence, and in it a new UID.
    tag, vr = (_REFERENCED_UID, "UI") if "U*" in row.basic else (_CODE_MEANING, "LO")
    item.add_new(tag, vr, planted.value)
    return item


def _make_image(dataset: Dataset) -> None:
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = CTImageStorage
    dataset.Modality = "CT"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.Rows = dataset.Columns = 16
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.add_new(0x7FE00010, "OW", bytes(512))
