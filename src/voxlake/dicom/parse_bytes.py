"""Bytes of a DICOM file to nodes, without pydicom's data set in between.

Reads what the standard describes and nothing else. Whatever is odd (tags out of order, odd lengths, unknown
VRs, no file meta information, a stated encoding that is not the real one) raises `OddFileError`; the caller
then goes by way of `voxlake.dicom.read` and `voxlake.dicom.parse_dataset`, which are tolerant and slower. A
differential test holds the two to the same nodes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from voxlake.dicom.guard import quiet
from voxlake.dicom.nodes import (
    LONG_VRS,
    MAX_DEPTH,
    OPAQUE,
    SHORT_VRS,
    Branch,
    Encoding,
    Item,
    Leaf,
    PrivateVr,
    codecs_of,
    decode,
    is_creator,
    is_uid,
    known_vr,
    resolved_vr,
)

__all__ = ["DEFLATED", "OddFileError", "ParsedFile", "Parser", "parse_file", "parse_meta"]

_PREAMBLE = 132
_FIRST_GROUP = 0x0004
_CHARACTER_SET = 0x00080005
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_SYNTAX = 0x00020010
_IMPLICIT = "1.2.840.10008.1.2"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})
# What a deflated data set may grow to here; larger ones take the tolerant way, which has caps of its own.
_INFLATED_LIMIT = 512 * 2**20
_VRS = MappingProxyType({name.encode(): name for name in (*SHORT_VRS, *LONG_VRS)})
_LONG = frozenset(name.encode() for name in LONG_VRS)

_UNREAD = ""
"""Stands for the VR of a private element that is left unread."""
# OB it should be (PS3.5 A.4); pydicom reads fragments under all of these.
_BYTES = OPAQUE - {"UN"}


class OddFileError(Exception):
    """The file is not written the way that this reader knows; it may be readable all the same."""


class ParsedFile(NamedTuple):
    """One file: transfer syntax, meta information and data set.

    Parameters
    ----------
    syntax : str
        Transfer Syntax UID.
    meta : Item
        Group 0002.
    root : Item
        The data set.
    bounds : tuple of int
        Where each element of the data set begins in the file, and where the last one ends; empty for deflated
        ones.
    creators : mapping of int to str
        Private creators of the blocks of the data set, by ``group << 8 | block``.
    """

    syntax: str
    meta: Item
    root: Item
    bounds: tuple[int, ...]
    creators: Mapping[int, str]


def parse_file(data: bytes, private_vr: PrivateVr | None = None) -> ParsedFile:
    """Parse a DICOM file (PS3.10) of any native or encapsulated transfer syntax.

    Parameters
    ----------
    data : bytes
        The file.
    private_vr : callable, optional
        Says under which VR a private element is opened; without it they all stay unread.

    Raises
    ------
    OddFileError
        Something this reader leaves to the tolerant one, truncation included.
    """
    try:
        with quiet():
            return _parse_file(data, private_vr)
    except (struct.error, UnicodeError, zlib.error) as error:
        raise OddFileError from error


def parse_meta(data: bytes) -> tuple[Item, str, int]:
    """Parse the meta information of a file.

    Returns
    -------
    meta : Item
        Group 0002.
    syntax : str
        Transfer Syntax UID.
    start : int
        Where the data set begins.

    Raises
    ------
    OddFileError, struct.error, UnicodeError
        As for `parse_file`.
    """
    if data[128:_PREAMBLE] != b"DICM":
        raise OddFileError
    plain = Encoding(False, True, codecs_of(b""))
    start = _PREAMBLE + 12 + _meta_length(data)
    meta = Item(plain)
    Parser(data, plain, None).read(meta, _PREAMBLE, start)
    stated = meta.leaf(_SYNTAX)
    if stated is None or any(node.tag >> 16 != 2 for node in meta.nodes):
        raise OddFileError
    syntax = stated.value.decode("ascii").strip(" \0")
    if not is_uid(syntax):
        raise OddFileError
    return meta, syntax, start


def _parse_file(data: bytes, private_vr: PrivateVr | None) -> ParsedFile:
    meta, syntax, start = parse_meta(data)
    encoding = Encoding(syntax == _IMPLICIT, syntax != _BIG_ENDIAN, meta.encoding.charset)
    deflated = syntax in DEFLATED
    if deflated:
        data, start = _inflate(data, start), 0
    root = Item(encoding)
    parser = Parser(data, encoding, private_vr)
    parser.read(root, start, len(data))
    # Elements of an index of a medium (group 0004) stand in other objects too; a table of rules names them.
    if not root.nodes or root.nodes[0].tag >> 16 < _FIRST_GROUP:
        raise OddFileError
    bounds = () if deflated else (start, *parser.ends)
    return ParsedFile(syntax, meta, root, bounds, parser.creators)


def _meta_length(data: bytes) -> int:
    if data[_PREAMBLE : _PREAMBLE + 8] != b"\x02\0\0\0UL\x04\0":
        raise OddFileError
    return int.from_bytes(data[_PREAMBLE + 8 : _PREAMBLE + 12], "little")


def _inflate(data: bytes, start: int) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(data[start:], _INFLATED_LIMIT)
    if not inflater.eof:
        raise OddFileError
    return inflated


class Parser:
    """Reads the elements of one buffer in one encoding; the content of UN has a parser of its own.

    Parameters
    ----------
    data : bytes
        The buffer.
    encoding : Encoding
        Of the elements.
    private_vr : callable or None
        As for `parse_file`.

    Attributes
    ----------
    ends : list of int
        Where the elements of the top level end.
    creators : dict
        Private creators of the top level.
    """

    def __init__(self, data: bytes, encoding: Encoding, private_vr: PrivateVr | None) -> None:
        order = "<" if encoding.little else ">"
        self._data = data
        self._implicit, self._little = encoding.implicit, encoding.little
        self._private_vr = private_vr
        self.ends: list[int] = []
        self.creators: dict[int, str] = {}
        self._head = self._implicit_head if encoding.implicit else self._explicit_head
        self._short = struct.Struct(f"{order}HH2sH").unpack_from
        self._plain = struct.Struct(f"{order}HHI").unpack_from
        self._number = struct.Struct(f"{order}I").unpack_from

    def read(self, item: Item, start: int, end: int, depth: int = 0) -> int:
        """Read elements into an item up to `end`, or to its delimiter where that is -1; return the place."""
        limit = len(self._data) if end < 0 else end
        nodes, head, element, position, last = item.nodes, self._head, self._element, start, -1
        creators: dict[int, str] = {} if depth else self.creators
        ends: list[int] = [] if depth else self.ends
        while position < limit:
            found = head(position)
            tag = found[0]
            if tag <= last or tag >= 0xFFFE0000:
                if tag == _ITEM_END and end < 0 and found[2] == 0:
                    return found[3]
                raise OddFileError
            last = tag
            node, position = element(item, found, limit, depth, creators)
            nodes.append(node)
            ends.append(position)
        if end < 0 or position != end:
            raise OddFileError
        return position

    def one(self, item: Item, position: int, creators: dict[int, str]) -> int:
        """Read the element of the top level that begins here into an item; return where it ends.

        Parameters
        ----------
        item : Item
            Of the encoding that counts.
        position : int
            A place in the buffer.
        creators : dict
            Private creators of the level; they are added to.
        """
        node, end = self._element(item, self._head(position), len(self._data), 0, creators)
        item.nodes.append(node)
        return end

    def _element(
        self, item: Item, head: tuple[int, str, int, int], limit: int, depth: int, creators: dict[int, str]
    ) -> tuple[Leaf | Branch, int]:
        tag, stated, length, value_at = head
        creator, vr = None, stated
        if tag & 0x10000:
            creator, vr = self._private(tag, stated, creators)
        elif stated in OPAQUE:
            vr = resolved_vr(stated, known_vr(tag), little=self._little)
        if length == _UNDEFINED or vr == "SQ":
            place = _Place(value_at, length, limit, depth)
            return self._long(item.encoding, tag, (stated, vr, creator), place)
        end = value_at + length
        leaf = self._leaf(tag, vr, creator, (value_at, end, limit))
        if tag == _CHARACTER_SET:
            item.encoding = item.encoding._replace(charset=codecs_of(leaf.value))
        elif tag & 0x10000 and is_creator(tag):
            creators[tag >> 16 << 8 | tag & 0xFF] = decode(leaf, item.encoding).strip(" \0")
        return leaf, end

    def _leaf(self, tag: int, vr: str, creator: str | None, place: tuple[int, int, int]) -> Leaf:
        start, end, limit = place
        if end > limit or (end - start) & 1:
            raise OddFileError
        if vr == _UNREAD:
            return Leaf(tag, "UN", b"", False, creator)
        return Leaf(tag, vr, self._data[start:end], False, creator)

    def _explicit_head(self, position: int) -> tuple[int, str, int, int]:
        group, element, vr, length = self._short(self._data, position)
        if group == 0xFFFE:
            return group << 16 | element, "", self._number(self._data, position + 4)[0], position + 8
        name = _VRS.get(vr)
        if name is None:
            raise OddFileError
        if vr in _LONG:
            return group << 16 | element, name, self._number(self._data, position + 8)[0], position + 12
        return group << 16 | element, name, length, position + 8

    def _implicit_head(self, position: int) -> tuple[int, str, int, int]:
        group, element, length = self._plain(self._data, position)
        tag = group << 16 | element
        return tag, ("UN" if group & 1 else known_vr(tag) or "UN"), length, position + 8

    def _private(self, tag: int, stated: str, creators: dict[int, str]) -> tuple[str | None, str]:
        if is_creator(tag):
            return None, "LO"
        creator = creators.get(tag >> 8)
        known = None if self._private_vr is None else self._private_vr(creator, tag, stated)
        if known is None:
            return creator, _UNREAD
        return creator, resolved_vr(stated, known, little=self._little)

    def _long(
        self, encoding: Encoding, tag: int, vrs: tuple[str, str, str | None], place: _Place
    ) -> tuple[Leaf | Branch, int]:
        stated, vr, creator = vrs
        if place.length == _UNDEFINED and stated in _BYTES:
            end = self._fragments(place)
            value = b"" if vr == _UNREAD else self._data[place.start : end - 8]
            return Leaf(tag, "UN" if vr == _UNREAD else vr, value, vr != _UNREAD, creator), end
        if place.length == _UNDEFINED and stated not in ("SQ", "UN"):
            raise OddFileError
        inner: Parser = self
        if stated != "SQ" and not (self._implicit and stated == "UN"):
            # The content of an unknown VR is implicit little endian, whatever the file is (PS3.5 6.2.2).
            inner = Parser(self._data, Encoding(True, True, encoding.charset), self._private_vr)
        items, end = inner.items(encoding.charset, place)
        return (Leaf(tag, "UN", b"", False, creator) if vr == _UNREAD else Branch(tag, items, creator)), end

    def items(self, charset: tuple[str, ...], place: _Place) -> tuple[tuple[Item, ...], int]:
        """Read the items of a sequence; return them and where it ends."""
        undefined = place.length == _UNDEFINED
        end = place.limit if undefined else place.start + place.length
        if end > place.limit or place.depth >= MAX_DEPTH:
            raise OddFileError
        position = place.start
        found: list[Item] = []
        encoding = Encoding(self._implicit, self._little, charset)
        while position < end:
            group, element, length = self._plain(self._data, position)
            tag = group << 16 | element
            position += 8
            if tag == _SEQUENCE_END and undefined and length == 0:
                return tuple(found), position
            if tag != _ITEM:
                raise OddFileError
            item = Item(encoding)
            stop = -1 if length == _UNDEFINED else position + length
            if stop > end:
                raise OddFileError
            position = self.read(item, position, stop, place.depth + 1)
            found.append(item)
        if undefined or position != end:
            raise OddFileError
        return tuple(found), position

    def _fragments(self, place: _Place) -> int:
        position = place.start
        while position < place.limit:
            group, element, length = self._plain(self._data, position)
            position += 8
            if group << 16 | element == _SEQUENCE_END:
                if length:
                    break
                return position
            position += length
            if group << 16 | element != _ITEM or position > place.limit:
                break
        raise OddFileError


class _Place(NamedTuple):
    start: int
    length: int
    limit: int
    depth: int
