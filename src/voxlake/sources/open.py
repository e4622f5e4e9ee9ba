"""The door to all sources: a path or a URL becomes a `Source`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from voxlake.core.errors import NotFoundError, SettingsError, UsageError
from voxlake.core.hints import hint
from voxlake.sources.archive_limits import ArchiveLimits
from voxlake.sources.folder import Folder, SingleFile
from voxlake.sources.item import BrokenItem, Item, MappedItem, Source
from voxlake.sources.mapping import MappingFile, load_mapping
from voxlake.sources.phantoms import Phantoms
from voxlake.sources.standard_input import StandardInput

__all__ = ["Mapped", "open_source"]

# One letter is a Windows drive, not a scheme.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(?=//|\?|$)")
_BUCKETS = ("s3", "gs", "az")
_SCHEMES = ("file", "phantoms", "stdin", *_BUCKETS)


@dataclass(frozen=True)
class Mapped:
    """A source whose items carry the hints of a mapping, over those of their own."""

    source: Source
    mapping: MappingFile

    @property
    def labels_digest(self) -> str | None:
        """Digest of the mapping."""
        return self.mapping.digest

    def __iter__(self) -> Iterator[Item]:
        for number, item in enumerate(self.source, 1):
            # What is ignored or broken stays so: a mapping must not hide a folder that could not be read.
            yield item if item.ignored or isinstance(item, BrokenItem) else self._mapped(item, number)

    def _mapped(self, item: Item, number: int) -> Item:
        hints = self.mapping.hints(item.name)
        if hints is not None:
            return MappedItem(item, hints.over(item.hints), None)
        if self.mapping.unmatched == "error":
            raise SettingsError(
                f"file {number:,} matches no rule of the mapping, which says unmatched = 'error'; "
                "add a rule for it, or say 'keep' or 'ignore'"
            )
        reason = "ignored_not_matched" if self.mapping.unmatched == "ignore" else None
        return MappedItem(item, item.hints, reason)


def open_source(
    source: str | Path | Source,
    *,
    mapping: str | Path | MappingFile | None = None,
    limits: ArchiveLimits | None = None,
) -> Source:
    """Open a source.

    Parameters
    ----------
    source : str, Path or Source
        A folder, a file, an archive (zip, tar), a DICOMDIR, ``-`` for an archive on standard input,
        ``s3://bucket/prefix`` (``gs://``, ``az://``), ``file:///path``, ``phantoms:?patients=40&seed=1``,
        or a source object (returned as it is, or mapped).
    mapping : path or MappingFile, optional
        What the names say about patient, label and modality.
    limits : ArchiveLimits, optional
        Caps on every archive.

    Returns
    -------
    Source
        Iterates items in a fixed order; nothing has been read yet.

    Raises
    ------
    NotFoundError
        There is no such file or folder, or no such mapping.
    UsageError
        A URL of a kind that is not known, or something that is neither file nor folder.
    SettingsError
        A mapping or phantom settings that cannot be read.
    """
    opened = _opened(source, limits or ArchiveLimits()) if isinstance(source, str | Path) else source
    if mapping is None:
        return opened
    return Mapped(opened, mapping if isinstance(mapping, MappingFile) else load_mapping(mapping))


def _opened(source: str | Path, limits: ArchiveLimits) -> Source:
    match = _SCHEME.match(source) if isinstance(source, str) else None
    if str(source) in ("-", "stdin:"):
        return StandardInput(limits)
    if match is None:
        return _local(Path(source), limits)
    scheme = match[1].lower()
    if scheme == "file":
        return _local(Path(unquote(urlsplit(str(source)).path)), limits)
    if scheme == "phantoms":
        return _phantoms(str(source))
    if scheme in _BUCKETS:
        return _bucket(str(source), limits)
    raise UsageError(f"no source of the kind '{scheme}:'{hint(scheme, _SCHEMES)}; or give a path")


def _local(path: Path, limits: ArchiveLimits) -> Source:
    try:
        real = path.resolve(strict=True)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(
            "the source is not there; give the path of a folder, a file or an archive"
        ) from None
    except (OSError, RuntimeError) as error:
        raise UsageError(f"the source cannot be reached: {type(error).__name__}") from None
    if real.is_dir():
        return Folder(real, limits)
    if real.is_file() and real.name.lower() == "dicomdir":
        return _index(real)
    if real.is_file():
        return SingleFile(real, limits)
    raise UsageError("the source is a pipe, a socket or a device; give a folder, a file or an archive")


def _bucket(url: str, limits: ArchiveLimits) -> Source:
    # Imported here: whoever ingests a folder needs no object store.
    from voxlake.sources.buckets import BucketSource
    from voxlake.store.buckets import Bucket

    Bucket.open(url)
    return BucketSource(url, limits)


def _index(path: Path) -> Source:
    # Imported here: few sources are an index, and reading one takes pydicom.
    from voxlake.sources.dicomdir import DicomDirectory

    return DicomDirectory(path)


def _phantoms(url: str) -> Phantoms:
    where = "source 'phantoms:'"
    _, _, query = url.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    names = [name for name, _ in pairs]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise SettingsError(f"{where}: '{repeated[0]}' is given twice")
    return Phantoms.read(dict(pairs), where=where)
