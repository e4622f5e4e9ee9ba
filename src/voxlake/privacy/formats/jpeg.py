"""Metadata out of JPEG files (ITU-T T.81): one picture, its tables, its scans, and nothing else.

Baseline, extended (8 and 12 bits), progressive, lossless and arithmetic coding share one syntax of markers.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence

from voxlake.core.errors import ItemError
from voxlake.privacy.formats.jpeg_frame import FRAMES, Frame, Progress, read_frame, read_scan
from voxlake.privacy.formats.jpeg_tables import ARITHMETIC, HUFFMAN, QUANTISATION, Tables
from voxlake.privacy.formats.jpeg_tail import without_tails

__all__ = ["strip_jpeg", "strip_jpeg_tables"]

_SOI, _EOI, _SOS, _DRI, _COM, _TEM = 0xD8, 0xD9, 0xDA, 0xDD, 0xFE, 0x01
_TABLES = frozenset({QUANTISATION, HUFFMAN, ARITHMETIC})
_APPLICATION = frozenset({*range(0xE0, 0xF0), _COM})
_MARKER = re.compile(rb"\xff+([^\x00\xff])")
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_FILL = re.compile(rb"\xff\xff+")
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
# Two text characters read as a density are at least 0x2020 = 8224.
_MOST_DENSITY = 8000
# As where pictures are read.
_MOST_PIXELS = 80_000_000


def strip_jpeg(data: bytes, *, tables: bytes = b"", interval: int = 0) -> bytes:
    """Return a JPEG file that holds what its pixels are read by, and nothing else.

    Kept are the frame, its scans bit for bit up to their last value, the tables that a scan uses, the restart
    interval, of APP14 Adobe the colour transform, and of APP0 JFIF the density. EXIF, ICC profiles,
    thumbnails, comments, bytes between the segments, further pictures and all else behind the first go.
    The orientation that a camera notes in EXIF goes too: pixels stay in stored rows and columns, and a
    viewer that turned the original shows the result as it is stored.

    Parameters
    ----------
    data : bytes
        The file.
    tables : bytes
        Stream of tables that lie elsewhere, as `strip_jpeg_tables` returns it.
    interval : int
        MCUs between restart markers that it states.

    Raises
    ------
    ItemError
        ``truncated`` or ``deidentify_failed``: the file does not have the structure of a JPEG, or has more
        than one frame, a frame without a height, or restart markers that no decoder would expect.
    """
    cleaner = _Cleaner(data, interval)
    while cleaner.step():
        continue
    return cleaner.result(tables[2:-2])


def strip_jpeg_tables(data: bytes) -> tuple[bytes, int]:
    """Return an abbreviated stream of tables (T.81 B.5) without anything else, and its restart interval.

    Raises
    ------
    ItemError
        As `strip_jpeg`.
    """
    cleaner = _Cleaner(data, 0)
    while cleaner.step():
        if cleaner.frame is not None:
            raise ItemError("deidentify_failed", "expected tables, found a JPEG picture")
    tables = cleaner.tables.all()
    if cleaner.interval:
        tables += _segment(_DRI, struct.pack(">H", cleaner.interval))
    return b"\xff\xd8" + tables + b"\xff\xd9", cleaner.interval


class _Cleaner:
    """Walks over a file, marker by marker, and puts together what is kept."""

    def __init__(self, data: bytes, interval: int) -> None:
        if not data.startswith(b"\xff\xd8"):
            raise ItemError("deidentify_failed", "expected the JPEG marker SOI at the start of the file")
        self.data = data
        self.position = 2
        self.tables = Tables()
        self.interval = self._written_interval = interval
        self.frame: Frame | None = None
        self._density: bytes | None = None
        self._transform: int | None = None
        self._headers: list[bytes] = []
        self._scans: list[bytes] = []
        self._progress: Progress | None = None

    def step(self) -> bool:
        """Take in one segment; False at the end of the picture."""
        found = _MARKER.search(self.data, self.position)
        if found is None:
            raise ItemError("truncated", "the JPEG file ends before its marker EOI")
        marker, self.position = found[1][0], found.end()
        if marker == _EOI:
            return False
        if marker in (_TEM, _SOI) or 0xD0 <= marker <= 0xD7:
            raise ItemError("deidentify_failed", "a JPEG marker stands where a segment was expected")
        self._take(marker, self._body())
        return True

    def result(self, tables: bytes = b"") -> bytes:
        """The clean file; the given tables are for a look at its pixels and are not in it."""
        if self.frame is None or self._progress is None or not self._progress.complete:
            raise ItemError("truncated", "the JPEG file ends before all of its components were there")
        head = b"\xff\xd8"
        if self._density is not None:
            head += _segment(0xE0, b"JFIF\0\1\2" + self._density + b"\0\0")
        if self._transform is not None:
            head += _segment(0xEE, b"Adobe" + struct.pack(">3HB", 100, 0, 0, self._transform))
        head += _segment(self.frame.marker, self.frame.body)
        if self.frame.rows * self.frame.columns > _MOST_PIXELS:
            message = f"{self.frame.rows} x {self.frame.columns} pixels; the limit is {_MOST_PIXELS:,}"
            raise ItemError("too_large", message)

        def build(scans: Sequence[bytes], more: bytes = tables) -> bytes:
            parts = (part for pair in zip(self._headers, scans, strict=True) for part in pair)
            return head[:2] + more + head[2:] + b"".join(parts) + b"\xff\xd9"

        return build(without_tails(self._scans, build), b"")

    def _body(self) -> bytes:
        length = int.from_bytes(self.data[self.position : self.position + 2], "big")
        end = self.position + length
        if length < 2 or end > len(self.data):
            raise ItemError("truncated", "the JPEG file ends inside a segment")
        body = self.data[self.position + 2 : end]
        self.position = end
        return body

    def _take(self, marker: int, body: bytes) -> None:
        if marker in _APPLICATION:
            self._application(marker, body)
        elif marker in _TABLES:
            self.tables.read(marker, body)
        elif marker == _DRI and len(body) == 2:
            self.interval = int.from_bytes(body, "big")
        elif marker in FRAMES and self.frame is None:
            self.frame = read_frame(marker, body)
            self._progress = Progress(self.frame)
        elif marker == _SOS:
            self._scan(body)
        else:
            raise ItemError("deidentify_failed", f"a JPEG segment 0x{marker:02X} that is not expected here")

    def _application(self, marker: int, body: bytes) -> None:
        if marker == 0xE0 and body.startswith(b"JFIF\0") and len(body) >= 14 and self._density is None:
            unit, across, down = struct.unpack_from(">B2H", body, 7)
            sound = unit < 3 and 0 < across <= _MOST_DENSITY and 0 < down <= _MOST_DENSITY
            self._density = struct.pack(">B2H", *((unit, across, down) if sound else (0, 1, 1)))
        elif marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12 and self._transform is None:
            self._transform = body[11]

    def _scan(self, body: bytes) -> None:
        if self.frame is None or self._progress is None:
            raise ItemError("deidentify_failed", "a JPEG scan stands before its frame")
        scan = read_scan(self.frame, body)
        self._progress.take(scan)
        coded = self._coded()
        self._check_restarts(coded, self.frame.units(scan))
        header = self.tables.needed(self.frame, scan)
        if self.interval != self._written_interval:
            header += _segment(_DRI, struct.pack(">H", self.interval))
            self._written_interval = self.interval
        self._headers.append(header + _segment(_SOS, scan.body))
        self._scans.append(coded)

    def _coded(self) -> bytes:
        """Entropy-coded bytes from here to the next marker, without fill bytes."""
        found = _MARKER_IN_SCAN.search(self.data, self.position)
        if found is None:
            raise ItemError("truncated", "the JPEG file ends inside its image data")
        coded = self.data[self.position : found.start()].rstrip(b"\xff")
        self.position = found.start()
        return _FILL.sub(b"\xff", coded) if b"\xff\xff" in coded else coded

    def _check_restarts(self, coded: bytes, units: int) -> None:
        expected = (units - 1) // self.interval if self.interval else 0
        found = 0
        for marker in _RESTART.finditer(coded):
            if found == expected or marker[1][0] & 7 != found & 7:
                raise ItemError("deidentify_failed", "a JPEG restart marker stands where none is expected")
            found += 1
        if found < expected:
            raise ItemError("truncated", f"{found} JPEG restart markers, expected {expected}")


def _segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body
