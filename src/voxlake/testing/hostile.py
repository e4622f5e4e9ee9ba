"""Builders of files that no writer makes: DICOM byte by byte, forged codestreams, archives, bombs.

For tests and for the seeds of fuzzing. Nothing here is large: what would be large when unpacked is made of
blocks that are packed once.
"""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Mapping

__all__ = [
    "BIG_ENDIAN",
    "CT",
    "DEFLATED",
    "EXPLICIT",
    "IMPLICIT",
    "ITEM_END",
    "JPEG",
    "JPEG_2000",
    "JPEG_LS",
    "MIB",
    "RLE",
    "SEQUENCE_END",
    "UNDEFINED",
    "CtFiles",
    "codestream",
    "element",
    "fragments",
    "inflating",
    "item",
    "nested",
    "nifti",
    "patched",
    "picture_of",
    "wrapped",
    "zipped",
]

CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED, RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
JPEG, JPEG_LS, JPEG_2000 = (f"1.2.840.10008.1.2.4.{number}" for number in (50, 80, 90))
UNDEFINED = 0xFFFFFFFF
MIB = 2**20
ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)

_LONG = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_ZEROS = 16
_PIXELS = 0x7FE00010


def element(
    tag: int, vr: str, value: bytes = b"", *, length: int | None = None, implicit: bool = False
) -> bytes:
    """Write one element; `length` is what it says of itself, by default the truth."""
    padding = b"\0" if vr in ("UI", "OB", "UN") else b" "
    value += padding * (len(value) % 2)
    stated = len(value) if length is None else length
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    if implicit:
        return head + struct.pack("<I", stated) + value
    if vr in _LONG:
        return head + vr.encode() + struct.pack("<HI", 0, stated) + value
    return head + vr.encode() + struct.pack("<H", stated) + value


def item(content: bytes, length: int | None = None) -> bytes:
    """Write one item of a sequence; `length` is what it says of itself."""
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content) if length is None else length) + content


def wrapped(body: bytes, syntax: str = EXPLICIT, preamble: bytes = b"") -> bytes:
    """Write preamble and meta information in front of a data set; nothing is deflated here."""
    meta = element(0x00020002, "UI", CT.encode()) + element(0x00020010, "UI", syntax.encode())
    start = element(0x00020000, "UL", struct.pack("<I", len(meta)))
    return preamble.ljust(128, b"\0") + b"DICM" + start + meta + body


class CtFiles:
    """Makes CT images of 4 x 4 pixels, each with a SOPInstanceUID of its own."""

    def __init__(self) -> None:
        self._count = 0

    def elements(
        self, *, implicit: bool = False, frames: int | None = None, **sizes: int
    ) -> dict[int, bytes]:
        """Write the elements of the next image, by tag.

        Parameters
        ----------
        implicit : bool
            Implicit VR.
        frames : int, optional
            NumberOfFrames.
        **sizes : int
            What ``rows`` and ``columns`` are said to be.
        """
        self._count += 1
        short = struct.Struct("<H").pack
        values: dict[int, tuple[str, bytes]] = {
            0x00080016: ("UI", CT.encode()),
            0x00080018: ("UI", f"1.2.3.{self._count}".encode()),
            0x00080060: ("CS", b"CT"),
            0x00100010: ("PN", b"Doe^Jane"),
            0x00100020: ("LO", b"P1"),
            0x0020000D: ("UI", b"1.2.3.1000"),
            0x0020000E: ("UI", b"1.2.3.1001"),
            0x00280002: ("US", short(1)),
            0x00280004: ("CS", b"MONOCHROME2"),
            0x00280010: ("US", short(sizes.get("rows", 4))),
            0x00280011: ("US", short(sizes.get("columns", 4))),
            0x00280100: ("US", short(8)),
            0x00280101: ("US", short(8)),
            0x00280102: ("US", short(7)),
            0x00280103: ("US", short(0)),
            _PIXELS: ("OB", bytes(range(16))),
        }
        if frames is not None:
            values[0x00280008] = ("IS", str(frames).encode())
        return {tag: element(tag, vr, value, implicit=implicit) for tag, (vr, value) in values.items()}

    def file(
        self,
        extra: Mapping[int, bytes] | None = None,
        *,
        syntax: str = EXPLICIT,
        preamble: bytes = b"",
        tail: bytes = b"",
        pixels: bytes | None = None,
        **sizes: int,
    ) -> bytes:
        """Write the next image as a file.

        Parameters
        ----------
        extra : mapping of int to bytes, optional
            Elements to add or to replace.
        syntax : str
            Transfer syntax to state.
        preamble, tail : bytes
            What stands in front and behind.
        pixels : bytes, optional
            The element of the pixel data.
        **sizes : int
            ``rows``, ``columns``, ``frames``.
        """
        made = self.elements(implicit=syntax == IMPLICIT, **sizes)
        if pixels is not None:
            made[_PIXELS] = pixels
        made |= extra or {}
        return wrapped(b"".join(made[tag] for tag in sorted(made)) + tail, syntax, preamble)


def nested(depth: int, *, implicit: bool, undefined: bool) -> bytes:
    """Write `depth` sequences in one another, each with one item."""
    head = 8 if implicit else 12
    parts = []
    for level in range(depth):
        inside = (depth - level - 1) * (head + 8)
        long, short = (UNDEFINED, UNDEFINED) if undefined else (inside + 8, inside)
        parts.append(element(0x00081140, "SQ", length=long, implicit=implicit))
        parts.append(item(b"", short))
    parts += [ITEM_END + SEQUENCE_END] * depth if undefined else []
    return b"".join(parts)


def fragments(*parts: bytes, end: bytes = SEQUENCE_END) -> bytes:
    """Write encapsulated pixel data with an empty offset table."""
    joined = item(b"") + b"".join(item(part + b"\0" * (len(part) % 2)) for part in parts)
    return element(_PIXELS, "OB", length=UNDEFINED) + joined + end


def codestream(name: str, rows: int, columns: int) -> bytes:
    """Write the header of a codestream ("jpeg", "jls" or "j2k") of some size, and its end, and no pixels."""
    if name == "j2k":
        size = struct.pack(">HIIIIIIIIHBBB", 0, columns, rows, 0, 0, columns, rows, 0, 0, 1, 7, 1, 1)
        return b"\xff\x4f\xff\x51" + struct.pack(">H", len(size) + 2) + size + b"\xff\xd9"
    marker = b"\xf7" if name == "jls" else b"\xc0"
    frame = struct.pack(">HBHHB3s", 11, 8, rows, columns, 1, b"\1\x11\0")
    return b"\xff\xd8\xff" + marker + frame + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00\xff\xd9"


def zipped(members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Pack members into a zip archive, whatever their names."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def patched(data: bytes, signature: bytes, at: int, layout: str, *values: int) -> bytes:
    """Write values over the bytes `at` behind the first `signature`."""
    changed = bytearray(data)
    struct.pack_into(layout, changed, data.index(signature) + at, *values)
    return bytes(changed)


def inflating(files: CtFiles, tag: int, vr: str, size: int) -> bytes:
    """Write a deflated CT whose element `tag` has `size` MiB of zeros (a multiple of 16)."""
    made = files.elements()
    before = b"".join(made[one] for one in sorted(made) if one < tag)
    after = b"".join(made[one] for one in sorted(made) if one > tag)
    start = _deflated(before + element(tag, vr, length=size * MIB), zlib.Z_FULL_FLUSH)
    # After a full flush a block needs nothing of those before, so one can be repeated.
    block = _deflated(bytes(_ZEROS * MIB), zlib.Z_FULL_FLUSH)
    return wrapped(start + block * (size // _ZEROS) + _deflated(after, zlib.Z_FINISH), DEFLATED)


def picture_of(rows: int, columns: int, packed: bytes, *more: tuple[bytes, bytes]) -> bytes:
    """Write a PNG of 16-bit colour with any image data and further chunks (type, content)."""
    head = struct.pack(">2I5B", columns, rows, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), *more, (b"IDAT", packed), (b"IEND", b"")]
    joined = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(joined)


def nifti(shape: tuple[int, int, int], values: bytes) -> bytes:
    """Write a gzipped NIfTI-1 file of bytes that says it has some shape."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *shape, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 2, 8)
    struct.pack_into("<8f", header, 76, 1, 1, 1, 1, 0, 0, 0, 0)
    struct.pack_into("<f", header, 108, 352)
    struct.pack_into("<2h", header, 252, 0, 1)
    struct.pack_into("<12f", header, 280, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0)
    header[344:348] = b"n+1\0"
    return gzip.compress(bytes(header) + values)


def _deflated(part: bytes, mode: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(part) + packer.flush(mode)
