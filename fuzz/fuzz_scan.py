"""Bytes to a data set to a row of the `instances` table."""

from __future__ import annotations

import json
import zlib
from typing import Any

import atheris
from common import expect, fuzz

with atheris.instrument_imports(include=["voxlake"]):
    from voxlake.core.errors import ItemError
    from voxlake.core.reasons import REASONS
    from voxlake.dicom.geometry import judge
    from voxlake.dicom.header import Scanner, plain_row, scan_file
    from voxlake.dicom.parse_bytes import OddFileError
    from voxlake.dicom.read import read_dataset
    from voxlake.dicom.scan import scan


def target(data: bytes) -> None:
    """A row that can be stored, or a known reason; the fast path says the same where it says anything."""
    fast = _fast(data)
    _remember(data)
    try:
        row = scan(read_dataset(data), data)
    except ItemError as error:
        expect(error.reason in REASONS, error.reason)
        expect(fast is None, "the fast path makes a row of what is refused")
        return
    expect(fast is None or _text(fast) == _text(row), "two rows")
    json.loads(row["tags"])
    judge([row])
    if row["pixel_length"] is not None:
        expect(row["pixel_offset"] + row["pixel_length"] <= len(data), "pixel range")
    for name, value in row.items():
        if isinstance(value, int):
            expect(abs(value) < 2**63, name)
        elif isinstance(value, str):
            value.encode()


def _fast(data: bytes) -> dict[str, Any] | None:
    try:
        # Never anything but an ItemError, whatever the bytes are.
        scan_file(lambda offset, length: data[offset : offset + length], size=len(data))
    except ItemError as error:
        expect(error.reason in REASONS, error.reason)
    try:
        return plain_row(data)
    except OddFileError:
        return None


def _remember(data: bytes) -> None:
    """What a scanner gives depends on no file that it saw before."""
    scanner = Scanner()
    for other in (data, *(_altered(data, number) for number in range(4)), data):
        try:
            alone = _text(plain_row(other))
        except OddFileError:
            alone = ""
        try:
            remembered = _text(scanner.plain_row(other))
        except OddFileError:
            remembered = ""
        expect(alone == remembered, "a scanner gives another row than the file alone")


def _altered(data: bytes, number: int) -> bytes:
    if not data:
        return data
    chance = zlib.crc32(data, number)
    # Most of a header is text: the bits that are flipped leave letters and digits what they are.
    place = chance % len(data)
    return data[:place] + bytes([data[place] ^ (1 << (chance >> 24) % 5)]) + data[place + 1 :]


def _text(row: dict[str, Any]) -> str:
    return json.dumps(row, sort_keys=True)


if __name__ == "__main__":
    fuzz(target)
