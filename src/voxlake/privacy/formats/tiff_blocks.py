"""Strips and tiles of TIFF files: where their streams end, and nothing behind it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import ItemError
from voxlake.privacy.formats.jpeg import strip_jpeg
from voxlake.privacy.formats.packed import check_announced, clean
from voxlake.privacy.formats.tiff_tags import DEFLATE, JPEG, LZW, NONE, OLD_DEFLATE, Page

__all__ = ["clean_block"]

_CLEAR, _END = 256, 257
# Codes of 9, 10 and 11 bits that follow a Clear code (TIFF 6.0, section 13); all further have 12.
_STEPS = np.array([254, 512, 1024])
_MOST_CODES = 8192


def clean_block(
    block: bytes, page: Page, number: int, *, tables: bytes, interval: int, subsampled: bool
) -> bytes:
    """Return a strip or tile without bytes behind its values.

    Parameters
    ----------
    block : bytes
        The strip or tile; empty if the file leaves it out.
    page : Page
        What it belongs to.
    number : int
        Which one.
    tables : bytes
        Tables that its JPEG streams have in common, cleaned.
    interval : int
        Restart interval of JPEG that the common tables state.
    subsampled : bool
        Whether colours may have fewer samples than brightness.

    Raises
    ------
    ItemError
        ``truncated``, ``too_large`` or ``deidentify_failed``.
    """
    if not block:
        return block
    if page.compression == JPEG:
        return strip_jpeg(block, tables=tables, interval=interval)
    if subsampled:
        raise ItemError("deidentify_failed", "TIFF colours as YCbCr, which are read from JPEG streams only")
    length = page.row * page.block_rows(number)
    check_announced(length)
    if page.compression == NONE:
        return _plain(block, page, number, length)
    if page.compression in (DEFLATE, OLD_DEFLATE):
        return clean(block, "zlib", length)
    return block[: _end_of_lzw(block) if page.compression == LZW else _end_of_packbits(block, length)]


def _plain(block: bytes, page: Page, number: int, length: int) -> bytes:
    if len(block) < length:
        raise ItemError("truncated", f"a TIFF strip or tile of {len(block):,} bytes, expected {length:,}")
    across = -(-page.columns // page.width)
    column = number % across * page.width
    row = number // across % -(-page.rows // page.height) * page.height
    used = min(page.width, page.columns - column) * page.bits * (1 if page.planar else page.samples)
    rows = min(page.block_rows(number), page.rows - row)
    if used == page.row * 8:
        return block[: rows * page.row] + bytes(length - rows * page.row)
    # What lies right of the image or below it, or between the last value of a row and the next byte.
    values: NDArray[Any] = np.frombuffer(block[:length], dtype=np.uint8).reshape(-1, page.row).copy()
    values[rows:] = 0
    values[:, -(-used // 8) :] = 0
    if used % 8:
        values[:, used // 8] &= 0xFF << (8 - used % 8) & 0xFF
    return values.tobytes()


def _end_of_packbits(block: bytes, length: int) -> int:
    at = unpacked = 0
    while unpacked < length:
        if at >= len(block):
            raise ItemError("truncated", "a TIFF strip ends before its values")
        head = block[at]
        if head < 128:
            at += head + 2
            unpacked += head + 1
        else:
            at += 1 if head == 128 else 2
            unpacked += 0 if head == 128 else 257 - head
    if unpacked > length or at > len(block):
        raise ItemError("deidentify_failed", "a TIFF strip that unpacks to another length than its rows have")
    return at


def _end_of_lzw(block: bytes) -> int:
    """Bytes up to the code that ends the stream."""
    stream = np.frombuffer(block + b"\0\0\0", dtype=np.uint8)
    at = 0
    while True:
        starts, codes = _codes(stream, at, 8 * len(block))
        stops = np.flatnonzero((codes == _CLEAR) | (codes == _END))
        if not len(codes) or (codes[0] != _CLEAR and at == 0) or not len(stops):
            raise ItemError("deidentify_failed", "a TIFF strip whose LZW stream does not end")
        stop = int(stops[0])
        width = int(9 + np.searchsorted(np.cumsum(_STEPS), stop, side="right"))
        at = int(starts[stop]) + width
        if codes[stop] == _END:
            return -(-at // 8)


def _codes(stream: NDArray[np.uint8], at: int, end: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Bit offsets and values of the codes that follow a Clear code, as many as there could be."""
    count = min(_MOST_CODES, (end - at) // 9 + 1)
    widths = 9 + np.searchsorted(np.cumsum(_STEPS), np.arange(count), side="right")
    starts = at + np.concatenate(([0], np.cumsum(widths[:-1])))
    inside = starts + widths <= end
    starts, widths = starts[inside], widths[inside]
    byte = starts >> 3
    window = stream[byte].astype(np.int64) << 16 | stream[byte + 1].astype(np.int64) << 8 | stream[byte + 2]
    return starts, window >> (24 - (starts & 7) - widths) & ((1 << widths) - 1)
