"""Identities out of NIfTI headers (NIfTI-1 and NIfTI-2, single file, plain or gzipped)."""

from __future__ import annotations

from collections.abc import Iterator

from voxlake.core.errors import ItemError
from voxlake.privacy.formats.nifti_header import Header, read_header
from voxlake.privacy.formats.packed import clean, measure, pack, unpack

__all__ = ["strip_nifti"]

_GZIP = b"\x1f\x8b"


def strip_nifti(data: bytes) -> bytes:
    """Return a NIfTI file whose header holds what voxels, their place and their unit are read by.

    Text fields, unused fields, extensions and bytes behind the voxels go; `read_header` names each field.
    The voxels are untouched bit for bit. A gzipped file is packed anew, without name, comment or time,
    unless there is nothing to take out.

    Raises
    ------
    ItemError
        ``truncated``, ``too_large`` or ``deidentify_failed``: no single-file NIfTI, or shorter than its
        header says.
    """
    if data.startswith(_GZIP):
        return _strip_packed(data)
    header = read_header(data)
    end = header.voxels_at + header.length
    if len(data) < end:
        raise ItemError("truncated", f"the NIfTI file has {len(data):,} bytes, expected {end:,}")
    return header.cleaned + data[header.voxels_at : end]


def _strip_packed(data: bytes) -> bytes:
    head = b""
    for piece in unpack(data, "gzip"):
        head += piece
        if len(head) >= Header.LONGEST:
            break
    header = read_header(head)
    end = header.voxels_at + header.length
    if head[: len(header.cleaned)] == header.cleaned and header.voxels_at == len(header.cleaned):
        return clean(data, "gzip", end)
    measure(data, "gzip", end)
    return pack(_rewritten(data, header), "gzip", len(header.cleaned) + header.length)


def _rewritten(data: bytes, header: Header) -> Iterator[bytes]:
    yield header.cleaned
    skip = header.voxels_at
    for piece in unpack(data, "gzip"):
        kept = piece[skip:]
        skip -= len(piece) - len(kept)
        yield kept
