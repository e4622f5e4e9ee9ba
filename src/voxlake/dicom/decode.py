"""Pixel data to values. Which decoder reads which transfer syntax: docs/concepts/pixels.md."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from voxlake.core.errors import ItemError
from voxlake.dicom.codecs import CODECS, Frame, decode_frame
from voxlake.dicom.colour import to_rgb
from voxlake.dicom.elements import whole
from voxlake.dicom.encapsulated import split_frames
from voxlake.dicom.guard import PYDICOM_ERRORS, quiet
from voxlake.dicom.layout import (
    DEFLATED_FRAMES,
    UNCOMPRESSED_FRAMES,
    Layout,
    check_compressed,
    read_layout,
    transfer_syntax,
)
from voxlake.dicom.native import cut_bits, inflate_frame, unpack_frames

__all__ = ["Pixels", "decode_encapsulated", "decode_pixels", "stored_values"]

Array = NDArray[Any]

_WORDS = (1, 8, 16, 32, 64)
LIMIT = 4 * 2**30
"""Largest size of decoded values in bytes, by default."""


class Pixels(NamedTuple):
    """Encapsulated pixel data and what the header says about them.

    Parameters
    ----------
    layout : Layout
        Image Pixel module.
    syntax : UID
        Transfer syntax.
    data : bytes
        Items, the offset table first.
    extended : tuple of bytes, optional
        Extended offset table and lengths.
    planar : bool
        PlanarConfiguration 1; codecs have an order of their own.
    """

    layout: Layout
    syntax: UID
    data: bytes
    extended: tuple[bytes, bytes] | None = None
    planar: bool = False


def decode_pixels(dataset: Dataset, *, limit: int = LIMIT) -> Array:
    """Decode all frames.

    Parameters
    ----------
    dataset : Dataset
        From `voxlake.dicom.read.read_dataset`.
    limit : int
        Largest size of the decoded values in bytes.

    Returns
    -------
    array
        Shape (frames, rows, columns) or (frames, rows, columns, 3), in native byte order. Stored values: no
        rescale, no window, MONOCHROME1 as it is; signed where PixelRepresentation says so; single bits as
        uint8, other odd sizes in the next greater type. Colour of any kind as RGB, palettes included.

    Raises
    ------
    ItemError
        ``no_pixels``, ``decode_error`` (also if the number of frames is not as announced, or over `limit`),
        ``truncated``, ``unsupported_transfer_syntax``, ``unsupported_photometric``.
    """
    with quiet():
        values, photometric = _guarded(dataset, limit)
        try:
            colours = to_rgb(values, photometric, dataset)
        except PYDICOM_ERRORS as error:
            raise _failed(error) from None
    return np.ascontiguousarray(colours, dtype=colours.dtype.newbyteorder("="))


def stored_values(dataset: Dataset, *, limit: int = LIMIT) -> Array:
    """Decode all frames and leave the colours as the file has them: indices of palettes, samples of YBR.

    Parameters, shape and errors are those of `decode_pixels`.
    """
    with quiet():
        values, _ = _guarded(dataset, limit)
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))


def decode_encapsulated(pixels: Pixels) -> tuple[Array, str]:
    """Decode all frames of encapsulated pixel data.

    Returns
    -------
    tuple of array and str
        Stored values in native byte order, and what photometric interpretation they are in now.

    Raises
    ------
    ItemError
        ``decode_error``, ``truncated``.
    ValueError, RuntimeError
        From the codecs.
    """
    layout, syntax = pixels.layout, pixels.syntax
    if layout.floating:
        raise ItemError("decode_error", "encapsulated pixel data must be integers")
    framed = syntax in (DEFLATED_FRAMES, UNCOMPRESSED_FRAMES)
    if layout.allocated % 8 and not framed:
        raise ItemError("decode_error", "compressed pixel data must be integers of whole bytes")
    check_compressed(layout, len(pixels.data), syntax)
    frames = split_frames(pixels.data, layout.frames, pixels.extended)
    if framed:
        return _unpacked(frames, pixels), _native_colour(layout)
    shape = (layout.rows, layout.columns, layout.samples)
    dtype = f"{'i' if layout.signed else 'u'}{layout.word}"
    if len(frames) == 1:
        frame = decode_frame(frames[0], syntax, shape, layout.allocated)
        return _stored(frame, layout).astype(dtype, copy=False)[np.newaxis], _photometric(frame, layout)
    values = np.empty(_shape(layout), dtype=dtype)
    photometric = layout.photometric
    for index, encoded in enumerate(frames):
        frame = decode_frame(encoded, syntax, shape, layout.allocated)
        values[index] = _stored(frame, layout)
        photometric = _photometric(frame, layout)
    return values, photometric


def _guarded(dataset: Dataset, limit: int) -> tuple[Array, str]:
    layout = read_layout(dataset)
    syntax = transfer_syntax(dataset)
    if layout.decoded_bytes > limit:
        raise ItemError(
            "decode_error",
            f"the header announces {layout.decoded_bytes} bytes of pixels, the limit is {limit}",
        )
    try:
        return _decode(dataset, layout, syntax)
    except PYDICOM_ERRORS as error:
        raise _failed(error) from None


def _failed(error: Exception) -> ItemError:
    # Of pydicom's and the codecs' messages only the type: they may quote values.
    return ItemError("decode_error", f"the pixel data cannot be decoded: {type(error).__name__}")


def _decode(dataset: Dataset, layout: Layout, syntax: UID) -> tuple[Array, str]:
    planar = layout.samples > 1 and whole(dataset, "PlanarConfiguration") == 1
    if syntax in CODECS or syntax in (DEFLATED_FRAMES, UNCOMPRESSED_FRAMES):
        tables = (dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths"))
        extended = (tables[0], tables[1]) if tables[0] and tables[1] else None
        data = b"" if layout.floating else dataset.PixelData
        return decode_encapsulated(Pixels(layout, syntax, data, extended, planar))
    if syntax.is_private or not syntax.is_transfer_syntax or syntax.is_compressed:
        raise ItemError("unsupported_transfer_syntax", f"no decoder for transfer syntax {syntax[:64]}")
    return _decode_native(dataset, layout, syntax, planar=planar)


def _decode_native(dataset: Dataset, layout: Layout, syntax: UID, *, planar: bool) -> tuple[Array, str]:
    data = dataset[_pixel_keyword(dataset)].value
    there, needed = len(data), layout.native_bytes
    if there < needed:
        raise ItemError("truncated", f"the header announces {needed} bytes of pixels, there are {there}")
    odd = layout.allocated not in _WORDS
    if there > needed + 1 and (odd or there >= needed // layout.frames * (layout.frames + 1)):
        raise ItemError(
            "decode_error",
            f"the header announces {layout.frames} frames of {needed // layout.frames} bytes, "
            f"there are {there} bytes",
        )
    if odd or layout.photometric == "YBR_PARTIAL_422":
        if not syntax.is_little_endian:
            message = f"{layout.allocated} bits allocated in big-endian order"
            raise ItemError("decode_error", message)
        values = cut_bits(unpack_frames(data, layout, layout.frames, planar=planar), layout)
        return values, _native_colour(layout)
    values, properties = get_decoder(syntax).as_array(dataset, raw=True)
    return values.reshape(_shape(layout)), str(properties["photometric_interpretation"])


def _unpacked(frames: list[bytes], pixels: Pixels) -> Array:
    """Frames that are native each for itself (PS3.5 annexes A.4.11 and A.4.13)."""
    layout = pixels.layout
    size = layout.native_bytes_of(1)
    values = np.empty(_shape(layout), dtype=f"{'i' if layout.signed else 'u'}{layout.word}")
    for index, encoded in enumerate(frames):
        raw = inflate_frame(encoded, size) if pixels.syntax == DEFLATED_FRAMES else encoded
        if not size <= len(raw) <= size + 1:
            message = f"a frame of {len(raw)} bytes, the header announces {size}"
            raise ItemError("truncated" if len(raw) < size else "decode_error", message)
        values[index] = cut_bits(unpack_frames(raw, layout, 1, planar=pixels.planar), layout)[0]
    return values


def _stored(frame: Frame, layout: Layout) -> Array:
    """Bring what a codec gives to the stored values, in a type of the allocated size.

    JPEG, JPEG-LS, JPEG XL and RLE know no sign: a signed sample comes as the bits of its two's complement.
    JPEG 2000 knows it, but writers set it wrongly; then the bits are read as the header says.
    """
    values = frame.values
    if frame.header is None:
        return cut_bits(values, layout)
    precision = frame.header.precision
    if precision > layout.allocated:
        raise ValueError(f"{precision} bits in the codestream, {layout.allocated} bits allocated")
    if frame.header.signed is not None:
        agrees = frame.header.signed == layout.signed
        return values if agrees else _reread(values, precision, layout)
    return _reread(values, min(precision, layout.stored), layout)


def _reread(values: Array, bits: int, layout: Layout) -> Array:
    """The lowest `bits` of each value, signed or not as the header says."""
    size = layout.word * 8
    if not layout.signed:
        kept = values.astype(f"u{layout.word}", copy=False)
        return kept if bits == size else np.bitwise_and(kept, kept.dtype.type(2**bits - 1))
    # The cast keeps the bits (widening a signed value repeats its sign, which the shifts then cut off).
    wide = values.astype(f"i{layout.word}", copy=False)
    shift = size - bits
    return (wide << shift) >> shift if shift else wide


def _photometric(frame: Frame, layout: Layout) -> str:
    """What the decoded values are, from codestream and header."""
    if layout.samples == 1:
        return layout.photometric
    if frame.transformed and layout.photometric in ("YBR_ICT", "YBR_RCT", "XYB"):
        return "RGB"
    return (frame.header.colour if frame.header is not None else None) or _native_colour(layout)


def _native_colour(layout: Layout) -> str:
    # Decoded, every pixel has its own colour again.
    return "YBR_FULL" if layout.photometric == "YBR_FULL_422" else layout.photometric


def _shape(layout: Layout) -> tuple[int, ...]:
    sizes = (layout.frames, layout.rows, layout.columns)
    return sizes if layout.samples == 1 else (*sizes, layout.samples)


def _pixel_keyword(dataset: Dataset) -> str:
    keywords = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
    return next(keyword for keyword in keywords if keyword in dataset)
