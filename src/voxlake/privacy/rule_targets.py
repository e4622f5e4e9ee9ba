"""What an own rule is about: tags, keywords, VRs and SOP classes as people write them; values that fit.

Every door reads a policy and few policies have own rules: the data dictionary is loaded only for these.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from voxlake.core.hints import hint

__all__ = [
    "TEXT_VRS",
    "VRS",
    "Target",
    "fits",
    "group_target",
    "keyword_target",
    "sop_class_uid",
    "tag_target",
    "value_problem",
]

# PS3.5 table 6.2-1.
TEXT_VRS = frozenset(
    ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT")
)
_WHOLE = {"SL": (32, True), "SS": (16, True), "SV": (64, True), "UL": (32, False), "US": (16, False)}
_WHOLE["UV"] = (64, False)
_REAL = frozenset(("FD", "FL"))
VRS = TEXT_VRS | frozenset(_WHOLE) | _REAL | frozenset(("AT", "OB", "OD", "OF", "OL", "OV", "OW", "SQ", "UN"))
_ONE_VALUE = frozenset(("LT", "ST", "UR", "UT"))
_LINES = frozenset(("LT", "ST", "UT"))
_LONGEST_VALUE = 10_240

_TAG = re.compile(r"\(?\s*([0-9a-fx]{4})\s*,?\s*([0-9a-fx]{4})\s*\)?", re.IGNORECASE)
_GROUP = re.compile(r"[0-9a-fx]{4}", re.IGNORECASE)
_UID = re.compile(r"[0-9]+(?:\.[0-9]+)+")
_ALL = 0xFFFFFFFF
_LONGEST_UID = 64
_SOP_CLASS = "SOP Class"


@dataclass(frozen=True)
class Target:
    """Tags that agree with `bits` where `mask` has ones."""

    mask: int
    bits: int

    @property
    def exact(self) -> int | None:
        """The tag, if it is only one."""
        return self.bits if self.mask == _ALL else None

    @property
    def vrs(self) -> tuple[str, ...]:
        """VRs that the data dictionary gives (PS3.6); empty where it gives none."""
        from pydicom.datadict import dictionary_has_tag, dictionary_VR, repeater_has_tag

        known = self.mask == _ALL and dictionary_has_tag(self.bits)
        if known or repeater_has_tag(self.bits):
            return tuple(dictionary_VR(self.bits).split(" or "))
        return ()

    def covers(self, tag: int) -> bool:
        """Whether a tag is among them."""
        return tag & self.mask == self.bits


def tag_target(text: str) -> Target:
    """Read ``(0008,1030)``, ``00081030``, ``0008,10xx`` or ``60xx3000``.

    Raises
    ------
    ValueError
        Anything else.
    """
    match = _TAG.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            f"'{text}' is no tag: expected eight hexadecimal digits, x for any digit: (0008,1030), 60xx3000"
        )
    return _masked(match[1] + match[2])


def group_target(text: str) -> Target:
    """Read a group of four hexadecimal digits (``0008``, ``60xx``) or ``odd``.

    Raises
    ------
    ValueError
        Anything else.
    """
    if text == "odd":
        return Target(0x00010000, 0x00010000)
    if _GROUP.fullmatch(text) is None:
        raise ValueError(f"'{text}' is no group: expected four hexadecimal digits, or 'odd' for private ones")
    return _masked(text + "xxxx")


def keyword_target(keyword: str) -> Target:
    """Find the tags of a keyword of PS3.6.

    Raises
    ------
    ValueError
        There is no such keyword; the near miss is named.
    """
    target = _keywords().get(keyword)
    if target is None:
        raise ValueError(f"'{keyword}' is no keyword of the data dictionary{hint(keyword, _keywords())}")
    return target


def sop_class_uid(text: str) -> str:
    """Return the UID of a SOP class given by UID or keyword (``CTImageStorage``).

    Raises
    ------
    ValueError
        Neither a UID nor a keyword of PS3.6; the near miss is named.
    """
    if _UID.fullmatch(text) and len(text) <= _LONGEST_UID:
        return text
    known = _sop_classes()
    if text not in known:
        raise ValueError(f"'{text}' is neither a UID nor the keyword of a SOP class{hint(text, known)}")
    return known[text]


def fits(vr: str, text: str) -> bool:
    """Whether a value, given as text, may be written under a VR."""
    return value_problem(vr, text) is None


def value_problem(vr: str, text: str) -> str | None:
    """Say why a value, given as text, may not be written under a VR (PS3.5 6.2); None if it may.

    Parameters
    ----------
    vr : str
        Value representation.
    text : str
        The value; a backslash parts several.
    """
    if not text.isascii():
        return "only ASCII can be written in every character set that an object may have"
    if len(text) > _LONGEST_VALUE:
        return f"it has {len(text)} characters, at most {_LONGEST_VALUE:,} are taken"
    if vr not in TEXT_VRS and vr not in _WHOLE and vr not in _REAL:
        return f"a value of VR {vr} cannot be given as text"
    for value in [text] if vr in _ONE_VALUE else text.split("\\"):
        problem = _single_problem(vr, value)
        if problem is not None:
            return problem
    return None


def _single_problem(vr: str, value: str) -> str | None:
    if vr in _WHOLE:
        return _whole_problem(vr, value)
    if vr in _REAL:
        return None if _number(value) else f"'{value}' is no number, as VR {vr} asks for"
    if any(character < " " and not (vr in _LINES and character in "\t\n\f\r") for character in value):
        return f"VR {vr} takes no control characters"
    from pydicom.config import RAISE
    from pydicom.valuerep import validate_value

    try:
        validate_value(vr, value, RAISE)
    except ValueError:
        return f"'{value[:40]}' is not valid for VR {vr}"
    return None


def _whole_problem(vr: str, value: str) -> str | None:
    bits, signed = _WHOLE[vr]
    if re.fullmatch(r"-?\d{1,20}", value) is None:
        return f"'{value}' is no whole number, as VR {vr} asks for"
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if signed else (0, 2**bits)
    return None if low <= int(value) < high else f"{value} is out of the range of VR {vr}"


def _number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _masked(digits: str) -> Target:
    text = digits.lower()
    mask = int("".join("0" if digit == "x" else "f" for digit in text), 16)
    return Target(mask, int(text.replace("x", "0"), 16))


@cache
def _keywords() -> dict[str, Target]:
    # pydicom keeps its tables to itself: there is no other way to list them for a near miss.
    from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary
    from pydicom.datadict import dictionary_keyword

    exact = {dictionary_keyword(tag): Target(_ALL, tag) for tag in DicomDictionary}
    repeated = {row[4]: _masked(mask) for mask, row in RepeatersDictionary.items()}
    return {keyword: target for keyword, target in (repeated | exact).items() if keyword}


@cache
def _sop_classes() -> dict[str, str]:
    from pydicom._uid_dict import UID_dictionary

    return {row[4]: uid for uid, row in UID_dictionary.items() if row[1] == _SOP_CLASS and row[4]}
