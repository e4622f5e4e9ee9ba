"""Compressed storage: what is stored in the place of a file, and the file again."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Literal

from voxlake.core.errors import IntegrityError, NotFoundError
from voxlake.dicom.compress import compress_htj2k, restore
from voxlake.lake.lake import Lake
from voxlake.store.packs import read_member

__all__ = ["Compression", "original_bytes", "restored", "stored_form"]

Compression = Literal["htj2k"]
"""How pixel data are compressed on their way into the lake."""

_ORIGIN = ("original_transfer_syntax_uid", "original_sha256")


def original_bytes(lake: Lake, sop_instance_uid: str) -> bytes:
    """Read one object as it was before `--compress`: after de-identification, bit for bit.

    Parameters
    ----------
    lake : Lake
        The lake.
    sop_instance_uid : str
        As in the table `instances`.

    Returns
    -------
    bytes
        The file; what was never compressed is returned as it is stored.

    Raises
    ------
    NotFoundError
        No such instance.
    IntegrityError
        The stored bytes, or what was restored from them, do not have the digest in the catalogue.

    Examples
    --------
    >>> data = original_bytes(lake, "2.25.123")  # doctest: +SKIP
    """
    rows = lake.sql(
        'select pack, "offset", "length", sha256, original_transfer_syntax_uid, original_sha256 '
        "from instances where sop_instance_uid = $uid limit 1",
        {"uid": sop_instance_uid},
    ).dicts()
    if not rows:
        raise NotFoundError(f"no instance '{sop_instance_uid}' in this lake; see the table instances")
    row = rows[0]
    stored = read_member(lake.objects, row["pack"], row["offset"], row["length"], sha256=row["sha256"])
    return restored(stored, row)


def restored(stored: bytes, row: Mapping[str, Any]) -> bytes:
    """Undo `stored_form`.

    Parameters
    ----------
    stored : bytes
        What the lake holds.
    row : mapping
        Its row of `instances`.

    Raises
    ------
    IntegrityError
        The result does not have the digest of the original.
    """
    syntax, expected = (row.get(name) for name in _ORIGIN)
    if syntax is None:
        return stored
    original = restore(stored, syntax)
    found = sha256(original).hexdigest()
    if found != expected:
        raise IntegrityError(f"the restored file has SHA-256 {found}, the original had {expected}")
    return original


def stored_form(data: bytes, compress: Compression | None) -> tuple[bytes, dict[str, str | None]]:
    """Compress a DICOM file if that is asked for, possible and worth it.

    Returns
    -------
    tuple of bytes and dict
        What is stored, and the columns of `instances` that tell what it was before; null if it is the same.
    """
    found = compress_htj2k(data) if compress == "htj2k" else None
    if found is None:
        return data, dict.fromkeys(_ORIGIN)
    return found.data, dict(
        zip(_ORIGIN, (found.original_transfer_syntax_uid, found.original_sha256), strict=True)
    )
