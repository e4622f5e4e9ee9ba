"""Strips and tiles of TIFF files: from bytes to values."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import ItemError
from voxlake.privacy.formats.tiff_tags import DEFLATE, JPEG, LZW, NONE, OLD_DEFLATE, PACKBITS, Page

__all__ = ["Block", "check_ratio", "decode_block"]

# Most bytes that one byte of a stream can become: a code of 12 bits for 4,096 bytes, two bytes for 128.
_RATIOS = {NONE: 1, LZW: 2731, PACKBITS: 64, DEFLATE: 1100, OLD_DEFLATE: 1100, JPEG: 512}
_HORIZONTAL, _FLOATING = 2, 3


@dataclass(frozen=True)
class Block:
    """One strip or tile as stored."""

    number: int
    data: bytes = field(repr=False)


def check_ratio(block: Block, page: Page) -> None:
    """Refuse a strip or tile whose bytes cannot hold what the directory announces.

    Raises
    ------
    ItemError
        ``truncated``.
    """
    length = page.row * page.block_rows(block.number)
    if length > len(block.data) * _RATIOS[page.compression]:
        message = f"a TIFF strip or tile of {len(block.data):,} bytes cannot hold the {length:,} announced"
        raise ItemError("truncated", message)


def decode_block(
    block: Block,
    page: Page,
    kind: np.dtype[Any],
    *,
    predictor: int,
    tables: bytes,
    reverse: bool,
    ycbcr: bool,
) -> NDArray[Any]:
    """Values of a strip or tile.

    Parameters
    ----------
    block : Block
        As stored.
    page : Page
        What it belongs to.
    kind : dtype
        Type of a value, in the order of bytes of the file.
    predictor : int
        1 none, 2 differences along the row, 3 those of floating point numbers.
    tables : bytes
        Tables that its JPEG streams have in common.
    reverse : bool
        The first pixel of a byte is its lowest bit.
    ycbcr : bool
        Colours of JPEG streams are YCbCr.

    Returns
    -------
    array
        (rows, columns, samples) of the block, samples 1 if planes are apart.

    Raises
    ------
    ItemError
        ``truncated`` or ``decode_error``.
    """
    rows, samples = page.block_rows(block.number), 1 if page.planar else page.samples
    shape = (rows, page.width, samples)
    if page.compression == JPEG:
        return _jpeg(block.data, shape, tables, ycbcr=ycbcr)
    length = page.row * rows
    raw = _unpacked(block.data, page.compression, length)
    if len(raw) < length:
        raise ItemError("truncated", f"a TIFF strip or tile of {len(raw):,} bytes, expected {length:,}")
    if page.bits == 1:
        packed = np.frombuffer(raw, np.uint8, length).reshape(rows, -1)
        bits = np.unpackbits(packed, axis=1, bitorder="little" if reverse else "big")
        return np.asarray(bits[:, : page.width * samples].reshape(shape))
    if predictor == _FLOATING:
        return _from_floating(raw[:length], shape, kind)
    values = np.frombuffer(raw, dtype=kind, count=length // kind.itemsize).reshape(shape)
    native = values.astype(kind.newbyteorder("="))
    if predictor == _HORIZONTAL:
        if kind.kind == "f":
            raise ItemError("decode_error", "TIFF differences of numbers with fractions")
        # Sums run over, as the differences did.
        native = np.cumsum(native, axis=1, dtype=native.dtype)
    return native


def _unpacked(data: bytes, compression: int, length: int) -> bytes:
    if compression == NONE:
        return data
    if compression in (DEFLATE, OLD_DEFLATE):
        try:
            return zlib.decompressobj().decompress(data, length)
        except zlib.error:
            raise ItemError("decode_error", "a damaged deflate stream in the TIFF file") from None
    # Imported here since few files need it.
    import imagecodecs

    decode = imagecodecs.lzw_decode if compression == LZW else imagecodecs.packbits_decode
    try:
        return bytes(decode(data, out=length))
    except (RuntimeError, ValueError, OSError) as error:
        message = f"a damaged stream in the TIFF file ({type(error).__name__})"
        raise ItemError("decode_error", message) from None


def _jpeg(data: bytes, shape: tuple[int, int, int], tables: bytes, *, ycbcr: bool) -> NDArray[Any]:
    # As above.
    import imagecodecs

    colours: dict[str, Any] = {}
    if shape[2] == 3:
        colours = {"colorspace": "YCBCR" if ycbcr else "RGB", "outcolorspace": "RGB"}
    try:
        values = np.asarray(imagecodecs.jpeg8_decode(data, tables=tables or None, **colours))
    except (RuntimeError, ValueError, OSError, TypeError) as error:
        message = f"a damaged JPEG stream in the TIFF file ({type(error).__name__})"
        raise ItemError("decode_error", message) from None
    if values.dtype != np.uint8 or values.size != np.prod(shape):
        raise ItemError("decode_error", "a JPEG stream in the TIFF file is of another size than its tile")
    return values.reshape(shape)


def _from_floating(raw: bytes, shape: tuple[int, int, int], kind: np.dtype[Any]) -> NDArray[Any]:
    """Undo the differences of Adobe's TIFF Technical Note 3: bytes of a row sorted by significance."""
    rows, width, samples = shape
    if kind.kind != "f":
        raise ItemError("decode_error", "TIFF differences of fractions of numbers that have none")
    differences = np.frombuffer(raw, np.uint8).reshape(rows, width * kind.itemsize, samples)
    planes = np.cumsum(differences, axis=1, dtype=np.uint8).reshape(rows, kind.itemsize, width * samples)
    ordered = np.ascontiguousarray(planes.transpose(0, 2, 1)).view(kind.newbyteorder(">"))
    return ordered.astype(kind.newbyteorder("=")).reshape(shape)
