"""Headers of JPEG, JPEG-LS and JPEG 2000 codestreams: what they hold, before a decoder touches them."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

__all__ = ["END_OF_CODESTREAM", "Codestream", "jpeg2000_header", "jpeg_header", "jpeg_xl_size"]

# Last marker of JPEG, JPEG-LS (EOI) and JPEG 2000 (EOC) codestreams. Entropy-coded bytes never hold it, so a
# frame without it has been cut.
END_OF_CODESTREAM = b"\xff\xd9"

# Start-of-frame markers of JPEG (ISO/IEC 10918-1 table B.1) and JPEG-LS (ISO/IEC 14495-1).
_FRAMES = frozenset({*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), 0xF7})
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_SCAN = 0xDA
_JFIF = 0xE0
_ADOBE = 0xEE
_J2K_START = b"\xff\x4f\xff\x51"
_JXL_START = b"\xff\x0a"
_JXL_CONTAINER = b"\x00\x00\x00\x0cJXL \x0d\x0a\x87\x0a"
# Bits of a side that is no multiple of 8; width by height as the ratio code says (ISO/IEC 18181-1 annex B).
_JXL_SIDES = (9, 13, 18, 30)
_JXL_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


@dataclass(frozen=True)
class Codestream:
    """What a codestream says about itself.

    `colour` is ``"RGB"`` or ``"YBR_FULL"`` if the stream itself says which, else None. `signed` is None for
    codecs that do not know.
    """

    rows: int
    columns: int
    components: int
    precision: int
    signed: bool | None = None
    colour: str | None = None


def jpeg_header(data: bytes) -> Codestream:
    """Read the header of a JPEG or JPEG-LS codestream, up to the first scan.

    Raises
    ------
    ValueError
        If it is none, or if no frame header stands before the first scan.
    """
    frame: Codestream | None = None
    colour: str | None = None
    for marker, body in _segments(data):
        if marker in _FRAMES:
            frame, identifiers = _frame(body)
            if bytes(identifiers) in (b"RGB", b"rgb"):
                colour = "RGB"
        elif marker == _ADOBE and body[:5] == b"Adobe" and len(body) >= 12:
            colour = {0: "RGB", 1: "YBR_FULL"}.get(body[11], colour)
        elif marker == _JFIF and body[:5] == b"JFIF\0":
            colour = colour or "YBR_FULL"
        elif marker == _SCAN and frame is not None:
            return replace(frame, colour=colour)
    raise ValueError("no JPEG frame header before the first scan")


def jpeg2000_header(data: bytes) -> Codestream:
    """Read the SIZ marker segment of a JPEG 2000 codestream (ISO/IEC 15444-1 section A.5.1).

    Raises
    ------
    ValueError
        If there is none, or if the components differ in size or depth.
    """
    # Some writers wrap the codestream in a JP2 file, though DICOM wants it bare.
    start = data.find(_J2K_START, 0, 4096)
    if start < 0 or len(data) < start + 45:
        raise ValueError("no JPEG 2000 SIZ marker")
    right, bottom, left, top = struct.unpack_from(">4I", data, start + 8)
    (components,) = struct.unpack_from(">H", data, start + 40)
    described = data[start + 42 : start + 42 + 3 * components]
    if components < 1 or described != described[:3] * components or described[1:3] != b"\x01\x01":
        raise ValueError("JPEG 2000 components of different size or depth")
    depth = described[0]
    return Codestream(bottom - top, right - left, components, (depth & 0x7F) + 1, bool(depth & 0x80))


def jpeg_xl_size(data: bytes) -> tuple[int, int]:
    """Rows and columns of a JPEG XL codestream, bare or in a container (ISO/IEC 18181-1 section B.2).

    Raises
    ------
    ValueError
        If it is none.
    """
    bare = _jxl_codestream(data)
    if bare[:2] != _JXL_START:
        raise ValueError("no JPEG XL codestream")
    bits = _Bits(int.from_bytes(bare[2:16], "little"))
    short = bits.take(1)
    rows = 8 * (bits.take(5) + 1) if short else bits.take(_JXL_SIDES[bits.take(2)]) + 1
    ratio = bits.take(3)
    if ratio:
        across, down = _JXL_RATIOS[ratio - 1]
        return rows, rows * across // down
    return rows, 8 * (bits.take(5) + 1) if short else bits.take(_JXL_SIDES[bits.take(2)]) + 1


@dataclass
class _Bits:
    """Takes bits from a number, the lowest first."""

    rest: int

    def take(self, count: int) -> int:
        taken = self.rest & ((1 << count) - 1)
        self.rest >>= count
        return taken


def _jxl_codestream(data: bytes) -> bytes:
    """The beginning of the codestream in a container, or the data themselves."""
    if not data.startswith(_JXL_CONTAINER):
        return data
    position = len(_JXL_CONTAINER)
    while position + 16 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind in (b"jxlc", b"jxlp"):
            # A partial codestream has a number of four bytes before it; the length may stand in eight bytes.
            start = position + (16 if length == 1 else 8) + (4 if kind == b"jxlp" else 0)
            return data[start : start + 64]
        if length < 8:
            break
        position += length
    raise ValueError("no codestream in the JPEG XL container")


def _frame(body: bytes) -> tuple[Codestream, bytes]:
    if len(body) < 6:
        raise ValueError("JPEG frame header is cut off")
    precision, rows, columns, components = struct.unpack_from(">BHHB", body)
    return Codestream(rows, columns, components, precision), body[6 : 6 + 3 * components : 3]


def _segments(data: bytes) -> list[tuple[int, bytes]]:
    """Marker segments up to and with the first scan header."""
    if data[:2] != b"\xff\xd8":
        raise ValueError("no JPEG start of image")
    found = []
    position = 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            raise ValueError("no JPEG marker where one was expected")
        marker = data[position + 1]
        if marker == 0xFF or marker in _ALONE:
            position += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        found.append((marker, data[position + 4 : position + 2 + length]))
        if marker == _SCAN:
            break
        position += 2 + max(length, 2)
    return found
