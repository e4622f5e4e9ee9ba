"""Archives that cannot be seeked: packed tar files, pipes, objects in buckets."""

from __future__ import annotations

from collections.abc import Iterator

from voxlake.core.errors import ItemError
from voxlake.sources.archive_limits import ArchiveLimits
from voxlake.sources.item import BrokenItem, Item
from voxlake.sources.members import Unpacker
from voxlake.sources.stream import Budget, ByteStream, unpacked
from voxlake.sources.tar import streamed_tar
from voxlake.sources.tar_headers import BLOCK, is_tar_header
from voxlake.sources.zip_stream import streamed_zip

__all__ = ["streamed_items"]

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")


def streamed_items(name: str, chunks: Iterator[bytes], limits: ArchiveLimits) -> Iterator[Item]:
    """Unpack an archive as it comes by; its members are items whose bytes wait in temporary files.

    Zip and tar are told by their first bytes, and so is what a tar file is packed with. When the stream
    breaks off or goes over a cap, the members before that are items like any other, and one item more, named
    after the archive, fails for the rest.

    Parameters
    ----------
    name : str
        Name of the archive; members are named ``name/member``.
    chunks : iterator of bytes
        The stream. May raise `ItemError`.
    limits : ArchiveLimits
        Caps.
    """
    budget = Budget(limits)
    stream = ByteStream(budget.counted(chunks))
    unpacker = Unpacker(name, limits)
    try:
        if stream.peek(4) in _ZIP:
            yield from streamed_zip(stream, unpacker, budget)
            return
        yield from _tar(stream, unpacker, budget)
    except ItemError as error:
        yield BrokenItem(name, error.reason, error.message)
    finally:
        unpacker.close()


def _tar(stream: ByteStream, unpacker: Unpacker, budget: Budget) -> Iterator[Item]:
    plain = unpacked(stream)
    inner = ByteStream(budget.spent(plain if plain is not None else iter(stream.some, b"")))
    head = inner.peek(BLOCK)
    if head != bytes(BLOCK) and not is_tar_header(head):
        raise ItemError("archive_member", "neither a zip nor a tar file, by its first bytes")
    yield from streamed_tar(inner, unpacker)
