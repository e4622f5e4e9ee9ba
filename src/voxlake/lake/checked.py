"""What a check found: something to show, and whether it holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Checked"]


@dataclass(frozen=True)
class Checked:
    """The result of a check; the command line exits with 1 where it does not hold.

    Parameters
    ----------
    holds : bool
        Whether everything is as it should be.
    values : mapping
        What is shown; lists of mappings become tables.
    """

    holds: bool
    values: Mapping[str, Any]
