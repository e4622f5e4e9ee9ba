"""An incoming DICOM object as far as intake must know it before anything is changed.

Most files are plain, and for those the row of the fast scanner tells all of it. The others go by way of
pydicom, with the same answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from voxlake.core.errors import ItemError
from voxlake.dicom.header import Scanner, plain_row
from voxlake.dicom.parse_bytes import OddFileError
from voxlake.dicom.physics import PHYSICS, read_physics
from voxlake.dicom.read import is_dicomdir, read_dataset
from voxlake.privacy.pixel_facts import dicom_facts, plain_facts
from voxlake.privacy.pixels import PixelFacts

__all__ = ["Incoming", "read_incoming"]

# With `tags` every element is looked at. Without, sequences are not opened, which only a longer header could
# abuse.
_LONGEST_HEADER = 2**20
_ID = '"00100020"'
_ONE_ID = re.compile(r'"00100020":\{(?:"Value":\[(?:"(?:[^"\\]|\\.)*")?\],)?"vr":"LO"\}')


@dataclass(frozen=True)
class Incoming:
    """What an incoming object says of itself.

    Parameters
    ----------
    row : mapping or None
        All columns, of a plain file that was scanned with its tags.
    header : mapping by keyword
        Has PatientID; of a plain file only where it was scanned with its tags.
    physics : mapping
        As `read_physics`, without what is null.
    facts : PixelFacts or None
        What `check_pixels` asks for; None under policies that check nothing.
    """

    row: Mapping[str, Any] | None
    header: Any
    physics: Mapping[str, Any]
    facts: PixelFacts | None


def read_incoming(
    data: bytes, *, tags: bool, checked: bool, modality: str | None, scanner: Scanner | None = None
) -> Incoming:
    """Read an incoming object.

    Parameters
    ----------
    data : bytes
        The file.
    tags : bool
        Whether the row or the patient will be asked for.
    checked : bool
        Whether the policy checks pixels.
    modality : str or None
        What counts where the object states none.
    scanner : Scanner, optional
        Remembers the headers of the files before.

    Raises
    ------
    ItemError
        As `read_dataset`; ``ignored_system_file`` for the index of a medium.
    """
    row = _plain(data, tags, plain_row if scanner is None else scanner.plain_row)
    if row is not None:
        facts = plain_facts(row, data, modality=modality) if checked else None
        if facts is not None or not checked:
            physics = {name: row[name] for name in PHYSICS if row[name] is not None}
            return Incoming(row if tags else None, {"PatientID": row["patient_id"]}, physics, facts)
    dataset = read_dataset(data)
    if is_dicomdir(dataset):
        raise ItemError("ignored_system_file", "an index of a medium (DICOMDIR), under whatever name")
    facts = dicom_facts(dataset, data, modality=modality) if checked else None
    physics = {name: value for name, value in read_physics(dataset).items() if value is not None}
    return Incoming(None, dataset, physics, facts)


def _plain(data: bytes, tags: bool, read: Callable[..., dict[str, Any]]) -> dict[str, Any] | None:
    try:
        row = read(data, tags=tags)
    except OddFileError:
        return None
    if tags:
        # Of several identifiers in one value it is the row that knows the first only.
        text = row["tags"]
        return row if text.count(_ID) == len(_ONE_ID.findall(text)) else None
    return row if len(data) - (row["pixel_length"] or 0) <= _LONGEST_HEADER else None
