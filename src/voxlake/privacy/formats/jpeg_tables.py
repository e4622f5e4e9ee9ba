"""Tables of a JPEG picture (ITU-T T.81, B.2.4): only those that a scan uses are written."""

from __future__ import annotations

from voxlake.core.errors import ItemError
from voxlake.privacy.formats.jpeg_frame import Frame, Scan

__all__ = ["ARITHMETIC", "HUFFMAN", "QUANTISATION", "Tables"]

QUANTISATION, HUFFMAN, ARITHMETIC = 0xDB, 0xC4, 0xCC
_DC, _AC = 0, 1


class Tables:
    """Tables as last defined, and as last written."""

    def __init__(self) -> None:
        # By (marker, class, number); a quantisation table has its precision as the class of its bytes.
        self._defined: dict[tuple[int, int, int], bytes] = {}
        self._written: dict[tuple[int, int, int], bytes] = {}

    def read(self, marker: int, body: bytes) -> None:
        """Take in the tables of a DQT, DHT or DAC segment.

        Raises
        ------
        ItemError
            ``deidentify_failed``: the segment is longer or shorter than its tables.
        """
        at = 0
        while at < len(body):
            kind, number = body[at] >> 4, body[at] & 15
            length = _length(marker, body, at)
            table = body[at : at + length]
            if kind > 1 or number > 3 or len(table) < length:
                raise ItemError("deidentify_failed", "a JPEG table that cannot be")
            self._defined[marker, 0 if marker == QUANTISATION else kind, number] = table
            at += length

    def needed(self, frame: Frame, scan: Scan) -> bytes:
        """Segments of the tables that a scan uses and that were not written before."""
        segments = b""
        for key in _used(frame, scan):
            table = self._defined.get(key)
            if table is not None and self._written.get(key) != table:
                self._written[key] = table
                segments += _segment(key[0], table)
        return segments

    def all(self) -> bytes:
        """Segments of all tables."""
        return b"".join(_segment(key[0], table) for key, table in sorted(self._defined.items()))


def _length(marker: int, body: bytes, at: int) -> int:
    if marker == QUANTISATION:
        return 129 if body[at] >> 4 else 65
    if marker == HUFFMAN:
        return 17 + sum(body[at + 1 : at + 17])
    return 2


def _used(frame: Frame, scan: Scan) -> list[tuple[int, int, int]]:
    """Keys of tables, each once, in the order in which they are written."""
    keys = set()
    coding = ARITHMETIC if frame.arithmetic else HUFFMAN
    for part, dc, ac in scan.parts:
        if not frame.lossless:
            keys.add((QUANTISATION, 0, frame.components[part].quantisation))
        if scan.first == 0 or not frame.progressive:
            keys.add((coding, _DC, dc))
        if not frame.lossless and (scan.last > 0 or not frame.progressive):
            keys.add((coding, _AC, ac))
    return sorted(keys, key=lambda key: (key[0] != QUANTISATION, key))


def _segment(marker: int, table: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(table) + 2).to_bytes(2, "big") + table
