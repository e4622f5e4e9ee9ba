"""Opening files that someone else may be changing."""

from __future__ import annotations

import os
import stat
from typing import BinaryIO

from voxlake.core.errors import ItemError

__all__ = ["open_regular", "system_says"]

# O_NONBLOCK: a file that became a pipe since it was listed must not hang the worker.
# O_NOFOLLOW: a file that became a link since then must not lead out of the source.
_FLAGS = os.O_RDONLY
for _name in ("O_NONBLOCK", "O_NOFOLLOW", "O_CLOEXEC", "O_BINARY"):
    _FLAGS |= getattr(os, _name, 0)


def open_regular(path: str) -> BinaryIO:
    """Open a regular file for reading.

    Raises
    ------
    ItemError
        ``unreadable_source``: not there, not allowed, or no regular file.
    """
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError as error:
        raise ItemError("unreadable_source", system_says(error)) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ItemError("unreadable_source", "not a regular file any more")
    return os.fdopen(descriptor, "rb")


def system_says(error: OSError) -> str:
    """What went wrong, without the path that the error's own text holds."""
    return f"the system says: {error.strerror or type(error).__name__}"
