"""Own rules carried out: what a policy writer asked for, instead of what the table says."""

from __future__ import annotations

import struct
from collections.abc import Callable
from types import MappingProxyType

from voxlake.core.errors import ItemError
from voxlake.dicom.nodes import TEXT_VRS, Branch, Encoding, Item, Leaf, decode, encode
from voxlake.privacy.dummies import dummy
from voxlake.privacy.own_rules import ObjectRules, OwnRule
from voxlake.privacy.rules import Action, Decision
from voxlake.privacy.values import Result, Values

__all__ = ["OWN_RULE", "OwnActions"]

OWN_RULE = "own rule"
"""How the reason of a change begins that an own rule asked for."""

_TEXT = TEXT_VRS | {"PN", "CS", "AE", "UR"}
# Layouts of binary numbers in the words of `struct`.
_NUMBERS = MappingProxyType(
    {"FD": "d", "FL": "f", "SL": "i", "SS": "h", "SV": "q", "UL": "I", "US": "H", "UV": "Q"}
)
_SEQUENCES = {
    # The sequence is kept; its elements have rules of their own.
    "keep": Action.KEEP,
    "remove": Action.REMOVE,
    "empty": Action.EMPTY,
    "dummy": Action.DUMMY,
}


class OwnActions:
    """Finds and carries out the own rules for one object.

    Parameters
    ----------
    rules : ObjectRules
        Rules for objects of this kind.
    all_rules : tuple of OwnRule
        Rules of the policy, whose order gives their numbers.
    values : Values
        Gives new values.
    """

    def __init__(self, rules: ObjectRules, all_rules: tuple[OwnRule, ...], values: Values) -> None:
        self._rules = rules
        self._all = all_rules
        self._values = values

    def __bool__(self) -> bool:
        return bool(self._rules)

    def branch(self, branch: Branch) -> Decision | None:
        """Return what a rule says about a sequence; None where no rule matches."""
        rule = self._rules.find(branch.tag, "SQ", branch.creator, str)
        if rule is None:
            return None
        why = self._why(rule)
        self._check(rule, why)
        if self._named_after_someone(branch):
            return None
        return Decision(_SEQUENCES.get(rule.action, Action.REMOVE), why)

    def leaf(self, leaf: Leaf, item: Item) -> tuple[Decision, Result] | None:
        """Return what a rule makes of an element; None where no rule matches."""
        # Of VRs that the dictionary leaves open ("US or SS") the first counts.
        leaf = leaf._replace(vr=leaf.vr[:2])
        rule = self._rules.find(leaf.tag, leaf.vr, leaf.creator, _text_of(leaf, item.encoding))
        if rule is None:
            return None
        why = self._why(rule)
        self._check(rule, why)
        if self._named_after_someone(leaf):
            return None
        return Decision(Action.KEEP, why), self._carry_out(rule, leaf, item.encoding)

    def _named_after_someone(self, node: Leaf | Branch) -> bool:
        # With an element its creator would stay; without rules of one's own no such block stays at all.
        return node.creator is not None and self._values.names_someone(node.creator)

    def _carry_out(self, rule: OwnRule, leaf: Leaf, encoding: Encoding) -> Result:
        match rule.action:
            case "keep":
                return Result(leaf.value, "")
            case "remove":
                return Result(None, "removed")
            case "empty":
                return Result(b"", "emptied")
            case "dummy":
                return Result(dummy(leaf.vr), "replaced")
            case "replace":
                return self._replaced(rule, leaf, encoding)
        return self._by_vr(rule, leaf, encoding)

    def _by_vr(self, rule: OwnRule, leaf: Leaf, encoding: Encoding) -> Result:
        match rule.action, leaf.vr:
            case "map_uid", "UI":
                return self._values.uid(leaf, encoding)
            case "token", vr if vr in _TEXT:
                return self._values.token(leaf, encoding)
            case "shift_date", "DA" | "DT" | "TM":
                return self._values.shifted(leaf, encoding)
            case "clean", vr if vr in _TEXT:
                return self._cleaned(rule, leaf, encoding)
        if rule.action == "clean" and rule.pattern is not None:
            return Result(encode(rule.substitute(decode(leaf, encoding)), encoding), "cleaned")
        # A rule that does not fit the VR found in a file still means that the value must not stay.
        return Result(dummy(leaf.vr), "replaced")

    def _cleaned(self, rule: OwnRule, leaf: Leaf, encoding: Encoding) -> Result:
        if rule.pattern is None:
            return self._values.text(leaf, encoding)
        # What the pattern does not find is cleaned like any free text.
        found = encode(rule.substitute(decode(leaf, encoding)), encoding)
        return self._values.text(leaf._replace(value=found), encoding)._replace(change="cleaned")

    def _replaced(self, rule: OwnRule, leaf: Leaf, encoding: Encoding) -> Result:
        layout = _NUMBERS.get(leaf.vr)
        if layout is not None:
            order = "<" if encoding.little else ">"
            numbers = [_number(layout, part) for part in (rule.value or "").split("\\")]
            return Result(struct.pack(f"{order}{len(numbers)}{layout}", *numbers), "replaced")
        if rule.pattern is None:
            return Result(encode(rule.value or "", encoding), "replaced")
        # What the pattern does not find may still hold identifiers of the header.
        found = encode(rule.substitute(decode(leaf, encoding)), encoding)
        if leaf.vr in _TEXT:
            found = self._values.scrubbed(leaf._replace(value=found), encoding).value or b""
        return Result(found, "replaced")

    def _why(self, rule: OwnRule) -> str:
        return f"{OWN_RULE} {self._all.index(rule) + 1}"

    def _check(self, rule: OwnRule, why: str) -> None:
        if rule.action == "reject":
            raise ItemError("policy_rejected", f"{why} of the policy rejects this object")


def _number(layout: str, text: str) -> float:
    return float(text) if layout in "fd" else int(text)


def _text_of(leaf: Leaf, encoding: Encoding) -> Callable[[], str]:
    return lambda: decode(leaf, encoding)
