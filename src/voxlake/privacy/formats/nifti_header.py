"""The header of NIfTI-1 and NIfTI-2: which fields are kept, which become zero."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import ItemError
from voxlake.privacy.formats.packed import check_announced

__all__ = ["Header", "read_header"]

# In the order of nifti1.h and nifti2.h of the NIfTI reference.
_FIELDS_1 = (
    ("sizeof_hdr", "i4"), ("data_type", "S10"), ("db_name", "S18"), ("extents", "i4"),
    ("session_error", "i2"), ("regular", "u1"), ("dim_info", "u1"), ("dim", "i2", 8), ("intent_p", "f4", 3),
    ("intent_code", "i2"), ("datatype", "i2"), ("bitpix", "i2"), ("slice_start", "i2"), ("pixdim", "f4", 8),
    ("vox_offset", "f4"), ("scl_slope", "f4"), ("scl_inter", "f4"), ("slice_end", "i2"),
    ("slice_code", "u1"), ("xyzt_units", "u1"), ("cal_max", "f4"), ("cal_min", "f4"),
    ("slice_duration", "f4"), ("toffset", "f4"), ("glmax", "i4"), ("glmin", "i4"), ("descrip", "S80"),
    ("aux_file", "S24"), ("qform_code", "i2"), ("sform_code", "i2"), ("quatern", "f4", 6),
    ("srow", "f4", 12), ("intent_name", "S16"), ("magic", "V4"),
)  # fmt: skip
_FIELDS_2 = (
    ("sizeof_hdr", "i4"), ("magic", "V8"), ("datatype", "i2"), ("bitpix", "i2"), ("dim", "i8", 8),
    ("intent_p", "f8", 3), ("pixdim", "f8", 8), ("vox_offset", "i8"), ("scl_slope", "f8"),
    ("scl_inter", "f8"), ("cal_max", "f8"), ("cal_min", "f8"), ("slice_duration", "f8"), ("toffset", "f8"),
    ("slice_start", "i8"), ("slice_end", "i8"), ("descrip", "S80"), ("aux_file", "S24"),
    ("qform_code", "i4"), ("sform_code", "i4"), ("quatern", "f8", 6), ("srow", "f8", 12),
    ("slice_code", "i4"), ("xyzt_units", "i4"), ("intent_code", "i4"), ("intent_name", "S16"),
    ("dim_info", "u1"), ("unused_str", "S15"),
)  # fmt: skip
_VERSIONS: Mapping[int, tuple[tuple[Any, ...], bytes]] = MappingProxyType(
    {348: (_FIELDS_1, b"n+1\0"), 540: (_FIELDS_2, b"n+2\0\r\n\x1a\n")}
)
# Bits of a voxel. Binary and extended precision have bits that no reader looks at, and are refused.
_BITS: Mapping[int, int] = MappingProxyType(
    {2: 8, 4: 16, 8: 32, 16: 32, 32: 64, 64: 64, 128: 24, 256: 8, 512: 16, 768: 32, 1024: 64, 1280: 64,
     1792: 128, 2304: 32}
)  # fmt: skip
_EXTENSION_FLAG = 4
_LAST_FORM = 5
# Between 1 us and 11 days; text read as a number is seldom in this range.
_DURATIONS = (1e-6, 1e6)


@dataclass(frozen=True)
class Header:
    """What a file begins with, and what it is to begin with.

    Attributes
    ----------
    cleaned : bytes
        Header and extension flag to be written.
    voxels_at : int
        Where the voxels lie in the file that was read.
    length : int
        Bytes of the voxels.
    """

    LONGEST: ClassVar[int] = 540

    cleaned: bytes
    voxels_at: int
    length: int


def read_header(data: bytes) -> Header:
    """Read the header and make a clean one.

    Kept are sizes, type, scaling, spacing, units, orientation, intent code with its parameters, and slice
    timing. Zero become data_type, db_name, extents, session_error, descrip, aux_file,
    intent_name, unused_str, glmax, glmin, the display range (cal_max, cal_min), the time of the first volume
    (toffset), sizes and spacings of dimensions that the image does not have, and the parts of an
    orientation whose code says that it is not used.

    Parameters
    ----------
    data : bytes
        The beginning of the file, not packed; at least 540 bytes or all of it.

    Raises
    ------
    ItemError
        ``truncated``, ``too_large`` or ``deidentify_failed``: not the header of a single-file NIfTI.
    """
    fields = _fields(data)
    sizes = [int(size) for size in fields["dim"]]
    if not 1 <= sizes[0] <= 7 or min(sizes[1 : sizes[0] + 1]) < 1:
        raise ItemError("deidentify_failed", "the NIfTI header states impossible dimensions")
    bits = _BITS.get(int(fields["datatype"]))
    if bits is None or int(fields["bitpix"]) not in (0, bits):
        raise ItemError("deidentify_failed", "the NIfTI header states an unknown type of voxels")
    length = math.prod(sizes[1 : sizes[0] + 1]) * bits // 8
    check_announced(length)
    begin = _voxels_at(fields)
    fields["bitpix"] = bits
    _clean_sizes(fields, sizes[0])
    _clean_text(fields)
    _clean_place(fields)
    _clean_codes(fields)
    fields["vox_offset"] = fields.nbytes + _EXTENSION_FLAG
    return Header(fields.tobytes() + bytes(_EXTENSION_FLAG), begin, length)


def _fields(data: bytes) -> NDArray[Any]:
    orders: tuple[Literal["little", "big"], ...] = ("little", "big")
    for order in orders:
        size = int.from_bytes(data[:4], order)
        if size in _VERSIONS:
            names, magic = _VERSIONS[size]
            layout = np.dtype([(field[0], *field[1:]) for field in names]).newbyteorder(order)
            if len(data) < size:
                raise ItemError("truncated", "the NIfTI file ends within its header")
            fields: NDArray[Any] = np.frombuffer(data[:size], layout).copy()[0:1].reshape(())
            if fields["magic"].tobytes() != magic:
                raise ItemError("deidentify_failed", "expected a single-file NIfTI (magic 'n+1' or 'n+2')")
            return fields
    raise ItemError("deidentify_failed", "expected a NIfTI header of 348 or 540 bytes")


def _voxels_at(fields: NDArray[Any]) -> int:
    offset = float(fields["vox_offset"])
    # Some writers leave the offset of a single file at 0 and mean the first byte after the header.
    offset = offset or fields.nbytes + _EXTENSION_FLAG
    # The comparison also refuses NaN, which no integer could be made of.
    if not fields.nbytes <= offset < 1 << 32 or offset % 1:
        raise ItemError("deidentify_failed", "the NIfTI header places the voxels where they cannot be")
    return int(offset)


def _clean_sizes(fields: NDArray[Any], dimensions: int) -> None:
    fields["dim"][dimensions + 1 :] = 1
    fields["pixdim"][dimensions + 1 :] = 1
    # Only its sign is read.
    fields["pixdim"][0] = -1 if fields["pixdim"][0] < 0 else 1


def _clean_text(fields: NDArray[Any]) -> None:
    names = fields.dtype.names or ()
    for name in ("data_type", "db_name", "descrip", "aux_file", "intent_name", "unused_str"):
        if name in names:
            fields[name] = b""
    for name in ("extents", "session_error", "glmax", "glmin", "cal_max", "cal_min", "toffset"):
        if name in names:
            fields[name] = 0
    if "regular" in names:
        # Readers of the older ANALYZE format look for this letter.
        fields["regular"] = ord("r")


def _clean_place(fields: NDArray[Any]) -> None:
    for code, values in (("qform_code", "quatern"), ("sform_code", "srow")):
        if not 0 < fields[code] <= _LAST_FORM:
            fields[code] = 0
            fields[values] = 0


def _clean_codes(fields: NDArray[Any]) -> None:
    if not 0 < fields["intent_code"] <= 3000:
        fields["intent_code"] = 0
        fields["intent_p"] = 0
    slices = max(int(size) for size in fields["dim"][1:4])
    timed = 0 < fields["slice_code"] <= 6
    if not timed or not 0 <= fields["slice_start"] <= fields["slice_end"] < slices:
        fields["slice_code"] = fields["slice_start"] = fields["slice_end"] = 0
    if not _DURATIONS[0] < fields["slice_duration"] < _DURATIONS[1]:
        fields["slice_duration"] = 0
    # Two bits for each of the axes; three for the unit of space and three for that of time.
    fields["dim_info"] &= 0x3F
    fields["xyzt_units"] &= 0x3F
