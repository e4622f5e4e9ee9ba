"""Other people's buckets, read only: what lies there under any name."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore

from voxlake.core.errors import LakeError, NotFoundError
from voxlake.store.bucket_url import SCHEMES, BucketUrl, cause_of

__all__ = ["SCHEMES", "Bucket"]

# One request each: short enough to be done within the time-out of a request, and to be asked for again.
_PART = 16 << 20
_RETRY: Any = {"max_retries": 4, "retry_timeout": timedelta(seconds=40)}


class Bucket:
    """What lies in a bucket under a prefix.

    Parameters
    ----------
    store : obstore store
        The bucket.
    prefix : str
        Without slashes around it; ``""`` is the whole bucket. Use `Bucket.open`.
    """

    def __init__(self, store: ObjectStore, prefix: str) -> None:
        self._store = store
        self._prefix = prefix

    @classmethod
    def open(cls, url: str) -> Bucket:
        """Open the bucket of a URL; nothing is asked of it yet.

        Parameters
        ----------
        url : str
            ``s3://bucket/prefix``, ``gs://bucket/prefix`` or ``az://container/prefix``, with options behind a
            ``?``: ``endpoint`` (``http://`` included), ``anonymous=true``, ``region`` for S3, ``account`` for
            Azure.

        Raises
        ------
        UsageError
            No such kind of store, no name of a bucket, or a password in the URL.
        SettingsError
            An option that is not known, or given twice.
        """
        place = BucketUrl.parse(url, what="source")
        return cls(place.open(retry=_RETRY, below_prefix=False), place.prefix)

    def list(self) -> Iterator[tuple[str, str, int]]:
        """Objects as (name below the prefix, path, bytes); a prefix that is an object itself gives that one.

        Raises
        ------
        LakeError
            The store does not answer, does not let us list, or has a name with an empty part (``a//b``).
        """
        try:
            if self._prefix and (size := self._size(self._prefix)) is not None:
                yield self._prefix.rpartition("/")[2], self._prefix, size
            for batch in obstore.list(self._store, self._prefix or None):
                for entry in batch:
                    path = str(entry["path"])
                    yield path[len(self._prefix) :].lstrip("/"), path, int(entry["size"])
        except (BaseError, OSError, ValueError) as error:
            raise _failed("list", error) from error

    def parts(self, path: str) -> Iterator[bytes]:
        """The bytes of an object, in parts of at most 16 MiB, each asked for when the one before was taken.

        Raises
        ------
        NotFoundError
            There is no such object.
        LakeError
            The store does not answer, or the object was replaced meanwhile.
        """
        at, size, tag = 0, 1, None
        try:
            while at < size:
                options: Any = {"range": (at, at + _PART)}
                if tag is not None:
                    options["if_match"] = tag
                answer = obstore.get(self._store, path, options=options)
                size, tag = int(answer.meta["size"]), answer.meta.get("e_tag")
                part = answer.bytes().to_bytes()
                at += len(part)
                yield part
                if not part:
                    return
        except FileNotFoundError:
            raise NotFoundError("there is no such object in the bucket") from None
        except (BaseError, OSError, ValueError) as error:
            raise _failed("read", error) from error

    def _size(self, path: str) -> int | None:
        try:
            return int(obstore.head(self._store, path)["size"])
        except FileNotFoundError:
            return None


def _failed(verb: str, error: Exception) -> LakeError:
    return LakeError(f"cannot {verb} the bucket: {cause_of(error)}")
