"""Elements to JSON text straight from their bytes, the same as `voxlake.dicom.tags.tags_as_json`."""

from __future__ import annotations

import math
from base64 import b64encode
from functools import lru_cache
from json.encoder import encode_basestring
from struct import unpack
from typing import Any

from voxlake.dicom.fast_values import DEFAULT_CHARSET, NUMBERS, TEXTS, Charset, charset_of, names
from voxlake.dicom.fast_walk import Level, Walk
from voxlake.dicom.parse_bytes import OddFileError
from voxlake.dicom.tags import BULK_LIMIT, VALUE_LIMIT

__all__ = ["LUT_TAGS", "JsonWriter", "level_charset", "value_text"]

_CHARSET, _PIXEL_REPRESENTATION = 0x00080005, 0x00280103
_LUT_DESCRIPTOR, _LUT_DATA, _PIXELS = 0x00283002, 0x00283006, 0x7FE00010
_LUT_DESCRIPTORS = frozenset({0x00281101, 0x00281102, 0x00281103, _LUT_DESCRIPTOR})
LUT_TAGS = _LUT_DESCRIPTORS | {_LUT_DATA}
"""Elements whose VR and sign depend on each other."""
_BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_SIMPLE = frozenset({*TEXTS, *NUMBERS})
# Longest value (bytes) whose JSON is kept.
_LONGEST_KEPT = 64
_FLOATS = frozenset({"DS", "FD", "FL"})
# Numbers whose sign PixelRepresentation tells (PS3.6: "US or SS"), as far as pydicom resolves them.
_EITHER = frozenset(
    {
        0x00189810, 0x00221452, 0x00280104, 0x00280105, 0x00280106, 0x00280107, 0x00280108, 0x00280109,
        0x00280110, 0x00280111, 0x00280120, 0x00280121, 0x00281101, 0x00281102, 0x00281103, 0x00283002,
        0x00409211, 0x00409216, 0x00603004, 0x00603006,
    }
)  # fmt: skip
_WORDS = frozenset({_PIXELS, 0x54000110, 0x54000112, 0x5400100A, 0x54001010}) | {
    group << 16 | 0x3000 for group in range(0x6000, 0x601F, 2)
}


def level_charset(level: Level, data: bytes, outer: Charset) -> Charset:
    """Codecs of a level: its own Specific Character Set, else that of the level around it."""
    found = level.get(_CHARSET)
    if found is None:
        return outer
    if found[0] != "CS":
        raise OddFileError
    return charset_of(data[found[1] : found[2]])


class JsonWriter:
    """Writes the elements of one file.

    Parameters
    ----------
    walk : Walk
        After its run.
    """

    def __init__(self, walk: Walk) -> None:
        self._data, self._sequences = walk.data, walk.sequences
        self._implicit, self._little = walk.implicit, walk.little

    def write(self, level: Level, outer: Charset = DEFAULT_CHARSET, sign: int | None = None) -> str:
        """Write one level and all below.

        Parameters
        ----------
        level : Level
            From `voxlake.dicom.fast_walk.Walk.run`.
        outer : tuple of str
            Codecs of the level around it.
        sign : int, optional
            PixelRepresentation of the level around it.
        """
        return "{" + ",".join(self.elements(level, outer, sign)) + "}"

    def elements(self, level: Level, outer: Charset = DEFAULT_CHARSET, sign: int | None = None) -> list[str]:
        """Write each element of a level by itself, as ``"tag":{...}``; parameters as `write`."""
        data, charset = self._data, level_charset(level, self._data, outer)
        if self._implicit:
            sign = self.sign(level, sign)
        parts = []
        little = self._little
        for tag, (vr, start, end) in level.items():
            if start == end and vr != "SQ" and " " not in vr:
                text = f'{{"vr":"{vr}"}}'
            elif vr in _SIMPLE and tag not in _LUT_DESCRIPTORS:
                simple = _simple if end - start <= _LONGEST_KEPT else _simple.__wrapped__
                text = simple(vr, data[start:end], charset, little)
            elif vr == "SQ":
                text = self.sequence(start, charset, sign)
            else:
                text = self._other(level, tag, (vr, start, end), charset, sign)
            parts.append(f'"{tag:08X}":{text}')
        return parts

    def sequence(self, start: int, charset: Charset, sign: int | None) -> str:
        """Write the sequence whose value begins at `start`, without its tag."""
        items, undefined = self._sequences[start]
        # pydicom passes the sign on only where it opens a sequence late.
        inner = None if undefined else sign
        return self._sequence([self.write(item, charset, inner) for item in items])

    @staticmethod
    def _sequence(items: list[str]) -> str:
        return f'{{"Value":[{",".join(items)}],"vr":"SQ"}}' if items else '{"vr":"SQ"}'

    def sign(self, level: Level, outer: int | None = None) -> int | None:
        """PixelRepresentation of a level: its own, else that of the level around it."""
        found = level.get(_PIXEL_REPRESENTATION)
        if found is None:
            return outer
        value = int.from_bytes(self._data[found[1] : found[2]], "little" if self._little else "big")
        if found[0] != "US" or found[2] - found[1] != 2 or value > 1:
            raise OddFileError
        return value

    def _other(
        self, level: Level, tag: int, place: tuple[str, int, int], charset: Charset, sign: int | None
    ) -> str:
        vr, start, end = place
        vr = self.resolved(level, tag, vr, sign)
        if vr == "SS" and tag in _LUT_DESCRIPTORS:
            first = self._data[start:end][:2]
            if (first[1:] if self._little else first[:1]) > b"\x7f":
                # pydicom puts the sign of the first value right, if the file states the VR.
                raise OddFileError
        return value_text(vr, self._data, (start, end), charset, self._little)

    def resolved(self, level: Level, tag: int, vr: str, sign: int | None) -> str:
        """VR of an element, also where the dictionary leaves a choice (PS3.5 annex A.1)."""
        if " or " not in vr:
            return vr
        if not self._implicit:
            raise OddFileError
        if vr == "US or SS" and tag in _EITHER:
            if sign is None and _PIXELS in level:
                raise OddFileError
            return "SS" if sign else "US"
        if vr == "OB or OW" and tag in _WORDS:
            return "OW"
        if tag == _LUT_DATA:
            found = level.get(_LUT_DESCRIPTOR)
            value = b"" if found is None else self._data[found[1] : found[2]]
            # A single entry would make numbers of them.
            if len(value) == 6 and self._little and value[:2] != b"\1\0":
                return "OW"
        raise OddFileError


def value_text(vr: str, data: bytes, place: tuple[int, int], charset: Charset, little: bool) -> str:
    """JSON of the value at ``data[place[0]:place[1]]`` of any VR but SQ."""
    start, end = place
    if start == end:
        return f'{{"vr":"{vr}"}}'
    if vr in _SIMPLE:
        return _simple.__wrapped__(vr, data[start:end], charset, little)
    if vr in _BINARY:
        if end - start > BULK_LIMIT:
            return f'{{"omitted":{end - start},"vr":"{vr}"}}'
        return f'{{"InlineBinary":"{b64encode(data[start:end]).decode("ascii")}","vr":"{vr}"}}'
    if vr == "PN":
        return _names(names(data[start:end], charset))
    if vr == "AT":
        return _tags(data[start:end], little)
    raise OddFileError


def _tags(value: bytes, little: bool) -> str:
    if len(value) % 4:
        raise OddFileError
    if len(value) > 4 * VALUE_LIMIT:
        return f'{{"omitted":{len(value) // 4},"vr":"AT"}}'
    parts = unpack(f"{'<' if little else '>'}{len(value) // 2}H", value)
    text = ",".join(
        [f'"{group:04X}{element:04X}"' for group, element in zip(parts[::2], parts[1::2], strict=True)]
    )
    return f'{{"Value":[{text}],"vr":"AT"}}' if text else '{"vr":"AT"}'


@lru_cache(maxsize=4096)
def _simple(vr: str, value: bytes, charset: Charset, little: bool) -> str:
    """JSON of a text or of numbers; kept, because most values are the same in all images of a series."""
    read = TEXTS.get(vr)
    if read is not None:
        return _text(vr, read(value, charset))
    number = NUMBERS.get(vr)
    if number is None:
        raise OddFileError
    return _numbers(vr, number(value, little))


def _numbers(vr: str, values: list[Any]) -> str:
    if len(values) > VALUE_LIMIT:
        return f'{{"omitted":{len(values)},"vr":"{vr}"}}'
    if not values:
        return f'{{"vr":"{vr}"}}'
    if None in values:
        return f'{{"error":"unreadable","vr":"{vr}"}}'
    if vr in _FLOATS:
        text = ",".join([repr(number) if math.isfinite(number) else _odd_float(number) for number in values])
    else:
        text = ",".join([str(int(number)) for number in values])
    return f'{{"Value":[{text}],"vr":"{vr}"}}'


def _text(vr: str, values: list[str]) -> str:
    if len(values) == 1:
        text = values[0]
        if len(text) > VALUE_LIMIT:
            return f'{{"omitted":{len(text)},"vr":"{vr}"}}'
        return f'{{"Value":[{encode_basestring(text)}],"vr":"{vr}"}}'
    if not values:
        return f'{{"vr":"{vr}"}}'
    if len(values) > VALUE_LIMIT:
        return f'{{"omitted":{len(values)},"vr":"{vr}"}}'
    return f'{{"Value":[{",".join(map(encode_basestring, values))}],"vr":"{vr}"}}'


def _names(found: list[tuple[str, ...]]) -> str:
    if len(found) > VALUE_LIMIT:
        return f'{{"omitted":{len(found)},"vr":"PN"}}'
    if not found:
        return '{"vr":"PN"}'
    if not all(found):
        return '{"error":"unreadable","vr":"PN"}'
    keys = ("Alphabetic", "Ideographic", "Phonetic")
    parts = [
        ",".join([f'"{key}":{encode_basestring(group)}' for key, group in zip(keys, name, strict=False)])
        for name in found
    ]
    return f'{{"Value":[{",".join(["{" + part + "}" for part in parts])}],"vr":"PN"}}'


def _odd_float(value: Any) -> str:
    return '"NaN"' if math.isnan(value) else ('"inf"' if value > 0 else '"-inf"')
