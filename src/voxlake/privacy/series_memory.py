"""Objects that were de-identified, so that of the next one of a series only what differs is looked at.

Most elements of the slices of a series have the same bytes. Those lie in runs, and one comparison tells that
a run is the same again; what was written for it is copied. Between two runs stands an element that differs,
which goes the way that it always goes. What does not fit is left to the full way, whose result is learned
from.
"""

from __future__ import annotations

import struct
from typing import NamedTuple, TypeAlias

from pydicom.errors import BytesLengthException, InvalidDicomError

from voxlake.core.errors import ItemError
from voxlake.dicom.parse_bytes import OddFileError, parse_meta
from voxlake.privacy.overlays import is_graphics
from voxlake.privacy.series_template import Seen, Template, Written, may_differ

__all__ = ["BROKEN", "SeriesMemory"]

# Series that are remembered; each trial of one that does not fit costs a few microseconds.
_SERIES = 8
# Longer elements are pixels and the like, that no other object repeats.
_LONGEST_ELEMENT = 16_384
_LONGEST_HEADER, _MOST_ELEMENTS = 262_144, 5_000
# After so many templates that no file fitted, the objects are too unlike each other.
_VAIN = 3

BROKEN = (
    ArithmeticError,
    AttributeError,
    BytesLengthException,
    InvalidDicomError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)
"""Whatever a broken value makes pydicom or a codec raise: the object is refused, never half done."""

_Tags: TypeAlias = tuple[int, ...]
_Kind: TypeAlias = tuple[str | None, str, _Tags, bytes]
"""Patient as stated beside the file, transfer syntax, tags, bytes of the elements that others depend on."""


class _Known:
    """One series, as it was seen last."""

    def __init__(self, raw: list[bytes]) -> None:
        self.raw = raw
        self.differing: frozenset[int] = frozenset()
        self.template: Template | None = None
        self.fitted = 0
        self.vain = 0


class _Outcome(NamedTuple):
    """Raw elements, of long ones nothing, and the kind."""

    raw: list[bytes]
    kind: _Kind


class SeriesMemory:
    """A few series, the one seen last at the end, under one policy and one key.

    It holds a few megabytes at most, and is for one thread.
    """

    def __init__(self) -> None:
        self._known: dict[_Kind, _Known] = {}

    def recall(self, data: bytes, patient: str | None) -> Written | None:
        """De-identify a file that is like one seen before; None if there is none, or it is odd.

        Parameters
        ----------
        data : bytes
            The file.
        patient : str or None
            Patient as stated beside the file.
        """
        try:
            _, syntax, start = parse_meta(data)
        except (OddFileError, struct.error, UnicodeError):
            return None
        for tried, (kind, known) in enumerate(reversed(self._known.items())):
            if known.template is None or kind[0] != patient:
                continue
            written = _written(known.template, data, syntax, start)
            if written is not None:
                known.fitted += 1
                if tried:
                    self._to_end(kind, known)
                return written
        return None

    def learn(self, seen: Seen, patient: str | None) -> None:
        """Remember a file that went the full way."""
        found = _learnable(seen, patient)
        if found is None:
            return
        kind, tags = found.kind, found.kind[2]
        known = self._known.get(kind)
        if known is None:
            known = _Known(found.raw)
            known.differing = self._usual(tags)
        else:
            known.differing |= _differing(tags, known.raw, found.raw)
        known.raw = found.raw
        if known.differing and known.vain < _VAIN:
            long = {tag for tag, raw in zip(tags, found.raw, strict=True) if not raw}
            known.template = Template(seen, known.differing | long)
            known.vain = 0 if known.fitted else known.vain + 1
            known.fitted = 0
        self._to_end(kind, known)
        if len(self._known) > _SERIES:
            del self._known[next(iter(self._known))]

    def _usual(self, tags: _Tags) -> frozenset[int]:
        """Where objects of a scanner differ they do so in each of its series; nothing where none fitted."""
        found = (known for kind, known in reversed(self._known.items()) if kind[2] == tags and known.fitted)
        return next((known.differing for known in found), frozenset())

    def _to_end(self, kind: _Kind, known: _Known) -> None:
        self._known.pop(kind, None)
        self._known[kind] = known


def _learnable(seen: Seen, patient: str | None) -> _Outcome | None:
    """What there is to remember of a file, None for files that are not remembered."""
    bounds, nodes = seen.parsed.bounds, seen.parsed.root.nodes
    # A deflated file has no runs, and of overlays all elements count together.
    if not bounds or len(nodes) > _MOST_ELEMENTS or any(is_graphics(node.tag) for node in nodes):
        return None
    raw, steering, size = [], [], 0
    for place, node in enumerate(nodes):
        length = bounds[place + 1] - bounds[place]
        part = b"" if length > _LONGEST_ELEMENT else seen.raw(place)
        size += len(part)
        if not may_differ(node.tag, seen.written):
            if not part:
                return None
            steering.append(part)
        raw.append(part)
    if size > _LONGEST_HEADER:
        return None
    tags = tuple([node.tag for node in nodes])
    return _Outcome(raw, (patient, seen.parsed.syntax, tags, b"".join(steering)))


def _differing(tags: _Tags, before: list[bytes], after: list[bytes]) -> set[int]:
    return {tag for tag, was, now in zip(tags, before, after, strict=True) if was != now}


def _written(template: Template, data: bytes, syntax: str, start: int) -> Written | None:
    try:
        return template.write(data, syntax, start)
    except (OddFileError, ItemError, *BROKEN):
        return None
