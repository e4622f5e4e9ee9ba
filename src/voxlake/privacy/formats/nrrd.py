"""Identities out of NRRD files (attached header; NRRD0001 to NRRD0005)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from voxlake.core.errors import ItemError
from voxlake.privacy.formats.nrrd_fields import Description, read_fields
from voxlake.privacy.formats.packed import Packing, check_announced, clean, measure, pack, unpack

__all__ = ["strip_nrrd"]

_MAGIC = re.compile(rb"NRRD000[1-5]\r?\n")
_LINE = re.compile(rb"[^\n]*\n")
_MOST_HEADER = 1 << 22
_PACKINGS: Mapping[str, Packing] = MappingProxyType({"gzip": "gzip", "bzip2": "bzip2"})
_NUMBER = re.compile(
    rb"[\s,]*([-+]?(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})(?:[eE][-+]?\d{1,4})?|[-+]?(?:nan|inf))(?=[\s,]|\Z)",
    re.IGNORECASE,
)
_BLANK = re.compile(rb"\s+")
_HEX_LINE = 35


def strip_nrrd(data: bytes) -> bytes:
    """Return a NRRD file whose header describes the array and its place, and nothing else.

    `voxlake.privacy.formats.nrrd_fields` lists what is kept. Comments, key/value pairs (gradients of
    diffusion images among them), content, labels, unknown fields and bytes behind the values go. Values are
    untouched bit for bit; packed streams are copied, without name and time, unless more than the values is
    in them.
    Numbers in text keep their digits, with a line each.

    Raises
    ------
    ItemError
        ``truncated``, ``too_large`` or ``deidentify_failed``: the file does not have the structure of an NRRD
        file, or its values lie in another file.
    """
    magic = _MAGIC.match(data)
    if magic is None:
        raise ItemError("deidentify_failed", "expected NRRD0001 to NRRD0005 at the start of the file")
    lines, at = _header(data, magic.end())
    found = read_fields(lines)
    check_announced(found.length)
    header = data[:8] + b"\n" + "".join(f"{line}\n" for line in found.lines).encode("ascii") + b"\n"
    return header + _values(_behind_lines(data, at, found.line_skip), found)


def _header(data: bytes, at: int) -> tuple[list[str], int]:
    lines: list[str] = []
    for line in _LINE.finditer(data, at, at + _MOST_HEADER):
        text = line[0].rstrip(b"\r\n")
        if not text:
            return lines, line.end()
        # Only fields with known names and values are kept, and those are ASCII.
        lines.append(text.decode("latin-1"))
    raise ItemError(
        "truncated", "the NRRD header has no end, or no values follow: a detached header is not read"
    )


def _behind_lines(data: bytes, at: int, lines: int) -> bytes:
    for _ in range(lines):
        at = data.find(b"\n", at) + 1
        if not at:
            raise ItemError("truncated", "the NRRD file has fewer lines than its header says to skip")
    return data[at:]


def _values(body: bytes, found: Description) -> bytes:
    if found.encoding in _PACKINGS:
        return _packed(body, _PACKINGS[found.encoding], found)
    if found.byte_skip < 0:
        if found.encoding != "raw" or len(body) < found.length:
            raise ItemError("truncated", f"the NRRD file has {len(body):,} bytes of values")
        return body[len(body) - found.length :]
    body = body[found.byte_skip :]
    if found.encoding == "raw":
        if len(body) < found.length:
            raise ItemError("truncated", f"{len(body):,} bytes of NRRD values, expected {found.length:,}")
        return body[: found.length]
    return _hex(body, found.length) if found.encoding == "hex" else _text(body, found.count)


def _packed(body: bytes, packing: Packing, found: Description) -> bytes:
    if found.byte_skip < 0:
        raise ItemError("deidentify_failed", "a NRRD byte skip of -1 stands for values that are not packed")
    if not found.byte_skip:
        return clean(body, packing, found.length)
    measure(body, packing, found.byte_skip + found.length)

    def behind() -> Iterator[bytes]:
        skip = found.byte_skip
        for piece in unpack(body, packing):
            kept = piece[skip:]
            skip -= len(piece) - len(kept)
            yield kept

    return pack(behind(), packing, found.length)


def _hex(body: bytes, length: int) -> bytes:
    digits = _BLANK.sub(b"", body)[: 2 * length]
    if len(digits) < 2 * length:
        raise ItemError("truncated", f"{len(digits)} digits of NRRD values, expected {2 * length}")
    try:
        return bytes.fromhex(digits.decode("ascii")).hex("\n", -_HEX_LINE).encode("ascii") + b"\n"
    except ValueError:
        raise ItemError("deidentify_failed", "NRRD values that are no hexadecimal digits") from None


def _text(body: bytes, count: int) -> bytes:
    made = bytearray()
    at = 0
    for _ in range(count):
        number = _NUMBER.match(body, at)
        if number is None:
            rest = body[at : at + 64].strip(b" \t\r\n,")
            reason = "deidentify_failed" if rest else "truncated"
            raise ItemError(reason, f"something else where {count} NRRD values were expected")
        made += number[1] + b"\n"
        at = number.end()
    return bytes(made)
