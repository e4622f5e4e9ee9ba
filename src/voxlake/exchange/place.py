"""The folder that is exported into: files that appear whole, and the list of them.

``voxlake-export.jsonl`` holds a line of JSON for each exported item: its files with their digests, and what
they were made from. Lines are added and never changed; of two about the same item the later one counts.
``SHA256SUMS`` says the same in the form that ``sha256sum --check`` reads.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

from voxlake.core.digest import digest_bytes
from voxlake.core.errors import ItemError, UsageError

__all__ = ["LISTED", "ExportedFile", "Manifest", "safe_name", "write_file"]

LISTED = "voxlake-export.jsonl"
_SUMS = "SHA256SUMS"
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_NAME = re.compile(r"\.?[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_LONGEST_UID = 64


@dataclass(frozen=True)
class ExportedFile:
    """A file: its path below the folder, digest and size in bytes."""

    path: str
    sha256: str
    size: int


def safe_name(identifier: str) -> str:
    """A name for a folder or file from a UID; of what is no UID a digest, so that nothing leads elsewhere."""
    if len(identifier) <= _LONGEST_UID and _UID.fullmatch(identifier):
        return identifier
    return digest_bytes(identifier.encode())[:32]


def write_file(folder: Path, path: str, data: bytes) -> ExportedFile:
    """Write a file below a folder, whole or not at all, in the place of one that is there.

    Raises
    ------
    ItemError
        ``error``: the path would lead out of the folder, for example through a link.
    """
    parts = PurePosixPath(path).parts
    if not parts or not all(_NAME.fullmatch(part) for part in parts):
        raise ItemError("error", "a name of an exported file is none that is allowed")
    target = folder.joinpath(*parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.parent.resolve().is_relative_to(folder.resolve()):
        raise ItemError("error", "a link in the folder leads out of it; nothing is written there")
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".voxlake-", delete=False) as stream:
        try:
            stream.write(data)
            stream.flush()
            # A temporary file is only for its owner; what is exported gets the usual rights.
            os.fchmod(stream.fileno(), 0o666 & ~_umask())
            Path(stream.name).replace(target)
        except BaseException:
            Path(stream.name).unlink(missing_ok=True)
            raise
    return ExportedFile(path, sha256(data).hexdigest(), len(data))


@dataclass
class Manifest:
    """What was exported into a folder.

    Parameters
    ----------
    folder : Path
        Where.
    """

    folder: Path
    _lines: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    _owner: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, folder: Path) -> Manifest:
        """Make the folder if it is not there, and read its list.

        Raises
        ------
        UsageError
            There is something else than a folder.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise UsageError("the place to export to is a file; name a folder") from None
        manifest = cls(folder)
        listed = folder / LISTED
        if listed.is_file():
            for line in listed.read_text("utf-8").splitlines():
                manifest._take(line)
        return manifest

    def holds(self, key: str) -> bool:
        """Whether all files of an item are there, with their sizes, and no other item has replaced one."""
        line = self._lines.get(key)
        return line is not None and all(
            self._owner[one["path"]] == key and self._size(one["path"]) == one["size"]
            for one in line["files"]
        )

    def files(self, key: str) -> list[str]:
        """Paths of the files of an item."""
        return [one["path"] for one in self._lines[key]["files"]]

    def add(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Add items: each with ``key``, ``files`` (path, sha256, size) and what they were made from."""
        texts = [json.dumps(line, sort_keys=True) for line in lines]
        if not texts:
            return
        with (self.folder / LISTED).open("ab") as stream:
            # A run that was killed may have left half a line.
            before = b"\n" if stream.tell() else b""
            stream.write(before + "\n".join(texts).encode() + b"\n")
        for text in texts:
            self._take(text)

    def lines(self) -> list[dict[str, Any]]:
        """All items whose files are there, sorted by key."""
        return [line for key, line in sorted(self._lines.items()) if self.holds(key)]

    def finish(self) -> None:
        """Write the list of digests."""
        found = {one["path"]: one["sha256"] for line in self.lines() for one in line["files"]}
        text = "".join(f"{digest}  {path}\n" for path, digest in sorted(found.items()))
        write_file(self.folder, _SUMS, text.encode())

    def _take(self, text: str) -> None:
        try:
            line = json.loads(text)
            paths = [one["path"] for one in line["files"]]
            key = line["key"]
        except (ValueError, KeyError, TypeError):
            # Half a line of a run that was killed: its item is done again.
            return
        self._lines[key] = line
        self._owner.update(dict.fromkeys(paths, key))

    def _size(self, path: str) -> int | None:
        try:
            return (self.folder / path).lstat().st_size
        except OSError:
            return None


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
