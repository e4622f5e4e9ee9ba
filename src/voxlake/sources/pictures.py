"""PNG (ISO/IEC 15948) and JPEG (ITU-T T.81): flat images without a place in the world.

Values are taken as stored: no gamma, no colour profile, and the orientation that a camera notes in
EXIF is not applied, since masks and boxes drawn on such images are in stored rows and columns.
Transparency is dropped. Grey levels of 1, 2 or 4 bits are spread over 0 to 255.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from voxlake.core.digest import digest_bytes
from voxlake.core.errors import ItemError
from voxlake.core.grid import Grid
from voxlake.core.volume import Lineage, Volume

__all__ = ["MAX_PIXELS", "read_jpeg", "read_png", "scan_jpeg", "scan_png"]

# Below the size at which Pillow begins to warn; mammograms have 30 million, whole slides are another format.
MAX_PIXELS = 80_000_000

_GREY = {0, 4}
# Deflate makes at most 1,032 bytes out of one.
_DEFLATE_RATIO = 1100
# A Huffman code has a bit at least and stands for 64 pixels at most; arithmetic codes may be shorter.
_JPEG_RATIO = 512
_ARITHMETIC = frozenset(range(0xC9, 0xD0))
_END_OF_JPEG = b"\xff\xd9"
# Start-of-frame markers; C4, C8 and CC are tables and an extension (T.81 table B.1).
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
# All that Pillow raises on damaged files, found by fuzzing; anything else is a defect and shows as such.
_BAD = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError, RuntimeError,
    struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip


@dataclass(frozen=True)
class _Header:
    rows: int
    columns: int
    samples: int
    bits: int
    lossy: bool


def scan_png(data: bytes) -> dict[str, Any]:
    """Header of a PNG file; see `voxlake.sources.images.scan_image`."""
    return _columns(_png_header(data))


def scan_jpeg(data: bytes) -> dict[str, Any]:
    """Header of a JPEG file; see `voxlake.sources.images.scan_image`."""
    return _columns(_jpeg_header(data))


def read_png(data: bytes) -> Volume:
    """Decode a PNG file; see `voxlake.sources.images.read_image`."""
    header = _png_header(data)
    deep_colour = header.bits == 16 and data[25] != 0
    return _volume(data, _sixteen(data, header) if deep_colour else _decoded(data, header, "PNG"))


def read_jpeg(data: bytes) -> Volume:
    """Decode a JPEG file; see `voxlake.sources.images.read_image`."""
    return _volume(data, _decoded(data, _jpeg_header(data), "JPEG"))


def _volume(data: bytes, pixels: NDArray[Any]) -> Volume:
    lineage = Lineage((digest_bytes(data),))
    if pixels.ndim == 3 and (pixels == pixels[..., :1]).all():
        pixels = np.ascontiguousarray(pixels[..., 0])
        lineage = lineage.then("three equal colour channels reduced to one")
    return Volume(pixels[np.newaxis], Grid.flat_image(pixels.shape[:2]), lineage=lineage)


def _png_header(data: bytes) -> _Header:
    if len(data) < 33:
        raise ItemError("truncated", "the PNG file ends within its header")
    if data[12:16] != b"IHDR":
        raise ItemError("decode_error", "the PNG file does not begin with its header")
    columns, rows, depth, colour = struct.unpack_from(">2I2B", data, 16)
    at, packed = 8, 0
    while data[at + 4 : at + 8] != b"IEND":
        if at + 12 > len(data):
            raise ItemError("truncated", "the PNG file ends before its end mark")
        length = int.from_bytes(data[at : at + 4], "big")
        packed += length if data[at + 4 : at + 8] == b"IDAT" else 0
        at += 12 + length
    header = _checked(
        _Header(rows, columns, 1 if colour in _GREY else 3, 16 if depth == 16 else 8, lossy=False)
    )
    _check_ratio(rows * columns * depth // 8, packed, _DEFLATE_RATIO)
    return header


def _jpeg_header(data: bytes) -> _Header:
    at = 2
    while at + 4 <= len(data):
        marker = data[at + 1]
        if data[at] != 0xFF:
            raise ItemError("decode_error", "the JPEG file holds something else where a marker should be")
        if marker == 0xFF:
            at += 1
        elif marker in _ALONE:
            at += 2
        elif marker in _FRAMES:
            header = _frame_header(data[at + 4 : at + 10], marker)
            if data.find(_END_OF_JPEG, at) < 0:
                raise ItemError("truncated", "the JPEG file ends before its end mark")
            if marker not in _ARITHMETIC:
                _check_ratio(header.rows * header.columns, len(data), _JPEG_RATIO)
            return header
        elif marker in {0xD9, 0xDA}:
            raise ItemError("decode_error", "the JPEG file has no frame header")
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    raise ItemError("truncated", "the JPEG file ends within its header")


def _frame_header(block: bytes, marker: int) -> _Header:
    if len(block) < 6:
        raise ItemError("truncated", "the JPEG file ends within its header")
    precision, rows, columns, components = struct.unpack(">B2HB", block)
    lossless = marker in {0xC3, 0xC7, 0xCB, 0xCF}
    return _checked(_Header(rows, columns, 1 if components == 1 else 3, precision, lossy=not lossless))


def _checked(header: _Header) -> _Header:
    if header.rows < 1 or header.columns < 1:
        raise ItemError("decode_error", f"an image of {header.rows} rows and {header.columns} columns")
    if header.rows * header.columns > MAX_PIXELS:
        message = f"{header.rows} x {header.columns} pixels; the limit is {MAX_PIXELS:,} in one image"
        raise ItemError("decode_error", message)
    return header


def _check_ratio(pixels: int, there: int, ratio: int) -> None:
    if pixels > there * ratio:
        message = f"the header announces more than the {there:,} bytes of compressed pixels can hold"
        raise ItemError("truncated", message)


def _columns(header: _Header) -> dict[str, Any]:
    return {
        "rows": header.rows,
        "columns": header.columns,
        "number_of_frames": 1,
        "samples_per_pixel": header.samples,
        "photometric_interpretation": "MONOCHROME2" if header.samples == 1 else "RGB",
        "bits_allocated": 8 if header.bits <= 8 else 16,
        "bits_stored": header.bits,
        "pixel_representation": 0,
        "lossy_image_compression": "01" if header.lossy else "00",
    }


def _decoded(data: bytes, header: _Header, kind: Literal["PNG", "JPEG"]) -> NDArray[Any]:
    try:
        with warnings.catch_warnings():
            # Pillow's limit is looser than the cap above, and its other remarks are not about pixels.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=[kind]) as image:
                # A file may announce its size twice; the cap was checked on the other one.
                if image.size != (header.columns, header.rows):
                    raise ItemError("decode_error", "the file announces two different sizes")
                return np.array(_plain(image))
    except _BAD as error:
        message = str(error).lower()
        cut = "truncated" in message or "broken data stream" in message
        reason = "truncated" if cut else "decode_error"
        raise ItemError(reason, f"the {kind} file cannot be decoded ({type(error).__name__})") from None


def _plain(image: Image.Image) -> Image.Image:
    match image.mode:
        case "L" | "RGB" | "I;16":
            return image
        case "1":
            return image.convert("L")
        case "LA":
            return image.getchannel("L")
        case "P" | "PA" | "RGBA":
            # By way of RGBA: Pillow warns when a palette with transparent entries goes straight to RGB.
            red, green, blue, _ = image.convert("RGBA").split()
            return Image.merge("RGB", (red, green, blue))
        case "CMYK":
            return image.convert("RGB")
        case mode:
            raise ItemError("decode_error", f"pixels of the kind '{mode}' are not read")


def _sixteen(data: bytes, header: _Header) -> NDArray[Any]:
    # Pillow keeps only the upper byte of 16-bit colour. Imported here since few files need it.
    import imagecodecs

    try:
        pixels = np.asarray(imagecodecs.png_decode(data))
    except (RuntimeError, ValueError, OSError) as error:
        message = f"the PNG file cannot be decoded ({type(error).__name__})"
        raise ItemError("decode_error", message) from None
    if pixels.shape[:2] != (header.rows, header.columns) or pixels.dtype != np.uint16:
        raise ItemError("decode_error", "the file does not hold what its header announces")
    return np.array(pixels[..., 0] if header.samples == 1 else pixels[..., :3])
