"""Objects in a bucket as a source: listed lazily, read by workers, archives unpacked as they come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from voxlake.core.errors import ItemError, LakeError, NotFoundError
from voxlake.sources.archive_limits import ArchiveLimits
from voxlake.sources.archives import is_archive
from voxlake.sources.ignore import SYSTEM_FILE, is_system_file
from voxlake.sources.item import NO_HINTS, Hints, Item
from voxlake.sources.streamed import streamed_items
from voxlake.store.buckets import Bucket

__all__ = ["BucketItem", "BucketSource"]

_MOST_STORES = 8


@dataclass(frozen=True, slots=True)
class BucketItem:
    """One object of a bucket. Holds the URL of the bucket, never a credential."""

    name: str = field(repr=False)
    url: str = field(repr=False)
    path: str = field(repr=False)
    size: int | None = None
    hints: Hints = NO_HINTS
    ignored: str | None = None

    def read(self, limit: int) -> bytes:
        """The bytes; see `voxlake.sources.item.Item.read`."""
        if self.size == 0:
            raise ItemError("empty_file", "0 bytes")
        parts: list[bytes] = []
        length = 0
        for part in _parts(self.url, self.path):
            length += len(part)
            if length > limit:
                raise ItemError("too_large", f"over the limit of {limit:,} bytes")
            parts.append(part)
        if self.size is not None and length != self.size:
            raise ItemError("unreadable_source", "the object changed since it was listed; try again")
        return parts[0] if len(parts) == 1 else b"".join(parts)


@dataclass(frozen=True)
class BucketSource:
    """All objects under a prefix, in the order in which the store lists them (by name on S3, GCS and Azure).

    Parameters
    ----------
    url : str
        As for `voxlake.store.buckets.Bucket`; may name a single object.
    limits : ArchiveLimits
        Caps for the archives in it.

    Raises
    ------
    NotFoundError
        On iteration: nothing lies there.
    LakeError
        On iteration: the store does not answer, or does not let us list.
    """

    url: str = field(repr=False)
    limits: ArchiveLimits = field(default_factory=ArchiveLimits)
    labels_digest: str | None = None

    def __iter__(self) -> Iterator[Item]:
        bucket = Bucket.open(self.url)
        found = bucket.list()
        held = next(found, None)
        if held is None:
            raise NotFoundError("nothing lies under the URL of the source; check bucket and prefix")
        while held is not None:
            following = next(found, None)
            name, path, size = held
            # Consoles make an object of no bytes for each folder; its slash is lost in the listing.
            marker = size == 0 and following is not None and following[1].startswith(f"{path}/")
            if marker or is_system_file(name):
                yield BucketItem(name, self.url, path, size, ignored=SYSTEM_FILE)
            elif is_archive(name) and size > 0:
                yield from streamed_items(name, _parts(self.url, path), self.limits)
            else:
                yield BucketItem(name, self.url, path, size)
            held = following


def _parts(url: str, path: str) -> Iterator[bytes]:
    try:
        yield from _bucket(url).parts(path)
    except NotFoundError:
        raise ItemError("unreadable_source", "the object is not there any more") from None
    except LakeError as error:
        raise ItemError("unreadable_source", str(error)) from None


@lru_cache(maxsize=_MOST_STORES)
def _bucket(url: str) -> Bucket:
    # A worker reads thousands of objects; each new store would connect and ask for credentials again.
    return Bucket.open(url)
