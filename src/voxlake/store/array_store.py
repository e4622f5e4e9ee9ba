"""Arrays of a remote lake as Zarr sees them: read only, every missing shard an error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable

from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    Store,
    SuffixByteRequest,
)
from zarr.core.buffer import Buffer, BufferPrototype

from voxlake.core.errors import IntegrityError, NotFoundError, UsageError
from voxlake.store.objects import Objects

__all__ = ["ArrayStore"]


class ArrayStore(Store):
    """The objects of one array.

    Parameters
    ----------
    objects : Objects
        Where the lake lies.
    array : str
        Path of the array.
    shards : collection of str
        Paths, below the array, of the shards that were stored. Others are zeros.
    """

    supports_writes = False
    supports_deletes = False
    supports_listing = False

    def __init__(self, objects: Objects, array: str, shards: Collection[str]) -> None:
        super().__init__(read_only=True)
        self._objects = objects
        self._array = array
        self._shards = frozenset(shards)
        self._sizes: dict[str, int] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ArrayStore) and (self._objects, self._array) == (
            other._objects,
            other._array,
        )

    def __hash__(self) -> int:
        return hash((self._objects, self._array))

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Bytes of an object, or a part of them.

        Raises
        ------
        IntegrityError
            A shard that was stored is gone.
        """
        shard = key.startswith("0/c")
        if shard and key not in self._shards:
            return None
        try:
            # The library below waits for answers; others go on meanwhile.
            data = await asyncio.to_thread(self._read, f"{self._array}/{key}", byte_range)
        except NotFoundError:
            if shard:
                raise IntegrityError(
                    f"array '{self._array}' has lost a shard since it was opened; restore it from a backup"
                ) from None
            return None
        return prototype.buffer.from_bytes(data)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Several at the same time."""
        return list(await asyncio.gather(*(self.get(key, prototype, part) for key, part in key_ranges)))

    async def exists(self, key: str) -> bool:
        """Whether there is an object."""
        return key in self._shards or await asyncio.to_thread(self._objects.exists, f"{self._array}/{key}")

    async def set(self, key: str, value: Buffer) -> None:
        """Refused: arrays are written once, as a whole."""
        raise UsageError(f"'{key}' of a stored array cannot be changed ({len(value)} bytes)")

    async def delete(self, key: str) -> None:
        """Refused."""
        raise UsageError(f"'{key}' of a stored array cannot be deleted")

    async def list(self) -> AsyncIterator[str]:
        """Paths of the shards."""
        for name in sorted(self._shards):
            yield name

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Paths of the shards that begin so."""
        for name in sorted(self._shards):
            if name.startswith(prefix):
                yield name

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Names in a folder."""
        folder = f"{prefix.rstrip('/')}/" if prefix else ""
        names = {name[len(folder) :].split("/")[0] for name in self._shards if name.startswith(folder)}
        for name in sorted(names):
            yield name

    def _read(self, path: str, part: ByteRequest | None) -> bytes:
        match part:
            case None:
                return self._objects.get(path)
            case RangeByteRequest(start, end):
                return self._objects.get_range(path, start, end - start)
            case OffsetByteRequest(offset):
                return self._objects.get_range(path, offset, self._size(path) - offset)
            case SuffixByteRequest(suffix):
                return self._objects.get_range(path, max(0, self._size(path) - suffix), suffix)
        raise UsageError(f"a request of the kind {type(part).__name__} is not known")

    def _size(self, path: str) -> int:
        size = self._sizes.get(path)
        if size is None:
            size = self._sizes[path] = self._objects.size(path)
        return size
