"""Bytes of a file to values, without pydicom's data set where the file is plain.

For what is read by the thousand: compressed grey images. All else goes by way of `read_dataset` and
`decode_pixels`; a differential test holds the two ways to the same values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import UID

from voxlake.core.errors import ItemError
from voxlake.dicom.codecs import CODECS
from voxlake.dicom.decode import LIMIT, Pixels, decode_encapsulated, decode_pixels
from voxlake.dicom.guard import PYDICOM_ERRORS, quiet
from voxlake.dicom.layout import Layout
from voxlake.dicom.nodes import Item, is_uid
from voxlake.dicom.parse_bytes import OddFileError, parse_file
from voxlake.dicom.read import read_dataset

__all__ = ["decode_file"]

_PIXELS = 0x7FE00010
_SAMPLES, _PHOTOMETRIC, _FRAMES = 0x00280002, 0x00280004, 0x00280008
_ROWS, _COLUMNS = 0x00280010, 0x00280011
_ALLOCATED, _STORED, _HIGH, _SIGNED = 0x00280100, 0x00280101, 0x00280102, 0x00280103
_OFFSETS = 0x7FE00001
# Class, instance, study, series.
_UIDS = (0x00080016, 0x00080018, 0x0020000D, 0x0020000E)
_LARGEST_PLAIN = 2**28
_FAILURES: tuple[type[Exception], ...] = (ItemError, *PYDICOM_ERRORS)


def decode_file(data: bytes, *, limit: int = LIMIT) -> NDArray[Any]:
    """Decode all frames of a DICOM file.

    Parameters
    ----------
    data : bytes
        The file.
    limit : int
        Largest size of the decoded values in bytes.

    Returns
    -------
    array
        As `voxlake.dicom.decode.decode_pixels`.

    Raises
    ------
    ItemError
        As `voxlake.dicom.read.read_dataset` and `decode_pixels`.
    """
    try:
        pixels = _plain_pixels(data)
    except OddFileError:
        pixels = None
    if pixels is not None and pixels.layout.decoded_bytes <= min(limit, _LARGEST_PLAIN):
        try:
            with quiet():
                return np.ascontiguousarray(decode_encapsulated(pixels)[0])
        except _FAILURES:
            # Below it fails again, with the reason that every reader gives.
            pass
    return decode_pixels(read_dataset(data), limit=limit)


def _plain_pixels(data: bytes) -> Pixels | None:
    """The pixel data of a plain file; None for everything else."""
    file = parse_file(data)
    root = file.root
    element = root.leaf(_PIXELS)
    if file.syntax not in CODECS or element is None or not element.undefined or root.leaf(_OFFSETS):
        return None
    if not all(is_uid(root.text(tag)) for tag in _UIDS):
        return None
    layout = _plain_layout(root)
    return None if layout is None else Pixels(layout, UID(file.syntax), element.value)


def _plain_layout(root: Item) -> Layout | None:
    photometric, frames = root.text(_PHOTOMETRIC), root.text(_FRAMES) or "1"
    numbers = [_number(root, tag) for tag in (_SAMPLES, _ROWS, _COLUMNS, _ALLOCATED, _STORED, _HIGH, _SIGNED)]
    samples, rows, columns, allocated, stored, high, signed = numbers
    if photometric not in ("MONOCHROME1", "MONOCHROME2") or samples != 1 or not frames.isdecimal():
        return None
    if allocated not in (8, 16) or not 1 <= stored <= allocated or high != stored - 1 or signed not in (0, 1):
        return None
    if rows < 1 or columns < 1 or not 1 <= int(frames) <= _LARGEST_PLAIN:
        return None
    return Layout(int(frames), rows, columns, 1, photometric, allocated, stored, signed == 1)


def _number(root: Item, tag: int) -> int:
    leaf = root.leaf(tag)
    if leaf is None or leaf.vr != "US" or len(leaf.value) != 2:
        return -1
    # Encapsulated files are little endian.
    return int.from_bytes(leaf.value, "little")
