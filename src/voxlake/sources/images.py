"""Image files: what they are, what their headers say, their pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

from voxlake.core.errors import UsageError
from voxlake.core.hints import hint
from voxlake.core.volume import Volume
from voxlake.dicom.read import looks_like_dicom
from voxlake.sources.nifti import is_nifti, read_nifti, scan_nifti
from voxlake.sources.nrrd import is_nrrd, read_nrrd, scan_nrrd
from voxlake.sources.pictures import read_jpeg, read_png, scan_jpeg, scan_png
from voxlake.sources.tiff import is_tiff, read_tiff, scan_tiff

__all__ = ["Format", "read_image", "scan_image", "sniff"]

Format = Literal["dicom", "png", "jpeg", "tiff", "nifti", "nrrd"]

_SCANNERS: Mapping[str, Callable[[bytes], dict[str, Any]]] = MappingProxyType(
    {"png": scan_png, "jpeg": scan_jpeg, "tiff": scan_tiff, "nifti": scan_nifti, "nrrd": scan_nrrd}
)
_READERS: Mapping[str, Callable[[bytes], Volume]] = MappingProxyType(
    {"png": read_png, "jpeg": read_jpeg, "tiff": read_tiff, "nifti": read_nifti, "nrrd": read_nrrd}
)


def sniff(data: bytes, name: str = "") -> Format | None:
    """Say what kind of file the bytes are; None if it is none that is read here.

    Parameters
    ----------
    data : bytes
        The file.
    name : str
        Its name. Only the content decides, except for data sets that begin without a preamble: bytes
        that could pass for one by chance are not taken for DICOM if they are named as something else.
    """
    if data[128:132] == b"DICM":
        return "dicom"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if is_tiff(data):
        return "tiff"
    if is_nrrd(data):
        return "nrrd"
    if is_nifti(data):
        return "nifti"
    return "dicom" if not _named_otherwise(name) and looks_like_dicom(data) else None


def scan_image(data: bytes, format: str) -> dict[str, Any]:  # noqa: A002 - the word of the instances table
    """Read the header of a PNG, JPEG, TIFF, NIfTI or NRRD file; no pixels are decoded.

    Parameters
    ----------
    data : bytes
        The file.
    format : {"png", "jpeg", "tiff", "nifti", "nrrd"}
        As `sniff` says.

    Returns
    -------
    dict
        Columns of the `instances` table that the header can fill, in the terms of `read_image`: the samples
        and bits of the decoded values, LPS mm for NIfTI and NRRD.

    Raises
    ------
    ItemError
        ``decode_error``, ``truncated``, ``too_large``, ``geometry_mixed`` or ``geometry_none``.
    UsageError
        Another format.
    """
    scan: Callable[[bytes], dict[str, Any]] = _chosen(_SCANNERS, format)
    return scan(data)


def read_image(data: bytes, format: str) -> Volume:  # noqa: A002 - the word of the instances table
    """Decode a PNG, JPEG, TIFF, NIfTI or NRRD file.

    Parameters
    ----------
    data : bytes
        The file.
    format : {"png", "jpeg", "tiff", "nifti", "nrrd"}
        As `sniff` says.

    Returns
    -------
    Volume
        PNG and JPEG: (1, rows, columns) or (1, rows, columns, 3) on a flat grid, TIFF the same with a page
        for each slice. NIfTI and NRRD: (slices, rows, columns) on a grid in LPS mm; a NRRD file without
        directions or spacings has a flat grid. The unit is ``"arbitrary"``.

    Raises
    ------
    ItemError
        ``decode_error``, ``truncated``, ``too_large``, ``geometry_mixed``, ``geometry_none`` or
        ``geometry_duplicates``.
    UsageError
        Another format.
    """
    read: Callable[[bytes], Volume] = _chosen(_READERS, format)
    return read(data)


def _chosen(table: Mapping[str, Callable[[bytes], Any]], name: str) -> Callable[[bytes], Any]:
    if name not in table:
        raise UsageError(f"no image format '{name}'{hint(name, table)}")
    return table[name]


def _named_otherwise(name: str) -> bool:
    suffix = name.lower().rpartition("/")[2].rpartition(".")[2]
    return suffix in {
        "txt",
        "csv",
        "json",
        "xml",
        "html",
        "pdf",
        "md",
        "zip",
        "gz",
        "tsv",
        "toml",
        "exe",
        "dll",
    }
