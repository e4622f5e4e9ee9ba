"""The lake: a place for bytes, tables and a key."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

from pydantic import Field

from voxlake.core.errors import KeyMismatchError, LakeError, NotFoundError
from voxlake.core.settings import Settings
from voxlake.core.toml import to_toml
from voxlake.lake.views import VIEWS, cohort_views
from voxlake.privacy.policy import Policy, load_policy
from voxlake.privacy.policy import to_toml as policy_to_toml
from voxlake.store.find import Found, find_uid
from voxlake.store.keys import LakeKey, default_key_file
from voxlake.store.lookup import Lookup
from voxlake.store.objects import Objects
from voxlake.store.query import Result, run_sql
from voxlake.store.tables import Tables

__all__ = ["FORMAT_VERSION", "Lake", "LakeReference", "LakeSettings", "make_lake", "open_lake"]

FORMAT_VERSION = 1
_SETTINGS = "lake.toml"
_POLICY = "policy.toml"


class LakeSettings(Settings):
    """What ``lake.toml`` holds.

    Parameters
    ----------
    format_version : int
        Version of the layout on disk.
    lake_id : str
        Random, made when the lake is made; names the key file.
    key_fingerprint : str
        Tells the lake's key from others without disclosing it.
    """

    format_version: int = Field(ge=1)
    lake_id: str = Field(pattern="^[0-9a-f]{32}$")
    key_fingerprint: str


@dataclass(frozen=True)
class LakeReference:
    """Where a lake lies and where its key file lies: what a worker is told, never the key itself."""

    url: str
    key_file: Path

    def open(self) -> Lake:
        """Open the lake on this machine."""
        return open_lake(self.url, key=self.key_file, create=False)


class Lake:
    """An opened lake; make one with `voxlake.open`.

    Attributes
    ----------
    url : str
        As given.
    settings : LakeSettings
        Identifier and format.
    objects : Objects
        The bytes.
    tables : Tables
        The rows.
    """

    def __init__(self, url: str, settings: LakeSettings, objects: Objects, key_file: Path) -> None:
        self.url = url
        self.settings = settings
        self.objects = objects
        self.key_file = key_file
        self._caches = Path.home() / ".cache" / "voxlake"
        self.tables = Tables(objects, self._caches / settings.lake_id)

    def __repr__(self) -> str:
        return f"Lake({self.url!r})"

    @property
    def reference(self) -> LakeReference:
        """What a worker needs to open the same lake."""
        return LakeReference(self.url, self.key_file)

    @cached_property
    def key(self) -> LakeKey:
        """The key; reading the lake does not need it, bringing anything in does.

        Raises
        ------
        KeyMismatchError
            There is no key at hand, or it is another lake's.
        """
        if not self.key_file.is_file():
            raise KeyMismatchError(
                f"this machine has no key for lake {self.settings.lake_id[:8]} (fingerprint "
                f"{self.settings.key_fingerprint}); name its file with key=... or --key. Without it nothing "
                "can be brought in, because pseudonyms would not agree"
            )
        key = LakeKey.from_file(self.key_file, lake=self.settings.lake_id)
        if key.fingerprint != self.settings.key_fingerprint:
            raise KeyMismatchError(
                f"the key at hand has fingerprint {key.fingerprint}, this lake needs "
                f"{self.settings.key_fingerprint}; name the right file with key=... or --key"
            )
        return key

    def reload_key(self) -> LakeKey:
        """Read the key file again, for example after a rotation elsewhere."""
        vars(self).pop("key", None)
        return self.key

    @property
    def policy(self) -> Policy:
        """The policy of the lake, from ``policy.toml``."""
        tables = tomllib.loads(self.objects.get(_POLICY).decode())
        return Policy.read(tables, where=_POLICY)

    @cached_property
    def lookup(self) -> Lookup:
        """Local index over the instances; a cache that may be deleted at any time."""
        return Lookup(self._caches, self.settings.lake_id)

    @property
    def cache(self) -> Path:
        """Folder of this machine for what can be made anew at any time."""
        return self._caches / self.settings.lake_id

    def find(self, uid: str) -> Found | None:
        """What a SOP, series or study UID names, and where its bytes lie; None for an unknown one.

        One of tens of millions of instances is found in about a millisecond.
        """
        return find_uid(self.tables, self.cache, uid)

    def sql(self, statement: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> Result:
        """Query the tables and views of this lake, and nothing else."""
        extra = dict(VIEWS)
        if "cohort_" in statement.lower():
            cohorts = run_sql(
                self.tables, "select name, cohort_id from cohorts order by version", cache=self.cache
            )
            extra.update(cohort_views(cohorts.rows()))
        return run_sql(self.tables, statement, parameters, views=extra, cache=self.cache)


def open_lake(
    url: str | Path = "./lake",
    *,
    key: str | Path | None = None,
    policy: str | Path | None = None,
    create: bool = True,
) -> Lake:
    """Open a lake, or make one where there is none.

    Parameters
    ----------
    url : str or Path
        A folder, or a place in a bucket (``s3://``, ``gs://``, ``az://``; see `Objects.open`).
    key : path, optional
        The key file. By default ``~/.config/voxlake/keys/<lake id>``; a new lake gets a new key there.
    policy : str or path, optional
        De-identification policy of a *new* lake; ``"research"`` by default. An existing lake keeps its own.
    create : bool
        Whether to make a lake where there is none.

    Raises
    ------
    NotFoundError
        There is no lake and `create` is False.
    LakeError
        The folder or prefix holds other things, or a lake of a newer format.
    """
    missing = NotFoundError(
        f"no lake at '{url}'; make one with `voxlake ingest SOURCE --lake {url}`, or name another with --lake"
    )
    try:
        objects = Objects.open(str(url), create=create)
    except NotFoundError:
        raise missing from None
    if not objects.exists(_SETTINGS):
        if not create:
            raise missing
        make_lake(url, key=key, policy=policy)
    text = objects.get(_SETTINGS).decode()
    settings = LakeSettings.read(tomllib.loads(text), where=_SETTINGS)
    if settings.format_version > FORMAT_VERSION:
        raise LakeError(
            f"the lake has format {settings.format_version}, this voxlake reads up to {FORMAT_VERSION}; "
            "install a newer voxlake"
        )
    key_file = Path(key).expanduser() if key is not None else default_key_file(settings.lake_id)
    return Lake(str(url), settings, objects, key_file)


def make_lake(
    url: str | Path,
    *,
    key: str | Path | None = None,
    policy: str | Path | Policy | None = None,
    new_key: Callable[[], LakeKey] = LakeKey.generate,
) -> None:
    """Make a lake in an empty or new folder.

    Parameters
    ----------
    url : str or Path
        A folder, or a place in a bucket (``s3://``, ``gs://``, ``az://``; see `Objects.open`).
    key : path, optional
        The key file, as for `open_lake`.
    policy : str, path or Policy, optional
        De-identification policy; ``"research"`` by default.
    new_key : callable
        Gives the key where there is no key file yet.

    Raises
    ------
    LakeError
        The folder or prefix holds other things.
    """
    objects = Objects.open(str(url))
    # A lake whose making was cut short has its policy and no settings yet.
    stranger = next((path for path in objects.list("") if path != _POLICY), None)
    if stranger is not None:
        raise LakeError(
            f"'{url}' is not empty and has no {_SETTINGS}; a lake is made in an empty or new folder only"
        )
    lake_id = uuid4().hex
    file = Path(key).expanduser() if key is not None else default_key_file(lake_id)
    if file.is_file():
        lake_key = LakeKey.from_file(file)
    else:
        lake_key = new_key()
        lake_key.save(file)
    rules = (
        policy if isinstance(policy, Policy) else load_policy(policy if policy is not None else "research")
    )
    settings = LakeSettings(
        format_version=FORMAT_VERSION, lake_id=lake_id, key_fingerprint=lake_key.fingerprint
    )
    objects.put(_POLICY, policy_to_toml(rules).encode())
    # The settings come last and only once: of two processes that make the same lake, one wins.
    objects.put_new(_SETTINGS, to_toml(settings.model_dump()).encode())
