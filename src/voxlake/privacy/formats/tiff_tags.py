"""Tags of TIFF that are kept, and which values they may have (TIFF 6.0, supplements 1 and 2).

Whatever is not in this list goes, known or not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import NamedTuple

from voxlake.core.errors import ItemError
from voxlake.privacy.formats.tiff_directory import Directory, Numbers, Reader, Writer

__all__ = ["RATIONAL", "SHORT", "Page", "kept_tags", "read_page"]

SHORT, LONG, RATIONAL = 3, 4, 5
_CODES = MappingProxyType({SHORT: "H", LONG: "I"})
NONE, LZW, JPEG, DEFLATE, PACKBITS, OLD_DEFLATE = 1, 5, 7, 8, 32773, 32946
_COMPRESSIONS = frozenset({NONE, LZW, JPEG, DEFLATE, PACKBITS, OLD_DEFLATE})
_PHOTOMETRICS = frozenset({0, 1, 2, 3, 4, 5, 6, 8, 9, 10})
_LARGEST_DENOMINATOR = 1_000_000
_MOST_SIDE = 1 << 31
_MOST_SAMPLES = 1 << 12


class Page(NamedTuple):
    """What pixels of a page are read by; sizes in pixels."""

    columns: int
    rows: int
    bits: int
    samples: int
    compression: int
    planar: bool
    tiled: bool
    width: int
    height: int

    @property
    def blocks(self) -> int:
        """Strips or tiles that the page has."""
        across = -(-self.columns // self.width)
        return across * -(-self.rows // self.height) * (self.samples if self.planar else 1)

    @property
    def row(self) -> int:
        """Bytes of a row of a strip or tile, not packed, without subsampling of colours."""
        return (self.width * self.bits * (1 if self.planar else self.samples) + 7) // 8

    def block_rows(self, n: int) -> int:
        """Rows of a strip or tile; the last strip of a plane may be lower."""
        if self.tiled:
            return self.height
        strips = -(-self.rows // self.height)
        return min(self.height, self.rows - n % strips * self.height)


def read_page(reader: Reader, directory: Directory) -> Page:
    """Read what the pixels of a directory are read by.

    Raises
    ------
    ItemError
        ``deidentify_failed``: impossible values, or a compression whose streams cannot be checked.
    """

    def one(tag: int, default: int) -> int:
        values = reader.numbers(directory, tag) or (default,)
        return int(values[0])

    columns, rows, samples, compression = one(256, 0), one(257, 0), one(277, 1), one(259, 1)
    if compression not in _COMPRESSIONS:
        raise ItemError(
            "deidentify_failed",
            f"TIFF compression {compression}; what hides in its streams is not known, convert the file",
        )
    depths = reader.numbers(directory, 258) or (1,)
    tiled = 322 in directory
    width = one(322, 0) if tiled else columns
    height = one(323, 0) if tiled else min(one(278, rows), rows)
    sound = min(columns, rows, width, height) > 0 and max(columns, rows, width, height) < _MOST_SIDE
    if not sound or not 1 <= samples <= _MOST_SAMPLES or len(set(depths)) > 1 or not 1 <= depths[0] <= 64:
        raise ItemError("deidentify_failed", "the TIFF directory states impossible sizes")
    if one(262, 0) not in _PHOTOMETRICS or one(32997, 1) != 1 or 262 not in directory:
        raise ItemError("deidentify_failed", "a TIFF image of a kind that is not read here")
    planar = one(284, 1) == 2 and samples > 1
    return Page(columns, rows, int(depths[0]), samples, compression, planar, tiled, width, height)


class _Rule(NamedTuple):
    """How a tag is written: its type, how many values, and which of them it may have."""

    kind: int
    counts: Callable[[Page], tuple[int, ...]]
    sound: Callable[[float], bool]


def _once(_: Page) -> tuple[int, ...]:
    return (1,)


def _number(*counts: int) -> Callable[[Page], tuple[int, ...]]:
    return lambda _: counts


def _each(page: Page) -> tuple[int, ...]:
    return (page.samples, 1)


def _extra(page: Page) -> tuple[int, ...]:
    return tuple(range(1, page.samples))


def _colours(page: Page) -> tuple[int, ...]:
    return (3 << page.bits,) if page.bits <= 16 else ()


def _between(least: float, most: float) -> Callable[[float], bool]:
    return lambda value: least <= value <= most


_KEPT: Mapping[int, _Rule] = MappingProxyType(
    {
        254: _Rule(LONG, _once, _between(0, 6)),  # NewSubfileType: page or mask
        256: _Rule(LONG, _once, _between(1, _MOST_SIDE)),  # ImageWidth
        257: _Rule(LONG, _once, _between(1, _MOST_SIDE)),  # ImageLength
        258: _Rule(SHORT, _each, _between(1, 64)),  # BitsPerSample
        259: _Rule(SHORT, _once, _between(1, 65535)),  # Compression
        262: _Rule(SHORT, _once, _between(0, 10)),  # PhotometricInterpretation
        266: _Rule(SHORT, _once, _between(1, 2)),  # FillOrder
        274: _Rule(SHORT, _once, _between(1, 8)),  # Orientation
        277: _Rule(SHORT, _once, _between(1, _MOST_SAMPLES)),  # SamplesPerPixel
        282: _Rule(RATIONAL, _once, _between(1e-6, 1e8)),  # XResolution
        283: _Rule(RATIONAL, _once, _between(1e-6, 1e8)),  # YResolution
        284: _Rule(SHORT, _once, _between(1, 2)),  # PlanarConfiguration
        296: _Rule(SHORT, _once, _between(1, 3)),  # ResolutionUnit
        317: _Rule(SHORT, _once, _between(1, 3)),  # Predictor
        318: _Rule(RATIONAL, _number(2), _between(0, 2)),  # WhitePoint
        319: _Rule(RATIONAL, _number(6), _between(0, 2)),  # PrimaryChromaticities
        320: _Rule(SHORT, _colours, _between(0, 65535)),  # ColorMap
        322: _Rule(LONG, _once, _between(1, _MOST_SIDE)),  # TileWidth
        323: _Rule(LONG, _once, _between(1, _MOST_SIDE)),  # TileLength
        332: _Rule(SHORT, _once, _between(1, 2)),  # InkSet
        338: _Rule(SHORT, _extra, _between(0, 2)),  # ExtraSamples
        339: _Rule(SHORT, _each, _between(1, 6)),  # SampleFormat
        529: _Rule(RATIONAL, _number(3), _between(0, 1)),  # YCbCrCoefficients
        530: _Rule(SHORT, _number(2), _between(1, 4)),  # YCbCrSubSampling
        531: _Rule(SHORT, _once, _between(1, 2)),  # YCbCrPositioning
        532: _Rule(RATIONAL, _number(6), _between(0, 1e6)),  # ReferenceBlackWhite
    }
)
# Pixels read without one of these, where it is there and makes no sense, would be other pixels.
_NEEDED = frozenset({258, 266, 284, 317, 320, 339, 530})


def kept_tags(
    reader: Reader, directory: Directory, page: Page, writer: Writer
) -> dict[int, tuple[int, bytes]]:
    """Tags to be written, without those that say where pixels lie: (type, bytes).

    Raises
    ------
    ItemError
        ``deidentify_failed``: a tag that pixels are read by has impossible values.
    """
    kept = {}
    for tag, rule in _KEPT.items():
        values = reader.numbers(directory, tag) if tag in directory else ()
        if tag not in directory:
            continue
        counts = rule.counts(page)
        if len(values) in counts and all(rule.sound(value) for value in values):
            kept[tag] = (rule.kind, _written(writer, rule.kind, values))
        elif tag in _NEEDED:
            raise ItemError("deidentify_failed", f"TIFF tag {tag} has impossible values")
    return kept


def _written(writer: Writer, kind: int, values: Numbers) -> bytes:
    if kind != RATIONAL:
        return writer.numbers(_CODES[kind], tuple(int(value) for value in values))
    pairs: list[int] = []
    for value in values:
        quotient = Fraction(value).limit_denominator(_LARGEST_DENOMINATOR)
        pairs += [quotient.numerator, quotient.denominator]
    return writer.numbers("I", tuple(pairs))
