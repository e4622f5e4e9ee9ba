"""TIFF 6.0 and BigTIFF: flat images, and pages of one size as a stack without a place in the world.

Directories are read, and strips and tiles put together, here; imagecodecs unpacks the streams. Values are
taken as stored, 16-bit colour included, except that WhiteIsZero is turned round and palettes become RGB. Of
no effect are resolution (that of a print), the orientation of rows, and what ImageJ, OME or GeoTIFF note:
such a stack has pixels and no millimetres. Alpha is dropped. In tiled files with pages of several sizes
(slides), the first page counts; its smaller versions, label and overview do not, as when the file is stored
(`strip_tiff`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.digest import digest_bytes
from voxlake.core.errors import ItemError
from voxlake.core.grid import Grid
from voxlake.core.volume import Lineage, Volume
from voxlake.privacy.formats.tiff_directory import Directory, Reader
from voxlake.privacy.formats.tiff_tags import JPEG, Page, read_page
from voxlake.sources.columns import place_columns, value_columns
from voxlake.sources.tiff_blocks import Block, check_ratio, decode_block

__all__ = ["is_tiff", "read_tiff", "scan_tiff"]

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# As of one PNG; whole slides are larger and are read elsewhere.
_MAX_PIXELS = 80_000_000
_MAX_BYTES = 4 << 30
_MOST_BLOCKS = 1 << 20
_LETTERS = {1: "u", 2: "i", 3: "f"}
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _MASK, _YCBCR = 0, 1, 2, 3, 4, 6
_GREYS = (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _MASK)


@dataclass(frozen=True)
class _Image:
    """One page with all that its pixels are read by."""

    directory: Directory
    page: Page
    kind: np.dtype[Any]
    photometric: int

    @property
    def samples(self) -> int:
        """Samples of a pixel as it is read: 1 or 3."""
        return 1 if self.photometric in _GREYS else 3

    @property
    def decoded(self) -> np.dtype[Any]:
        """Type of a sample as it is read."""
        return np.dtype(np.uint8) if self.photometric == _PALETTE else self.kind


def is_tiff(data: bytes) -> bool:
    """Whether the bytes begin as a TIFF or BigTIFF file."""
    return data.startswith(_MAGIC)


def scan_tiff(data: bytes) -> dict[str, Any]:
    """Header of a TIFF file; see `voxlake.sources.images.scan_image`."""
    with _as_decode_error():
        reader, images = _opened(data)
        for image in images:
            for block in _blocks(reader, image):
                check_ratio(block, image.page)
    first = images[0]
    grid = Grid.flat_image((len(images), first.page.rows, first.page.columns))
    lossy = "01" if first.page.compression == JPEG else "00"
    return (
        value_columns(first.samples, first.decoded)
        | place_columns(grid)
        | {
            "bits_stored": first.page.bits if first.page.bits < 8 else first.decoded.itemsize * 8,
            "lossy_image_compression": lossy,
        }
    )


def read_tiff(data: bytes) -> Volume:
    """Decode a TIFF file; see `voxlake.sources.images.read_image`."""
    with _as_decode_error():
        reader, images = _opened(data)
        pages = [_pixels(reader, image) for image in images]
    stack = pages[0][np.newaxis] if len(pages) == 1 else np.stack(pages)
    lineage = Lineage((digest_bytes(data),))
    if stack.ndim == 4 and (stack == stack[..., :1]).all():
        stack = np.ascontiguousarray(stack[..., 0])
        lineage = lineage.then("three equal colour channels reduced to one")
    return Volume(stack, Grid.flat_image(stack.shape[:3]), lineage=lineage)


@contextmanager
def _as_decode_error() -> Iterator[None]:
    """What cannot be cleaned cannot be read either; here nobody asked for cleaning."""
    try:
        yield
    except ItemError as error:
        if error.reason != "deidentify_failed":
            raise
        raise ItemError("decode_error", error.message) from None


def _opened(data: bytes) -> tuple[Reader, list[_Image]]:
    reader = Reader(data)
    full = [one for one in reader.directories() if not _is_reduced(reader, one)]
    if not full:
        raise ItemError("decode_error", "the TIFF file has no image")
    pages = [_image(reader, one) for one in full]
    first = pages[0]
    if first.page.tiled:
        pages = [
            one for one in pages if (one.page.rows, one.page.columns) == (first.page.rows, first.page.columns)
        ]
    shapes = {(one.page.rows, one.page.columns, one.samples, one.decoded) for one in pages}
    if len(shapes) > 1:
        raise ItemError("geometry_mixed", "TIFF pages of several sizes or kinds; save each kind as a file")
    rows, columns = first.page.rows, first.page.columns
    size = len(pages) * rows * columns * first.samples * first.decoded.itemsize
    if rows * columns > _MAX_PIXELS or size > _MAX_BYTES:
        message = f"{len(pages)} pages of {rows} x {columns}; the limits are {_MAX_PIXELS:,} pixels and 4 GiB"
        raise ItemError("too_large", message)
    return reader, pages


def _is_reduced(reader: Reader, directory: Directory) -> bool:
    kind = reader.numbers(directory, 254) or (0,)
    old_kind = reader.numbers(directory, 255) or (1,)
    return bool(int(kind[0]) & 1) or old_kind[0] == 2


def _image(reader: Reader, directory: Directory) -> _Image:
    page = read_page(reader, directory)
    photometric = int((reader.numbers(directory, 262) or (_BLACK_IS_ZERO,))[0])
    formats = set(reader.numbers(directory, 339)) or {1}
    letter = _LETTERS.get(int(next(iter(formats))) if len(formats) == 1 else 0)
    bits = page.bits
    sound = letter is not None and (bits in (8, 16, 32, 64) or (bits == 1 and letter == "u"))
    if not sound or (letter == "f" and bits == 8):
        raise ItemError(
            "decode_error", f"TIFF values of {bits} bits of this kind; 1, 8, 16, 32 and 64 are read"
        )
    colours = 3 if photometric in (_RGB, _YCBCR) else 1
    known = photometric in (*_GREYS, _RGB, _PALETTE, _YCBCR) and page.samples in (colours, colours + 1)
    if not known or (photometric == _YCBCR and page.compression != JPEG):
        message = f"{page.samples} samples of the TIFF kind {photometric}; grey, RGB and palettes are read"
        raise ItemError("decode_error", message)
    if page.compression == JPEG and (bits != 8 or page.planar):
        raise ItemError("decode_error", "JPEG in TIFF of other than 8 bits, or with colours apart")
    return _Image(directory, page, np.dtype(f"{letter}{max(1, bits // 8)}"), photometric)


def _blocks(reader: Reader, image: _Image) -> list[Block]:
    page, directory = image.page, image.directory
    if page.blocks > _MOST_BLOCKS:
        raise ItemError("too_large", f"{page.blocks:,} TIFF strips or tiles; the limit is {_MOST_BLOCKS:,}")
    at_tag, length_tag = (324, 325) if page.tiled else (273, 279)
    offsets, lengths = reader.numbers(directory, at_tag), reader.numbers(directory, length_tag)
    if len(offsets) < page.blocks or len(lengths) < page.blocks:
        raise ItemError("truncated", f"{len(offsets)} TIFF strips or tiles, expected {page.blocks}")
    return [
        Block(number, reader.span(int(offsets[number]), int(lengths[number])))
        for number in range(page.blocks)
    ]


def _pixels(reader: Reader, image: _Image) -> NDArray[Any]:
    page = image.page
    pixels = np.zeros((page.rows, page.columns, page.samples), dtype=image.kind)
    tables = reader.raw(image.directory, 347)
    predictor = int((reader.numbers(image.directory, 317) or (1,))[0])
    reverse = int((reader.numbers(image.directory, 266) or (1,))[0]) == 2
    stored = image.kind.newbyteorder(">" if reader.order == ">" else "<")
    across = -(-page.columns // page.width)
    down = -(-page.rows // page.height)
    for block in _blocks(reader, image):
        check_ratio(block, page)
        values = decode_block(
            block,
            page,
            stored,
            predictor=predictor,
            tables=tables,
            reverse=reverse,
            ycbcr=image.photometric == _YCBCR,
        )
        plane, place = divmod(block.number, across * down)
        row, column = place // across * page.height, place % across * page.width
        part = values[: page.rows - row, : page.columns - column]
        target = pixels[row : row + part.shape[0], column : column + part.shape[1]]
        if page.planar:
            target[..., plane] = part[..., 0]
        else:
            target[...] = part
    return _colours(reader, image, pixels)


def _colours(reader: Reader, image: _Image, pixels: NDArray[Any]) -> NDArray[Any]:
    if image.photometric == _PALETTE:
        return _from_palette(reader, image, pixels[..., 0])
    if image.samples == 3:
        return np.ascontiguousarray(pixels[..., :3])
    grey = np.ascontiguousarray(pixels[..., 0])
    if image.page.bits == 1:
        grey = grey * np.uint8(255)
    if image.photometric != _WHITE_IS_ZERO:
        return grey
    if image.kind.kind != "u":
        raise ItemError("decode_error", "WhiteIsZero with values that are signed or have fractions")
    inverted: NDArray[Any] = np.iinfo(image.kind).max - grey
    return inverted


def _from_palette(reader: Reader, image: _Image, indices: NDArray[Any]) -> NDArray[Any]:
    numbers = reader.numbers(image.directory, 320)
    count = 1 << image.page.bits
    if image.kind.kind != "u" or image.page.bits > 16 or len(numbers) != 3 * count:
        raise ItemError("decode_error", "a TIFF palette that does not fit its values")
    colours = np.array(numbers, dtype=np.int64).reshape(3, count).T
    # Some writers fill only the lower byte.
    shift = 8 if colours.max() > 255 else 0
    palette = (colours >> shift).astype(np.uint8)
    return np.asarray(palette[indices])
