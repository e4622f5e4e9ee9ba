"""Colour of any photometric interpretation to RGB."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut

from voxlake.core.errors import ItemError
from voxlake.dicom.elements import raw_values, whole
from voxlake.dicom.layout import transfer_syntax

__all__ = ["to_rgb"]

Array = NDArray[Any]

# Weights of red and blue in the brightness of ITU-R BT.601, from which PS3.3 section C.7.6.3.1.2 and
# ITU-T T.871 section 7 derive the others.
_RED, _BLUE = 0.299, 0.114
_GREEN = 1 - _RED - _BLUE


def to_rgb(values: Array, photometric: str, dataset: Dataset) -> Array:
    """Bring decoded values to RGB; grey values are returned untouched, MONOCHROME1 as well.

    Parameters
    ----------
    values : array
        Shape (frames, rows, columns) or (frames, rows, columns, 3).
    photometric : str
        What the values are now: MONOCHROME1, MONOCHROME2, RGB, YBR_FULL or YBR_PARTIAL_422 (chroma at full
        resolution), or PALETTE COLOR.
    dataset : Dataset
        Holds the palette and BitsStored.

    Raises
    ------
    ItemError
        ``unsupported_photometric``; ``decode_error`` for a palette that is not one.
    """
    if photometric in ("MONOCHROME1", "MONOCHROME2", "RGB"):
        return values
    if photometric == "YBR_FULL" and values.dtype == np.uint8:
        return _full_to_rgb(values)
    if photometric == "YBR_FULL" and values.dtype.kind == "u":
        return _deep_to_rgb(values, whole(dataset, "BitsStored") or values.dtype.itemsize * 8)
    if photometric == "YBR_PARTIAL_422" and values.dtype == np.uint8:
        return _partial_to_rgb(values)
    if photometric == "PALETTE COLOR":
        return _through_palette(values, dataset)
    raise ItemError(
        "unsupported_photometric", f"'{photometric}' with {values.dtype.itemsize * 8} bits cannot become RGB"
    )


def _full_to_rgb(values: Array) -> Array:
    """YBR_FULL of 8 bits: colour differences by table, which gives the same as the formula, rounded."""
    red, green, blue = _differences()
    result = np.empty_like(values)
    for index, frame in enumerate(values):
        bright = frame[..., 0].astype(np.int16)
        pair = frame[..., 1].astype(np.uint16) << 8 | frame[..., 2]
        for channel, change in ((0, red[frame[..., 2]]), (1, green[pair]), (2, blue[frame[..., 1]])):
            result[index, ..., channel] = np.clip(bright + change, 0, 255)
    return result


@lru_cache(maxsize=1)
def _differences() -> tuple[Array, Array, Array]:
    """What red (by Cr), green (by Cb << 8 | Cr) and blue (by Cb) differ from the brightness."""
    centred = np.arange(256) - 128.0
    red, blue = 2 * (1 - _RED) * centred, 2 * (1 - _BLUE) * centred
    green = -(_BLUE * blue[:, None] + _RED * red) / _GREEN
    # The brightness is whole, so that rounding the difference rounds the sum.
    rounded = [np.floor(change + 0.5).astype(np.int16) for change in (red, green.ravel(), blue)]
    return rounded[0], rounded[1], rounded[2]


def _deep_to_rgb(values: Array, bits: int) -> Array:
    """YBR_FULL of more than 8 bits: the same with the middle of the greater range."""
    result = np.empty_like(values)
    for index, frame in enumerate(values):
        bright = frame[..., 0].astype(np.float64)
        blue, red = (frame[..., channel] - float(2 ** (bits - 1)) for channel in (1, 2))
        red, blue = bright + 2 * (1 - _RED) * red, bright + 2 * (1 - _BLUE) * blue
        green = (bright - _RED * red - _BLUE * blue) / _GREEN
        for channel, colour in enumerate((red, green, blue)):
            result[index, ..., channel] = np.clip(np.floor(colour + 0.5), 0, 2**bits - 1)
    return result


def _partial_to_rgb(values: Array) -> Array:
    """YBR_PARTIAL_422: brightness from 16 to 235, colour from 16 to 240 (ITU-R BT.601)."""
    result = np.empty_like(values)
    for index, frame in enumerate(values):
        bright = (frame[..., 0] - 16.0) * (255 / 219)
        blue, red = ((frame[..., channel] - 128.0) * (255 / 224) for channel in (1, 2))
        red, blue = bright + 2 * (1 - _RED) * red, bright + 2 * (1 - _BLUE) * blue
        green = (bright - _RED * red - _BLUE * blue) / _GREEN
        for channel, colour in enumerate((red, green, blue)):
            result[index, ..., channel] = np.clip(np.floor(colour + 0.5), 0, 255)
    return result


def _through_palette(values: Array, dataset: Dataset) -> Array:
    """Apply the palette (PS3.3 section C.7.6.3.1.5), uint8 or uint16 as its entries are.

    Plain tables are not left to pydicom: it reads neither a padded table of 8 bits with an odd number of
    entries nor an index above 255 into a table of 8 bits, and takes tables of big-endian files in the
    order of the machine.
    """
    if "RedPaletteColorLookupTableData" not in dataset:
        # Segmented tables (section C.7.9.2). A fourth channel is opacity, which is no colour.
        segmented: Array = apply_color_lut(values, dataset)
        return segmented[..., :3]
    tables, first = _palette(dataset)
    result = np.empty((*values.shape, 3), dtype=tables.dtype)
    for index, frame in enumerate(values):
        places = np.clip(frame.astype(np.int64) - first, 0, tables.shape[1] - 1)
        result[index] = np.moveaxis(tables[:, places], 0, -1)
    return result


def _palette(dataset: Dataset) -> tuple[Array, int]:
    """The three tables, shape (3, entries), and the pixel value of the first entry."""
    count, first, bits = (int(value) for value in raw_values(dataset, "RedPaletteColorLookupTableDescriptor"))
    # 65536 does not fit its 16 bits and is written as 0.
    entries = (count & 0xFFFF) or 2**16
    if whole(dataset, "PixelRepresentation") != 1:
        first &= 0xFFFF
    order = "<" if transfer_syntax(dataset).is_little_endian else ">"
    colours = [_table(dataset, colour, entries, order) for colour in ("Red", "Green", "Blue")]
    tables = np.stack(colours)
    if bits == 8 and tables.dtype.itemsize == 2 and tables.max() <= 255:
        # Entries of 8 bits in words of 16.
        tables = tables.astype(np.uint8)
    return tables, first


def _table(dataset: Dataset, colour: str, entries: int, order: str) -> Array:
    values = raw_values(dataset, f"{colour}PaletteColorLookupTableData")
    raw = values[0] if values and isinstance(values[0], bytes) else None
    if raw is None:
        table: Array = np.asarray(values, dtype=np.uint16)
    elif len(raw) >= 2 * entries:
        table = np.frombuffer(raw, dtype=f"{order}u2").astype(np.uint16)
    else:
        table = np.frombuffer(raw, dtype=np.uint8)
    if len(table) < entries:
        raise ItemError("decode_error", f"a palette of {entries} colours has only {len(table)}")
    return table[:entries]
