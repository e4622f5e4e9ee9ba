"""New values for old ones, by value representation."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from voxlake.dicom.nodes import TEXT_VRS, Encoding, Leaf, decode, encode
from voxlake.privacy.cleaning import Cleaner
from voxlake.privacy.dates import (
    cap_age,
    shift_date,
    shift_datetime,
    valid_date,
    valid_datetime,
    valid_time,
    valid_timezone,
)
from voxlake.privacy.dummies import dummy
from voxlake.privacy.pseudonyms import Pseudonymiser, is_well_known
from voxlake.privacy.rules import Rules, is_shared_date

__all__ = ["CLEANABLE", "Result", "Subject", "Values"]

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
_NUMBERS = frozenset({"AT", "FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"})
_PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
CLEANABLE = TEXT_VRS | {"AE", "DA", "DT", "TM"}
"""VRs whose values can be cleaned; others fall back to the Basic Profile."""
_FREE_TEXT = frozenset({"ST", "LT", "UT"})
# How an image was made: names of kernels, coils, programs and codes, in which digits are no identifiers.
_TECHNICAL_GROUPS = frozenset({0x0008, 0x0014, 0x0018, 0x0022, 0x0024, 0x0028, 0x0054})
_ONE_TEXT = frozenset({"ST", "LT", "UT"})
_UID = re.compile(r"[0-9.]{1,64}")
_CODE_STRING = re.compile(rb"[A-Z0-9_ \\\0]*")
_DECIMAL = re.compile(rb"[-+0-9.eE \0]*|[ \0]*[-+]?(?i:nan|inf|infinity)[ \0]*")


class Result(NamedTuple):
    """A new value (None: the element goes), what the change is called, and why where no row says so."""

    value: bytes | None
    change: str
    why: str = ""


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
        Gives UIDs, tokens and the dates that patients share.
    subject : Subject
        Whose data set it is.
    cleaner : Cleaner
        Knows the identifiers in the header.
    rules : Rules
        Say what becomes of dates and UIDs that no row names.
    max_age : int or None
        Ages over so many years are capped.
    """

    def __init__(
        self,
        pseudonymiser: Pseudonymiser,
        subject: Subject,
        cleaner: Cleaner,
        rules: Rules,
        *,
        max_age: int | None,
    ) -> None:
        self._pseudonymiser = pseudonymiser
        self._subject = subject
        self._cleaner = cleaner
        self._rules = rules
        self._max_age = max_age

    def unlisted(self, leaf: Leaf, encoding: Encoding, *, clean: bool) -> Result:
        """Return what stays of a value that no rule names.

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
            case vr if vr in _NUMBERS:
                return Result(leaf.value, "")
            # Persons, devices on the network and addresses name someone whatever the attribute.
            case "PN" | "AE" | "UR":
                return Result(b"", "emptied", f"any {leaf.vr}")
            case "UN":
                return Result(None, "removed", "unknown VR")
            case "UI":
                kept = self._rules.keeps_uids
                return self._valid_uid(leaf, encoding) if kept else self.uid(leaf, encoding)
            case "DA" | "DT" | "TM":
                return self._date(leaf, encoding, self._rules.dates)
        return self._plain(leaf, encoding, clean=clean or _is_free_text(leaf))

    def retain(self, leaf: Leaf, encoding: Encoding) -> Result:
        """Return the value of an element that an option of the standard says to keep."""
        match leaf.vr:
            case "UN":
                return Result(None, "removed", "unknown VR")
            case "UI":
                return self._valid_uid(leaf, encoding)
            case "DA" | "DT" | "TM":
                return self._date(leaf, encoding, "keep")
            case "AE" | "UR":
                return self._text(leaf, encoding, clean=False)
        return self._plain(leaf, encoding, clean=False)

    def clean(self, leaf: Leaf, encoding: Encoding) -> Result:
        """Return the value of an element that an option of the standard says to clean."""
        match leaf.vr:
            case _ if leaf.tag == _TIMEZONE:
                return Result("\\".join(map(valid_timezone, _parts(leaf, encoding))).encode(), "emptied")
            case "AE":
                return self._title(leaf, encoding)
            case "DA" | "DT" | "TM":
                return self._date(leaf, encoding, self._rules.dates)
        return self.unlisted(leaf, encoding, clean=True)

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
        return Result("\\".join(mapped).encode(), "uid_mapped", "any UID")

    def shifted(self, leaf: Leaf, encoding: Encoding) -> Result:
        """Return a date that moved with the patient, whatever the options say."""
        return self._date(leaf, encoding, "shift")

    def token(self, leaf: Leaf, encoding: Encoding) -> Result:
        """Return tokens that stand for the values of a text element: equal values, equal tokens."""
        parts = _parts(leaf, encoding)
        named = [self._pseudonymiser.token(f"{leaf.tag:08x}", part) if part else "" for part in parts]
        return Result("\\".join(named).encode(), "replaced")

    def names_someone(self, text: str) -> bool:
        """Say whether a text has an identifier of the header in it."""
        return self._cleaner.scrub(text) != text

    def text(self, leaf: Leaf, encoding: Encoding) -> Result:
        """Return a text value cleaned by all rules, whatever the options say."""
        return self._text(leaf, encoding, clean=True)

    def scrubbed(self, leaf: Leaf, encoding: Encoding) -> Result:
        """Return a text value without the identifiers of the header."""
        return self._text(leaf, encoding, clean=False)

    def _plain(self, leaf: Leaf, encoding: Encoding, *, clean: bool) -> Result:
        match leaf.vr:
            case "AS":
                return self._age(leaf, encoding)
            case "CS" | "DS" | "IS":
                return self._formal(leaf, encoding)
            case vr if vr in TEXT_VRS and leaf.tag not in _CODES:
                return self._text(leaf, encoding, clean=clean)
            case vr if vr in TEXT_VRS:
                return self._unless_identifier(leaf, encoding)
            case vr if (vr[0] == "O" or vr.endswith("OW")) and leaf.tag not in _PIXELS:
                found = self._cleaner.occurs_in(leaf.value)
                return Result(None, "removed", "identifier in bytes") if found else Result(leaf.value, "")
        return Result(leaf.value, "")

    def _valid_uid(self, leaf: Leaf, encoding: Encoding) -> Result:
        valid = all(not part or _UID.fullmatch(part) for part in _parts(leaf, encoding))
        return Result(leaf.value, "") if valid else self.uid(leaf, encoding)

    def _date(self, leaf: Leaf, encoding: Encoding, mode: str) -> Result:
        if mode == "remove":
            return Result(b"", "emptied", "any date")
        shift = self._shift(leaf) if mode == "shift" else _VALID[leaf.vr]
        moved = [shift(part) for part in _parts(leaf, encoding)]
        # Nothing of a value that is no date may stay: it could be anything.
        if not any(moved):
            return Result(b"", "emptied", "no valid date")
        return Result("\\".join(moved).encode(), "date_shifted", "any date")

    def _shift(self, leaf: Leaf) -> Callable[[str], str]:
        days = self._subject.shift_days
        match leaf.vr, is_shared_date(leaf.tag):
            case "DA", True:
                return self._pseudonymiser.shared_date
            case "DT", True:
                return self._pseudonymiser.shared_datetime
            case "DA", _:
                return lambda part: shift_date(part, days)
            case "DT", _:
                return lambda part: shift_datetime(part, days)
        return valid_time

    def _title(self, leaf: Leaf, encoding: Encoding) -> Result:
        parts = _parts(leaf, encoding)
        named = [f"AE{self._pseudonymiser.token('ae', part)}" if part else "" for part in parts]
        return Result("\\".join(named).encode(), "replaced")

    def _text(self, leaf: Leaf, encoding: Encoding, *, clean: bool) -> Result:
        text = decode(leaf, encoding)
        change = self._cleaner.clean if clean else self._cleaner.scrub
        cleaned = change(text) if leaf.vr in _ONE_TEXT else "\\".join(map(change, text.split("\\")))
        if cleaned == text:
            return Result(leaf.value, "")
        if not cleaned.strip("\\ "):
            # Whether the attribute may be empty depends on the kind of object; with a dummy it stays valid.
            return Result(dummy(leaf.vr), "cleaned", "identifier in text")
        return Result(encode(cleaned, encoding), "cleaned", "identifier in text")

    def _formal(self, leaf: Leaf, encoding: Encoding) -> Result:
        if leaf.vr == "CS" and not _CODE_STRING.fullmatch(leaf.value):
            return self._text(leaf, encoding, clean=False)
        if leaf.vr != "CS" and not all(map(_DECIMAL.fullmatch, leaf.value.split(b"\\"))):
            return Result(b"", "emptied", "no number")
        return self._unless_identifier(leaf, encoding)

    def _unless_identifier(self, leaf: Leaf, encoding: Encoding) -> Result:
        if not self._cleaner.is_identifier(_parts(leaf, encoding)):
            return Result(leaf.value, "")
        if leaf.vr in TEXT_VRS or leaf.vr == "CS":
            # A wrong number would be taken for a true one; a wrong word says what it is.
            return Result(dummy(leaf.vr), "replaced", "identifier as a value")
        return Result(b"", "emptied", "identifier as a value")

    def _age(self, leaf: Leaf, encoding: Encoding) -> Result:
        ages = [cap_age(part, self._max_age) for part in _parts(leaf, encoding)]
        if not any(ages):
            return Result(b"", "emptied", "no valid age")
        return Result("\\".join(ages).encode(), "replaced", f"age over {self._max_age}")


def _is_free_text(leaf: Leaf) -> bool:
    """Say whether people write what they like here: long text, or short text that no machine fills in."""
    return leaf.vr in _FREE_TEXT or not (leaf.tag >> 16 in _TECHNICAL_GROUPS or leaf.tag & 0x10000)


_VALID: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {"DA": valid_date, "DT": valid_datetime, "TM": valid_time}
)


def _parts(leaf: Leaf, encoding: Encoding) -> list[str]:
    return [part.strip(" \0") for part in decode(leaf, encoding).split("\\")]
