"""Frames without compression, of any number of bits, to arrays."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import ItemError
from voxlake.dicom.layout import Layout

__all__ = ["cut_bits", "inflate_frame", "unpack_frames"]

Array = NDArray[Any]


def unpack_frames(raw: bytes, layout: Layout, frames: int, *, planar: bool) -> Array:
    """Unpack little-endian frames that stand end to end (PS3.5 section 8.1.1).

    Cells of fewer or more bits than whole words follow each other without gap, over the ends of bytes and
    frames, the lowest bit first; 12 bits allocated are such cells.

    Parameters
    ----------
    raw : bytes
        At least the bytes that `frames` of this layout take.
    layout : Layout
        What the header says.
    frames : int
        Number of frames in `raw`.
    planar : bool
        Whether the samples stand plane by plane (PlanarConfiguration 1).

    Returns
    -------
    array
        Shape (frames, rows, columns) or (frames, rows, columns, samples); cells as unsigned numbers of the
        next greater type, sign and unused bits as they stand. Colour that pixels share is spread.
    """
    halved = layout.shares_colour
    per_frame = layout.values_per_frame // 3 * 2 if halved else layout.values_per_frame
    cells = _cells(raw, layout.allocated, layout.word, frames * per_frame)
    if halved:
        # Y1 Y2 Cb Cr (PS3.3 section C.7.6.3.1.2).
        pairs = cells.reshape(frames, layout.rows, layout.columns // 2, 4)
        bright = pairs[..., :2].reshape(frames, layout.rows, layout.columns, 1)
        return np.concatenate((bright, np.repeat(pairs[..., 2:], 2, axis=2)), axis=-1)
    if layout.samples == 1:
        return cells.reshape(frames, layout.rows, layout.columns)
    if planar:
        planes = cells.reshape(frames, layout.samples, layout.rows, layout.columns)
        return np.moveaxis(planes, 1, -1)
    return cells.reshape(frames, layout.rows, layout.columns, layout.samples)


def cut_bits(values: Array, layout: Layout) -> Array:
    """Keep the stored bits of each cell, signed or not as the header says.

    They are the lowest ones; what stands above them is no part of the value (PS3.5 section 8.1.1).
    """
    wide: Array = values.astype(f"{'i' if layout.signed else 'u'}{layout.word}", copy=False)
    size = layout.word * 8
    if layout.stored == size:
        return wide
    if layout.signed:
        return (wide << (size - layout.stored)) >> (size - layout.stored)
    kept: Array = wide & wide.dtype.type(2**layout.stored - 1)
    return kept


def inflate_frame(encoded: bytes, size: int) -> bytes:
    """Inflate one frame of Deflated Image Frame Compression (PS3.5 section 8.2.16, RFC 1951).

    Raises
    ------
    ItemError
        ``decode_error`` if it is damaged or of another size than `size` bytes and a padding byte,
        ``truncated`` if it has no end.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        raw = inflater.decompress(encoded, size + 2)
    except zlib.error:
        raise ItemError("decode_error", "a deflated frame is damaged") from None
    if len(raw) < size or not (inflater.eof or len(raw) > size + 1):
        raise ItemError("truncated", f"a deflated frame has {len(raw)} bytes or no end, expected {size}")
    if len(raw) > size + 1:
        raise ItemError("decode_error", f"a deflated frame holds more than the {size} bytes announced")
    return raw


def _cells(raw: bytes, bits: int, word: int, count: int) -> Array:
    if bits == 8 * word:
        return np.frombuffer(raw, dtype=f"<u{word}", count=count)
    if bits == 1:
        return np.unpackbits(np.frombuffer(raw, np.uint8), count=count, bitorder="little")
    if bits % 8 == 0:
        whole = np.zeros((count, word), np.uint8)
        whole[:, : bits // 8] = np.frombuffer(raw, np.uint8, count * bits // 8).reshape(count, bits // 8)
        return whole.view(f"<u{word}").reshape(count)
    single = np.unpackbits(np.frombuffer(raw, np.uint8), count=count * bits, bitorder="little")
    padded = np.zeros((count, 8 * word), np.uint8)
    padded[:, :bits] = single.reshape(count, bits)
    return np.packbits(padded, axis=1, bitorder="little").view(f"<u{word}").reshape(count)
