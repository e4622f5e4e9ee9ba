"""A hash of what an image looks like: images that look alike differ in few bits.

Coefficients of the discrete cosine transform of a small grey copy, each above or below their median (the
way of pHash: Zauner 2010, "Implementation and benchmarking of perceptual image hash functions"), but with
256 bits: the usual 64 cannot tell one chest X-ray from another. `NEAR` is measured, see
docs/findings/near_duplicate.md.

Stays near under another size, lossy compression, noise, and other brightness or contrast. Does not under
flips, rotations, crops of more than one per cent, and other windows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn

__all__ = ["BITS", "NEAR", "from_hexadecimal", "perceptual_hash", "to_hexadecimal"]

BITS = 256
NEAR = 32

_SIDE = 64
_KEPT = 16
# An image whose small copy varies by less than this share of its level is blank: its bits would be noise.
_FLAT = 1e-6


def perceptual_hash(image: NDArray[Any]) -> NDArray[np.uint64] | None:
    """Hash one image.

    Parameters
    ----------
    image : array
        (rows, columns), grey, any real type; not finite values count as 0.

    Returns
    -------
    array of uint64 or None
        (4,): bit k, from the lowest of the first word, is coefficient k of the 16 x 16 lowest, row by row.
        The first, which only tells the mean, is always 0. None for an image without structure.
    """
    grey = np.nan_to_num(np.asarray(image, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    small = _averages(grey.shape[0]) @ grey @ _averages(grey.shape[1]).T
    small -= small.mean()
    if np.abs(small).max() <= _FLAT * max(float(np.abs(grey).max()), 1e-300):
        return None
    coefficients = dctn(small, norm="ortho")[:_KEPT, :_KEPT].reshape(-1)
    above = coefficients > np.median(coefficients[1:])
    above[0] = False
    # Little endian in the bits and in the bytes, so that the words are the same on every machine.
    words = np.packbits(above, bitorder="little").view("<u8")
    return words.astype(np.uint64)


def to_hexadecimal(words: NDArray[np.uint64]) -> str:
    """64 characters, as the table has them."""
    return words.astype(">u8").tobytes().hex()


def from_hexadecimal(texts: list[str]) -> NDArray[np.uint64]:
    """Hashes out of the table: (n, 4)."""
    data = bytes.fromhex("".join(texts))
    return np.frombuffer(data, dtype=">u8").astype(np.uint64).reshape(-1, BITS // 64)


def _averages(size: int) -> NDArray[np.float64]:
    """Weights (64, size) that average over equal parts of an axis; a pixel on a border is shared."""
    edges = np.linspace(0.0, size, _SIDE + 1)
    pixels = np.arange(size)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.asarray(np.clip(covered, 0.0, None) * (_SIDE / size), dtype=np.float64)
