"""A data set as plain nodes: every element as bytes under one VR, every sequence opened, at every depth.

Rules and readers work on this one form, so that nothing hides behind a conversion that has or has not
happened, a VR of UN, or a private sequence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from pydicom.charset import convert_encodings, decode_bytes, encode_string
from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag, repeater_has_tag

__all__ = [
    "LONG_VRS",
    "MAX_DEPTH",
    "OPAQUE",
    "SHORT_VRS",
    "TEXT_VRS",
    "Branch",
    "Encoding",
    "Item",
    "Leaf",
    "PrivateVr",
    "codecs_of",
    "decode",
    "encode",
    "is_creator",
    "is_private",
    "is_uid",
    "keyword_of",
    "known_vr",
    "resolved_vr",
    "tag_text",
]

MAX_DEPTH = 64
"""Deepest nesting of sequences that is opened; real objects stay below 20."""

TEXT_VRS = frozenset({"LO", "SH", "ST", "LT", "UT", "UC"})
# PS3.5 7.1.2: VRs with a length of 16 bits, and of 32 bits, in explicit encodings.
SHORT_VRS = (
    "AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST",
    "TM", "UI", "UL", "US",
)  # fmt: skip
LONG_VRS = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
_VRS = frozenset((*SHORT_VRS, *LONG_VRS))
OPAQUE = frozenset({"UN", "OB", "OW", "OD", "OF", "OL", "OV"})
_SINGLE_VALUED = frozenset({"ST", "LT", "UT", "UR"})
_ESCAPE = b"\x1b"
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_LONGEST_UID = 64

# Attributes that are newer than the dictionary of pydicom 3.0 (PS3.6, 2026) and that rules name.
_NEWER = MappingProxyType(
    {
        0x00081301: "SQ",
        0x00081302: "SQ",
        0x00081303: "SQ",
        0x00081304: "SQ",
        0x00100011: "SQ",
        0x00100014: "SQ",
        0x00100015: "SQ",
        0x00100041: "SQ",
        0x00100043: "SQ",
        0x00100044: "SQ",
        0x00100046: "SQ",
        0x00100047: "UR",
        0x00100012: "LT",
        0x00100013: "LT",
        0x00100016: "LT",
        0x00100042: "LT",
        0x00100045: "LT",
        0x00102162: "UC",
        0x0040A034: "DT",
        0x0040A035: "DT",
        0x0040B034: "DT",
        0x0040B036: "DT",
        0x0040B03B: "LO",
        0x0040B03F: "LO",
        0x0040E012: "UR",
        0x3004007F: "LO",
    }
)

PrivateVr = Callable[[str | None, int, str], str | None]
"""(private creator, tag, stated VR) -> VR that a private element is opened under, None to leave it unread."""


class Encoding(NamedTuple):
    """How the bytes of a data set are written: implicit VR, little endian, Python codecs of its text."""

    implicit: bool
    little: bool
    charset: tuple[str, ...]


class Leaf(NamedTuple):
    """One element that is no sequence.

    Parameters
    ----------
    tag : int
        ``group << 16 | element``.
    vr : str
        VR that the value has, also where the file says UN or nothing.
    value : bytes
        As in the file; ``b""`` for a private element that is left unread.
    undefined : bool
        Encapsulated pixel data, whose length is not stated; the value holds its items and no delimiter.
    creator : str or None
        Private creator; None for public elements and for blocks without one.
    """

    tag: int
    vr: str
    value: bytes
    undefined: bool = False
    creator: str | None = None


class Branch(NamedTuple):
    """One sequence element."""

    tag: int
    items: tuple[Item, ...]
    creator: str | None = None


@dataclass(slots=True)
class Item:
    """One data set: the top level or an item of a sequence."""

    encoding: Encoding
    nodes: list[Leaf | Branch] = field(default_factory=list)

    def leaf(self, tag: int) -> Leaf | None:
        """Return the element with this tag on this level, or None."""
        for node in self.nodes:
            if node.tag == tag and isinstance(node, Leaf):
                return node
        return None

    def text(self, tag: int) -> str:
        """Return the decoded value of an element of this level, ``""`` where it is absent."""
        found = self.leaf(tag)
        return "" if found is None else decode(found, self.encoding).strip(" \0")

    def walk(self) -> Iterator[tuple[Item, Leaf]]:
        """Iterate all leaves of this level and below, each with the level it lies on."""
        for node in self.nodes:
            if isinstance(node, Leaf):
                yield self, node
            else:
                for item in node.items:
                    yield from item.walk()


def decode(leaf: Leaf, encoding: Encoding) -> str:
    """Decode a text value by the character set of its level."""
    if _ESCAPE not in leaf.value:
        try:
            return leaf.value.decode(encoding.charset[0])
        except (UnicodeError, LookupError):
            # Below, pydicom replaces what the character set does not have.
            pass
    delimiters = {0x0A, 0x0C, 0x0D, 0x09} if leaf.vr in _SINGLE_VALUED else {0x0D, 0x0A, 0x09, 0x0C, 0x5C}
    if leaf.vr == "PN":
        delimiters = {0x5C, 0x5E, 0x3D}
    return decode_bytes(leaf.value, list(encoding.charset), delimiters)


def encode(text: str, encoding: Encoding) -> bytes:
    """Encode text in the character set of its level."""
    return encode_string(text, list(encoding.charset))


@lru_cache(maxsize=256)
def codecs_of(stated: bytes) -> tuple[str, ...]:
    """Return the Python codecs that a value of (0008,0005) Specific Character Set names."""
    terms = [part.strip(" \0") for part in stated.decode("ascii", "replace").split("\\")]
    return tuple(convert_encodings(terms))


def is_private(tag: int) -> bool:
    """Say whether a tag lies in an odd group."""
    return bool(tag & 0x10000)


def is_creator(tag: int) -> bool:
    """Say whether a tag reserves a block of private elements (PS3.5 7.8.1)."""
    return bool(tag & 0x10000) and 0x10 <= tag & 0xFFFF <= 0xFF


def is_uid(text: str) -> bool:
    """Whether this is a UID (PS3.5 section 9.1); leading zeros, which many writers leave, pass."""
    return len(text) <= _LONGEST_UID and _UID.fullmatch(text) is not None


@lru_cache(maxsize=8192)
def known_vr(tag: int) -> str | None:
    """Return the VR of a public tag in the data dictionary (PS3.6), None for unknown tags."""
    # A private tag may look like one of a repeating group: (7FE1,0010) like (7Fxx,0010).
    if dictionary_has_tag(tag) or (not tag & 0x10000 and repeater_has_tag(tag)):
        return str(dictionary_VR(tag))
    return _NEWER.get(tag)


@lru_cache(maxsize=8192)
def keyword_of(tag: int) -> str:
    """Return the keyword of a public tag, ``""`` for private and unknown ones."""
    return "" if tag & 0x10000 else keyword_for_tag(tag)


@lru_cache(maxsize=8192)
def tag_text(tag: int) -> str:
    """Return a tag as ``(gggg,eeee)``."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def resolved_vr(stated: str, known: str | None, *, little: bool) -> str:
    """Return the VR that a value has, from what the file says and what the dictionary knows.

    Parameters
    ----------
    stated : str
        VR in the file, ``"UN"`` where it has none.
    known : str or None
        VR by the dictionary.
    little : bool
        Byte order of the file.
    """
    if stated not in _VRS and " or " not in stated:
        # Of no edition that this one knows: its bytes are taken for what the dictionary says, or for unknown.
        return known or "UN"
    if not known or stated not in OPAQUE:
        return stated
    if stated != "UN" and known[0] == "O":
        return stated
    if stated == "UN" and not little and known not in TEXT_VRS:
        # UN is little endian always (PS3.5 6.2.2); as a number of this file it would read wrongly.
        return "UN"
    return known
