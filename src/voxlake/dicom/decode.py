"""Pixel data to values. Which decoder reads which transfer syntax: docs/decisions/0003-decoders.md."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments, generate_frames, parse_basic_offsets
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from voxlake.core.errors import ItemError
from voxlake.dicom.codecs import CODECS, Frame, decode_frame
from voxlake.dicom.colour import to_rgb
from voxlake.dicom.guard import PYDICOM_ERRORS, quiet
from voxlake.dicom.layout import Layout, check_compressed, read_layout, transfer_syntax

__all__ = ["decode_pixels"]

Array = NDArray[Any]

# First bytes of a JPEG or JPEG-LS and of a JPEG 2000 codestream.
_STARTS = (b"\xff\xd8", b"\xff\x4f")


def decode_pixels(dataset: Dataset, *, limit: int = 4 * 2**30) -> Array:
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
        uint8. Colour of any kind as RGB, palettes included.

    Raises
    ------
    ItemError
        ``no_pixels``, ``decode_error`` (also if the number of frames is not as announced, or over `limit`),
        ``truncated``, ``unsupported_transfer_syntax``, ``unsupported_photometric``.
    """
    with quiet():
        layout = read_layout(dataset)
        syntax = transfer_syntax(dataset)
        if layout.decoded_bytes > limit:
            raise ItemError(
                "decode_error",
                f"the header announces {layout.decoded_bytes} bytes of pixels, the limit is {limit}",
            )
        try:
            values, photometric = _decode(dataset, layout, syntax)
            colours = to_rgb(values, photometric, dataset)
        except PYDICOM_ERRORS as error:
            # Of pydicom's and the codecs' messages only the type: they may quote values.
            kind = type(error).__name__
            raise ItemError("decode_error", f"the pixel data cannot be decoded: {kind}") from None
    return np.ascontiguousarray(colours, dtype=colours.dtype.newbyteorder("="))


def _decode(dataset: Dataset, layout: Layout, syntax: UID) -> tuple[Array, str]:
    if syntax in CODECS:
        return _decode_encapsulated(dataset, layout, syntax)
    if syntax.is_private or not syntax.is_transfer_syntax or syntax.is_compressed:
        raise ItemError("unsupported_transfer_syntax", f"no decoder for transfer syntax {syntax[:64]}")
    return _decode_native(dataset, layout, syntax)


def _decode_native(dataset: Dataset, layout: Layout, syntax: UID) -> tuple[Array, str]:
    there = len(dataset[_pixel_keyword(dataset)].value)
    needed = layout.native_bytes
    if there < needed:
        raise ItemError("truncated", f"the header announces {needed} bytes of pixels, there are {there}")
    if there >= needed // layout.frames * (layout.frames + 1) and there > needed + 1:
        raise ItemError(
            "decode_error",
            f"the header announces {layout.frames} frames of {needed // layout.frames} bytes, "
            f"there are {there} bytes",
        )
    values, properties = get_decoder(syntax).as_array(dataset, raw=True)
    return values.reshape(_shape(layout)), str(properties["photometric_interpretation"])


def _decode_encapsulated(dataset: Dataset, layout: Layout, syntax: UID) -> tuple[Array, str]:
    if layout.floating or layout.allocated == 1:
        raise ItemError("decode_error", "compressed pixel data must be integers of whole bytes")
    check_compressed(layout, len(dataset.PixelData), syntax)
    frames = _encoded_frames(dataset, layout.frames)
    values = np.empty(_shape(layout), dtype=f"{'i' if layout.signed else 'u'}{layout.allocated // 8}")
    photometric = layout.photometric
    for index, encoded in enumerate(frames):
        shape = (layout.rows, layout.columns, layout.samples)
        frame = decode_frame(encoded, syntax, shape, layout.allocated)
        values[index] = _stored(frame, layout)
        photometric = _photometric(frame, layout)
    return values, photometric


def _encoded_frames(dataset: Dataset, count: int) -> list[bytes]:
    data = dataset.PixelData
    tables = (dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths"))
    extended = (tables[0], tables[1]) if tables[0] and tables[1] else None
    frames = list(generate_frames(data, number_of_frames=count, extended_offsets=extended))
    found = len(frames)
    if count == 1 and extended is None and not parse_basic_offsets(data):
        # Without offsets pydicom joins all fragments of what it is told is one frame.
        starts = sum(fragment.startswith(_STARTS) for fragment in generate_fragments(data[_skip(data) :]))
        found = max(found, starts)
    if found != count:
        raise ItemError("decode_error", f"the header announces {count} frames, the pixel data hold {found}")
    return frames


def _skip(data: bytes) -> int:
    # The item of the basic offset table: tag, length, offsets.
    return 8 + int.from_bytes(data[4:8], "little")


def _stored(frame: Frame, layout: Layout) -> Array:
    """Bring what a codec gives to the stored values, in a type of the allocated size.

    JPEG, JPEG-LS and RLE know no sign: a signed sample comes as the bits of its two's complement. JPEG 2000
    knows it, but writers set it wrongly; then the bits are read as the header says.
    """
    values = frame.values
    precision = frame.header.precision if frame.header is not None else layout.stored
    if precision > layout.allocated:
        raise ValueError(f"{precision} bits in the codestream, {layout.allocated} bits allocated")
    if frame.header is not None and frame.header.signed is not None:
        agrees = frame.header.signed == layout.signed
        return values if agrees else _reread(values, precision, layout)
    return _reread(values, min(precision, layout.stored), layout)


def _reread(values: Array, bits: int, layout: Layout) -> Array:
    """The lowest `bits` of each value, signed or not as the header says."""
    kind = "i" if layout.signed else "u"
    # The cast keeps the bits (widening a signed value repeats its sign, which the shifts then cut off).
    wide = values.astype(f"{kind}{layout.allocated // 8}")
    shift = wide.dtype.itemsize * 8 - bits
    return (wide << shift) >> shift if shift else wide


def _photometric(frame: Frame, layout: Layout) -> str:
    """What the decoded values are, from codestream and header."""
    if layout.samples == 1:
        return layout.photometric
    if frame.transformed and layout.photometric in ("YBR_ICT", "YBR_RCT"):
        return "RGB"
    stated = "YBR_FULL" if layout.photometric == "YBR_FULL_422" else layout.photometric
    return (frame.header.colour if frame.header is not None else None) or stated


def _shape(layout: Layout) -> tuple[int, ...]:
    sizes = (layout.frames, layout.rows, layout.columns)
    return sizes if layout.samples == 1 else (*sizes, layout.samples)


def _pixel_keyword(dataset: Dataset) -> str:
    keywords = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
    return next(keyword for keyword in keywords if keyword in dataset)
