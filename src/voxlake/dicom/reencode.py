"""Implicit VR to explicit VR and back, element by element, so that the way back gives the same bytes.

Values are copied; only headers and defined lengths of sequences change, undefined lengths stay undefined.
Unlike `voxlake.dicom.write_nodes` nothing is made uniform.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from voxlake.dicom.nodes import LONG_VRS, MAX_DEPTH, SHORT_VRS, known_vr

__all__ = ["Element", "UnevenError", "elements", "to_explicit", "to_implicit"]

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_LONG = frozenset(name.encode() for name in LONG_VRS)
_SHORT = frozenset(name.encode() for name in SHORT_VRS)
_LONGEST_SHORT = 0xFFFF
_PIXEL_REPRESENTATION = 0x00280103


class UnevenError(Exception):
    """The data set is written in a way that is not carried over."""


class Element(NamedTuple):
    """Where one element lies: its header, its value, the element after it.

    `stop` lies behind the delimiter where the length is undefined. `vr` is empty in implicit VR.
    """

    tag: int
    vr: bytes
    start: int
    value: int
    stop: int
    undefined: bool


def elements(data: bytes, start: int, end: int, *, implicit: bool) -> Iterator[Element]:
    """Iterate the elements of one level, little endian.

    Raises
    ------
    UnevenError
        The structure is broken, or tags are not in rising order.
    """
    position, last = start, -1
    while position < end:
        element = _element(data, position, end, implicit=implicit)
        if element.tag <= last or element.tag >> 16 == 0xFFFE:
            raise UnevenError
        last = element.tag
        yield element
        position = element.stop
    if position != end:
        raise UnevenError


def to_explicit(data: bytes, signed: bool) -> bytes:
    """Rewrite elements of implicit VR little endian as explicit VR little endian.

    Parameters
    ----------
    data : bytes
        Whole elements.
    signed : bool
        PixelRepresentation, which decides between US and SS where the dictionary names both.

    Raises
    ------
    UnevenError
        A group length (gggg,0000), which would be wrong afterwards, or a broken structure.
    """

    def head(element: Element, length: int) -> bytes:
        vr = _explicit_vr(element, length, signed)
        group, number = element.tag >> 16, element.tag & 0xFFFF
        if vr in _LONG:
            return struct.pack("<HH2sHI", group, number, vr, 0, length)
        return struct.pack("<HH2sH", group, number, vr, length)

    return _rewrite(data, (0, len(data)), True, head, 0)


def to_implicit(data: bytes) -> bytes:
    """Undo `to_explicit`.

    Raises
    ------
    UnevenError
        A broken structure.
    """

    def head(element: Element, length: int) -> bytes:
        return struct.pack("<HHI", element.tag >> 16, element.tag & 0xFFFF, length)

    return _rewrite(data, (0, len(data)), False, head, 0)


def _rewrite(
    data: bytes, span: tuple[int, int], implicit: bool, head: Callable[[Element, int], bytes], depth: int
) -> bytes:
    if depth > MAX_DEPTH:
        raise UnevenError
    out: list[bytes] = []
    for element in elements(data, *span, implicit=implicit):
        if element.tag & 0xFFFF == 0:
            raise UnevenError
        content = element.stop - 8 if element.undefined else element.stop
        if _is_sequence(element, implicit=implicit):
            value = _rewrite_items(data, (element.value, content), implicit, head, depth)
        else:
            value = data[element.value : content]
        out.append(head(element, _UNDEFINED if element.undefined else len(value)))
        out.append(value)
        if element.undefined:
            out.append(data[content : element.stop])
    return b"".join(out)


def _rewrite_items(
    data: bytes, span: tuple[int, int], implicit: bool, head: Callable[[Element, int], bytes], depth: int
) -> bytes:
    out: list[bytes] = []
    position, end = span
    while position < end:
        start, content, stop, undefined = _item(data, position, end, implicit=implicit)
        value = _rewrite(data, (start, content), implicit, head, depth + 1)
        length = _UNDEFINED if undefined else len(value)
        out.extend((struct.pack("<HHI", 0xFFFE, 0xE000, length), value, data[content:stop]))
        position = stop
    return b"".join(out)


def _is_sequence(element: Element, *, implicit: bool) -> bool:
    """Whether the content is written in the encoding of the file; of UN it is implicit always."""
    return known_vr(element.tag) == "SQ" if implicit else element.vr == b"SQ"


def _explicit_vr(element: Element, length: int, signed: bool) -> bytes:
    known = known_vr(element.tag) if not element.tag & 0x10000 else None
    if known is None:
        return b"UN"
    if "US" in known and " or " in known:
        known = "OW" if "OW" in known and length > 2 else "SS" if signed and "SS" in known else "US"
    vr = known.split(" or ")[-1].encode()
    if vr not in _LONG and (vr not in _SHORT or length > _LONGEST_SHORT):
        # PS3.5 section 6.2.2, note 2.
        return b"UN"
    return vr


def _element(data: bytes, start: int, end: int, *, implicit: bool) -> Element:
    value = start + 8
    if value > end:
        raise UnevenError
    group, number, length = struct.unpack_from("<HHI", data, start)
    vr = b""
    if not implicit:
        vr = data[start + 4 : start + 6]
        length >>= 16
        if vr in _LONG:
            value = start + 12
            length = int.from_bytes(data[start + 8 : value], "little")
        elif vr not in _SHORT:
            raise UnevenError
    if length == _UNDEFINED:
        # The content of an unknown VR is implicit, whatever the file is (PS3.5 section 6.2.2).
        stop = _after_items(data, value, end, implicit=implicit or vr != b"SQ")
        return Element(group << 16 | number, vr, start, value, stop, True)
    if value + length > end:
        raise UnevenError
    return Element(group << 16 | number, vr, start, value, value + length, False)


def _after_items(data: bytes, start: int, end: int, *, implicit: bool) -> int:
    """Where a sequence of undefined length ends, behind its delimiter."""
    position = start
    while position + 8 <= end:
        if _tag(data, position) == _SEQUENCE_END:
            return position + 8
        position = _item(data, position, end, implicit=implicit)[2]
    raise UnevenError


def _item(data: bytes, position: int, end: int, *, implicit: bool) -> tuple[int, int, int, bool]:
    """Content, end of content, end and whether the length is undefined, of the item at a place."""
    if position + 8 > end or _tag(data, position) != _ITEM:
        raise UnevenError
    start = position + 8
    length = int.from_bytes(data[position + 4 : start], "little")
    if length != _UNDEFINED:
        if start + length > end:
            raise UnevenError
        return start, start + length, start + length, False
    place = start
    while place + 8 <= end and _tag(data, place) != _ITEM_END:
        place = _element(data, place, end, implicit=implicit).stop
    if place + 8 > end:
        raise UnevenError
    return start, place, place + 8, True


def _tag(data: bytes, position: int) -> int:
    group, number = struct.unpack_from("<HH", data, position)
    return int(group) << 16 | int(number)
