"""Pixels to PNG inside the page."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import UsageError

__all__ = ["png", "png_uri"]


def png(image: NDArray[np.uint8]) -> bytes:
    """Encode a picture as PNG, byte for byte the same for equal pixels.

    Parameters
    ----------
    image : ndarray of uint8, shape (rows, columns) or (rows, columns, 3)
        Grey or RGB.

    Raises
    ------
    UsageError
        Another shape or type.

    References
    ----------
    Portable Network Graphics (PNG) Specification, W3C, sections 5 (chunks) and 9 (filter type 0).
    """
    pixels = np.asarray(image)
    grey = pixels.ndim == 2
    if pixels.dtype != np.uint8 or pixels.size == 0 or not (grey or pixels.shape[2:] == (3,)):
        raise UsageError(
            f"a picture is uint8 of shape (rows, columns) or (rows, columns, 3), got {pixels.dtype} "
            f"{pixels.shape}; apply a window and scale to 0..255 first"
        )
    rows, columns = pixels.shape[:2]
    lines = np.zeros((rows, 1 + columns * (1 if grey else 3)), dtype=np.uint8)
    lines[:, 1:] = pixels.reshape(rows, -1)
    header = struct.pack(">IIBBBBB", columns, rows, 8, 0 if grey else 2, 0, 0, 0)
    body = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(lines.tobytes(), 9)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def png_uri(image: NDArray[np.uint8]) -> str:
    """Data URI of a picture, so that the page asks no other place for it."""
    return "data:image/png;base64," + base64.b64encode(png(image)).decode("ascii")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
