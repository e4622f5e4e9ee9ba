"""Where the bytes of a pack lie on this machine, and reading ranges of them.

A pack is an object of the lake, or a file that was registered in place and stays where it is: then its name
is the ``file://`` URL of that file. Nothing here loads a store library, so that one frame is read quickly.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from voxlake.core.errors import IntegrityError, UsageError

__all__ = ["in_place", "open_pack", "place_of", "read_into", "read_range"]

_SCHEME = "file://"
# Most buffers that one call takes (IOV_MAX of Linux and macOS).
_BUFFERS = 1024


def in_place(pack: str) -> bool:
    """Whether a pack is a file registered in place."""
    return pack.startswith(_SCHEME)


def place_of(root: Path, pack: str) -> Path:
    """Local path of a pack.

    Parameters
    ----------
    root : Path
        Folder of the lake.
    pack : str
        As in `instances`.

    Raises
    ------
    UsageError
        It is neither a path of an object nor a ``file://`` URL of this machine.
    """
    if in_place(pack):
        parts = urlsplit(pack)
        if parts.netloc not in ("", "localhost") or parts.query or parts.fragment:
            raise UsageError("a file registered in place needs a 'file:///' URL of this machine")
        # Names on a disk are bytes, which need not be UTF-8.
        return Path(os.fsdecode(unquote_to_bytes(parts.path)))
    path = Path(pack)
    if path.is_absolute() or ".." in path.parts:
        raise UsageError(f"'{pack}' is no path of an object")
    return root / path


def open_pack(root: Path, pack: str, *, size: int | None = None) -> int:
    """Open a pack for reading; the caller closes the descriptor.

    Parameters
    ----------
    size : int, optional
        Bytes that a file registered in place had; not compared for packs of the lake, which hold many
        members.

    Raises
    ------
    IntegrityError
        It is gone or cannot be read; a file registered in place has another size than it had.
    """
    try:
        descriptor = os.open(place_of(root, pack), os.O_RDONLY)
    except OSError as error:
        raise _gone(pack, error) from None
    if in_place(pack) and size is not None and os.fstat(descriptor).st_size != size:
        os.close(descriptor)
        raise IntegrityError(
            f"a file registered in place no longer has the {size} bytes that it had when it was registered; "
            "restore it, or ingest it again"
        )
    return descriptor


def read_range(descriptor: int, offset: int, length: int) -> bytes:
    """Read `length` bytes from `offset` on.

    Raises
    ------
    IntegrityError
        The pack ends before.
    """
    data = os.pread(descriptor, length, offset)
    if len(data) == length:
        return data
    buffer = bytearray(length)
    read_into(descriptor, offset, [memoryview(buffer)])
    return bytes(buffer)


def read_into(descriptor: int, offset: int, buffers: Sequence[memoryview]) -> None:
    """Fill buffers with what follows `offset`, one after the other.

    Parameters
    ----------
    buffers : sequence of memoryview
        Writable, of single bytes (``memoryview(array).cast("B")``).

    Raises
    ------
    IntegrityError
        The pack ends before they are full.
    """
    left = [buffer for buffer in buffers if len(buffer)]
    while left:
        found = os.preadv(descriptor, left[:_BUFFERS], offset)
        if found == 0:
            missing = sum(len(buffer) for buffer in left)
            raise IntegrityError(
                f"a pack ends {missing} bytes before the range that was asked; it is damaged or the "
                "catalogue is wrong: restore it from a backup"
            )
        offset += found
        left = _rest(left, found)


def _rest(buffers: list[memoryview], filled: int) -> list[memoryview]:
    for index, buffer in enumerate(buffers):
        if filled < len(buffer):
            return [buffer[filled:], *buffers[index + 1 :]]
        filled -= len(buffer)
    return []


def _gone(pack: str, error: OSError) -> IntegrityError:
    why = error.strerror or type(error).__name__
    if in_place(pack):
        return IntegrityError(
            f"a file registered in place cannot be read any more ({why}); bring it back to where it was"
        )
    return IntegrityError(f"pack '{pack}' cannot be read ({why}); restore it from a backup")
