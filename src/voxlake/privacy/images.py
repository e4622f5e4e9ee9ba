"""Metadata out of images that are no DICOM: text, times, EXIF, thumbnails, whatever follows the image.

The compressed pixels are copied, never decoded, so they stay bit for bit.
"""

from __future__ import annotations

import re
import zlib
from typing import Literal

from voxlake.core.errors import ItemError
from voxlake.privacy.nifti import strip_nifti

__all__ = ["strip_metadata"]

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Chunks that say how pixels are to be read (PNG 3rd edition, 11 and APNG); all others may carry anything.
_PNG_KEPT = frozenset(
    b"IHDR PLTE IDAT IEND tRNS gAMA cHRM sRGB iCCP cICP sBIT bKGD pHYs acTL fcTL fdAT".split()
)
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_SOI, _EOI, _SOS, _COM, _TEM = 0xD8, 0xD9, 0xDA, 0xFE, 0x01
_JFIF_HEADER = 14


def strip_metadata(
    data: bytes,
    format: Literal["png", "jpeg", "nifti"],  # noqa: A002 - named like the column that it is read from
) -> bytes:
    """Return an image without its metadata; the pixels are untouched bit for bit.

    PNG keeps the chunks that pixels are read by. JPEG keeps APP0 JFIF (without its thumbnail), APP2 ICC
    profiles and APP14 Adobe of the application segments and drops comments. NIfTI (also gzipped) keeps
    header numbers, loses its text fields and extensions. Whatever follows the image goes.

    Parameters
    ----------
    data : bytes
        The file.
    format : {"png", "jpeg", "nifti"}
        Its format.

    Raises
    ------
    ItemError
        ``truncated`` or ``deidentify_failed``: the file does not have the structure of its format.
    """
    match format:
        case "png":
            return _strip_png(data)
        case "jpeg":
            return _strip_jpeg(data)
        case "nifti":
            return strip_nifti(data)


def _strip_png(data: bytes) -> bytes:
    if not data.startswith(_PNG_SIGNATURE):
        raise ItemError("deidentify_failed", "expected a PNG signature at the start of the file")
    kept = [_PNG_SIGNATURE]
    position = len(_PNG_SIGNATURE)
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        end = position + 12 + length
        if end > len(data):
            break
        stated = int.from_bytes(data[end - 4 : end], "big")
        if zlib.crc32(data[position + 4 : end - 4]) != stated:
            raise ItemError("deidentify_failed", "a PNG chunk does not match its checksum")
        if kind in _PNG_KEPT:
            kept.append(data[position:end])
        if kind == b"IEND":
            return b"".join(kept)
        position = end
    raise ItemError("truncated", "the PNG file ends before its IEND chunk")


def _strip_jpeg(data: bytes) -> bytes:
    if not data.startswith(b"\xff\xd8"):
        raise ItemError("deidentify_failed", "expected the JPEG marker SOI at the start of the file")
    kept = [b"\xff\xd8"]
    position = 2
    while True:
        position, marker = _next_marker(data, position)
        if marker == _EOI:
            kept.append(b"\xff\xd9")
            return b"".join(kept)
        segment = _segment(data, position)
        position += len(segment)
        kept.append(_kept_segment(marker, segment))
        if marker == _SOS:
            end = _end_of_scan(data, position)
            kept.append(data[position:end])
            position = end


def _next_marker(data: bytes, position: int) -> tuple[int, int]:
    if data[position : position + 1] not in (b"\xff", b""):
        raise ItemError("deidentify_failed", "expected a JPEG marker between two segments")
    while data[position : position + 1] == b"\xff":
        position += 1
    if position >= len(data):
        raise ItemError("truncated", "the JPEG file ends before its marker EOI")
    marker = data[position]
    if marker in (0, _TEM, _SOI) or 0xD0 <= marker <= 0xD7:
        raise ItemError("deidentify_failed", "a JPEG marker stands where a segment was expected")
    return position + 1, marker


def _segment(data: bytes, position: int) -> bytes:
    length = int.from_bytes(data[position : position + 2], "big")
    segment = data[position : position + length]
    if length < 2 or len(segment) < length:
        raise ItemError("truncated", "the JPEG file ends inside a segment")
    return segment


def _kept_segment(marker: int, segment: bytes) -> bytes:
    payload = segment[2:]
    head = bytes([0xFF, marker])
    if marker == 0xE0 and payload.startswith(b"JFIF\0") and len(payload) >= _JFIF_HEADER:
        # Version, unit and density stay; the thumbnail, whose size follows, does not.
        return head + (16).to_bytes(2, "big") + payload[: _JFIF_HEADER - 2] + b"\0\0"
    if marker == 0xE2 and payload.startswith(b"ICC_PROFILE\0"):
        return head + segment
    if marker == 0xEE and payload.startswith(b"Adobe") and len(payload) >= 12:
        return head + (14).to_bytes(2, "big") + payload[:12]
    if 0xE0 <= marker <= 0xEF or marker == _COM:
        return b""
    return head + segment


def _end_of_scan(data: bytes, position: int) -> int:
    found = _MARKER_IN_SCAN.search(data, position)
    if found is None:
        raise ItemError("truncated", "the JPEG file ends inside its image data")
    return found.start()
