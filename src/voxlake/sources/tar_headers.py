"""The headers of a tar file: ustar, pax and GNU (POSIX.1-2001, pax; the GNU tar manual, "Basic Tar Format").

Walked here rather than by `tarfile`, which reads extended headers of any size into memory and knows no caps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

from voxlake.core.errors import ItemError

__all__ = ["BLOCK", "Forward", "TarMember", "is_tar_header", "tar_members"]

BLOCK = 512
_ZEROS = bytes(BLOCK)
_LONGEST_EXTENSION = 1 << 20
_LONGEST_NAME = 4096
_MOST_DIGITS = 20

Kind = Literal["file", "folder", "link", "device", "sparse", "unknown"]
_KINDS: dict[bytes, Kind] = {
    b"0": "file", b"\0": "file", b"7": "file", b"1": "link", b"2": "link", b"3": "device", b"4": "device",
    b"5": "folder", b"6": "device", b"S": "sparse",
}  # fmt: skip
# Of the next member (x, and L and K of GNU: a long name, a long target of a link) or of all (g).
_EXTENSIONS = (b"x", b"g", b"L", b"K")
_NO_DATA: frozenset[Kind] = frozenset({"folder", "link", "device"})


class Forward(Protocol):
    """Something that is read forwards."""

    position: int

    def read(self, count: int) -> bytes:
        """The next bytes; fewer only at the end."""
        ...

    def skip(self, count: int) -> None:
        """Leave bytes out; stops at the end."""
        ...


@dataclass(frozen=True, slots=True)
class TarMember:
    """What a header says about one member; none of it is to be trusted.

    `offset` is where its bytes begin, `size` how many there are.
    """

    name: str = field(repr=False)
    offset: int
    size: int
    kind: Kind


def is_tar_header(block: bytes) -> bool:
    """Whether a block has the checksum of a tar header."""
    if len(block) < BLOCK or block[:BLOCK] == _ZEROS:
        return False
    try:
        stated = _number(block[148:156])
    except ItemError:
        return False
    # Old writers summed signed bytes.
    rest = block[:148] + b" " * 8 + block[156:BLOCK]
    total = sum(rest)
    return stated in (total, total - 256 * sum(byte > 127 for byte in rest))


def tar_members(stream: Forward) -> Iterator[TarMember]:
    """Walk the headers; folders are left out.

    Whoever asks for the next member may have read the bytes of the last one, or some of them.

    Raises
    ------
    ItemError
        ``truncated``: no end mark, so that members may be missing; ``archive_member``: something else where
        a header should be; ``archive_limit``: an extended header over 1 MiB.
    """
    common: dict[str, str] = {}
    own: dict[str, str] = {}
    while True:
        block = stream.read(BLOCK)
        if block == _ZEROS:
            return
        if len(block) < BLOCK:
            raise ItemError("truncated", "the tar file ends without its end mark; members may be missing")
        if not is_tar_header(block):
            raise ItemError("archive_member", "the tar file holds something else where a header should be")
        kind, size = block[156:157], _number(block[124:136])
        if kind in _EXTENSIONS:
            (common if kind == b"g" else own).update(_said(kind, _extension(stream, size)))
        elif kind != b"V":
            member = _member(block, kind, size, stream.position, common | own)
            own = {}
            end = stream.position + -(-member.size // BLOCK) * BLOCK
            if member.kind != "folder":
                yield member
            stream.skip(end - stream.position)


def _member(block: bytes, kind: bytes, size: int, at: int, said: dict[str, str]) -> TarMember:
    name = said.get("path") or _name(block)
    if "size" in said:
        size = _decimal(said["size"])
    what: Kind = _KINDS.get(kind, "unknown")
    if what == "file" and any(key.startswith("GNU.sparse.") for key in said):
        what = "sparse"
    if what == "file" and name.endswith("/"):
        what = "folder"
    if what in _NO_DATA:
        # Some writers state the size of what a link points to, and no bytes follow.
        size = 0
    plain = name.replace("\\", "/").removeprefix("./")
    return TarMember(plain[:_LONGEST_NAME] or ".", at, size, what)


def _name(block: bytes) -> str:
    name = _text(block[:100].split(b"\0", 1)[0])
    prefix = _text(block[345:500].split(b"\0", 1)[0]) if block[257:263] == b"ustar\0" else ""
    return f"{prefix}/{name}" if prefix else name


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


def _extension(stream: Forward, size: int) -> bytes:
    if size > _LONGEST_EXTENSION:
        message = f"an extended tar header of {size:,} bytes; the limit is {_LONGEST_EXTENSION:,}"
        raise ItemError("archive_limit", message)
    body = stream.read(size)
    stream.skip(-size % BLOCK)
    if len(body) < size:
        raise ItemError("truncated", "the tar file ends within a header")
    return body


def _said(kind: bytes, body: bytes) -> dict[str, str]:
    if kind in (b"x", b"g"):
        return _records(body)
    return {"path": _text(body.split(b"\0", 1)[0])} if kind == b"L" else {}


def _records(body: bytes) -> dict[str, str]:
    """Records of a pax header: length, blank, key, ``=``, value and an end of line."""
    found: dict[str, str] = {}
    at = 0
    while at < len(body) and body[at : at + 1] != b"\0":
        digits, blank, _ = body[at : at + _MOST_DIGITS].partition(b" ")
        length = int(digits) if blank and digits.isdigit() else 0
        record = body[at + len(digits) + 1 : at + length]
        key, equals, value = record.partition(b"=")
        if not equals or not record.endswith(b"\n") or at + length > len(body):
            raise ItemError("archive_member", "an extended tar header breaks its own structure")
        found[_text(key)] = _text(value[:-1])
        at += length
    return found


def _number(raw: bytes) -> int:
    """Octal digits, or the base-256 form of GNU."""
    if raw[0] == 0x80:
        return int.from_bytes(raw[1:], "big")
    digits = raw.strip(b" \0").split(b"\0", 1)[0]
    if digits and (raw[0] & 0x80 or not set(digits) <= set(b"01234567")):
        raise ItemError("archive_member", "a tar header with an impossible number")
    return int(digits or b"0", 8)


def _decimal(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise ItemError("archive_member", "a tar header with an impossible size")
    return int(text)
