"""A DICOMDIR as a source: the files that the index of a medium names (PS3.3 annex F, PS3.10 section 8).

The index is parsed in a worker with caps on time and memory, like every other file of unknown origin: it may
be large, broken or made to do harm, and pydicom, which reads what is odd, is not made for bounded memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from voxlake.core.errors import ItemError
from voxlake.dicom.guard import PYDICOM_ERRORS, quiet
from voxlake.dicom.read import is_dicomdir, read_dataset
from voxlake.engine.limits import can_cap_memory
from voxlake.engine.open import open_engine
from voxlake.sources.folder import FileItem, followed
from voxlake.sources.ignore import SYSTEM_FILE
from voxlake.sources.item import BrokenItem, Item

__all__ = ["DicomDirectory", "IndexReader"]

# A record has some 500 bytes: half a million images.
_LARGEST = 256 << 20
_SECONDS, _MEMORY = 120.0, 4 << 30
_NOT_IN_USE = 0
_MISSING = "the index names a file that is not there"

FileId = tuple[str, ...]


@dataclass(frozen=True)
class IndexReader:
    """Reads an index; for `Engine.map`."""

    def __call__(self, item: FileItem) -> list[FileId]:
        """The parts of the name of each file, in the order of the records.

        Raises
        ------
        ItemError
            It cannot be read, or is no index.
        """
        dataset = read_dataset(item.read(_LARGEST))
        if not is_dicomdir(dataset):
            raise ItemError("parse_error", "named DICOMDIR, and no index of a medium")
        with quiet():
            try:
                found = [_file_id(record) for record in dataset.get("DirectoryRecordSequence") or ()]
            except PYDICOM_ERRORS as error:
                message = f"the index cannot be read ({type(error).__name__})"
                raise ItemError("parse_error", message) from None
        return list(dict.fromkeys(one for one in found if one))


@dataclass(frozen=True)
class DicomDirectory:
    """The files that a DICOMDIR names, in the order of its records; each file once.

    Names are compared without regard to case, since media write them in upper case and systems show them in
    lower. A file that is missing, or a name that leads out of the folder of the index, is an item that fails.
    The index itself is counted as ignored. Files that it does not name are no part of the source; give the
    folder as the source to have them.

    Parameters
    ----------
    path : Path
        The index, resolved (no links in it).
    """

    path: Path = field(repr=False)
    labels_digest: str | None = None

    def __iter__(self) -> Iterator[Item]:
        index = FileItem(self.path.name, str(self.path))
        try:
            found = _read(index)
        except ItemError as error:
            yield BrokenItem(index.name, error.reason, error.message)
            return
        yield FileItem(index.name, index.path, ignored=SYSTEM_FILE)
        listings: dict[Path, dict[str, str]] = {}
        for file_id in found:
            yield _item(self.path.parent, file_id, listings)


def _read(index: FileItem) -> Sequence[FileId]:
    memory = _MEMORY if can_cap_memory() else None
    with open_engine("processes:1") as engine:
        for outcome in engine.map(IndexReader(), [index], timeout=_SECONDS, memory=memory):
            if outcome.failure is not None:
                raise ItemError(outcome.failure.reason, outcome.failure.message)
            return outcome.value or []
    raise ItemError("error", "the worker gave no result")


def _file_id(record: object) -> FileId:
    """ReferencedFileID (0004,1500) of a record; none of one that is not in use (0004,1410)."""
    if getattr(record, "RecordInUseFlag", None) == _NOT_IN_USE:
        return ()
    value = getattr(record, "ReferencedFileID", None)
    if not value:
        return ()
    parts = [value] if isinstance(value, str) else list(value)
    return tuple(str(part) for part in parts)


def _item(root: Path, file_id: FileId, listings: dict[Path, dict[str, str]]) -> Item:
    name = "/".join(file_id).encode("utf-8", "backslashreplace").decode()
    if any(part in ("", ".", "..") or set(part) & set("/\\\0") for part in file_id):
        return BrokenItem(name, "unreadable_source", "the index names a file outside of its folder")
    place = root
    for part in file_id:
        actual = _names(place, listings).get(part.strip().lower())
        if actual is None:
            return BrokenItem(name, "unreadable_source", _MISSING)
        place /= actual
    return followed(root, name, str(place))


def _names(folder: Path, listings: dict[Path, dict[str, str]]) -> dict[str, str]:
    """Names in a folder by their lower-case form, without the version (``;1``) of ISO 9660."""
    if folder not in listings:
        # Records go through a medium folder by folder; one listing at a time is all that is needed.
        if len(listings) > 64:
            listings.clear()
        try:
            names = sorted(entry.name for entry in folder.iterdir())
        except OSError:
            names = []
        listings[folder] = {name.lower().partition(";")[0].rstrip("."): name for name in reversed(names)}
    return listings[folder]
