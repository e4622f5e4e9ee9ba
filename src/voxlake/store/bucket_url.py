"""URLs of buckets: what they say, and opening the store that they name.

Credentials are those that the library finds by itself in each process: the variables of the provider
(``AWS_ACCESS_KEY_ID``, ``GOOGLE_APPLICATION_CREDENTIALS``, ``AZURE_STORAGE_ACCOUNT_KEY``, ...), web identity,
or the metadata service of the machine. They are no part of a URL, so they travel nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, ObjectStore, S3Store

from voxlake.core.errors import SettingsError, UsageError
from voxlake.core.hints import hint

__all__ = ["SCHEMES", "BucketUrl", "cause_of"]

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
# The table library takes the names of all three providers from one list.
_TABLE_PREFIX: Mapping[str, str] = MappingProxyType({"s3": "aws_", "gs": "google_", "az": "azure_storage_"})
_NAME = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._-]{1,221}")
_TRUE, _FALSE = ("true", "1", "yes", ""), ("false", "0", "no")


@dataclass(frozen=True)
class BucketUrl:
    """A place in a bucket.

    Parameters
    ----------
    scheme : str
        One of `SCHEMES`.
    name : str
        Of the bucket or container.
    prefix : str
        Without slashes around it; ``""`` is the whole bucket.
    options : tuple of (name, value)
        As in the URL.
    what : str
        What lies there, for messages.
    """

    scheme: str
    name: str
    prefix: str
    options: tuple[tuple[str, str], ...]
    what: str

    @classmethod
    def parse(cls, url: str, *, what: str) -> BucketUrl:
        """Read a URL.

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
        options = _read_options(what, parts.scheme, parts.query)
        return cls(parts.scheme, parts.netloc, unquote(parts.path).strip("/"), tuple(options.items()), what)

    @property
    def text(self) -> str:
        """The URL again."""
        query = "&".join(f"{name}={quote(value, safe=':/')}" for name, value in self.options)
        place = f"{self.scheme}://{self.name}" + (f"/{quote(self.prefix)}" if self.prefix else "")
        return f"{place}?{query}" if query else place

    def open(self, *, retry: Any, below_prefix: bool, client: Mapping[str, Any] | None = None) -> ObjectStore:
        """Open the store; nothing is asked of it yet.

        Parameters
        ----------
        retry : dict
            As obstore takes it.
        below_prefix : bool
            Whether paths begin below the prefix instead of at the top of the bucket.
        client : mapping, optional
            Options of the HTTP client.

        Raises
        ------
        SettingsError
            The library does not take an option.
        """
        options = dict(self.options)
        config: dict[str, Any] = {_OPTIONS[self.scheme][name]: value for name, value in options.items()}
        if "anonymous" in options:
            config["skip_signature"] = self._anonymous
        clients: Any = {**(client or {}), **({"allow_http": True} if self._plain_http else {})}
        kinds: Mapping[str, Any] = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}
        place = {"prefix": self.prefix} if below_prefix and self.prefix else {}
        try:
            store: ObjectStore = kinds[self.scheme](
                self.name, config=config, client_options=clients, retry_config=retry, **place
            )
        except (BaseError, ValueError, TypeError) as error:
            raise SettingsError(f"{self.what} '{self.scheme}:': {cause_of(error)}") from None
        return store

    def table_options(self) -> dict[str, str]:
        """The same options as the table library names them; without credentials."""
        prefix = _TABLE_PREFIX[self.scheme]
        names = {"endpoint": "endpoint", "region": "region", "account": "account_name"}
        found = {f"{prefix}{names[name]}": value for name, value in self.options if name in names}
        if "anonymous" in dict(self.options):
            found[f"{prefix}skip_signature"] = str(self._anonymous).lower()
        if self.scheme == "gs" and "google_endpoint" in found:
            found["google_base_url"] = found.pop("google_endpoint")
        if self._plain_http:
            found["allow_http"] = "true"
        return found

    @property
    def _plain_http(self) -> bool:
        return dict(self.options).get("endpoint", "").startswith("http://")

    @property
    def _anonymous(self) -> bool:
        text = dict(self.options)["anonymous"]
        if text.lower() in (*_TRUE, *_FALSE):
            return text.lower() in _TRUE
        raise SettingsError(f"{self.what} '{self.scheme}:': 'anonymous' is true or false, not '{text}'")


def cause_of(error: Exception) -> str:
    """What went wrong; what the library says names paths, and those may name people."""
    status = re.search(r"status code: (\d{3} [A-Za-z ]{1,40})", str(error))
    return f"{type(error).__name__.removesuffix('Error')}{f' ({status[1].strip()})' if status else ''}"


def _read_options(what: str, scheme: str, query: str) -> dict[str, str]:
    known = _OPTIONS[scheme]
    found: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise SettingsError(f"{what} '{scheme}:': unknown option '{name}'{hint(name, known)}")
        if name in found:
            raise SettingsError(f"{what} '{scheme}:': '{name}' is given twice")
        found[name] = value
    return found
