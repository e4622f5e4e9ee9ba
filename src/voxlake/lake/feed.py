"""What `changes` gives: rows in order, and where to go on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Feed"]


@dataclass(frozen=True)
class Feed:
    """A part of what happened in a lake.

    Parameters
    ----------
    rows : tuple of mapping
        ``table``, ``version``, ``committed_at``, ``kind``, ``key`` (columns that name the row; JSON) and
        ``run_id``, oldest first.
    cursor : str
        Give it as `since` to get what comes next.
    complete : bool
        Whether this was all for now; otherwise there is more already.
    """

    rows: tuple[Mapping[str, Any], ...]
    cursor: str
    complete: bool

    def dicts(self) -> list[dict[str, Any]]:
        """The rows as dictionaries."""
        return [dict(row) for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)
