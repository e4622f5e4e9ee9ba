"""Lossless HTJ2K storage of native pixel data, and the way back to the same bytes.

The transfer syntax is HTJ2K Lossless Only (...4.201). Its sibling with RPCL options (...4.202) promises more:
what a server of single resolutions needs (order, tile-part lengths, size of the smallest level). Nothing here
reads less than a whole frame, and every reader of one reads the other.

What is needed to undo it and cannot be seen from the data set stands in (0002,0102) Private Information.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.uid import ExplicitVRLittleEndian, HTJ2KLossless, ImplicitVRLittleEndian

from voxlake.core.errors import IntegrityError, ItemError
from voxlake.dicom.decode import stored_values
from voxlake.dicom.elements import whole
from voxlake.dicom.encapsulated import encapsulate_frames
from voxlake.dicom.guard import quiet
from voxlake.dicom.layout import Layout, read_layout
from voxlake.dicom.read import read_dataset
from voxlake.dicom.reencode import Element, UnevenError, elements, to_explicit, to_implicit

__all__ = ["Compressed", "compress_htj2k", "restore"]

_PREAMBLE = 132
_META_LENGTH, _SYNTAX, _CREATOR, _NOTE = 0x00020000, 0x00020010, 0x00020100, 0x00020102
# Made from a random UUID (PS3.5 annex B.2).
_CREATOR_UID = "2.25.242919826199287042587993940818950578679"
_PIXELS, _SIGNATURES = 0x7FE00010, 0xFFFAFFFA
_NO_VR = "--"
_NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
_GREYS = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")


class Compressed(NamedTuple):
    """A compressed file.

    Parameters
    ----------
    data : bytes
        The file.
    original_transfer_syntax_uid : str
        How it was encoded before.
    original_sha256 : str
        SHA-256 of the file before.
    frame_digests : tuple of str
        SHA-256 of the pixels of every frame, as they stood in the original and as they were decoded again.
    """

    data: bytes
    original_transfer_syntax_uid: str
    original_sha256: str
    frame_digests: tuple[str, ...]


class _Parts(NamedTuple):
    """A file in pieces that give it again when they are joined."""

    preamble: bytes
    meta: tuple[tuple[int, bytes], ...]
    syntax: str
    head: bytes
    pixels: Element
    value: bytes
    tail: bytes


def compress_htj2k(data: bytes) -> Compressed | None:
    """Compress native pixel data without loss.

    Parameters
    ----------
    data : bytes
        A DICOM file.

    Returns
    -------
    Compressed or None
        None where the file should stay as it is: pixel data that are compressed already, float, of other than
        8 or 16 bits allocated, with something in their unused bits, or of colours other than RGB pixel by
        pixel; big-endian, deflated and digitally signed files; files that would not become smaller; and
        whatever would not come back to the same bytes. All of this is tried out here, not assumed.

    Raises
    ------
    ItemError
        As `voxlake.dicom.read.read_dataset`.
    """
    dataset = read_dataset(data)
    try:
        parts = _take_apart(data)
        with quiet():
            layout = read_layout(dataset)
            planar = layout.samples > 1 and whole(dataset, "PlanarConfiguration") != 0
        if planar or not _suitable(parts, layout):
            return None
        frames = _frames(parts.value, layout)
        compressed = _compress(parts, frames, signed=layout.signed)
        digests = tuple(sha256(frame.tobytes()).hexdigest() for frame in frames)
        if len(compressed) >= len(data) or _digests(stored_values(dataset)) != digests:
            return None
        again = stored_values(read_dataset(compressed))
        if _digests(again) != digests or _original(_take_apart(compressed), again) != data:
            return None
    except (UnevenError, ItemError, RuntimeError):
        # Nothing is lost: what cannot be compressed and proven is kept as it is.
        return None
    return Compressed(compressed, parts.syntax, sha256(data).hexdigest(), digests)


def restore(data: bytes, original_transfer_syntax_uid: str) -> bytes:
    """Give back the bytes that `compress_htj2k` compressed.

    Parameters
    ----------
    data : bytes
        A file from `compress_htj2k`.
    original_transfer_syntax_uid : str
        How it was encoded before.

    Raises
    ------
    IntegrityError
        The file was not made by `compress_htj2k` from one of this transfer syntax.
    ItemError
        The file is damaged.
    """
    try:
        parts = _take_apart(data)
        noted, _ = _note(parts)
    except UnevenError:
        raise IntegrityError(
            "the stored file was not compressed here: it has no note of the original"
        ) from None
    if noted != original_transfer_syntax_uid:
        message = f"the original was of transfer syntax {noted}, not {original_transfer_syntax_uid[:64]}"
        raise IntegrityError(message)
    return _original(parts, stored_values(read_dataset(data)))


def _suitable(parts: _Parts, layout: Layout) -> bool:
    if parts.syntax not in _NATIVE or parts.pixels.undefined or layout.floating:
        return False
    if layout.allocated not in (8, 16) or layout.photometric not in (*_GREYS, "RGB"):
        return False
    if any(tag >= _CREATOR for tag, _ in parts.meta):
        return False
    size = layout.native_bytes
    return len(parts.value) == size + size % 2


def _frames(value: bytes, layout: Layout) -> NDArray[Any]:
    kind = f"<{'i' if layout.signed else 'u'}{layout.word}"
    shape = (layout.frames, *(layout.shape if layout.samples > 1 else layout.shape[:2]))
    return np.frombuffer(value, kind, layout.frames * layout.values_per_frame).reshape(shape)


def _digests(values: NDArray[Any]) -> tuple[str, ...]:
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    return tuple(sha256(frame.tobytes()).hexdigest() for frame in little)


def _compress(parts: _Parts, frames: NDArray[Any], *, signed: bool) -> bytes:
    # Without a colour transform PhotometricInterpretation stays RGB, and with it the whole header.
    encoded = [bytes(imagecodecs.htj2k_encode(frame, reversible=True, rgb=False)) for frame in frames]
    implicit = parts.syntax == ImplicitVRLittleEndian
    head = to_explicit(parts.head, signed) if implicit else parts.head
    tail = to_explicit(parts.tail, signed) if implicit else parts.tail
    note = f"{parts.syntax} {_NO_VR if implicit else parts.pixels.vr.decode()}".encode()
    meta = _meta(
        (
            *_with_syntax(parts.meta, HTJ2KLossless),
            (_CREATOR, _short(_CREATOR, b"UI", _CREATOR_UID.encode())),
            (_NOTE, _long(_NOTE, b"OB", note + b"\0" * (len(note) % 2))),
        )
    )
    pixels = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    return b"".join((parts.preamble, meta, head, pixels, encapsulate_frames(encoded), end, tail))


def _original(parts: _Parts, values: NDArray[Any]) -> bytes:
    """The file that `_compress` was given."""
    syntax, vr = _note(parts)
    implicit = vr == _NO_VR
    raw = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    raw += b"\0" * (len(raw) % 2)
    kept = tuple((tag, element) for tag, element in parts.meta if tag not in (_CREATOR, _NOTE))
    meta = _meta(_with_syntax(kept, syntax))
    if implicit:
        head, tail = to_implicit(parts.head), to_implicit(parts.tail)
        pixels = struct.pack("<HHI", 0x7FE0, 0x0010, len(raw))
    else:
        head, tail = parts.head, parts.tail
        pixels = struct.pack("<HH2sHI", 0x7FE0, 0x0010, vr.encode(), 0, len(raw))
    return b"".join((parts.preamble, meta, head, pixels, raw, tail))


def _take_apart(data: bytes) -> _Parts:
    if data[128 : _PREAMBLE + 8] != b"DICM\x02\0\0\0UL\x04\0":
        raise UnevenError
    start = _PREAMBLE + 12 + int.from_bytes(data[_PREAMBLE + 8 : _PREAMBLE + 12], "little")
    found = list(elements(data, _PREAMBLE, min(start, len(data)), implicit=False))
    meta = tuple((element.tag, data[element.start : element.stop]) for element in found)
    if any(element.tag >> 16 != 2 for element in found) or _SYNTAX not in dict(meta):
        raise UnevenError
    syntax = _text(dict(meta)[_SYNTAX][8:])
    implicit = syntax == ImplicitVRLittleEndian
    if not implicit and syntax not in (ExplicitVRLittleEndian, HTJ2KLossless):
        raise UnevenError
    body = {element.tag: element for element in elements(data, start, len(data), implicit=implicit)}
    pixels = body.get(_PIXELS)
    if pixels is None or _SIGNATURES in body:
        raise UnevenError
    value = b"" if pixels.undefined else data[pixels.value : pixels.stop]
    head, tail = data[start : pixels.start], data[pixels.stop :]
    return _Parts(data[:_PREAMBLE], meta, syntax, head, pixels, value, tail)


def _note(parts: _Parts) -> tuple[str, str]:
    """Original transfer syntax and VR of the pixel data."""
    meta = dict(parts.meta)
    if _CREATOR not in meta or _NOTE not in meta or _text(meta[_CREATOR][8:]) != _CREATOR_UID:
        raise UnevenError
    syntax, space, vr = _text(meta[_NOTE][12:]).partition(" ")
    if not space:
        raise UnevenError
    return syntax, vr


def _meta(found: Iterable[tuple[int, bytes]]) -> bytes:
    content = b"".join(element for tag, element in found if tag != _META_LENGTH)
    return _short(_META_LENGTH, b"UL", struct.pack("<I", len(content))) + content


def _with_syntax(meta: Iterable[tuple[int, bytes]], syntax: str) -> tuple[tuple[int, bytes], ...]:
    value = syntax.encode()
    changed = _short(_SYNTAX, b"UI", value + b"\0" * (len(value) % 2))
    return tuple((tag, changed if tag == _SYNTAX else element) for tag, element in meta)


def _short(tag: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def _long(tag: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, len(value)) + value


def _text(value: bytes) -> str:
    return value.decode("latin-1").rstrip("\0 ")
