"""One own rule of a policy: conditions on an element, and what to do with it instead of the table's action.

Three things no rule can do: touch what de-identification itself writes, break what makes an object
readable, and weaken the profile without being noticed (`OwnRule.may_weaken`).

With a pattern, ``replace`` and ``clean`` change only the parts of a value that the pattern finds. An action
that cannot be carried out on a VR (a UID for a number, a cleaned byte string) does not match there.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from voxlake.core.hints import hint
from voxlake.core.settings import Settings
from voxlake.privacy.patterns import check_pattern, compiled
from voxlake.privacy.profile import load_profile
from voxlake.privacy.rule_targets import (
    TEXT_VRS,
    VRS,
    Target,
    fits,
    group_target,
    keyword_target,
    sop_class_uid,
    tag_target,
    value_problem,
)

__all__ = ["OwnRule"]

_ELEMENT_CONDITIONS = ("tag", "group", "keyword", "private_creator", "vr", "pattern")
_CONDITIONS = (*_ELEMENT_CONDITIONS, "sop_class", "modality")
_VRS_OF_ACTION = {
    "map_uid": frozenset(("UI",)),
    "shift_date": frozenset(("DA", "DT")),
    "token": frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT")),
    "clean": (TEXT_VRS | {"SQ"}) - {"DA", "DT", "TM", "UI"},
}
# Where one of these options says C, the action does what the option asks for.
_OPTION_OF_ACTION = {"clean": "clean_descriptors", "shift_date": "retain_longitudinal_modified_dates"}
_TAKING = frozenset(("remove", "empty", "dummy", "map_uid", "reject"))
# What de-identification writes itself, and the character set that all text is read by.
_WRITTEN = frozenset((0x00100010, 0x00100020, 0x00120062, 0x00120063, 0x00120064, 0x00280303, 0x00080005))
# Class, instance, study and series: what makes an object one, by which the lake keeps it.
_CLASS = 0x00080016
_UIDS = frozenset((0x00080018, 0x0020000D, 0x0020000E))
# PS3.3 C.7.6.3: how the bytes of pixel data are to be read.
_IMAGE = frozenset(
    0x00280000 | element
    for element in (0x02, 0x04, 0x06, 0x08, 0x10, 0x11, 0x100, 0x101, 0x102, 0x103, 0x1101, 0x1102, 0x1103)
)
_FILE_META = 0x0002
_PIXEL_DATA = 0x7FE0


def _known_vr(text: str) -> None:
    if text not in VRS:
        raise ValueError(f"'{text}' is no value representation{hint(text, VRS)}")


_READERS = MappingProxyType(
    {
        "tag": tag_target,
        "group": group_target,
        "keyword": keyword_target,
        "sop_class": sop_class_uid,
        "pattern": check_pattern,
        "vr": _known_vr,
    }
)


class OwnRule(Settings):
    """One ``[[rules]]`` table of a policy; all conditions that are given must hold.

    Parameters
    ----------
    tag : str or None
        ``"(0008,1030)"``, ``"00081030"``, with x for any digit: ``"0008,10xx"``, ``"60xx3000"``.
    group : str or None
        ``"0008"``, ``"60xx"``, or ``"odd"`` for all private groups.
    keyword : str or None
        Keyword of PS3.6, for example ``"StudyDescription"``.
    private_creator : str or None
        Private creator of the block, in any case; ``*`` at the end stands for anything.
    vr : str or None
        Value representation, for example ``"PN"``.
    pattern : str or None
        Regular expression, searched in the text of the value; in any case with ``(?i)`` in front.
    sop_class : str or None
        Only in objects of this class: UID or keyword, for example ``"CTImageStorage"``.
    modality : str or None
        Only in objects of this modality.
    action : str
        ``keep``, ``remove``, ``empty``, ``replace`` (with `value`), ``dummy``, ``map_uid``, ``token`` (a
        keyed digest), ``shift_date``, ``clean`` (as free text), or ``reject`` (the object does not come in).
    value : str or None
        What to write instead, ASCII; with `pattern`, instead of each part that is found.
    why : str
        For the report.
    """

    tag: str | None = None
    group: str | None = None
    keyword: str | None = None
    private_creator: str | None = Field(default=None, min_length=1, max_length=64)
    vr: str | None = None
    pattern: str | None = None
    sop_class: str | None = None
    modality: str | None = Field(default=None, pattern=r"^[A-Z0-9_ ]{1,16}$")
    action: Literal[
        "keep", "remove", "empty", "replace", "dummy", "map_uid", "token", "shift_date", "clean", "reject"
    ]
    value: str | None = None
    why: str = Field(default="", max_length=200)

    @field_validator("tag", "group", "keyword", "sop_class", "pattern", "vr")
    @classmethod
    def _readable(cls, text: str | None, info: ValidationInfo) -> str | None:
        if text is not None and info.field_name is not None:
            _READERS[info.field_name](text)
        return text

    @model_validator(mode="after")
    def _sensible(self) -> OwnRule:
        self._check_conditions()
        self._check_value()
        for target in self.targets:
            self._check_target(target)
        return self

    def _check_conditions(self) -> None:
        # Only rejecting an object makes sense without naming an element.
        needed = _CONDITIONS if self.action == "reject" else _ELEMENT_CONDITIONS
        if all(getattr(self, name) is None for name in needed):
            raise ValueError(f"a rule that says '{self.action}' needs one of {', '.join(needed)}")

    def _check_value(self) -> None:
        if (self.action == "replace") != (self.value is not None):
            raise ValueError("'value' is needed for action 'replace', and for no other")
        if self.value is not None and not self.value.isascii():
            raise ValueError(f"'value': {value_problem('UT', self.value)}")
        for vrs in self._known_vrs:
            if not any(self._can_act(vr) for vr in vrs):
                problem = value_problem(vrs[0], self.value) if self.value is not None else None
                raise ValueError(
                    f"'{self.action}' cannot be done on VR {vrs[0]}{f': {problem}' * bool(problem)}"
                )

    def _check_target(self, target: Target) -> None:
        if self.action == "reject":
            return
        group = target.bits >> 16 if target.mask >> 16 == 0xFFFF else None
        if group == _FILE_META:
            raise ValueError("group 0002 is written anew and no rule may touch it")
        if group == _PIXEL_DATA:
            raise ValueError(
                f"'{self.action}' on pixel data: no rule may touch it; see [[waivers]] for pixels"
            )
        if target.exact is not None and not self._may_touch(target.exact):
            raise ValueError(
                f"'{self.action}' on ({target.bits >> 16:04X},{target.bits & 0xFFFF:04X}): de-identification "
                "writes this element itself, or the object cannot be read without it"
            )

    @cached_property
    def targets(self) -> tuple[Target, ...]:
        """Tags of the conditions `tag`, `group` and `keyword`; all must cover an element."""
        given = ((tag_target, self.tag), (group_target, self.group), (keyword_target, self.keyword))
        return tuple(read(text) for read, text in given if text is not None)

    @property
    def _known_vrs(self) -> list[tuple[str, ...]]:
        known = [target.vrs for target in self.targets if target.vrs]
        return known + ([(self.vr,)] if self.vr is not None else [])

    def _can_act(self, vr: str) -> bool:
        """Whether the action can be carried out on a VR."""
        if self.action == "replace":
            if self.pattern is not None:
                return vr in TEXT_VRS
            return fits(vr, self.value or "")
        if self.pattern is not None and self.action == "clean":
            return vr in TEXT_VRS
        allowed = _VRS_OF_ACTION.get(self.action)
        return allowed is None or vr in allowed

    def _may_touch(self, tag: int) -> bool:
        if tag in _WRITTEN:
            return False
        if tag in _UIDS:
            return self.action in ("keep", "map_uid")
        return self.action == "keep" or (tag != _CLASS and tag not in _IMAGE)

    def may_weaken(self, options: Sequence[str]) -> bool:
        """Whether something may stay under this rule that the profile with these options takes away."""
        if self.action in _TAKING:
            return False
        tag = next((target.exact for target in self.targets if target.exact is not None), None)
        row = load_profile().row(tag) if tag is not None else None
        if tag is None or row is None:
            # An element that the table does not list stays anyway; of a set of tags any may be listed.
            return tag is None
        codes = {row.options[option] for option in options if option in row.options}
        if codes == {"K"} and row.tag != "private":
            return False
        if self.action == "token":
            return not {"Z", "D"} & set(row.basic.split("/"))
        option = _OPTION_OF_ACTION.get(self.action)
        asked = option in options and self.pattern is None and row.options.get(option or "") == "C"
        return not asked

    def in_object(self, sop_class: str, modality: str) -> bool:
        """Whether the rule counts in objects of a SOP class (UID) and modality."""
        of_class = self.sop_class is None or sop_class_uid(self.sop_class) == sop_class
        return of_class and self.modality in (None, modality)

    def in_element(self, tag: int, vr: str, creator: str | None) -> bool:
        """Whether all conditions hold but that on the value, and the action can be done here."""
        if not all(target.covers(tag) for target in self.targets):
            return False
        if self.vr not in (None, vr) or not self._made_by(creator):
            return False
        if self.action == "reject":
            return True
        group, element = tag >> 16, tag & 0xFFFF
        creates = group & 1 and 0x10 <= element <= 0xFF
        if element == 0 or creates or group in (_FILE_META, _PIXEL_DATA):
            return False
        return self._may_touch(tag) and self._can_act(vr)

    def _made_by(self, creator: str | None) -> bool:
        if self.private_creator is None:
            return True
        wanted, found = self.private_creator.lower().strip(), (creator or "").lower().strip()
        if creator is None:
            return False
        return found.startswith(wanted[:-1]) if wanted.endswith("*") else found == wanted

    def substitute(self, text: str) -> str:
        """Put `value` (``clean``: nothing) in the place of every part of a text that the pattern finds.

        The rest stays as it is; after ``clean`` the caller cleans it like any free text. Without a pattern
        the text comes back unchanged.
        """
        if self.pattern is None:
            return text
        new = self.value or ""
        return compiled(self.pattern).sub(lambda _: new, text)
