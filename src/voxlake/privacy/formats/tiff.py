"""Metadata out of TIFF files (TIFF 6.0 and BigTIFF): a new file from a list of tags and the pixels."""

from __future__ import annotations

import re

from voxlake.core.errors import ItemError
from voxlake.privacy.formats.jpeg import strip_jpeg_tables
from voxlake.privacy.formats.tiff_blocks import clean_block
from voxlake.privacy.formats.tiff_directory import Directory, Reader, Writer
from voxlake.privacy.formats.tiff_tags import JPEG, LONG, Page, kept_tags, read_page

__all__ = ["strip_tiff"]

_LONG8, _UNDEFINED = 16, 7
_REDUCED = 1
_DESCRIPTION, _TABLES = 270, 347
_STRIPS, _TILES = (273, 279), (324, 325)
_IMAGEJ_IMAGES = re.compile(rb"^images=(\d{1,9})\s*$", re.MULTILINE)
_MOST_DESCRIPTION = 1 << 20
_MOST_BLOCKS = 1 << 20


def strip_tiff(data: bytes) -> bytes:
    """Return a TIFF file built anew from what its pixels are read by.

    Kept are the tags of `voxlake.privacy.formats.tiff_tags`: structure, colour, resolution and the
    orientation of rows, which decoders of TIFF apply. Strips and tiles are copied bit for bit, without bytes
    behind their ends; JPEG streams in them lose what `strip_jpeg` takes from a file. All other tags go, with
    them the EXIF and GPS directories, colour profiles, what ImageJ, OME and GeoTIFF note (among it the
    distance of slices and the names of channels), sub-directories, pages that are marked as
    reduced versions and, in tiled files, pages of another size than the first: the label and overview
    photographs of slides.

    Raises
    ------
    ItemError
        ``truncated``, ``too_large`` or ``deidentify_failed``: the file does not have the structure of a TIFF,
        has offsets that loop, overlap or lie outside, images that no directory points at, or a compression
        whose streams cannot be checked (all but none, LZW, PackBits, deflate and JPEG).
    """
    reader = Reader(data)
    directories = list(reader.directories())
    _check_images(reader, directories)
    full = [one for one in directories if not _is_reduced(reader, one)]
    if not full:
        raise ItemError("deidentify_failed", "the TIFF file has no image that is not a reduced version")
    pages = [(directory, read_page(reader, directory)) for directory in _of_one_kind(reader, full)]
    blocks = [_blocks(reader, directory, page) for directory, page in pages]
    _check_overlap([block for found in blocks for block in found])
    writer = Writer(reader.order, big=reader.big)
    for (directory, page), found in zip(pages, blocks, strict=True):
        _write(reader, writer, directory, page, found)
    return writer.result()


def _check_images(reader: Reader, directories: list[Directory]) -> None:
    """Refuse stacks of ImageJ whose slices lie behind the one that the only directory points at."""
    if not directories:
        raise ItemError("deidentify_failed", "the TIFF file has no image")
    note = reader.raw(directories[0], _DESCRIPTION)[:_MOST_DESCRIPTION]
    stated = _IMAGEJ_IMAGES.search(note) if note.startswith(b"ImageJ=") else None
    if stated is not None and int(stated[1]) > len(directories):
        raise ItemError(
            "deidentify_failed", "an ImageJ stack whose slices no directory points at; save it as plain TIFF"
        )


def _is_reduced(reader: Reader, directory: Directory) -> bool:
    kind = reader.numbers(directory, 254) or (0,)
    old_kind = reader.numbers(directory, 255) or (1,)
    return bool(int(kind[0]) & _REDUCED) or old_kind[0] == 2


def _of_one_kind(reader: Reader, directories: list[Directory]) -> list[Directory]:
    if _TILES[0] not in directories[0]:
        return directories
    sizes = [(reader.numbers(one, 256), reader.numbers(one, 257)) for one in directories]
    return [one for one, size in zip(directories, sizes, strict=True) if size == sizes[0]]


def _blocks(reader: Reader, directory: Directory, page: Page) -> list[tuple[int, int]]:
    """(offset, length) of each strip or tile; what is listed beyond the image is not used."""
    count = page.blocks
    if count > _MOST_BLOCKS:
        raise ItemError("too_large", f"{count:,} TIFF strips or tiles; the limit is {_MOST_BLOCKS:,}")
    offsets, lengths = (reader.numbers(directory, tag) for tag in (_TILES if page.tiled else _STRIPS))
    if len(offsets) < count or len(lengths) < count:
        raise ItemError("truncated", f"{len(offsets)} TIFF strips or tiles, expected {count}")
    return [(int(at), int(length)) for at, length in zip(offsets[:count], lengths[:count], strict=True)]


def _check_overlap(blocks: list[tuple[int, int]]) -> None:
    end = 0
    for at, length in sorted(block for block in blocks if block[1]):
        if at < end:
            raise ItemError("deidentify_failed", "TIFF strips or tiles that overlap")
        end = at + length


def _write(
    reader: Reader, writer: Writer, directory: Directory, page: Page, blocks: list[tuple[int, int]]
) -> None:
    tags = kept_tags(reader, directory, page, writer)
    tables, interval = b"", 0
    if page.compression == JPEG and _TABLES in directory:
        tables, interval = strip_jpeg_tables(reader.raw(directory, _TABLES))
        tags[_TABLES] = (_UNDEFINED, tables)
    subsampled = 530 in directory or reader.numbers(directory, 262) == (6,)
    offsets, lengths = [], []
    for n, (at, length) in enumerate(blocks):
        block = clean_block(
            reader.span(at, length), page, n, tables=tables, interval=interval, subsampled=subsampled
        )
        offsets.append(writer.put(block) if block else 0)
        lengths.append(len(block))
    kind, code = (_LONG8, "Q") if reader.big else (LONG, "I")
    at_tag, length_tag = _TILES if page.tiled else _STRIPS
    tags[at_tag] = (kind, writer.numbers(code, tuple(offsets)))
    tags[length_tag] = (kind, writer.numbers(code, tuple(lengths)))
    if not page.tiled:
        tags[278] = (LONG, writer.numbers("I", (page.height,)))
    writer.page(tags)
