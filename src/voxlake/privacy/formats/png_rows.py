"""Rows of a PNG image: their lengths, their values without the filters, the bits behind their ends.

Only palettes and images of less than a byte a pixel need this; all other pixels are never looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import ItemError

__all__ = ["Layout", "has_loose_bits", "masked_rows", "used_levels"]

# First column, first row, step across and down of the passes of Adam7 (PNG 8.1).
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_AVERAGE = 3


@dataclass(frozen=True)
class Layout:
    """How rows lie in the stream.

    Attributes
    ----------
    columns, rows : int
        Size of the image.
    bits : int
        Bits of a pixel, all samples.
    interlaced : bool
        Whether the rows come in the seven passes of Adam7.
    """

    columns: int
    rows: int
    bits: int
    interlaced: bool

    @property
    def passes(self) -> list[tuple[int, int]]:
        """(columns, rows) of each pass that is not empty."""
        if not self.interlaced:
            return [(self.columns, self.rows)]
        sizes = [
            (-(-(self.columns - left) // across), -(-(self.rows - top) // down))
            for left, top, across, down in _ADAM7
        ]
        return [(columns, rows) for columns, rows in sizes if columns > 0 and rows > 0]

    def width(self, columns: int) -> int:
        """Bytes of a row of so many pixels, without its filter byte."""
        return (columns * self.bits + 7) // 8

    @property
    def length(self) -> int:
        """Bytes of the unpacked stream."""
        return sum(rows * (1 + self.width(columns)) for columns, rows in self.passes)

    @property
    def loose_bits(self) -> bool:
        """Whether some rows end within a byte."""
        return any(columns * self.bits % 8 for columns, _ in self.passes)


def used_levels(pieces: Iterator[bytes], layout: Layout) -> NDArray[np.bool_]:
    """Say which values occur in an image of one sample a pixel.

    Parameters
    ----------
    pieces : iterator of bytes
        The unpacked stream.
    layout : Layout
        Its rows; at most 8 bits a pixel.

    Returns
    -------
    ndarray of bool, shape (256,)
    """
    used = np.zeros(256, dtype=np.bool_)
    for row, columns in _rows(pieces, layout):
        used[_levels(row, layout.bits)[:columns]] = True
    return used


def has_loose_bits(pieces: Iterator[bytes], layout: Layout) -> bool:
    """Say whether bits are set behind the end of a row.

    Parameters
    ----------
    pieces : iterator of bytes
        The unpacked stream.
    layout : Layout
        Its rows; less than 8 bits a pixel.
    """
    return any(int(row[-1]) & ~_mask(columns, layout) for row, columns in _rows(pieces, layout))


def masked_rows(pieces: Iterator[bytes], layout: Layout) -> Iterator[bytes]:
    """Rows without filters and without bits behind their ends; parameters as `has_loose_bits`."""
    for row, columns in _rows(pieces, layout):
        yield b"\0" + row[:-1].tobytes() + bytes([int(row[-1]) & _mask(columns, layout)])


def _mask(columns: int, layout: Layout) -> int:
    return 0xFF & (0xFF << (-columns * layout.bits % 8))


def _levels(row: NDArray[np.uint8], bits: int) -> NDArray[Any]:
    if bits == 8:
        return row
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    return ((row[:, np.newaxis] >> shifts) & ((1 << bits) - 1)).ravel()


def _rows(pieces: Iterator[bytes], layout: Layout) -> Iterator[tuple[NDArray[np.uint8], int]]:
    """Rows without their filters, with their columns."""
    held = bytearray()
    for columns, rows in layout.passes:
        width = layout.width(columns)
        above = np.zeros(width, dtype=np.uint8)
        for _ in range(rows):
            while len(held) < 1 + width:
                held += next(pieces)
            coded = np.frombuffer(bytes(held[1 : 1 + width]), dtype=np.uint8)
            above = _unfiltered(held[0], coded, above)
            del held[: 1 + width]
            yield above, columns


def _unfiltered(kind: int, coded: NDArray[np.uint8], above: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Undo a filter of images whose pixels have at most one byte (PNG 9.2)."""
    match kind:
        case 0:
            return coded
        case 1:
            return np.cumsum(coded, dtype=np.uint8)
        case 2:
            return coded + above
        case 3 | 4:
            return _predicted(kind, coded.tolist(), above.tolist())
        case _:
            raise ItemError("deidentify_failed", f"a PNG row with the unknown filter {kind}")


def _predicted(kind: int, coded: list[int], above: list[int]) -> NDArray[np.uint8]:
    left = corner = 0
    row = bytearray(len(coded))
    for n, (value, up) in enumerate(zip(coded, above, strict=True)):
        guess = (left + up) >> 1 if kind == _AVERAGE else _paeth(left, up, corner)
        row[n] = left = (value + guess) & 0xFF
        corner = up
    return np.frombuffer(bytes(row), dtype=np.uint8)


def _paeth(left: int, up: int, corner: int) -> int:
    across, down, both = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
    if across <= down and across <= both:
        return left
    return up if down <= both else corner
