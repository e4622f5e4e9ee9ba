"""Metadata out of PNG files (W3C PNG 3rd edition; ISO/IEC 15948)."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from voxlake.core.errors import ItemError
from voxlake.privacy.formats.packed import clean, pack, unpack
from voxlake.privacy.formats.png_rows import Layout, has_loose_bits, masked_rows, used_levels

__all__ = ["strip_png"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CRITICAL = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
_DEPTHS: Mapping[int, tuple[int, ...]] = MappingProxyType(
    {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
)
_SAMPLES: Mapping[int, int] = MappingProxyType({0: 1, 2: 3, 3: 1, 4: 2, 6: 4})
_PALETTE = 3
# Four text characters read as a number are at least 0x20202020, more than any chromaticity, gamma or density.
_MOST_CHROMATICITY, _MOST_GAMMA, _MOST_DENSITY = 200_000, 10_000_000, 100_000_000

_TEXT = rb"((?:\d{1,6}(?:\.\d{0,17})?|\.\d{1,17})(?:[eE][-+]?\d\d?)?)"
_SCALE = re.compile(rb"[\1\2]" + _TEXT + rb"\0" + _TEXT)
_MOST_SCALE = 1e6
# The limit that libpng sets to both sides of an image.
_MOST_SIDE = 1_000_000
# Rows that are read value by value, which is slow: palettes and images of less than a byte a pixel.
_MOST_LOOKED_AT = 1 << 27


class _Header(NamedTuple):
    columns: int
    rows: int
    depth: int
    colour: int
    compression: int
    filter: int
    interlace: int

    @property
    def layout(self) -> Layout:
        return Layout(self.columns, self.rows, self.depth * _SAMPLES[self.colour], self.interlace == 1)


def strip_png(data: bytes) -> bytes:
    """Return a PNG file that holds what its pixels are read by, and nothing else.

    Kept are IHDR, PLTE (of palette images), tRNS, IDAT and IEND and, where their numbers make sense, gAMA,
    cHRM, sRGB, sBIT, pHYs and sCAL. Colour profiles go, since they hold free text and the stored values are
    read without them; so do further frames of animations. Palette entries that no pixel uses become black.
    The stream of pixels is copied bit for bit unless it hides bytes: values behind the last row or bits
    behind the end of a row.

    Raises
    ------
    ItemError
        ``truncated``, ``too_large`` or ``deidentify_failed``: the file does not have the structure of a PNG.
    """
    if not data.startswith(_SIGNATURE):
        raise ItemError("deidentify_failed", "expected a PNG signature at the start of the file")
    chunks = _chunks(data)
    header = _header(chunks.get(b"IHDR", [b""]))
    pixels = _pixels(chunks[b"IDAT"], header.layout)
    kept = {b"IHDR": [chunks[b"IHDR"][0]], **_described(chunks, header)}
    if header.colour == _PALETTE:
        kept |= _palette(chunks, b"".join(pixels), header.layout)
    elif b"tRNS" in chunks:
        kept |= _transparent(chunks[b"tRNS"][0], header)
    kept |= {b"IDAT": pixels, b"IEND": [b""]}
    return _SIGNATURE + b"".join(_chunk(kind, body) for kind, bodies in kept.items() for body in bodies)


def _chunks(data: bytes) -> dict[bytes, list[bytes]]:
    """Bodies of the chunks up to IEND; text and private chunks are never looked into."""
    found: dict[bytes, list[bytes]] = {}
    position, last = len(_SIGNATURE), b""
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        end = position + 12 + length
        if end > len(data):
            break
        _check(data, position, end)
        if kind == b"IEND":
            if b"IDAT" not in found:
                raise ItemError("deidentify_failed", "the PNG file has no IDAT chunk")
            return found
        if not kind[0] & 0x20:
            _check_critical(kind, found, last)
        if kind in _CRITICAL or kind in _DESCRIBED or kind == b"tRNS":
            found.setdefault(kind, []).append(data[position + 8 : end - 4])
        position, last = end, kind
    raise ItemError("truncated", "the PNG file ends before its IEND chunk")


def _check(data: bytes, position: int, end: int) -> None:
    stated = int.from_bytes(data[end - 4 : end], "big")
    if zlib.crc32(memoryview(data)[position + 4 : end - 4]) != stated:
        raise ItemError("deidentify_failed", "a PNG chunk does not match its checksum")


def _check_critical(kind: bytes, found: Mapping[bytes, list[bytes]], last: bytes) -> None:
    if kind not in _CRITICAL:
        raise ItemError("deidentify_failed", "the PNG file needs a chunk that the standard does not know")
    misplaced = (kind == b"IHDR") is bool(last)
    if kind == b"IDAT":
        misplaced |= b"IDAT" in found and last != b"IDAT"
    else:
        misplaced |= kind in found or b"IDAT" in found
    if misplaced:
        raise ItemError("deidentify_failed", "a PNG chunk stands twice or at the wrong place")


def _header(bodies: list[bytes]) -> _Header:
    if len(bodies[0]) != 13:
        raise ItemError("deidentify_failed", "expected a PNG header of 13 bytes")
    header = _Header(*struct.unpack(">2I5B", bodies[0]))
    sizes = 0 < header.columns <= _MOST_SIDE and 0 < header.rows <= _MOST_SIDE
    kinds = header.depth in _DEPTHS.get(header.colour, ()) and header.interlace < 2
    if not sizes or not kinds or header.compression or header.filter:
        raise ItemError("deidentify_failed", "the PNG header states impossible values")
    return header


def _pixels(parts: list[bytes], layout: Layout) -> list[bytes]:
    """Bodies of the IDAT chunks, without a tail."""
    stream = b"".join(parts)
    tidy = clean(stream, "zlib", layout.length)
    if layout.loose_bits:
        _check_patience(layout)
        if has_loose_bits(unpack(tidy, "zlib"), layout):
            tidy = pack(masked_rows(unpack(tidy, "zlib"), layout), "zlib", layout.length)
    return [part for part in parts if part] if tidy == stream else [tidy]


def _check_patience(layout: Layout) -> None:
    if layout.length > _MOST_LOOKED_AT:
        message = f"{layout.length:,} bytes of rows to be looked at; the limit is {_MOST_LOOKED_AT:,}"
        raise ItemError("too_large", message)


def _palette(chunks: Mapping[bytes, list[bytes]], stream: bytes, layout: Layout) -> dict[bytes, list[bytes]]:
    if b"PLTE" not in chunks:
        raise ItemError("deidentify_failed", "the PNG file has no palette")
    palette = chunks[b"PLTE"][0]
    size = len(palette) // 3
    if len(palette) % 3 or not 1 <= size <= 1 << layout.bits:
        raise ItemError("deidentify_failed", f"a PNG palette of {len(palette)} bytes")
    _check_patience(layout)
    used = used_levels(unpack(stream, "zlib"), layout)
    colours = b"".join(palette[3 * n : 3 * n + 3] if used[n] else b"\0\0\0" for n in range(size))
    kept = {b"PLTE": [colours]}
    opacity = chunks.get(b"tRNS", [b""])[0]
    if 1 <= len(opacity) <= size:
        kept[b"tRNS"] = [bytes(value if used[n] else 0 for n, value in enumerate(opacity))]
    return kept


def _transparent(body: bytes, header: _Header) -> dict[bytes, list[bytes]]:
    samples = {0: 1, 2: 3}.get(header.colour, 0)
    if not samples or len(body) != 2 * samples:
        return {}
    levels = struct.unpack(f">{samples}H", body)
    return {b"tRNS": [body]} if max(levels) < 1 << header.depth else {}


def _described(chunks: Mapping[bytes, list[bytes]], header: _Header) -> dict[bytes, list[bytes]]:
    return {
        kind: [chunks[kind][0]]
        for kind, sound in _DESCRIBED.items()
        if kind in chunks and sound(chunks[kind][0], header)
    }


def _sound_gamma(body: bytes, _: _Header) -> bool:
    return len(body) == 4 and 0 < int.from_bytes(body, "big") <= _MOST_GAMMA


def _sound_chromaticities(body: bytes, _: _Header) -> bool:
    if len(body) != 32:
        return False
    values: tuple[int, ...] = struct.unpack(">8I", body)
    return max(values) <= _MOST_CHROMATICITY


def _sound_intent(body: bytes, _: _Header) -> bool:
    return len(body) == 1 and body[0] < 4


def _sound_significance(body: bytes, header: _Header) -> bool:
    most = 8 if header.colour == _PALETTE else header.depth
    expected = 3 if header.colour == _PALETTE else _SAMPLES[header.colour]
    return len(body) == expected and min(body) > 0 and max(body) <= most


def _sound_density(body: bytes, _: _Header) -> bool:
    if len(body) != 9:
        return False
    across, down, unit = map(int, struct.unpack(">2IB", body))
    return 0 < across <= _MOST_DENSITY and 0 < down <= _MOST_DENSITY and unit < 2


def _sound_scale(body: bytes, _: _Header) -> bool:
    # What the Insight Toolkit writes spacing as: unit, width and height as text.
    found = _SCALE.fullmatch(body)
    return found is not None and all(0 < float(number) < _MOST_SCALE for number in found.groups())


# In the order in which they are written.
_DESCRIBED: Mapping[bytes, Callable[[bytes, _Header], bool]] = MappingProxyType(
    {
        b"gAMA": _sound_gamma,
        b"cHRM": _sound_chromaticities,
        b"sRGB": _sound_intent,
        b"sBIT": _sound_significance,
        b"pHYs": _sound_density,
        b"sCAL": _sound_scale,
    }
)


def _chunk(kind: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(body, zlib.crc32(kind))
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)
