"""Bytes behind the last value of a JPEG scan, which every decoder skips.

Where a scan ends is known only to a decoder. So one is asked: bytes that may be changed without a change
of any pixel say nothing about pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from voxlake.core.digest import digest_bytes
from voxlake.core.errors import ItemError

__all__ = ["without_tails"]

# Fewer bytes could change without a visible change although they are coded values: refinements of
# coefficients by less than a grey level.
_SHORTEST_TAIL = 8
_CHANGE = bytes((n ^ 0x5A) if n ^ 0x5A != 0xFF else 0x5B for n in range(256))


def without_tails(scans: Sequence[bytes], build: Callable[[Sequence[bytes]], bytes]) -> list[bytes]:
    """Cut off what follows the last value of each scan, if it is 8 bytes or more.

    Parameters
    ----------
    scans : sequence of bytes
        The entropy-coded bytes of the scans.
    build : callable
        Makes a file that can be decoded out of such a sequence.

    Raises
    ------
    ItemError
        ``deidentify_failed``: the file cannot be decoded.
    """
    kept = list(scans)
    pixels = _pixels(build(kept))
    if pixels is None:
        raise ItemError(
            "deidentify_failed", "a JPEG picture that cannot be decoded; what it hides is not known"
        )

    def unread(number: int, begin: int) -> bool:
        """Whether the bytes of a scan from one on may be changed."""
        tried = list(kept)
        tried[number] = kept[number][:begin] + kept[number][begin:].translate(_CHANGE)
        return _pixels(build(tried)) == pixels

    for number, scan in enumerate(scans):
        end = len(scan) - _SHORTEST_TAIL
        if end <= 0 or not unread(number, end):
            continue
        least = 0
        while least < end:
            middle = (least + end) // 2
            least, end = (least, middle) if unread(number, middle) else (middle + 1, end)
        # The first half of a stuffed pair alone would be a marker.
        kept[number] = scan[:end].rstrip(b"\xff")
        if _pixels(build(kept)) != pixels:
            raise ItemError("deidentify_failed", "a JPEG scan whose end cannot be told from what follows it")
    return kept


def _pixels(data: bytes) -> tuple[str, tuple[int, ...]] | None:
    # Imported here since only JPEG needs it.
    import imagecodecs

    try:
        values = imagecodecs.jpeg8_decode(data)
    except (imagecodecs.Jpeg8Error, ValueError):
        return None
    return digest_bytes(values.data), values.shape
