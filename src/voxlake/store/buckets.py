"""Other people's buckets, read only: what lies there under any name.

Credentials are those that the object store library finds by itself in each process: the variables of the
provider (``AWS_ACCESS_KEY_ID``, ``GOOGLE_APPLICATION_CREDENTIALS``, ``AZURE_STORAGE_ACCOUNT_KEY``, ...), web
identity, or the metadata service of the machine. They are no part of a URL, so they travel nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, ObjectStore, S3Store

from voxlake.core.errors import LakeError, NotFoundError, SettingsError, UsageError
from voxlake.core.hints import hint

__all__ = ["SCHEMES", "Bucket"]

SCHEMES = ("s3", "gs", "az")
"""Kinds of URL."""

_Options = Mapping[str, str]
# Option of a URL -> the library's own name.
_S3: _Options = MappingProxyType({"endpoint": "endpoint", "region": "region", "anonymous": "skip_signature"})
_GCS: _Options = MappingProxyType({"endpoint": "base_url", "anonymous": "skip_signature"})
_AZURE: _Options = MappingProxyType(
    {"endpoint": "endpoint", "account": "account_name", "anonymous": "skip_signature"}
)
_OPTIONS: Mapping[str, _Options] = MappingProxyType({"s3": _S3, "gs": _GCS, "az": _AZURE})
_NAME = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._-]{1,221}")
_TRUE, _FALSE = ("true", "1", "yes", ""), ("false", "0", "no")
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
        parts = urlsplit(url)
        if parts.scheme not in _OPTIONS:
            raise UsageError(f"no bucket of the kind '{parts.scheme}:'{hint(parts.scheme, SCHEMES)}")
        if "@" in parts.netloc:
            raise UsageError("a URL must hold no user and no password; set the variables of the provider")
        if not _NAME.fullmatch(parts.netloc):
            raise UsageError(f"expected the name of a bucket behind '{parts.scheme}://'")
        options = _read_options(parts.scheme, parts.query)
        return cls(_store(parts.scheme, parts.netloc, options), unquote(parts.path).strip("/"))

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


def _read_options(scheme: str, query: str) -> dict[str, str]:
    known = _OPTIONS[scheme]
    found: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise SettingsError(f"source '{scheme}:': unknown option '{name}'{hint(name, known)}")
        if name in found:
            raise SettingsError(f"source '{scheme}:': '{name}' is given twice")
        found[name] = value
    return found


def _store(scheme: str, bucket: str, options: Mapping[str, str]) -> ObjectStore:
    config: dict[str, Any] = {_OPTIONS[scheme][name]: value for name, value in options.items()}
    if "anonymous" in options:
        config["skip_signature"] = _truth(scheme, options["anonymous"])
    client: Any = {"allow_http": True} if options.get("endpoint", "").startswith("http://") else {}
    kinds: Mapping[str, Any] = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}
    try:
        store: ObjectStore = kinds[scheme](bucket, config=config, client_options=client, retry_config=_RETRY)
    except (BaseError, ValueError, TypeError) as error:
        raise SettingsError(f"source '{scheme}:': {_cause(error)}") from None
    return store


def _truth(scheme: str, text: str) -> bool:
    if text.lower() in (*_TRUE, *_FALSE):
        return text.lower() in _TRUE
    raise SettingsError(f"source '{scheme}:': 'anonymous' is true or false, not '{text}'")


def _failed(verb: str, error: Exception) -> LakeError:
    return LakeError(f"cannot {verb} the bucket: {_cause(error)}")


def _cause(error: Exception) -> str:
    """What went wrong; what the library says names paths, and those may name people."""
    status = re.search(r"status code: (\d{3} [A-Za-z ]{1,40})", str(error))
    return f"{type(error).__name__.removesuffix('Error')}{f' ({status[1].strip()})' if status else ''}"
