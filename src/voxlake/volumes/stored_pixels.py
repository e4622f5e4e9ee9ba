"""What the catalogue says about uncompressed pixels, compared with the header that stands before them."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.volume import Unit
from voxlake.dicom.frame_index import EXPLICIT_BIG, IMPLICIT_LITTLE, NATIVE_SYNTAXES, frame_bytes
from voxlake.dicom.planes import is_mosaic

__all__ = ["StoredPixels", "agrees", "stored_pixels"]

Row = Mapping[str, Any]

# Their values are measurements; MONOCHROME1 only says how to show them.
_MEASURED = frozenset({"CT", "MR", "NM", "PT", "RTDOSE"})
_PIXEL_DATA = (0x7FE0, 0x0010)
_MODALITY = (0x0008, 0x0060)
_MODALITY_TABLE = (0x0028, 0x3000)
_REAL_WORLD_MAPS = (0x0040, 0x9096)
_FUNCTIONAL_GROUPS = ((0x5200, 0x9229), (0x5200, 0x9230))


@dataclass(frozen=True)
class StoredPixels:
    """Uncompressed integers of one object, and how they become units.

    Parameters
    ----------
    dtype : numpy.dtype
        As stored, with its byte order; 8 or 16 bits.
    unused : int
        Highest bits that are not part of the value.
    start : int
        First byte of the first frame in the pack.
    size : int
        Bytes of a frame.
    frames : int
        Number of frames.
    slope, intercept : float
        From stored values to `unit`.
    """

    dtype: np.dtype[Any]
    unused: int
    start: int
    size: int
    frames: int
    slope: float
    intercept: float
    unit: Unit

    @property
    def whole(self) -> bool:
        """Whether slope and intercept keep integers integers."""
        return self.slope.is_integer() and self.intercept.is_integer()

    def clean(self, values: NDArray[Any]) -> tuple[int, int]:
        """Take unused bits out, in place, and give the least and the greatest value (PS3.5 section 8.1.1)."""
        least, greatest = int(values.min()), int(values.max())
        signed = self.dtype.kind == "i"
        bits = self.dtype.itemsize * 8 - self.unused
        bounds = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
        if bounds[0] <= least and greatest <= bounds[1]:
            return least, greatest
        # Shifting a signed value to the right repeats its sign.
        np.left_shift(values, self.unused, out=values)
        np.right_shift(values, self.unused, out=values)
        return int(values.min()), int(values.max())


def stored_pixels(row: Row) -> StoredPixels | None:
    """Read a row of `instances`; None where values cannot be had by reading bytes and rescaling them."""
    size = frame_bytes(row)
    if size is None or not _plain(row) or not _complete(row, size):
        return None
    order = ">" if row["transfer_syntax_uid"] == EXPLICIT_BIG else "<"
    kind = "i" if row["pixel_representation"] == 1 else "u"
    slope, intercept = row["rescale_slope"], row["rescale_intercept"]
    rescaled = slope is not None and intercept is not None
    if rescaled and not (math.isfinite(slope) and math.isfinite(intercept)):
        return None
    return StoredPixels(
        np.dtype(f"{order}{kind}{row['bits_allocated'] // 8}"),
        row["bits_allocated"] - (row["bits_stored"] or row["bits_allocated"]),
        row["offset"] + row["pixel_offset"],
        size,
        row["number_of_frames"],
        float(slope) if rescaled else 1.0,
        float(intercept) if rescaled else 0.0,
        _unit(row) if rescaled else "arbitrary",
    )


def agrees(row: Row, header: bytes) -> bool:
    """Whether the header is one whose pixels need no more than the catalogue tells.

    Parameters
    ----------
    row : mapping
        Row of `instances`.
    header : bytes
        The stored file up to its pixels.

    Returns
    -------
    bool
        False if the pixels do not begin there, or if values depend on what has no column: a Modality LUT, a
        real-world value map, functional groups that rescale frame by frame, a modality that somebody hinted.
    """
    order = ">" if row["transfer_syntax_uid"] == EXPLICIT_BIG else "<"
    modality = row["modality"]
    return (
        _element_ends(row, header, order)
        and _tag(_MODALITY_TABLE, order) not in header
        and _tag(_REAL_WORLD_MAPS, order) not in header
        and (modality is None or _says(header, _tag(_MODALITY, order), modality))
        and (_uniform(row) or not any(_tag(tag, order) in header for tag in _FUNCTIONAL_GROUPS))
    )


def _plain(row: Row) -> bool:
    measured = row["photometric_interpretation"] == "MONOCHROME1" and row["modality"] in _MEASURED
    return (
        row["format"] == "dicom"
        and row["transfer_syntax_uid"] in NATIVE_SYNTAXES
        and row["samples_per_pixel"] in (1, None)
        and (row["photometric_interpretation"] == "MONOCHROME2" or measured)
        and 1 <= (row["bits_stored"] or row["bits_allocated"]) <= row["bits_allocated"]
        # Bytes in words of big endian stand in pairs.
        and row["bits_allocated"] in ((16,) if row["transfer_syntax_uid"] == EXPLICIT_BIG else (8, 16))
        and not is_mosaic(row)
    )


def _complete(row: Row, size: int) -> bool:
    length, frames = row["pixel_length"], row["number_of_frames"]
    if row["pixel_offset"] is None or length is None or not frames:
        return False
    # A byte may pad; a whole frame more than announced is for the decoder to refuse.
    return bool(size * frames <= length < size * (frames + 1)) or bool(length - size * frames in (0, 1))


def _unit(row: Row) -> Unit:
    # As `voxlake.dicom.volume.assemble`: PS3.3 section C.8.2.1.
    image_type, kind = row["image_type"] or [], row["rescale_type"]
    if row["modality"] != "CT" or "LOCALIZER" in image_type:
        return "arbitrary"
    unspecified = kind == "US" and list(image_type[:1]) == ["ORIGINAL"]
    return "HU" if kind in (None, "HU") or unspecified else "arbitrary"


def _uniform(row: Row) -> bool:
    """Whether the columns say that all frames are rescaled alike; a column is null where frames differ."""
    known = row["rescale_slope"] is not None and row["rescale_intercept"] is not None
    every = row["number_of_frames"] == 1 or len(row["frame_positions"] or ()) == 3 * row["number_of_frames"]
    return known and every and (row["rescale_type"] is not None or row["modality"] != "CT")


def _element_ends(row: Row, header: bytes, order: str) -> bool:
    length = struct.pack(f"{order}I", row["pixel_length"])
    tag = _tag(_PIXEL_DATA, order)
    if row["transfer_syntax_uid"] == IMPLICIT_LITTLE:
        return header.endswith(tag + length)
    return header.endswith((tag + b"OW\0\0" + length, tag + b"OB\0\0" + length))


def _says(header: bytes, tag: bytes, value: str) -> bool:
    # The value begins eight bytes after the tag, with and without a value representation.
    wanted, place = value.encode(), header.find(tag)
    while place >= 0:
        if header[place + 8 : place + 8 + len(wanted)] == wanted:
            return True
        place = header.find(tag, place + 1)
    return False


def _tag(tag: tuple[int, int], order: str) -> bytes:
    return struct.pack(f"{order}HH", *tag)
