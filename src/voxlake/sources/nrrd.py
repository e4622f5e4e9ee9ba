"""NRRD files with their values attached (``.nrrd``): a volume in LPS, as ITK reads it.

The fastest axis comes first in the file, so turned round it is [slice, row, column]. Of the axes those with a
direction, or of a kind ``domain`` or ``space``, lie in space; the others hold the colours of a voxel or
number volumes. A space that is no anatomical one (``scanner-xyz``, ``3D-right-handed``), or none, is taken
for LPS, as ITK does. Source: teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.digest import digest_bytes
from voxlake.core.errors import ItemError
from voxlake.core.volume import Lineage, Volume
from voxlake.privacy.formats.nrrd_fields import Description, read_fields
from voxlake.privacy.formats.packed import Packing, check_announced, measure, unpack
from voxlake.sources.columns import place_columns, value_columns
from voxlake.sources.nrrd_place import Place, read_place

__all__ = ["is_nrrd", "read_nrrd", "scan_nrrd"]

_MAGIC = re.compile(rb"NRRD000[1-5]\r?\n")
_LINE = re.compile(rb"[^\n]*\n")
_MOST_HEADER = 1 << 20
_SEPARATORS = re.compile(rb"[\s,]+")
_PACKINGS: dict[str, Packing] = {"gzip": "gzip", "bzip2": "bzip2"}


@dataclass(frozen=True)
class _File:
    """A header that was read, and the bytes behind it."""

    found: Description
    place: Place
    kind: np.dtype[Any]
    body: bytes = field(repr=False)


def is_nrrd(data: bytes) -> bool:
    """Whether the bytes begin as a NRRD file of version 1 to 5."""
    return _MAGIC.match(data) is not None


def scan_nrrd(data: bytes) -> dict[str, Any]:
    """Header of a NRRD file; see `voxlake.sources.images.scan_image`."""
    with _as_decode_error():
        file = _opened(data)
        _check_length(file)
    place = file.place
    kind = file.kind.newbyteorder("=")
    return value_columns(place.samples, kind) | place_columns(place.grid, place.times)


def read_nrrd(data: bytes) -> Volume:
    """Decode a NRRD file; see `voxlake.sources.images.read_image`."""
    with _as_decode_error():
        file = _opened(data)
        place = file.place
        if place.times > 1:
            message = f"{place.times} volumes or components in one file; split them into one file each"
            raise ItemError("geometry_duplicates", message)
        _check_length(file)
        values = _values(file)
    ordered = np.ascontiguousarray(place.ordered(values.astype(values.dtype.newbyteorder("="), copy=False)))
    return Volume(ordered, place.grid, lineage=Lineage((digest_bytes(data),), place.notes))


@contextmanager
def _as_decode_error() -> Iterator[None]:
    """What cannot be cleaned cannot be read either; here nobody asked for cleaning."""
    try:
        yield
    except ItemError as error:
        if error.reason != "deidentify_failed":
            raise
        raise ItemError("decode_error", error.message) from None


def _opened(data: bytes) -> _File:
    magic = _MAGIC.match(data)
    if magic is None:
        raise ItemError("decode_error", "expected NRRD0001 to NRRD0005 at the start of the file")
    lines, at = _header(data, magic.end())
    found = read_fields(lines)
    check_announced(found.length)
    # What `read_fields` writes anew has one spelling for each name and only values that it checked.
    fields = dict(line.split(": ", 1) for line in found.lines)
    kind = _kind(fields["type"], found.length // found.count, fields.get("endian", "little"))
    body = data[at:]
    for _ in range(found.line_skip):
        _, newline, body = body.partition(b"\n")
        if not newline:
            raise ItemError("truncated", "the NRRD file has fewer lines than its header says to skip")
    return _File(found, read_place(fields), kind, body)


def _header(data: bytes, at: int) -> tuple[list[str], int]:
    lines: list[str] = []
    for line in _LINE.finditer(data, at, at + _MOST_HEADER):
        text = line[0].rstrip(b"\r\n")
        if not text:
            return lines, line.end()
        lines.append(text.decode("latin-1"))
    if any(line.lower().replace(" ", "").startswith("datafile:") for line in lines):
        raise ItemError("decode_error", "the NRRD values lie in another file; save both as one .nrrd file")
    raise ItemError("truncated", "the NRRD header has no end, or no values follow it")


def _kind(name: str, size: int, endian: str) -> np.dtype[Any]:
    letter = "f" if name in {"float", "double"} else "u" if name.startswith("u") else "i"
    return np.dtype(f"{'>' if endian == 'big' else '<'}{letter}{size}")


def _check_length(file: _File) -> None:
    found, there = file.found, len(file.body)
    if found.encoding in _PACKINGS:
        if found.byte_skip < 0:
            raise ItemError("decode_error", "a NRRD byte skip of -1 stands for values that are not packed")
        measure(file.body, _PACKINGS[found.encoding], found.byte_skip + found.length)
        return
    if found.byte_skip < 0 and found.encoding != "raw":
        raise ItemError("decode_error", "a NRRD byte skip of -1 stands for raw values")
    least = {"raw": found.length, "hex": 2 * found.length}.get(found.encoding, 2 * found.count - 1)
    if there < least + max(0, found.byte_skip):
        message = f"{there:,} bytes of NRRD values, the header announces at least {least:,}"
        raise ItemError("truncated", message)


def _values(file: _File) -> NDArray[Any]:
    found, body = file.found, file.body
    if found.encoding in _PACKINGS:
        return np.frombuffer(_unpacked(body, _PACKINGS[found.encoding], found), dtype=file.kind)
    if found.byte_skip < 0:
        return np.frombuffer(body[len(body) - found.length :], dtype=file.kind)
    body = body[found.byte_skip :]
    if found.encoding == "raw":
        return np.frombuffer(body[: found.length], dtype=file.kind)
    if found.encoding == "hex":
        return np.frombuffer(_digits(body, found.length), dtype=file.kind)
    return _numbers(body, found.count, file.kind)


def _unpacked(body: bytes, packing: Packing, found: Description) -> bytes:
    parts: list[bytes] = []
    skip, left = found.byte_skip, found.length
    for piece in unpack(body, packing):
        kept = piece[skip : skip + left]
        skip -= min(skip, len(piece))
        left -= len(kept)
        parts.append(kept)
        if not left:
            break
    return b"".join(parts)


def _digits(body: bytes, length: int) -> bytes:
    digits = b"".join(body.split())[: 2 * length]
    if len(digits) < 2 * length:
        raise ItemError("truncated", f"{len(digits)} digits of NRRD values, expected {2 * length}")
    try:
        return bytes.fromhex(digits.decode("ascii"))
    except ValueError:
        raise ItemError("decode_error", "NRRD values that are no hexadecimal digits") from None


def _numbers(body: bytes, count: int, kind: np.dtype[Any]) -> NDArray[Any]:
    words = [word for word in _SEPARATORS.split(body, count + 1) if word][:count]
    if len(words) < count:
        raise ItemError("truncated", f"{len(words)} NRRD values, the header announces {count}")
    try:
        values: list[Any] = [float(word) if kind.kind == "f" else int(word) for word in words]
        return np.array(values, dtype=kind)
    except (ValueError, OverflowError):
        raise ItemError("decode_error", f"something else where {count} NRRD values were expected") from None
