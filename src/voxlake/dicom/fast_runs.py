"""Runs of bytes that are the same in many headers, with elements that differ between them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

from voxlake.dicom.fast_walk import Entry, Walk
from voxlake.dicom.parse_bytes import OddFileError

__all__ = ["Entries", "Place", "Runs"]

Entries: TypeAlias = list[tuple[int, Entry]]
"""Elements in their order, with their tags."""
Place: TypeAlias = tuple[int, int]
"""Where a value begins, and where it ends."""

_UNDEFINED = 0xFFFFFFFF
# Shorter values of an unknown VR are taken for what the dictionary says.
_LONGEST_RESOLVED = 0xFFFF
_DELIMITER = 8


class _Step(NamedTuple):
    """A run, and the element behind it, whose tag and VR still belong to the run.

    Parameters
    ----------
    run : bytes
        What must be there.
    size : int
        How many bytes.
    width : int
        Bytes of the length of the element.
    longest : int
        Greatest length.
    sequence : tuple of int and bool, optional
        Tag, and whether the length is undefined, of a sequence that must be opened.
    """

    run: bytes
    size: int
    width: int
    longest: int
    sequence: tuple[int, bool] | None


class Runs:
    """A stretch of a header.

    Parameters
    ----------
    data : bytes
        The header of one file.
    entries : list
        Its elements in the stretch.
    bounds : tuple of int
        Where the stretch begins, and where it ends.
    differing : collection of int
        Tags of the elements that differ.
    implicit, little : bool
        Encoding.
    sequences : mapping
        Of `Walk`, by the places of their values.
    """

    def __init__(
        self,
        data: bytes,
        entries: Entries,
        bounds: Place,
        differing: Collection[int],
        *,
        implicit: bool,
        little: bool,
        sequences: Mapping[int, tuple[Any, bool]],
    ) -> None:
        self._order: Literal["little", "big"] = "little" if little else "big"
        self._steps: list[_Step] = []
        here, end = bounds
        before = here
        for tag, (vr, start, stop) in entries:
            sequence = sequences.get(start) if vr == "SQ" else None
            if tag in differing:
                head = data[before:start]
                width = 2 if len(head) == 8 and not implicit else 4
                run = data[here : start - width]
                longest = 0xFFFF if width == 2 else _UNDEFINED - 1
                if head[4:6] == b"UN" and not implicit:
                    longest = _LONGEST_RESOLVED - 1
                opened = None if sequence is None else (tag, sequence[1])
                self._steps.append(_Step(run, len(run), width, longest, opened))
            before = stop + _DELIMITER if sequence is not None and sequence[1] else stop
            if tag in differing:
                here = before
        self._last = data[here:end]

    def follow(self, data: bytes, position: int, places: list[Place], walk: Walk | None) -> int:
        """Find the elements that differ in another header.

        Parameters
        ----------
        data : bytes
            The header.
        position : int
            Where the stretch begins.
        places : list
            Their places are added to it.
        walk : Walk, optional
            Over the same bytes, for sequences.

        Returns
        -------
        int
            Where the stretch ends; -1 if something else differs, or the bytes do not suffice.

        Raises
        ------
        OddFileError, ShortOfBytesError
            A sequence is odd, or goes on behind the bytes.
        """
        order = self._order
        for run, size, width, longest, sequence in self._steps:
            if not data.startswith(run, position):
                return -1
            position += size
            start = position + width
            length = int.from_bytes(data[position:start], order)
            if sequence is not None:
                stop, position = _opened(walk, sequence, start, length)
                places.append((start, stop))
                continue
            if length > longest:
                return -1
            position = start + length
            places.append((start, position))
        if not data.startswith(self._last, position):
            return -1
        position += len(self._last)
        return position if position <= len(data) else -1


def _opened(walk: Walk | None, sequence: tuple[int, bool], start: int, length: int) -> tuple[int, int]:
    tag, undefined = sequence
    if walk is None or (length == _UNDEFINED) != undefined:
        raise OddFileError
    return walk.sequence(tag, start, length)
