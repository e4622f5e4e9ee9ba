"""New values for old ones, by value representation."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import NamedTuple

from voxlake.privacy.cleaning import Cleaner
from voxlake.privacy.dates import cap_age, shift_date, shift_datetime, valid_time, valid_timezone
from voxlake.privacy.pseudonyms import Pseudonymiser, is_well_known
from voxlake.privacy.tree import TEXT_VRS, Encoding, Leaf, decode, encode

__all__ = ["EMPTIED", "REMOVED", "Result", "Subject", "Values"]

# UIDs that say what kind of thing something is; private SOP classes are among them and must stay readable.
_CLASS_UIDS = frozenset(
    {
        0x00080016, 0x0008001A, 0x0008001B, 0x00080062, 0x0008010C, 0x00080117, 0x00080118, 0x0008040E,
        0x00081150, 0x0008115A, 0x00083002, 0x00041510, 0x00041512, 0x0004151A, 0x00340003, 0x04000010,
        0x04000510, 0x30100052, 0x30100053,
    }
)  # fmt: skip
# Codes are looked up, not read: a digit taken out of one makes another concept.
_CODES = frozenset({0x00080100, 0x00080102, 0x00080103, 0x0008010E, 0x00080119, 0x00080120})
_TIMEZONE = 0x00080201
_ONE_TEXT = frozenset({"ST", "LT", "UT"})
_UID = re.compile(r"[0-9.]{1,64}")
_CODE_STRING = re.compile(rb"[A-Z0-9_ \\\0]*")
_DECIMAL = re.compile(rb"[-+0-9.eE \0]*|[ \0]*[-+]?(?i:nan|inf|infinity)[ \0]*")


class Result(NamedTuple):
    """A new value (None: the element goes) and what the change is called."""

    value: bytes | None
    change: str


EMPTIED = Result(b"", "emptied")
REMOVED = Result(None, "removed")
# Persons, devices on the network and addresses name someone whatever the attribute; UN could hold anything.
_TAKEN = MappingProxyType({"PN": EMPTIED, "AE": EMPTIED, "UR": EMPTIED, "UN": REMOVED})


class Subject(NamedTuple):
    """Whose data set it is: original identifier in the header, pseudonym, days that dates move back."""

    header_id: str
    pseudonym: str
    shift_days: int


class Values:
    """Gives the value that an element may keep.

    Parameters
    ----------
    pseudonymiser : Pseudonymiser
        Gives UIDs.
    subject : Subject
        Whose data set it is.
    cleaner : Cleaner
        Knows the identifiers in the header.
    shifts_dates : bool
        Dates move (True) or go (False).
    """

    def __init__(
        self, pseudonymiser: Pseudonymiser, subject: Subject, cleaner: Cleaner, *, shifts_dates: bool
    ) -> None:
        self._pseudonymiser = pseudonymiser
        self._subject = subject
        self._cleaner = cleaner
        self._shifts_dates = shifts_dates

    def keep(self, leaf: Leaf, encoding: Encoding, *, clean: bool) -> Result:
        """Return what stays of a value that no rule takes away.

        Parameters
        ----------
        leaf : Leaf
            The element.
        encoding : Encoding
            Of its data set.
        clean : bool
            Clean text by all rules (True) or take out known identifiers only (False).
        """
        match leaf.vr:
            case _ if leaf.tag in _CODES:
                return Result(leaf.value, "")
            case vr if vr in _TAKEN:
                return _TAKEN[vr]
            case "UI":
                return self.uid(leaf, encoding)
            case "DA" | "DT" | "TM":
                return self._date(leaf, encoding)
            case "AS":
                return _age(leaf, encoding)
            case "CS" | "DS" | "IS":
                return self._formal(leaf, encoding)
            case vr if vr in TEXT_VRS:
                return self._text(leaf, encoding, clean=clean)
        return Result(leaf.value, "")

    def uid(self, leaf: Leaf, encoding: Encoding) -> Result:
        """Return the UIDs that stand for those of an element."""
        originals = _parts(leaf, encoding)
        keeps_class = leaf.tag in _CLASS_UIDS
        mapped = [
            original
            if not original or is_well_known(original) or (keeps_class and _UID.fullmatch(original))
            else self._pseudonymiser.uid(original)
            for original in originals
        ]
        return Result("\\".join(mapped).encode(), "uid_mapped")

    def clean(self, leaf: Leaf, encoding: Encoding) -> Result:
        """Return the value of an element that an option of the standard says to clean."""
        if leaf.tag == _TIMEZONE:
            return Result("\\".join(map(valid_timezone, _parts(leaf, encoding))).encode(), "emptied")
        return self.keep(leaf, encoding, clean=True)

    def _date(self, leaf: Leaf, encoding: Encoding) -> Result:
        if not self._shifts_dates:
            return EMPTIED
        days = self._subject.shift_days
        match leaf.vr:
            case "DA":
                moved = [shift_date(part, days) for part in _parts(leaf, encoding)]
            case "DT":
                moved = [shift_datetime(part, days) for part in _parts(leaf, encoding)]
            case _:
                moved = [valid_time(part) for part in _parts(leaf, encoding)]
        return Result("\\".join(moved).encode(), "date_shifted") if any(moved) else EMPTIED

    def _text(self, leaf: Leaf, encoding: Encoding, *, clean: bool) -> Result:
        text = decode(leaf, encoding)
        change = self._cleaner.clean if clean else self._cleaner.scrub
        cleaned = change(text) if leaf.vr in _ONE_TEXT else "\\".join(map(change, text.split("\\")))
        return Result(leaf.value if cleaned == text else encode(cleaned, encoding), "cleaned")

    def _formal(self, leaf: Leaf, encoding: Encoding) -> Result:
        if leaf.vr == "CS":
            valid = _CODE_STRING.fullmatch(leaf.value)
            return Result(leaf.value, "") if valid else self._text(leaf, encoding, clean=False)
        numbers = all(map(_DECIMAL.fullmatch, leaf.value.split(b"\\")))
        return Result(leaf.value, "") if numbers else EMPTIED


def _age(leaf: Leaf, encoding: Encoding) -> Result:
    ages = [cap_age(part) for part in _parts(leaf, encoding)]
    return Result("\\".join(ages).encode(), "replaced") if any(ages) else EMPTIED


def _parts(leaf: Leaf, encoding: Encoding) -> list[str]:
    return [part.strip(" \0") for part in decode(leaf, encoding).split("\\")]
