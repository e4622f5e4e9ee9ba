"""Zstandard streams, by way of PyArrow: Python 3.11 has no reader of its own."""

from __future__ import annotations

from collections.abc import Iterator

from voxlake.core.errors import ItemError

__all__ = ["unpacked_zstd"]

_PIECE = 1 << 20


class _Source:
    """What PyArrow asks of a file that cannot be seeked."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._held = b""
        self.closed = False
        self.failure: ItemError | None = None

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True

    def read(self, count: int = -1) -> bytes:
        try:
            while count < 0 or len(self._held) < count:
                chunk = next(self._chunks, b"")
                if not chunk:
                    break
                self._held += chunk
        except ItemError as error:
            # Arrow would turn it into an error of its own.
            self.failure = error
            raise OSError from error
        data, self._held = (self._held, b"") if count < 0 else (self._held[:count], self._held[count:])
        return data


def unpacked_zstd(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """What a Zstandard stream holds; windows of over 128 MiB are refused by the library.

    Raises
    ------
    ItemError
        ``archive_member``: damaged or cut off; ``archive_limit``: there is no memory for its window.
    """
    # Imported here: few archives need it, and it takes longer to load than all else of a source.
    import pyarrow as pa

    source = _Source(chunks)
    try:
        with pa.CompressedInputStream(pa.PythonFile(source, mode="r"), "zstd") as stream:
            while piece := stream.read(_PIECE):
                yield bytes(piece)
    except MemoryError:
        raise ItemError("archive_limit", "unpacking needs more memory than there is") from None
    except OSError:
        if source.failure is not None:
            raise source.failure from None
        raise ItemError(
            "archive_member", "damaged or cut off: the Zstandard stream cannot be unpacked"
        ) from None
