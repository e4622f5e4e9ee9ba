"""The own rules of a policy, sorted so that an element that none is about costs next to nothing.

The first rule whose conditions all hold decides; the table of the standard does not count then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from voxlake.privacy.own_rule import OwnRule
from voxlake.privacy.patterns import compiled

__all__ = ["ObjectRules", "OwnRule", "OwnRules"]

# What is remembered of a stranger's objects stays small.
_MOST_ELEMENTS = 8192
_MOST_OBJECTS = 1024

_Search = Callable[[str], object] | None


class ObjectRules:
    """The rules that count in one kind of object; made by `OwnRules.for_object`.

    Parameters
    ----------
    rules : sequence of OwnRule
        In their order.
    """

    def __init__(self, rules: Sequence[OwnRule]) -> None:
        self._rules = tuple(
            (rule, None if rule.pattern is None else compiled(rule.pattern).search) for rule in rules
        )
        self._known: dict[tuple[int, str, str | None], tuple[tuple[OwnRule, _Search], ...]] = {}

    def __bool__(self) -> bool:
        return bool(self._rules)

    def find(self, tag: int, vr: str, creator: str | None, text: Callable[[], str]) -> OwnRule | None:
        """Return the first rule that an element meets, None if there is none.

        Parameters
        ----------
        tag : int
            ``group << 16 | element``.
        vr : str
            Value representation.
        creator : str or None
            Private creator of the block that the element lies in.
        text : callable
            Gives the value as text; called at most once, and only where a rule has a pattern.
        """
        key = (tag, vr, creator)
        candidates = self._known.get(key)
        if candidates is None:
            candidates = self._candidates(key)
        if not candidates:
            return None
        value: str | None = None
        for rule, search in candidates:
            if search is None:
                return rule
            if value is None:
                value = text()
            if search(value):
                return rule
        return None

    def _candidates(self, key: tuple[int, str, str | None]) -> tuple[tuple[OwnRule, _Search], ...]:
        found = tuple(each for each in self._rules if each[0].in_element(*key))
        if len(self._known) < _MOST_ELEMENTS:
            self._known[key] = found
        return found


class OwnRules:
    """All own rules of a policy.

    Parameters
    ----------
    rules : sequence of OwnRule
        In their order; the first that matches decides.
    """

    def __init__(self, rules: Sequence[OwnRule]) -> None:
        self.rules = tuple(rules)
        self._objects: dict[tuple[str, str], ObjectRules] = {}

    def for_object(self, sop_class_uid: str, modality: str) -> ObjectRules:
        """Return the rules that count in objects of a SOP class and modality.

        Parameters
        ----------
        sop_class_uid : str
            SOPClassUID (0008,0016).
        modality : str
            Modality (0008,0060); ``""`` where it is not stated.
        """
        key = (sop_class_uid, modality)
        found = self._objects.get(key)
        if found is None:
            found = ObjectRules([rule for rule in self.rules if rule.in_object(*key)])
            if len(self._objects) < _MOST_OBJECTS:
                self._objects[key] = found
        return found
