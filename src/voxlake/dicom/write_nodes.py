"""Nodes to the bytes of a DICOM file (PS3.10): the mirror of `voxlake.dicom.parse_bytes`."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import Literal

from voxlake.core.errors import ItemError
from voxlake.dicom.nodes import LONG_VRS, Branch, Encoding, Item, Leaf, known_vr
from voxlake.dicom.parse_bytes import DEFLATED

__all__ = ["encoded", "padded", "write_file", "write_parts"]

_LONG = frozenset(LONG_VRS)
_UNDEFINED = 0xFFFFFFFF
_LONGEST_SHORT = 0xFFFF
_NULL_PADDED = frozenset({"UI", "OB", "UN"})
_META_LENGTH = 0x00020000


def padded(vr: str, value: bytes) -> bytes:
    """Bring a value to even length with the padding of its VR (PS3.5 6.2)."""
    if len(value) % 2 == 0:
        return value
    return value + (b"\0" if vr in _NULL_PADDED else b" ")


def write_file(syntax: str, meta: Iterable[Leaf], root: Item) -> bytes:
    """Write a file: an empty preamble, meta information, the data set in its own encoding.

    Parameters
    ----------
    syntax : str
        Transfer Syntax UID; it must be the one that the nodes are encoded in.
    meta : iterable of Leaf
        Elements of group 0002 in order, without the group length.
    root : Item
        The data set. Sequences are written with defined lengths.

    Raises
    ------
    ItemError
        ``deidentify_failed``: a nested data set has another byte order than the file, or encapsulated pixel
        data are no whole fragments (PS3.5 A.4).
    """
    return write_parts(syntax, meta, root.encoding, (root.nodes,))


def encoded(nodes: Iterable[Leaf | Branch], encoding: Encoding) -> bytes:
    """Return the bytes of elements as `write_file` writes them into a file of this encoding.

    Raises
    ------
    ItemError
        As `write_file`.
    """
    out: list[bytes | memoryview] = []
    _Writer(encoding, out).write(nodes)
    return b"".join(out)


def write_parts(
    syntax: str,
    meta: Iterable[Leaf],
    encoding: Encoding,
    parts: Iterable[bytes | memoryview | Iterable[Leaf | Branch]],
) -> bytes:
    """Write a file of which a part is already in bytes.

    Parameters
    ----------
    syntax, meta
        As for `write_file`.
    encoding : Encoding
        Of the data set.
    parts : iterable of bytes, memoryview or nodes
        The data set in its order: what `encoded` gave for the same encoding, or nodes.

    Raises
    ------
    ItemError
        As `write_file`.
    """
    head: list[bytes | memoryview] = []
    size = _Writer(Encoding(False, True, ()), head).write(meta)
    body: list[bytes | memoryview] = []
    writer = _Writer(encoding, body)
    for part in parts:
        if isinstance(part, bytes | memoryview):
            body.append(part)
        else:
            writer.write(part)
    if syntax in DEFLATED:
        packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
        packed = packer.compress(b"".join(body)) + packer.flush()
        body = [packed + b"\0" * (len(packed) % 2)]
    start = b"\0" * 128 + b"DICM" + struct.pack("<HH2sHI", 0x0002, 0, b"UL", 4, size)
    return b"".join((start, *head, *body))


class _Writer:
    """Appends encoded elements to a list of byte strings."""

    def __init__(self, encoding: Encoding, out: list[bytes | memoryview]) -> None:
        order = "<" if encoding.little else ">"
        self._implicit, self._little = encoding.implicit, encoding.little
        self._out = out
        self._order: Literal["little", "big"] = "little" if encoding.little else "big"
        self._item = struct.pack(f"{order}HH", 0xFFFE, 0xE000)
        self._short = struct.Struct(f"{order}HH2sH").pack
        self._long = struct.Struct(f"{order}HH2sHI").pack
        self._plain = struct.Struct(f"{order}HHI").pack

    def write(self, nodes: Iterable[Leaf | Branch]) -> int:
        """Append elements; return how many bytes they take."""
        out, size = self._out, 0
        for node in nodes:
            if isinstance(node, Branch):
                size += self._sequence(node)
                continue
            value = node.value
            if node.undefined:
                self._check_fragments(value)
            elif len(value) % 2:
                value = padded(node.vr, value)
            head = self._head(node.tag, node.vr, _UNDEFINED if node.undefined else len(value))
            out.append(head)
            out.append(value)
            size += len(head) + len(value)
            if node.undefined:
                out.append(self._plain(0xFFFE, 0xE0DD, 0))
                size += 8
        return size

    def _check_fragments(self, value: bytes) -> None:
        position = 0
        while position < len(value):
            if value[position : position + 4] != self._item or len(value) < position + 8:
                break
            position += 8 + int.from_bytes(value[position + 4 : position + 8], self._order)
        if position != len(value) or len(value) % 2:
            # What follows in the file would be taken for a part of the last fragment.
            raise ItemError("deidentify_failed", "encapsulated pixel data are no whole fragments")

    def _sequence(self, branch: Branch) -> int:
        out = self._out
        place, size = len(out), 0
        # The length of what follows is known only afterwards.
        out.append(b"")
        for item in branch.items:
            if item.encoding.little != self._little:
                raise ItemError("deidentify_failed", "a nested data set has another byte order than its file")
            start = len(out)
            out.append(b"")
            length = self.write(item.nodes)
            out[start] = self._plain(0xFFFE, 0xE000, length)
            size += 8 + length
        if self._implicit and known_vr(branch.tag) != "SQ":
            # Only its undefined length tells readers that an element which they do not know is a sequence.
            out[place] = head = self._head(branch.tag, "SQ", _UNDEFINED)
            out.append(self._plain(0xFFFE, 0xE0DD, 0))
            return len(head) + size + 8
        out[place] = head = self._head(branch.tag, "SQ", size)
        return len(head) + size

    def _head(self, tag: int, vr: str, length: int) -> bytes:
        group, element = tag >> 16, tag & 0xFFFF
        if self._implicit:
            return self._plain(group, element, length)
        if " or " in vr:
            vr = _definite(vr, length)
        if vr in _LONG:
            return self._long(group, element, vr.encode(), 0, length)
        if length > _LONGEST_SHORT:
            # PS3.5 6.2.2, note 2: a value too long for its VR is written as UN.
            return self._long(group, element, b"UN", 0, length)
        return self._short(group, element, vr.encode(), length)


def _definite(vr: str, length: int) -> str:
    """Choose among VRs that the dictionary leaves open, for an element whose file did not state one."""
    options = vr.split(" or ")
    return "OW" if "OW" in options and length > 2 else options[0]
