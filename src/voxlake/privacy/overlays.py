"""Overlay planes (group 60xx): bitmaps over the image, in which text may be drawn.

Source: PS3.3 C.9.2; PS3.15 E.3.3, Clean Graphics Option.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from voxlake.core.errors import ItemError
from voxlake.dicom.nodes import Item, Leaf

__all__ = ["can_clean", "clean_overlay", "embedded_overlays", "is_graphics", "without_overlay_bits"]

_ROWS, _COLUMNS, _FRAMES = 0x0010, 0x0011, 0x0015
_BITS_ALLOCATED, _BIT_POSITION, _DATA = 0x0100, 0x0102, 0x3000
_IMAGE_BITS, _IMAGE_STORED, _IMAGE_HIGH = 0x00280100, 0x00280101, 0x00280102
_PIXELS = 0x7FE00010
_LARGEST = 2**28
# Letters are small shapes, and a line of touching letters is a flat one. What is at least this high and wide
# is an outline or a region of interest.
_SMALLEST_SHAPE = 64


def is_graphics(tag: int) -> bool:
    """Say whether a tag lies in a group of curves (50xx) or overlays (60xx)."""
    return 0x5000 <= tag >> 16 <= 0x50FF or 0x6000 <= tag >> 16 <= 0x60FF


def clean_overlay(item: Item, group: int) -> bytes | None:
    """Return an overlay plane without its small shapes, or None where it cannot be cleaned.

    Every connected shape that is lower or narrower than 64 pixels goes, as letters and digits are.
    Curves (50xx) cannot be cleaned: what their numbers draw is not known.

    Parameters
    ----------
    item : Item
        The data set around.
    group : int
        60xx.

    Returns
    -------
    bytes or None
        As long as the original, the same order of bits.
    """
    shape = _shape(item, group)
    data = item.leaf(group << 16 | _DATA)
    if shape is None or data is None:
        return None
    bits = shape[0] * shape[1] * shape[2]
    planes = np.unpackbits(np.frombuffer(data.value, np.uint8), bitorder="little")[:bits]
    kept = np.stack([_large_shapes(plane) for plane in planes.reshape(shape)])
    packed = np.packbits(kept.reshape(-1), bitorder="little").tobytes()
    return packed + b"\0" * (len(data.value) - len(packed))


def can_clean(item: Item, group: int) -> bool:
    """Say whether `clean_overlay` can clean the plane of a group."""
    return _shape(item, group) is not None


def embedded_overlays(item: Item) -> bool:
    """Say whether overlays lie in unused bits of the pixels (retired in 2004, still met)."""
    groups = {node.tag >> 16 for node in item.nodes if 0x6000 <= node.tag >> 16 <= 0x60FF}
    return any(
        item.leaf(group << 16 | _DATA) is None and (_number(item, group << 16 | _BIT_POSITION) or 0) > 0
        for group in groups
    )


def without_overlay_bits(item: Item) -> Leaf | None:
    """Return the pixel data with all bits that are not of the image set to zero; None where there are none.

    Compressed pixels are not touched: `voxlake.privacy.pixels` holds such objects back.

    Raises
    ------
    ItemError
        ``pixels_unchecked``: overlays in pixels whose layout is not known.
    """
    pixels = item.leaf(_PIXELS)
    if pixels is None or pixels.undefined:
        return None
    allocated, stored, high = (_number(item, tag) for tag in (_IMAGE_BITS, _IMAGE_STORED, _IMAGE_HIGH))
    known = allocated in (8, 16, 32) and stored and high is not None and stored - 1 <= high < allocated
    if not known or allocated is None or stored is None or high is None:
        raise ItemError(
            "pixels_unchecked",
            "overlays lie in unused bits of pixels that are not described; move them to (60xx,3000)",
        )
    order = "<" if item.encoding.little else ">"
    if len(pixels.value) % (allocated // 8):
        raise ItemError("pixels_unchecked", "overlays lie in pixels of a length that does not fit their bits")
    values = np.frombuffer(pixels.value, np.dtype(f"{order}u{allocated // 8}"))
    mask = ((1 << stored) - 1) << (high + 1 - stored)
    # NumPy computes in the byte order of the machine.
    kept = (values & values.dtype.type(mask)).astype(values.dtype)
    return pixels._replace(value=kept.tobytes())


def _large_shapes(plane: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    # SciPy takes a tenth of a second to load, and few objects have overlays.
    from scipy import ndimage

    labels, _ = ndimage.label(plane, structure=np.ones((3, 3), int))
    large = [
        number
        for number, place in enumerate(ndimage.find_objects(labels), start=1)
        if min(axis.stop - axis.start for axis in place) >= _SMALLEST_SHAPE
    ]
    return np.isin(labels, large).astype(np.uint8)


def _shape(item: Item, group: int) -> tuple[int, int, int] | None:
    if not 0x6000 <= group <= 0x60FF:
        return None
    data = item.leaf(group << 16 | _DATA)
    rows, columns = _number(item, group << 16 | _ROWS), _number(item, group << 16 | _COLUMNS)
    if data is None or rows is None or columns is None:
        return None
    stated = item.text(group << 16 | _FRAMES)
    frames = int(stated) if stated.isascii() and stated.isdecimal() and len(stated) < 9 else 1
    bits = rows * columns * frames
    return (frames, rows, columns) if 0 < bits <= min(_LARGEST, len(data.value) * 8) else None


def _number(item: Item, tag: int) -> int | None:
    leaf = item.leaf(tag)
    if leaf is None or len(leaf.value) != 2:
        return None
    return int.from_bytes(leaf.value, "little" if item.encoding.little else "big")
