"""Text fields and extensions out of NIfTI headers (NIfTI-1 and NIfTI-2, single file, plain or gzipped)."""

from __future__ import annotations

import gzip
import struct
import zlib
from io import BytesIO
from typing import NamedTuple, Protocol

from voxlake.core.errors import ItemError

__all__ = ["strip_nifti"]

_GZIP = b"\x1f\x8b"
_EXTENSION_FLAG = 4
# No compression ratio of real images comes near: more is a bomb, or padding that hides something.
_LARGEST = 1 << 36


class _Readable(Protocol):
    """An open file, plain or gzipped."""

    def read(self, size: int, /) -> bytes: ...


class _Layout(NamedTuple):
    """Where the fields of one version of the header lie, as (offset, length) or (offset, struct code)."""

    size: int
    magic: tuple[int, bytes]
    dim: tuple[int, str]
    bitpix: int
    vox_offset: tuple[int, str]
    texts: tuple[tuple[int, int], ...]


# Text: data_type, db_name, extents and session_error (unused), descrip, aux_file, intent_name.
_NIFTI_1 = _Layout(
    348, (344, b"n+1\0"), (40, "8h"), 72, (108, "f"), ((4, 34), (148, 80), (228, 24), (328, 16))
)
# Text: descrip, aux_file, intent_name, unused_str.
_NIFTI_2 = _Layout(
    540, (4, b"n+2\0\r\n\x1a\n"), (16, "8q"), 14, (168, "q"), ((240, 80), (320, 24), (508, 16), (525, 15))
)


_CHUNK = 1 << 20


def strip_nifti(data: bytes) -> bytes:
    """Return a NIfTI file without text and extensions; voxels are untouched bit for bit.

    The file name and time in a gzip header go as well; equal input gives equal output.

    Raises
    ------
    ItemError
        ``truncated`` or ``deidentify_failed``: no single-file NIfTI, or shorter than its header says.
    """
    if not data.startswith(_GZIP):
        return _strip(BytesIO(data))
    try:
        with gzip.GzipFile(fileobj=BytesIO(data)) as stream:
            stripped = _strip(stream)
            # Only at the end of the stream is its checksum compared.
            while stream.read(_CHUNK):
                continue
    except EOFError:
        raise ItemError("truncated", "the gzip stream ends early") from None
    except (gzip.BadGzipFile, zlib.error):
        raise ItemError("deidentify_failed", "the gzip stream is damaged") from None
    return _gzip(stripped)


def _strip(stream: _Readable) -> bytes:
    start = stream.read(4)
    layout, order = _layout(start)
    header = bytearray(start + stream.read(layout.size - 4))
    magic_at, magic = layout.magic
    if len(header) < layout.size or header[magic_at : magic_at + len(magic)] != magic:
        raise ItemError("deidentify_failed", "expected a single-file NIfTI (magic 'n+1' or 'n+2')")
    voxels_at, length = _extent(header, layout, order)
    gap = voxels_at - layout.size
    if len(_read(stream, gap)) < gap:
        raise ItemError("truncated", "the NIfTI file ends before its voxels")
    voxels = _read(stream, length)
    if len(voxels) < length:
        raise ItemError("truncated", f"the NIfTI file has {len(voxels)} bytes of voxels, expected {length}")
    for offset, size in layout.texts:
        header[offset : offset + size] = bytes(size)
    new_offset = layout.size + _EXTENSION_FLAG
    struct.pack_into(order + layout.vox_offset[1], header, layout.vox_offset[0], new_offset)
    return bytes(header) + bytes(_EXTENSION_FLAG) + voxels


def _layout(start: bytes) -> tuple[_Layout, str]:
    for order in "<>":
        for layout in (_NIFTI_1, _NIFTI_2):
            if start == struct.pack(order + "i", layout.size):
                return layout, order
    raise ItemError("deidentify_failed", "expected a NIfTI header of 348 or 540 bytes")


def _extent(header: bytearray, layout: _Layout, order: str) -> tuple[int, int]:
    dim = struct.unpack_from(order + layout.dim[1], header, layout.dim[0])
    (bits,) = struct.unpack_from(order + "h", header, layout.bitpix)
    (offset,) = struct.unpack_from(order + layout.vox_offset[1], header, layout.vox_offset[0])
    if not 1 <= dim[0] <= 7 or min(dim[1 : dim[0] + 1]) < 1 or bits < 1:
        raise ItemError("deidentify_failed", "the NIfTI header states impossible dimensions")
    voxels = 1
    for size in dim[1 : dim[0] + 1]:
        voxels *= size
    length = (voxels * bits + 7) // 8
    # Some writers leave the offset of a single file at 0 and mean the first byte after the header.
    offset = offset or layout.size + _EXTENSION_FLAG
    # The comparison also refuses NaN, which no integer could be made of.
    if not layout.size <= offset <= _LARGEST or length > _LARGEST:
        raise ItemError("deidentify_failed", "the NIfTI header states an impossible size")
    return int(offset), length


def _read(stream: _Readable, length: int) -> bytes:
    parts = []
    while length > 0:
        part = stream.read(min(length, 1 << 24))
        if not part:
            break
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def _gzip(data: bytes) -> bytes:
    # Written out because the header that gzip.compress makes differs between Python versions.
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = packer.compress(data) + packer.flush()
    tail = struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)
    return _GZIP + b"\x08\0\0\0\0\0\0\xff" + body + tail
