"""What de-identification says about what it did: no values, so that it can be shown to anyone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from voxlake.dicom.nodes import keyword_of, tag_text

__all__ = ["Change", "Changes", "Noted"]

Noted: TypeAlias = tuple[str, int, str, str]
"""Path of the item, tag, action, why."""


class Change(NamedTuple):
    """What happened to one element; no values.

    Parameters
    ----------
    path : str
        Tags from the top down, with the numbers of items: ``(0008,1115)[0].(0008,1150)``.
    keyword : str
        DICOM keyword, ``""`` for private and unknown elements.
    action : str
        removed, emptied, replaced, uid_mapped, date_shifted, cleaned, private_removed or added; kept where an
        own rule keeps a value.
    why : str
        The row, option, own rule or default that asked for it.
    """

    path: str
    keyword: str
    action: str
    why: str


class Changes:
    """Changes in the order in which they were made; put into words only when somebody asks."""

    def __init__(self, noted: Iterable[Noted] = ()) -> None:
        self._noted: list[Noted] = list(noted)

    def __len__(self) -> int:
        return len(self._noted)

    def noted(self, start: int = 0, end: int | None = None) -> tuple[Noted, ...]:
        """Return those from one number up to another, as they were noted."""
        return tuple(self._noted[start:end])

    def note(self, path: str, tag: int, action: str, why: str) -> None:
        """Add one.

        Parameters
        ----------
        path : str
            Of the item that the element lies in, with a dot at its end; ``""`` at the top.
        tag : int
            ``group << 16 | element``.
        action, why : str
            As in `Change`.
        """
        self._noted.append((path, tag, action, why))

    def counts(self) -> dict[str, int]:
        """Return how often each action was taken, in alphabetical order."""
        return dict(_counts(tuple(self._noted)))

    def report(self) -> tuple[Change, ...]:
        """Return all of them."""
        return _report(tuple(self._noted))


# The objects of a series have the same changes, in which there are no values.
@lru_cache(maxsize=64)
def _counts(noted: tuple[Noted, ...]) -> Mapping[str, int]:
    return dict(sorted(Counter(_named(action, tag) for _, tag, action, _ in noted).items()))


@lru_cache(maxsize=64)
def _report(noted: tuple[Noted, ...]) -> tuple[Change, ...]:
    return tuple(
        Change(path + tag_text(tag), keyword_of(tag), _named(action, tag), why)
        for path, tag, action, why in noted
    )


def _named(action: str, tag: int) -> str:
    return "private_removed" if action == "removed" and tag & 0x10000 else action
