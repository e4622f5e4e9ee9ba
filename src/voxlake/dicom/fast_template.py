"""What the headers of one kind of files have in common, and where they differ."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal, NamedTuple

from voxlake.dicom.fast_columns import (
    blank,
    csa_of,
    csa_tells,
    has_physics,
    is_single,
    readers_of,
)
from voxlake.dicom.fast_json import LUT_TAGS, JsonWriter, value_text
from voxlake.dicom.fast_physics import PhysicsMemory
from voxlake.dicom.fast_plain import Plain
from voxlake.dicom.fast_row import META_START, NATIVE, Opened, Rowed, enough, place_pixels
from voxlake.dicom.fast_runs import Entries, Place, Runs
from voxlake.dicom.fast_walk import INLINE_PIXELS, PIXELS, Entry, Level, PixelPlace, Walk
from voxlake.dicom.guard import MAX_ELEMENTS, MAX_HEADER_BYTES
from voxlake.dicom.nodes import is_creator
from voxlake.dicom.parse_bytes import DEFLATED

__all__ = ["Template", "head_of", "is_learnable", "may_differ"]

_LONGEST_HEADER, _MOST_ELEMENTS = 262_144, 5_000
_BEGINNING = b"DICM\x02\0\0\0UL\x04\0"
# Where the first element behind the group length of the meta information begins.
_SECOND = META_START + 12
_META = 0x0002
_UNDEFINED, _LONGEST_RESOLVED = 0xFFFFFFFF, 0xFFFF
# How others are read depends on these: group length, SOP class and transfer syntax of the meta information,
# character set, SOP class, number of frames, sign of the pixels.
_STEERING = LUT_TAGS | {
    0x00020000, 0x00020002, 0x00020010, 0x00080005, 0x00080016, 0x00280008, 0x00280103
}  # fmt: skip


class _Column(NamedTuple):
    place: int
    name: str
    convert: Any
    vr: str
    how: Any
    mandatory: bool


class _Text(NamedTuple):
    place: int
    key: str
    vr: str


class _Located(NamedTuple):
    """A file of the kind: where the values that differ lie, the pixel data, and what is behind them."""

    data: bytes
    places: list[Place]
    pixels: PixelPlace | None
    tail: Level
    walk: Walk | None


def may_differ(tag: int) -> bool:
    """Whether an element may differ between files of one kind: no other depends on its value."""
    return tag not in _STEERING and not is_creator(tag)


def is_learnable(found: Rowed) -> bool:
    """Whether others may be like this file: plain columns, a moderate header, nothing that is deflated."""
    plain = found.plain
    if plain.syntax in DEFLATED or MAX_ELEMENTS - found.walk.budget > _MOST_ELEMENTS:
        return False
    pixels = plain.pixels
    if pixels is not None and not plain.implicit and plain.level[pixels.tag][0] not in ("OB", "OW"):
        return False
    if any(vr == "SQ" for vr, _, _ in found.meta.values()):
        return False
    return head_of(found)[-1][1][2] <= _LONGEST_HEADER and is_single(plain)


def head_of(found: Rowed) -> Entries:
    """The meta information, and the elements before the pixel data."""
    level, pixels = found.plain.level, found.plain.pixels
    end = _UNDEFINED if pixels is None else pixels.tag
    return [*found.meta.items(), *(entry for entry in level.items() if entry[0] < end)]


class Template:
    """What the files of one kind have in common.

    Parameters
    ----------
    found : Rowed
        One of them, for which `is_learnable`.
    entries : list
        `head_of` it.
    differing : collection of int
        Tags of the elements whose values differ, each of which `may_differ`.
    """

    def __init__(self, found: Rowed, entries: Entries, differing: Collection[int]) -> None:
        plain, walk, count = found.plain, found.walk, len(found.meta)
        self._plain, self._budget = plain._replace(level={}, data=b"", pixels=None), walk.budget
        self._order: Literal["little", "big"] = "little" if plain.little else "big"
        self._head = 4 if plain.implicit else 8
        pixels = plain.pixels
        self._pixel_tag = 0 if pixels is None else pixels.tag
        self._pixel_vr = "" if pixels is None else plain.level[pixels.tag][0]
        # Long native pixel data are words in implicit encoding (PS3.5 annex A.1).
        self._pixel_text = "OW" if " " in self._pixel_vr else self._pixel_vr
        self._native = self._pixel_tag == PIXELS[0] and plain.syntax in NATIVE
        end = len(plain.data) if pixels is None else pixels.start - 4
        chosen = {
            tag: entry for tag, entry in entries if tag in differing and not _is_long_unknown(plain, entry)
        }
        meta, body, self._entries = entries[1:count], entries[count:], entries[1:]
        bounds = (_SECOND, found.start), (found.start, end)
        self._meta = Runs(plain.data, meta, bounds[0], chosen, implicit=False, little=True, sequences={})
        self._body = Runs(
            plain.data,
            body,
            bounds[1],
            chosen,
            implicit=plain.implicit,
            little=plain.little,
            sequences=walk.sequences,
        )
        self._opens = any(vr == "SQ" and start in walk.sequences for vr, start, _ in chosen.values())
        self._deep = found.texts is not None
        self._places = {tag: place for place, tag in enumerate(chosen)}
        self._learn_columns(found, chosen)
        self._learn_texts(found, body, chosen)

    def _learn_columns(self, found: Rowed, chosen: dict[int, Entry]) -> None:
        plain = found.plain
        self._columns = [
            _Column(
                self._places[tag],
                reader.name,
                reader.convert,
                vr,
                plain.charset if reader.textual else plain.little,
                reader.mandatory,
            )
            for tag, (vr, _, _) in chosen.items()
            for reader in readers_of().get(tag, ())
        ]
        self._row = found.row | {"tags": None, "pixel_offset": None, "pixel_length": None}
        self._row |= {column.name: blank()[column.name] for column in self._columns}
        self._lists = [(name, tuple(value)) for name, value in self._row.items() if isinstance(value, list)]
        self._physics, self._physics_memory = has_physics(plain), PhysicsMemory(self._places)
        self._csa = [self._places[tag] for tag in csa_of(plain) if tag in chosen]

    def _learn_texts(self, found: Rowed, body: Entries, chosen: dict[int, Entry]) -> None:
        self._texts: list[str | _Text] = []
        self._sign: int | None = None
        if found.texts is None:
            return
        level, writer = found.plain.level, JsonWriter(found.walk)
        self._sign = writer.sign(level) if found.plain.implicit else None
        same: list[str] = []
        for (tag, (vr, _, _)), text in zip(body, found.texts, strict=False):
            if tag not in chosen:
                same.append(text)
                continue
            if same:
                self._texts.append(",".join(same))
                same = []
            resolved = writer.resolved(level, tag, vr, self._sign)
            self._texts.append(_Text(self._places[tag], f'"{tag:08X}":', resolved))
        if same:
            self._texts.append(",".join(same))

    def row(self, opened: Opened) -> dict[str, Any] | None:
        """Read the row of a file; None if it is of another kind.

        Raises
        ------
        OddFileError, ShortOfBytesError
            It is of another kind, or odd, or more of it is needed.
        """
        there = self._located(opened)
        if there is None:
            return None
        data, places, pixels = there.data, there.places, there.pixels
        row = dict(self._row)
        for name, values in self._lists:
            row[name] = list(values)
        for place, name, convert, vr, how, mandatory in self._columns:
            start, stop = places[place]
            if start != stop or mandatory:
                found = convert(vr, data[start:stop], how)
                row[name] = list(found) if type(found) is tuple else found
        if self._physics or any(csa_tells(data, *places[place]) for place in self._csa):
            row |= self._physics_memory.values(data, places, lambda: self._materialised(there))
        if self._native and pixels is not None and enough(row, pixels.length):
            row["pixel_offset"], row["pixel_length"] = pixels.start, pixels.length
        elif pixels is not None:
            place_pixels(self._materialised(there), row, whole=opened.whole)
        if self._deep:
            row["tags"] = self._text(there)
        return row

    def _located(self, opened: Opened) -> _Located | None:
        data = opened.data
        if not data.startswith(_BEGINNING, 128):
            return None
        places: list[Place] = []
        start = self._meta.follow(data, _SECOND, places, None)
        if start != _SECOND + int.from_bytes(data[_SECOND - 4 : _SECOND], "little"):
            return None
        walk = self._walk(opened) if self._opens else None
        position = self._body.follow(data, start, places, walk)
        if not 0 <= position <= MAX_HEADER_BYTES:
            return None
        if self._plain.implicit and _is_code(data[start + 4 : start + 6]):
            return None
        if not self._pixel_tag:
            return _Located(data, places, None, {}, walk) if position == opened.size else None
        return self._with_pixels(opened, position, places, walk)

    def _walk(self, opened: Opened) -> Walk:
        plain = self._plain
        return Walk(
            opened.data,
            opened.size,
            opened.read,
            implicit=plain.implicit,
            little=plain.little,
            deep=self._deep,
            budget=self._budget,
        )

    def _with_pixels(
        self, opened: Opened, position: int, places: list[Place], walk: Walk | None
    ) -> _Located | None:
        """Find the pixel data, whose length stands at `position`, and what lies behind them."""
        data, size, tag = opened.data, opened.size, self._pixel_tag
        start = position + 4
        length = int.from_bytes(data[position:start], self._order)
        if tag == PIXELS[0] and start + length == size and INLINE_PIXELS < length < _UNDEFINED:
            pixels = PixelPlace(tag, start, length, size, False)
            there = _Located(data, places, pixels, {tag: (self._pixel_vr, start, size)}, walk)
            return there if start <= len(data) else None
        if walk is None:
            walk = self._walk(opened)
        tail = walk.run(position - self._head)
        return _Located(walk.data, places, walk.pixels, tail, walk) if next(iter(tail)) == tag else None

    def _text(self, there: _Located) -> str:
        plain, data, places, walk = self._plain, there.data, there.places, there.walk
        parts: list[str] = []
        for text in self._texts:
            if isinstance(text, str):
                parts.append(text)
                continue
            place, key, vr = text
            if vr == "SQ" and walk is not None:
                written = JsonWriter(walk).sequence(places[place][0], plain.charset, self._sign)
            else:
                written = value_text(vr, data, places[place], plain.charset, plain.little)
            parts.append(key + written)
        if walk is not None and walk.pixels is not None:
            parts += JsonWriter(walk).elements(there.tail, plain.charset, self._sign)
        elif there.pixels is not None:
            parts.append(f'"{PIXELS[0]:08X}":{{"omitted":{there.pixels.length},"vr":"{self._pixel_text}"}}')
        return "{" + ",".join(parts) + "}"

    def _materialised(self, there: _Located) -> Plain:
        """The data set, for what is read with pydicom's help."""
        level: Level = {}
        shift = 0
        for tag, (vr, start, stop) in self._entries:
            place = self._places.get(tag)
            entry = (start + shift, stop + shift) if place is None else there.places[place]
            shift = entry[1] - stop
            if tag >> 16 > _META:
                level[tag] = (vr, *entry)
        return self._plain._replace(level=level | there.tail, data=there.data, pixels=there.pixels)


def _is_long_unknown(plain: Plain, entry: Entry) -> bool:
    """Whether the VR of an element may be known once it is shorter."""
    vr, start, stop = entry
    return vr == "UN" and not plain.implicit and stop - start >= _LONGEST_RESOLVED


def _is_code(letters: bytes) -> bool:
    """Whether a length would be taken for an explicit VR."""
    return all(0x40 < letter < 0x5B for letter in letters)
