"""Regular expressions of people, made safe to run on text of strangers.

Python's matcher goes back and tries again. A repeat inside a repeat, or an alternation inside one, can take
time that doubles with every character, so both are refused before anything is compiled, and so is what
looks back at earlier groups. What is left is polynomial in the length of a value, and workers have a time
limit besides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

__all__ = ["check_pattern", "compiled"]

_LONGEST = 500
_MOST_UNBOUNDED = 3
_MOST_WAYS = 10_000
_GROUP = re.compile(r"\(\?(?::|=|!|<=|<!|P<\w+>)")
_FLAGS = re.compile(r"\(\?[ai]+\)")
_COUNTS = re.compile(r"\{(\d*)(,?)(\d*)\}")


@dataclass
class _Group:
    """What an open group holds so far."""

    varies: bool = False
    branches: int = 1


@dataclass
class _Reader:
    """Walks over a pattern once; `unbounded` and `ways` measure how far matching may go back."""

    pattern: str
    place: int = 0
    unbounded: int = 0
    ways: int = 1
    open: list[_Group] = field(default_factory=lambda: [_Group()])

    def read(self) -> None:
        flags = _FLAGS.match(self.pattern)
        self.place = flags.end() if flags else 0
        while self.place < len(self.pattern):
            closed = self._atom()
            if closed is not None:
                self._repeat(closed)

    def _atom(self) -> _Group | None:
        """Step over one atom; returns it if a repeat may follow, as a group that says what is in it."""
        character = self.pattern[self.place]
        self.place += 1
        match character:
            case "(":
                self._enter()
                return None
            case ")":
                closed = self.open.pop() if len(self.open) > 1 else _Group()
                self.open[-1].varies |= closed.varies
                self._may_stop(closed.branches)
                return closed
            case "|":
                self.open[-1].varies = True
                self.open[-1].branches += 1
                return None
            case "[":
                self._character_class()
            case "\\":
                self._escape()
        return _Group()

    def _enter(self) -> None:
        self.open.append(_Group())
        if self.pattern[self.place : self.place + 1] != "?":
            return
        found = _GROUP.match(self.pattern, self.place - 1)
        if found is None:
            raise ValueError(
                "of the forms that begin with '(?' a pattern may use (?:...), (?=...), (?!...), (?<=...), "
                "(?<!...), (?P<name>...) and, at its start, (?i)"
            )
        self.place = found.end()

    def _character_class(self) -> None:
        # A bracket that comes first, also after ^, stands for itself.
        start = self.place + (self.pattern[self.place : self.place + 1] == "^")
        self.place = start + (self.pattern[start : start + 1] == "]")
        while self.place < len(self.pattern) and self.pattern[self.place] != "]":
            self.place += 2 if self.pattern[self.place] == "\\" else 1
        self.place += 1

    def _escape(self) -> None:
        if self.pattern[self.place : self.place + 1] in set("123456789"):
            raise ValueError("a pattern must not refer back to a group (\\1): this can take very long")
        self.place += 1

    def _repeat(self, body: _Group) -> None:
        bounds = self._bounds()
        if bounds is None:
            return
        low, high = bounds
        if body.varies and high != 1:
            raise ValueError(
                "a repeat must not hold another repeat or an alternation, which can take very long: write "
                "[ab]+ for (a|b)+, and a repeat with fixed counts inside another"
            )
        if low == high:
            return
        self.open[-1].varies = True
        self._may_stop(None if high is None else high - low + 1)

    def _may_stop(self, ways: int | None) -> None:
        if ways is None:
            self.unbounded += 1
        else:
            self.ways *= ways
        if self.unbounded > _MOST_UNBOUNDED or self.ways > _MOST_WAYS:
            raise ValueError(
                "too many repeats and alternations that can match in several ways: at most "
                f"{_MOST_UNBOUNDED} repeats without an upper bound, and {_MOST_WAYS:,} ways to place the "
                "others; give fixed counts such as \\d{8}"
            )

    def _bounds(self) -> tuple[int, int | None] | None:
        following = self.pattern[self.place : self.place + 1]
        simple: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        bounds = simple.get(following)
        if bounds is not None:
            self.place += 1
        else:
            counts = _COUNTS.match(self.pattern, self.place)
            if counts is None or counts[0] == "{}":
                return None
            low = int(counts[1] or 0)
            high = (int(counts[3]) if counts[3] else None) if counts[2] else low
            self.place, bounds = counts.end(), (low, high)
        if self.pattern[self.place : self.place + 1] in ("?", "+"):
            self.place += 1
        return bounds


def check_pattern(pattern: str) -> str:
    """Return a pattern that is safe to search with.

    Raises
    ------
    ValueError
        It is no regular expression, is longer than 500 characters, matches nothing at all as well, or
        can take very long: repeats that hold repeats or alternations, references back, too many repeats.
    """
    if not 0 < len(pattern) <= _LONGEST:
        raise ValueError(f"a pattern has 1 to {_LONGEST} characters, got {len(pattern)}")
    try:
        search = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"no regular expression: {error}") from None
    _Reader(pattern).read()
    if search.search("") is not None:
        raise ValueError("the pattern is found in empty text, so it would match every value")
    return pattern


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> re.Pattern[str]:
    """Compile a checked pattern, once per process."""
    return re.compile(pattern)
