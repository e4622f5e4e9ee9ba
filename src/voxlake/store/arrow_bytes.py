"""Bytes for Arrow to read with threads of its own."""

from __future__ import annotations

import pyarrow as pa

__all__ = ["arrow_reader"]


def arrow_reader(data: bytes) -> pa.BufferReader:
    """Open a copy of `data` that belongs to Arrow.

    Arrow's threads may let go of what they read a moment after the caller has the result. If that were a
    Python object and the interpreter on its way out, the process would end with SIGABRT.
    """
    stream = pa.BufferOutputStream()
    stream.write(data)
    return pa.BufferReader(stream.getvalue())
