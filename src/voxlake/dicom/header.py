"""The row of an instance from its bytes, without pydicom where the file is plain, and without its pixels.

`scan_bytes` gives what ``scan(read_dataset(data), data)`` gives, faster. `scan_file` reads no
more of a file than its header. A `Scanner` does the same for many files, and compares each with those it has
seen. Whatever is odd goes by way of pydicom; a differential test holds all ways to the same rows.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from voxlake.core.errors import ItemError
from voxlake.dicom.fast_memory import Memory
from voxlake.dicom.fast_row import Opened, read_row
from voxlake.dicom.fast_walk import RangeReader, ShortOfBytesError
from voxlake.dicom.parse_bytes import OddFileError
from voxlake.dicom.read import read_dataset
from voxlake.dicom.scan import scan

__all__ = ["READ_AHEAD", "RangeReader", "Scanner", "plain_row", "scan_bytes", "scan_file"]

READ_AHEAD = 16_384
"""Bytes that are read at once; most headers fit."""
# What a scanner reads at once of files like those it has seen.
_MOST_AHEAD = 262_144


class Scanner:
    """Reads the rows of many files.

    Files of one series have the same elements, and most of their values are the same. The scanner remembers a
    few headers; where the bytes of the next one are the same, their values are taken from memory, and only
    what differs is read. What it gives depends on the file alone, never on what it has seen before. It is for
    one thread, and holds a few megabytes at most.
    """

    def __init__(self) -> None:
        # A header that was read without its sequences says nothing of them.
        self._memories = {tags: Memory() for tags in (True, False)}

    def plain_row(self, data: bytes, *, tags: bool = True) -> dict[str, Any]:
        """Read the columns by the fast path alone, as `plain_row`."""
        return _whole_row(data, tags, self._memories[tags])

    def scan_bytes(self, data: bytes, *, tags: bool = True) -> dict[str, Any]:
        """Read the columns of one instance from the bytes of its file, as `scan_bytes`."""
        return _scan_bytes(data, tags, self._memories[tags])

    def scan_file(
        self,
        source: str | Path | RangeReader,
        *,
        size: int | None = None,
        tags: bool = True,
        limit: int = 2**31,
    ) -> dict[str, Any]:
        """Read the columns of one instance and as little of its file as that takes, as `scan_file`.

        Of a file after some with long headers, as many bytes are read at once as their headers had, 256 kB at
        most.
        """
        return _scan_source(source, size, tags, limit, self._memories[tags])


def scan_bytes(data: bytes, *, tags: bool = True) -> dict[str, Any]:
    """Read the columns of one instance from the bytes of its file.

    Parameters
    ----------
    data : bytes
        The file.
    tags : bool
        Whether every element is written to ``tags``; otherwise that is None.

    Returns
    -------
    dict
        As `voxlake.dicom.scan.scan`.

    Raises
    ------
    ItemError
        As `voxlake.dicom.read.read_dataset`.
    """
    return _scan_bytes(data, tags, None)


def scan_file(
    source: str | Path | RangeReader,
    *,
    size: int | None = None,
    tags: bool = True,
    limit: int = 2**31,
) -> dict[str, Any]:
    """Read the columns of one instance and as little of its file as that takes.

    The first `READ_AHEAD` bytes, then more until the header ends, then what lies behind the pixel data. Pixel
    data are jumped over, so that a damaged codestream goes unnoticed here, and only here. A file that is not
    plain, and a deflated one, is read whole.

    Parameters
    ----------
    source : str, Path or callable
        Path of a file, or a reader of ranges.
    size : int, optional
        Bytes of the whole object; needed with a reader.
    tags : bool
        Whether every element is written to ``tags``; otherwise that is None.
    limit : int
        Largest file in bytes that is read whole.

    Returns
    -------
    dict
        As `voxlake.dicom.scan.scan`; ``pixel_offset`` and ``pixel_length`` are places in the file.

    Raises
    ------
    ItemError
        As `voxlake.dicom.read.read_dataset`; ``too_large`` for a file over the limit that must be read whole.
    """
    return _scan_source(source, size, tags, limit, None)


def plain_row(data: bytes, *, tags: bool = True) -> dict[str, Any]:
    """Read the columns by the fast path alone.

    Raises
    ------
    OddFileError
        The file is one for pydicom, sound or not.
    """
    return _whole_row(data, tags, None)


def _scan_bytes(data: bytes, tags: bool, memory: Memory | None) -> dict[str, Any]:
    try:
        return _whole_row(data, tags, memory)
    except OddFileError:
        return scan(read_dataset(data), data, tags=tags)


def _whole_row(data: bytes, tags: bool, memory: Memory | None) -> dict[str, Any]:
    try:
        found = Opened(data, len(data), lambda start, length: data[start : start + length], True)
        return _row(found, tags, memory)
    except ShortOfBytesError:
        raise OddFileError from None


def _scan_source(
    source: str | Path | RangeReader, size: int | None, tags: bool, limit: int, memory: Memory | None
) -> dict[str, Any]:
    if not isinstance(source, str | Path):
        if size is None:
            raise TypeError("scan_file needs the size of what a reader reads")
        return _scan_ranges(source, size, tags, limit, memory)
    handle = os.open(source, os.O_RDONLY)
    try:
        return _scan_ranges(_reader(handle), os.fstat(handle).st_size, tags, limit, memory)
    finally:
        os.close(handle)


def _reader(handle: int) -> RangeReader:
    def read(offset: int, length: int) -> bytes:
        return os.pread(handle, length, offset)

    return read


def _scan_ranges(
    read: RangeReader, size: int, tags: bool, limit: int, memory: Memory | None
) -> dict[str, Any]:
    ahead = READ_AHEAD if memory is None else min(max(READ_AHEAD, memory.longest), _MOST_AHEAD)
    try:
        data = read(0, min(ahead, size))
        while True:
            try:
                # Whatever else was read at once, so that damage shows in the same files always.
                return _row(Opened(data, size, read, size <= READ_AHEAD), tags, memory)
            except ShortOfBytesError as error:
                if error.end > size or len(data) >= size:
                    raise OddFileError from None
                data += _more(read, len(data), error.end, size)
    except OddFileError:
        if size > limit:
            message = f"{size:,} bytes that must be read whole; the limit is {limit:,}"
            raise ItemError("too_large", message) from None
        whole = read(0, size)
        return scan_bytes(whole, tags=tags)


def _more(read: RangeReader, there: int, needed: int, size: int) -> bytes:
    # By half of what is there, so that a long header is not walked again for each of its pages.
    stop = min(size, max(needed, there + READ_AHEAD, there + there // 2))
    found = read(there, stop - there)
    if len(found) != stop - there:
        raise OddFileError
    return found


def _row(opened: Opened, tags: bool, memory: Memory | None) -> dict[str, Any]:
    if memory is None:
        return read_row(opened, tags=tags).row
    row = memory.recall(opened)
    if row is None:
        found = read_row(opened, tags=tags)
        memory.learn(found)
        row = found.row
    return row
