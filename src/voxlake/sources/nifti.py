"""NIfTI-1 and NIfTI-2 single files (``.nii``, ``.nii.gz``).

This is the one place where RAS becomes LPS. A NIfTI array is [i, j, k] with i fastest; turned
round it is [slice = k, row = j, column = i], and x and y change their signs.
"""

from __future__ import annotations

import gzip
import io
import math
import zlib
from collections.abc import Iterator
from typing import Any

import nibabel
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from voxlake.core.digest import digest_bytes
from voxlake.core.errors import GeometryError, ItemError
from voxlake.core.grid import Grid
from voxlake.core.volume import Lineage, Volume
from voxlake.sources.columns import place_columns, value_columns

__all__ = ["MAX_BYTES", "is_nifti", "read_nifti", "scan_nifti"]

# Unpacked voxels of one file; a 0.5 mm brain in double precision has 0.5 GB.
MAX_BYTES = 4 << 30

_HEAD = 544
# Deflate makes at most 1,032 bytes out of one.
_DEFLATE_RATIO = 1100
_PIECE = 1 << 20
_MILLIMETRES = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}
_BAD_HEADER = (HeaderDataError, ValueError, KeyError, OverflowError, TypeError, ZeroDivisionError)


class _Silent:
    """Takes what nibabel says when it repairs a slip of a header, once for each file, and keeps it."""

    def log(self, level: int, message: str) -> None:
        """Say nothing."""


def is_nifti(data: bytes) -> bool:
    """Whether the bytes are a single-file NIfTI, packed by gzip or not."""
    return _is_head(_head(data))


def scan_nifti(data: bytes) -> dict[str, Any]:
    """Header of a NIfTI file; see `voxlake.sources.images.scan_image`."""
    header = _header(data)
    shape, times = _shape(header)
    samples, kind = _samples(header)
    _check_length(header, data, shape, times)
    grid = _grid(header, shape)
    slope, intercept = _scaling(header)
    scaling = {"rescale_slope": slope, "rescale_intercept": intercept}
    return value_columns(samples, kind) | scaling | place_columns(grid, times)


def read_nifti(data: bytes) -> Volume:
    """Decode a NIfTI file; see `voxlake.sources.images.read_image`.

    The slope and intercept of the header are applied. Values without them keep their type.
    """
    header = _header(data)
    shape, times = _shape(header)
    if times > 1:
        message = f"{times} volumes in one file (4-D); split them into one file each"
        raise ItemError("geometry_duplicates", message)
    _check_length(header, data, shape, times)
    grid = _grid(header, shape)
    values = _values(header, data)
    flipped = np.ascontiguousarray(values.reshape(shape[::-1], order="F").T)
    lineage = Lineage((digest_bytes(data),), ("NIfTI RAS turned to LPS",))
    return Volume(_channels(flipped), grid, lineage=lineage)


def _is_head(head: bytes) -> bool:
    return head[344:348] == b"n+1\0" or (len(head) >= 540 and head[4:12] == b"n+2\0\r\n\x1a\n")


def _head(data: bytes) -> bytes:
    if not data.startswith(b"\x1f\x8b"):
        return data[:_HEAD]
    try:
        return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(data[: 1 << 16], _HEAD)
    except zlib.error:
        return b""


def _header(data: bytes) -> Any:
    head = _head(data)
    if not _is_head(head):
        raise ItemError("decode_error", "not a single-file NIfTI, or cut off within its header")
    kind: Any = nibabel.Nifti2Header if head[4:8] == b"n+2\0" else nibabel.Nifti1Header
    try:
        header = kind(head[: kind.template_dtype.itemsize], check=False)
        header.check_fix(logger=_Silent(), error_level=40)
    except _BAD_HEADER as error:
        message = f"the NIfTI header cannot be read ({type(error).__name__})"
        raise ItemError("decode_error", message) from None
    return header


def _shape(header: Any) -> tuple[tuple[int, int, int], int]:
    """(slices, rows, columns), and how many volumes there are."""
    try:
        sizes = [int(n) for n in header.get_data_shape()]
    except _BAD_HEADER:
        sizes = []
    if not sizes or min(sizes) < 1:
        raise ItemError("decode_error", f"a NIfTI image of shape {tuple(sizes)}")
    columns, rows, slices = (*sizes, 1, 1)[:3]
    return (slices, rows, columns), math.prod(sizes[3:])


def _samples(header: Any) -> tuple[int, np.dtype[Any]]:
    """Samples of a voxel and the type of one."""
    try:
        kind = np.dtype(header.get_data_dtype())
    except _BAD_HEADER:
        raise ItemError("decode_error", "the NIfTI header names an unknown type of values") from None
    if kind.names is not None:
        return 3, np.dtype(np.uint8)
    if kind.kind not in "uif" or kind.itemsize > 8:
        message = f"NIfTI values of the type {kind.name}; integers and floats of up to 64 bits are read"
        raise ItemError("decode_error", message)
    return 1, kind


def _grid(header: Any, shape: tuple[int, int, int]) -> Grid:
    try:
        scale = _MILLIMETRES.get(header.get_xyzt_units()[0], 1.0)
        world = np.array(header.get_best_affine(), dtype=np.float64)
    except _BAD_HEADER:
        raise ItemError("geometry_none", "the NIfTI header has no usable position or orientation") from None
    world[:3] *= scale
    # Adding 0.0 turns -0.0 into 0.0.
    world[:2] = -world[:2] + 0.0
    try:
        return Grid.from_affine(shape, world[:, (2, 1, 0, 3)])
    except GeometryError:
        raise ItemError("geometry_none", "the NIfTI affine cannot be inverted") from None


def _scaling(header: Any) -> tuple[float | None, float | None]:
    try:
        slope, intercept = header.get_slope_inter()
    except _BAD_HEADER:
        raise ItemError("decode_error", "the NIfTI header has a slope that is no number") from None
    return slope, intercept


def _end(header: Any, shape: tuple[int, int, int], times: int) -> int:
    _samples(header)
    start = float(header["vox_offset"])
    if not math.isfinite(start) or start < 0:
        raise ItemError("decode_error", "the NIfTI header places the values before the file begins")
    length = math.prod(shape) * times * int(np.dtype(header.get_data_dtype()).itemsize)
    if length > MAX_BYTES:
        message = f"{length:,} bytes of voxels; the limit is {MAX_BYTES:,} in one file"
        raise ItemError("too_large", message)
    return int(header.get_data_offset()) + length


def _check_length(header: Any, data: bytes, shape: tuple[int, int, int], times: int) -> None:
    end = _end(header, shape, times)
    if data.startswith(b"\x1f\x8b"):
        # Piece by piece: what comes out is not needed yet and may be a thousand times as large.
        for _ in _pieces(data, end):
            continue
    elif len(data) < end:
        raise ItemError("truncated", f"{len(data):,} bytes, the NIfTI header announces {end:,}")


def _values(header: Any, data: bytes) -> NDArray[Any]:
    end = _end(header, *_shape(header))
    raw = _unpacked(data, end) if data.startswith(b"\x1f\x8b") else data
    _scaling(header)
    try:
        values = np.asarray(header.data_from_fileobj(io.BytesIO(raw)))
    except (*_BAD_HEADER, OSError) as error:
        message = f"the NIfTI values cannot be read ({type(error).__name__})"
        raise ItemError("decode_error", message) from None
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _unpacked(data: bytes, end: int) -> bytes:
    return b"".join(_pieces(data, end))


def _pieces(data: bytes, end: int) -> Iterator[bytes]:
    """Unpack the first `end` bytes, no more; damage and bytes that are not there are found on the way."""
    if end > _DEFLATE_RATIO * len(data):
        raise ItemError("truncated", f"{len(data):,} packed bytes cannot hold the {end:,} announced")
    left = end
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            while left > 0 and (piece := file.read(min(left, _PIECE))):
                left -= len(piece)
                yield piece
            # At the end of the file, gzip compares its checksum.
            file.read(1)
    except EOFError:
        raise ItemError("truncated", "the gzip file ends too early") from None
    except (OSError, zlib.error):
        raise ItemError("decode_error", "the gzip file is damaged") from None
    if left > 0:
        raise ItemError("truncated", f"{end - left:,} bytes, the NIfTI header announces {end:,}")


def _channels(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.names is None:
        return values
    return np.stack([values[name] for name in ("R", "G", "B")], axis=-1)
