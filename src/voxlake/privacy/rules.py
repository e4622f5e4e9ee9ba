"""What a policy does to each attribute: the codes of Table E.1-1 resolved to one action.

The composite codes leave a choice that depends on the type of the attribute in its IOD. The written rule
is: never remove where the table allows a value to stay in place, and give a value where one may be
required. So X/Z is emptied, X/D, Z/D and X/Z/D get a dummy value, X/Z/U* keeps the sequence and maps its
UIDs. Every choice is valid for the stricter type and hides as much as the laxer one. Where the table says X
and the class of the object requires a value (`required_in`), a dummy takes its place: without it the object
would be none of its class.

Of several options that name one attribute, C (clean) wins over K (keep): the more protective one. So a device
date under both Retain Device Identity and Retain Modified Dates is replaced and not kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Literal, NamedTuple

from voxlake.dicom.nodes import known_vr
from voxlake.privacy.profile import Row, load_profile, load_safe_private

__all__ = ["FILE_FORMAT", "Action", "Decision", "Rules", "is_shared_date", "required_in", "rules_for"]

_DEVICE = "retain_device_identity"
_SHIFTED = "retain_longitudinal_modified_dates"
_FULL_DATES = "retain_longitudinal_full_dates"

_PRESENTATION_STATES = "1.2.840.10008.5.1.4.1.1.11."
_ENHANCED_PET = "1.2.840.10008.5.1.4.1.1.130"

# Dates of vocabularies, products and committees are the same for many patients: shifted with the patient,
# they would tell the shift to whoever knows the true date. Those of devices are found by their column.
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


class Decision(NamedTuple):
    """An action, and the reason that a report gives for it."""

    action: Action
    why: str


FILE_FORMAT = Decision(Action.REMOVE, "file format")
_REMEMBERED = 16384
_VARIABLE_PIXELS, _PIXELS = 0x7F, 0x7FE0
_FIRST_GROUP, _ITEMS = 0x0008, 0xFFFE
# VRs that may stay where the dictionary does not know the tag: they are handled by VR or hold numbers.
_TELLING = frozenset(
    {"AT", "DA", "DS", "DT", "FD", "FL", "IS", "SL", "SQ", "SS", "SV", "TM", "UI", "UL", "US", "UV"}
)
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
        self._safe = load_safe_private() if "retain_safe_private" in self.options else None
        self._decided: dict[tuple[int, str], Decision | None] = {}

    @property
    def dates(self) -> Literal["keep", "shift", "remove"]:
        """What becomes of dates that no row names."""
        if _SHIFTED in self.options:
            return "shift"
        return "keep" if _FULL_DATES in self.options else "remove"

    @property
    def keeps_uids(self) -> bool:
        """Whether UIDs that no row names stay."""
        return "retain_uids" in self.options

    @property
    def cleans_graphics(self) -> bool:
        """Whether overlays are cleaned (True) or taken away (False)."""
        return "clean_graphics" in self.options

    def safe_vr(self, creator: str | None, tag: int) -> str | None:
        """Return the VR of a private element that may stay (``""``: as stated), None for one that may not."""
        return None if self._safe is None or creator is None else self._safe.vr(creator, tag)

    def decide(self, tag: int, vr: str) -> Decision | None:
        """Return what is done to a public element, None where only its VR decides.

        Parameters
        ----------
        tag : int
            ``group << 16 | element``.
        vr : str
            VR of the value.
        """
        key = (tag, vr)
        try:
            return self._decided[key]
        except KeyError:
            decision = self._decide(tag, vr)
        # Files decide which tags there are, so the memory of them must have an end.
        if len(self._decided) < _REMEMBERED:
            self._decided[key] = decision
        return decision

    def _decide(self, tag: int, vr: str) -> Decision | None:
        if tag & 0xFFFF == 0:
            return FILE_FORMAT
        row = self._profile.row(tag)
        if row is not None:
            return self._of(row)
        if tag >> 16 < _FIRST_GROUP or tag >> 16 == _ITEMS:
            # Commands, file meta information, indices of media and stray items have no place in an object.
            return FILE_FORMAT
        if tag >> 24 == _VARIABLE_PIXELS and tag >> 16 != _PIXELS:
            # Retired images beside the image (PS3.5 2004 7.6): no rule on pixels looks at them.
            return Decision(Action.REMOVE, "retired pixel data")
        if known_vr(tag) is None and vr not in _TELLING:
            return Decision(Action.REMOVE, "unknown element")
        return None

    def basic(self, tag: int) -> Decision:
        """Return the decision of the Basic Profile, for a listed value that cannot be cleaned."""
        row = self._profile.row(tag)
        return Decision(Action.REMOVE, "unknown element") if row is None else _basic(row)

    def _of(self, row: Row) -> Decision:
        for code, action in (("C", Action.CLEAN), ("K", Action.KEEP)):
            named = sorted(option for option in self.options if row.options.get(option) == code)
            if named:
                return Decision(action, f"option {named[0]}")
        return _basic(row)


@lru_cache(maxsize=4096)
def is_shared_date(tag: int) -> bool:
    """Say whether a date belongs to a device, vocabulary or product, so that many patients share it."""
    row = load_profile().row(tag)
    device = row is not None and _DEVICE in row.options and _SHIFTED in row.options
    return device or tag in _SHARED_DATES


def _basic(row: Row) -> Decision:
    return Decision(_BASIC[row.basic], f"Table E.1-1 {row.basic}")


def required_in(sop_class: str) -> frozenset[int]:
    """Return the attributes with code X without which objects of a SOP class are not valid (type 1, PS3.3).

    Presentation Creation Date and Time (C.11.10), and Radiopharmaceutical Start DateTime (C.8.22.4).
    """
    if sop_class.startswith(_PRESENTATION_STATES):
        return frozenset({0x00700082, 0x00700083})
    return frozenset({0x00181078}) if sop_class == _ENHANCED_PET else frozenset()


@lru_cache(maxsize=64)
def rules_for(options: tuple[str, ...]) -> Rules:
    """Return the rules of a set of options; built once per process."""
    return Rules(options)
