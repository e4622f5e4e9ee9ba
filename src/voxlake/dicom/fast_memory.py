"""Headers that were seen, so that of the next one like them only what differs is read.

Files of one series have the same elements. Those whose values were the same so far lie in runs of bytes, and
one comparison tells that a run is the same again: its elements, their VRs, lengths and values. Between two
runs stands an element that differs, whose value is read by the same functions as ever. What does not fit is
left to `voxlake.dicom.fast_row.read_row`, whose result is learned from.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from voxlake.dicom.fast_row import Opened, Rowed
from voxlake.dicom.fast_runs import Entries
from voxlake.dicom.fast_template import Template, head_of, is_learnable, may_differ
from voxlake.dicom.fast_walk import ShortOfBytesError
from voxlake.dicom.parse_bytes import OddFileError

__all__ = ["Memory"]

# Kinds of files that are remembered; each trial of one that does not fit costs about a microsecond.
_KINDS = 8
# After so many files that fitted, the next that does not is the first of another series.
_SERIES = 16
# Headers of one kind differ by some bytes.
_ALLOWANCE = 1024

Kind: TypeAlias = tuple[str, tuple[int, ...], tuple[int, ...]]
"""Transfer syntax, tags of the meta information, tags of the data set."""


class _Known:
    """One kind of files.

    Parameters
    ----------
    data : bytes
        Header of the file that was seen last, without a template.
    entries : list
        Its elements.
    """

    def __init__(self, data: bytes, entries: Entries) -> None:
        self.data, self.entries = data, entries
        self.differing: frozenset[int] = frozenset()
        self.template: Template | None = None
        self.fitted = 0


class Memory:
    """A few kinds of files, the one seen last first.

    `longest` is the header of the file that was learned from last, in bytes.
    """

    def __init__(self) -> None:
        self.longest = 0
        self._known: dict[Kind, _Known] = {}

    def recall(self, opened: Opened) -> dict[str, Any] | None:
        """Read the row of a file that is like one seen before; None if there is none, or it is odd."""
        for tried, (kind, known) in enumerate(reversed(self._known.items())):
            if known.template is None:
                continue
            try:
                row = known.template.row(opened)
            except (OddFileError, ShortOfBytesError):
                row = None
            if row is not None:
                known.fitted += 1
                if tried:
                    self._to_front(kind, known)
                return row
        return None

    def learn(self, found: Rowed) -> None:
        """Remember a file that was read in full."""
        if not is_learnable(found):
            return
        kind = (found.plain.syntax, tuple(found.meta), tuple(found.plain.level))
        entries, data = head_of(found), found.plain.data
        self.longest = entries[-1][1][2] + _ALLOWANCE
        header = data[: self.longest]
        known = self._known.get(kind)
        if known is None:
            known = _Known(header, entries)
        else:
            if known.fitted < _SERIES:
                known.differing |= _differing(header, entries, known)
            known.data, known.entries, known.fitted = header, entries, 0
            known.template = Template(found, entries, known.differing)
        self._to_front(kind, known)
        if len(self._known) > _KINDS:
            del self._known[next(iter(self._known))]

    def _to_front(self, kind: Kind, known: _Known) -> None:
        self._known.pop(kind, None)
        self._known[kind] = known


def _differing(data: bytes, entries: Entries, known: _Known) -> set[int]:
    return {
        tag
        for (tag, (vr, start, stop)), (_, (was, first, last)) in zip(entries, known.entries, strict=True)
        if vr == was and data[start:stop] != known.data[first:last] and may_differ(tag)
    }
