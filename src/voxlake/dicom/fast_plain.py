"""A plain file that was walked, and a data set of pydicom over its bytes."""

from __future__ import annotations

from typing import Any, NamedTuple

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import BaseTag

from voxlake.dicom.fast_values import Charset
from voxlake.dicom.fast_walk import PIXELS, Level, PixelPlace

__all__ = ["Plain", "pydicom_view", "raw_elements", "view_of"]


class Plain(NamedTuple):
    """A plain file, walked.

    Parameters
    ----------
    level : Level
        The data set.
    data : bytes
        What the places in it refer to.
    pixels : PixelPlace or None
        Where the pixel data lie.
    charset : tuple of str
        Codecs of its texts.
    implicit, little : bool
        Encoding.
    syntax : str
        Transfer Syntax UID.
    """

    level: Level
    data: bytes
    pixels: PixelPlace | None
    charset: Charset
    implicit: bool
    little: bool
    syntax: str


def pydicom_view(plain: Plain, *, pixels: bool = False) -> Dataset:
    """A data set of pydicom over the same bytes, for what is read with pydicom's help.

    Parameters
    ----------
    plain : Plain
        The file.
    pixels : bool
        Whether pixel data have their value in the view; otherwise they are there, and empty.
    """
    return view_of(raw_elements(plain, pixels=pixels), plain)


def raw_elements(plain: Plain, *, pixels: bool = False) -> dict[BaseTag, Any]:
    """The elements of `pydicom_view`."""
    data = plain.data
    raw: dict[BaseTag, Any] = {}
    for tag, (vr, start, end) in plain.level.items():
        undefined = plain.pixels is not None and plain.pixels.undefined and tag == plain.pixels.tag
        value = b"" if tag in PIXELS and not pixels else data[start:end]
        length = 0xFFFFFFFF if undefined else len(value)
        key = BaseTag(tag)
        raw[key] = RawDataElement(key, vr, length, value, start, plain.implicit, plain.little)
    return raw


def view_of(elements: dict[BaseTag, Any], plain: Plain) -> Dataset:
    """The data set that holds these elements, with the encoding and the transfer syntax of the file."""
    dataset = Dataset(elements)
    dataset.set_original_encoding(plain.implicit, plain.little, list(plain.charset))
    syntax = BaseTag(0x00020010)
    uid = plain.syntax.encode("ascii")
    meta = Dataset({syntax: RawDataElement(syntax, "UI", len(uid), uid, 0, False, True)})
    dataset.file_meta = FileMetaDataset(meta)
    return dataset
