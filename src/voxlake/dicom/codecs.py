"""Decoders of compressed frames, one for each transfer syntax: see docs/decisions/0003-decoders.md.

All are functions of imagecodecs (BSD; libjpeg-turbo, CharLS, OpenJPEG, OpenJPH below it). None converts
colours or signs: that is decided in one place, `voxlake.dicom.decode`, from header and codestream.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from voxlake.core.errors import ItemError
from voxlake.dicom.codestream import (
    END_OF_CODESTREAM,
    Codestream,
    jpeg2000_header,
    jpeg_header,
    jpeg_xl_size,
)
from voxlake.dicom.layout import (
    JPEG_FULL_PROGRESSION,
    JPEG_SPECTRAL_SELECTION,
    JPEG_XL,
    JPEG_XL_LOSSLESS,
    JPEG_XL_RECOMPRESSION,
)

__all__ = ["CODECS", "Frame", "decode_frame"]

Array = NDArray[Any]

# Above, wavelet coefficients do not fit the numbers that OpenJPEG calculates with: values came out changed.
_OPENJPEG_BITS = 24
# Where the end of a codestream is looked for first: pixel data are padded to even length, seldom more.
_TAIL = 16


@dataclass(frozen=True)
class Frame:
    """One decoded frame.

    Parameters
    ----------
    values : array
        Shape (rows, columns) or (rows, columns, samples); integers as the codec gives them.
    header : Codestream or None
        What the codestream says; None for RLE, which says nothing.
    transformed : bool
        Whether the codec undoes a colour transform of its own (JPEG 2000: YBR_RCT and YBR_ICT become RGB;
        JPEG XL: XYB).
    """

    values: Array
    header: Codestream | None
    transformed: bool = False


def decode_frame(encoded: bytes, syntax: str, shape: tuple[int, int, int], allocated: int) -> Frame:
    """Decode one frame.

    Parameters
    ----------
    encoded : bytes
        Codestream of one frame.
    syntax : str
        Transfer syntax UID, a key of `CODECS`.
    shape : tuple of int
        Rows, columns, samples that the header of the object announces.
    allocated : int
        Bits allocated, for RLE.

    Raises
    ------
    ItemError
        ``truncated``: the codestream has no end; ``decode_error``: more bits than the codec can do exactly.
    ValueError
        If the codestream holds another shape. It is compared before anything is decoded, so a small file
        cannot ask for the memory of a huge one.
    RuntimeError
        From the codec (the errors of imagecodecs derive from it).
    """
    return CODECS[UID(syntax)](encoded, shape, allocated)


def _jpeg(encoded: bytes, shape: tuple[int, int, int], _allocated: int) -> Frame:
    header = _checked(jpeg_header(encoded), shape)
    _check_end(encoded)
    # The same colour space in and out keeps libjpeg from converting; which one is named does not matter.
    space = "YCBCR" if header.components == 3 else None
    values = imagecodecs.jpeg8_decode(encoded, colorspace=space, outcolorspace=space)
    return Frame(_in_shape(values, shape), header)


def _jpeg_ls(encoded: bytes, shape: tuple[int, int, int], _allocated: int) -> Frame:
    header = _checked(jpeg_header(encoded), shape)
    if not _has_end(encoded):
        # CharLS would read on behind the end: ten seconds for 772 bytes were seen.
        raise ValueError("the codestream has no end")
    return Frame(_in_shape(imagecodecs.jpegls_decode(encoded), shape), header)


def _jpeg_2000(encoded: bytes, shape: tuple[int, int, int], _allocated: int) -> Frame:
    header = _checked(jpeg2000_header(encoded), shape)
    if header.precision > _OPENJPEG_BITS:
        message = f"JPEG 2000 of {header.precision} bits; up to {_OPENJPEG_BITS} are decoded exactly"
        raise ItemError("decode_error", message)
    return Frame(_in_shape(imagecodecs.jpeg2k_decode(encoded), shape), header, transformed=True)


def _high_throughput(encoded: bytes, shape: tuple[int, int, int], _allocated: int) -> Frame:
    header = _checked(jpeg2000_header(encoded), shape)
    _check_end(encoded)
    # Without planar=False a colour image that was not transformed comes plane by plane.
    values = imagecodecs.htj2k_decode(encoded, planar=False)
    return Frame(_in_shape(values, shape), header, transformed=True)


def _jpeg_xl(encoded: bytes, shape: tuple[int, int, int], _allocated: int) -> Frame:
    _check_jpeg_xl(encoded, shape)
    values = _in_shape(imagecodecs.jpegxl_decode(encoded, numthreads=1), shape)
    return Frame(values, Codestream(*shape, precision=values.dtype.itemsize * 8), transformed=True)


def _recompressed_jpeg(encoded: bytes, shape: tuple[int, int, int], allocated: int) -> Frame:
    # The JPEG comes back bit for bit, so that it has the values that it had before.
    _check_jpeg_xl(encoded, shape)
    return _jpeg(bytes(imagecodecs.jpegxl_decode_jpeg(encoded, numthreads=1)), shape, allocated)


def _check_jpeg_xl(encoded: bytes, shape: tuple[int, int, int]) -> None:
    found = jpeg_xl_size(encoded)
    if found != shape[:2]:
        raise ValueError(f"the codestream holds {found} (rows, columns), the header says {shape[:2]}")


def _rle(encoded: bytes, shape: tuple[int, int, int], allocated: int) -> Frame:
    rows, columns, samples = shape
    if allocated % 8:
        raise ValueError(f"RLE needs whole bytes, got {allocated} bits allocated")
    # Each byte of each sample has a segment of its own, so the samples come one plane after the other.
    size = rows * columns * samples * (allocated // 8)
    if allocated == 24:
        raise ValueError("RLE of 24 bits allocated")
    raw = imagecodecs.dicomrle_decode(encoded, f"<u{allocated // 8}", out=size)
    planes = np.frombuffer(raw, dtype=f"<u{allocated // 8}").reshape(samples, rows, columns)
    return Frame(planes[0] if samples == 1 else np.moveaxis(planes, 0, -1), None)


def _checked(header: Codestream, shape: tuple[int, int, int]) -> Codestream:
    found = (header.rows, header.columns, header.components)
    if found != shape:
        raise ValueError(f"the codestream holds {found} (rows, columns, samples), the header says {shape}")
    return header


def _has_end(encoded: bytes) -> bool:
    return END_OF_CODESTREAM in encoded[-_TAIL:] or END_OF_CODESTREAM in encoded


def _check_end(encoded: bytes) -> None:
    # libjpeg and OpenJPH fill what is missing and do not say so; the other codecs do.
    if not _has_end(encoded):
        raise ItemError("truncated", "the codestream of a frame has no end")


def _in_shape(values: Array, shape: tuple[int, int, int]) -> Array:
    rows, columns, samples = shape
    expected = (rows, columns) if samples == 1 else shape
    if values.shape != expected:
        raise ValueError(f"the codec gave {values.shape}, expected {expected}")
    return values


CODECS: Mapping[UID, Callable[[bytes, tuple[int, int, int], int], Frame]] = MappingProxyType(
    {
        JPEGBaseline8Bit: _jpeg,
        JPEGExtended12Bit: _jpeg,
        JPEG_SPECTRAL_SELECTION: _jpeg,
        JPEG_FULL_PROGRESSION: _jpeg,
        JPEGLossless: _jpeg,
        JPEGLosslessSV1: _jpeg,
        JPEGLSLossless: _jpeg_ls,
        JPEGLSNearLossless: _jpeg_ls,
        JPEG2000Lossless: _jpeg_2000,
        JPEG2000: _jpeg_2000,
        HTJ2KLossless: _high_throughput,
        HTJ2KLosslessRPCL: _high_throughput,
        HTJ2K: _high_throughput,
        JPEG_XL_LOSSLESS: _jpeg_xl,
        JPEG_XL: _jpeg_xl,
        JPEG_XL_RECOMPRESSION: _recompressed_jpeg,
        RLELossless: _rle,
    }
)
