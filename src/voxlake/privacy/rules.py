"""What a policy does to each attribute: the codes of Table E.1-1 resolved to one action.

The composite codes leave a choice that depends on the type of the attribute in its IOD. The written rule
is: never remove where the table allows a value to stay in place, and give a value where one may be
required. So X/Z is emptied, X/D, Z/D and X/Z/D get a dummy value, X/Z/U* keeps the sequence and maps its
UIDs. Every choice is valid for the stricter type and hides as much as the laxer one.

Of several options that name one attribute, C (clean) wins over K (keep): the more protective one.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType

from voxlake.privacy.profile import Row, load_profile

__all__ = ["Action", "Rules", "rules_for"]

_DEVICE = "retain_device_identity"
_SHIFTED = "retain_longitudinal_modified_dates"

# Dates of vocabularies, products and committees are the same for many patients: shifted, they would tell
# every patient's shift to whoever knows the true date. Device dates are found by their column instead.
_SHARED_DATES = frozenset(
    {
        0x00080106,
        0x00080107,
        0x00120086,
        0x00120087,
        0x0040DB06,
        0x0040DB07,
        0x0044000B,
        0x00686226,
        0x00686270,
        0x300A022C,
        0x300A022E,
    }
)


class Action(StrEnum):
    """What is done to one element."""

    KEEP = "keep"
    REMOVE = "remove"
    EMPTY = "empty"
    DUMMY = "dummy"
    CLEAN = "clean"
    MAP_UID = "map_uid"


_BASIC = MappingProxyType(
    {
        "X": Action.REMOVE,
        "Z": Action.EMPTY,
        "D": Action.DUMMY,
        "U": Action.MAP_UID,
        "X/Z": Action.EMPTY,
        "X/D": Action.DUMMY,
        "Z/D": Action.DUMMY,
        "X/Z/D": Action.DUMMY,
        "X/Z/U*": Action.MAP_UID,
    }
)


class Rules:
    """The actions of one set of options.

    Parameters
    ----------
    options : iterable of str
        Names of the options in snake case, as in the columns of the table.
    """

    def __init__(self, options: Iterable[str]) -> None:
        self.options = frozenset(options)
        self._profile = load_profile()

    @property
    def shifts_dates(self) -> bool:
        """Whether dates are moved (True) or taken away (False)."""
        return _SHIFTED in self.options

    @property
    def keeps_safe_private(self) -> bool:
        """Whether private elements that the standard knows to be safe stay."""
        return "retain_safe_private" in self.options

    @property
    def cleans_text(self) -> bool:
        """Whether descriptors are cleaned (True) or taken away (False)."""
        return "clean_descriptors" in self.options

    def action(self, tag: int) -> Action | None:
        """Return what the table says about a tag under these options, None if it is not listed."""
        row = self._profile.row(tag)
        if row is None:
            return None
        codes = {row.options[option] for option in self.options if option in row.options}
        if "C" in codes and not self._discloses_shift(tag, row):
            return Action.CLEAN
        if "K" in codes:
            return Action.KEEP
        return _BASIC[row.basic]

    def basic(self, tag: int) -> Action:
        """Return the action of the Basic Profile, for a listed value that cannot be cleaned."""
        row = self._profile.row(tag)
        return Action.REMOVE if row is None else _BASIC[row.basic]

    def _discloses_shift(self, tag: int, row: Row) -> bool:
        codes = {option for option in self.options if row.options.get(option) == "C"}
        return codes == {_SHIFTED} and (_DEVICE in row.options or tag in _SHARED_DATES)


@lru_cache(maxsize=16)
def rules_for(options: tuple[str, ...]) -> Rules:
    """Return the rules of a set of options; built once per process."""
    return Rules(options)
