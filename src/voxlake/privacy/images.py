"""Metadata out of images that are no DICOM: text, times, EXIF, thumbnails, whatever follows the image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

from voxlake.core.errors import UsageError
from voxlake.core.hints import hint
from voxlake.privacy.formats.jpeg import strip_jpeg
from voxlake.privacy.formats.nifti import strip_nifti
from voxlake.privacy.formats.nrrd import strip_nrrd
from voxlake.privacy.formats.png import strip_png
from voxlake.privacy.formats.tiff import strip_tiff

__all__ = ["Format", "metadata_format", "strip_metadata"]

Format = Literal["png", "jpeg", "tiff", "nifti", "nrrd"]
_STARTS: tuple[tuple[Format, tuple[bytes, ...]], ...] = (
    ("png", (b"\x89PNG\r\n\x1a\n",)),
    ("jpeg", (b"\xff\xd8\xff",)),
    ("tiff", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    ("nrrd", (b"NRRD000",)),
    # Size of the header, in both byte orders and versions.
    ("nifti", (b"\x5c\x01\0\0", b"\0\0\x01\x5c", b"\x1c\x02\0\0", b"\0\0\x02\x1c")),
)

_STRIPPERS: Mapping[str, Callable[[bytes], bytes]] = MappingProxyType(
    {
        "jpeg": strip_jpeg,
        "nifti": strip_nifti,
        "nrrd": strip_nrrd,
        "png": strip_png,
        "tiff": strip_tiff,
    }
)


def metadata_format(data: bytes) -> Format | None:
    """Say by its first bytes which of the formats of `strip_metadata` a file has; None if none of them."""
    return next((name for name, starts in _STARTS if data.startswith(starts)), None)


def strip_metadata(data: bytes, format: str) -> bytes:  # noqa: A002 - the word of the instances table
    """Return an image without its metadata; the stored values are untouched bit for bit.

    What a format keeps is a list of what its values and their place in space are read by; all else goes,
    known or not. `strip_png`, `strip_jpeg`, `strip_tiff`, `strip_nifti` and `strip_nrrd` say what that is.
    Stripping twice changes nothing, and equal files give equal files.

    Parameters
    ----------
    data : bytes
        The file.
    format : {"png", "jpeg", "tiff", "nifti", "nrrd"}
        Its format.

    Raises
    ------
    ItemError
        ``truncated``, ``too_large`` or ``deidentify_failed``: the file does not have the structure of its
        format, or has one that cannot be cleaned.
    UsageError
        Another format.
    """
    if format not in _STRIPPERS:
        raise UsageError(f"no image format '{format}'{hint(format, _STRIPPERS)}")
    return _STRIPPERS[format](data)
