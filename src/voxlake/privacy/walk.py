"""The rules at work: one data set in, one without identities out, every change noted."""

from __future__ import annotations

from typing import NamedTuple

from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

from voxlake.privacy.dummies import dummy, padded
from voxlake.privacy.pseudonyms import Pseudonymiser
from voxlake.privacy.rules import Action, Rules
from voxlake.privacy.tree import TEXT_VRS, Branch, Item, Leaf, known_vr
from voxlake.privacy.values import EMPTIED, REMOVED, Result, Subject, Values

__all__ = ["PATIENT_ID", "PATIENT_NAME", "Change", "Elements", "Walker", "as_dataset"]

PATIENT_NAME = 0x00100010
PATIENT_ID = 0x00100020
# Without these the items of a report whose values became dummies could not even be read as items.
_STRUCTURE = frozenset({0x0040A010, 0x0040A040, 0x0040A050, 0x0040A130, 0x00700023})
_CLEANABLE = TEXT_VRS | {"DA", "DT", "TM"}
# VRs that may stay where the dictionary does not know the tag: they are handled by VR or hold numbers.
_TELLING = frozenset(
    {"AT", "DA", "DS", "DT", "FD", "FL", "IS", "SL", "SQ", "SS", "SV", "TM", "UI", "UL", "US", "UV"}
)
_LAST_CREATOR = 0xFF

Elements = dict[BaseTag, RawDataElement | DataElement]


class Change(NamedTuple):
    """What happened to one element; no values.

    Parameters
    ----------
    tag : int
        ``group << 16 | element``.
    keyword : str
        DICOM keyword, ``""`` for private and unknown elements.
    depth : int
        0 at the top, 1 in an item of a sequence there, and so on.
    action : str
        removed, emptied, replaced, uid_mapped, date_shifted, cleaned or private_removed.
    """

    tag: int
    keyword: str
    depth: int
    action: str


class Context(NamedTuple):
    """Where in the data set the rules are, and what the sequences around ask for."""

    depth: int
    clean: bool
    dummy: bool
    pseudonym: str


class Walker:
    """Applies rules to a tree.

    Parameters
    ----------
    rules : Rules
        What the table says.
    pseudonymiser : Pseudonymiser
        Gives the pseudonyms of other patients that a data set names.
    subject : Subject
        Whose data set it is.
    values : Values
        Gives new values.
    """

    def __init__(self, rules: Rules, pseudonymiser: Pseudonymiser, subject: Subject, values: Values) -> None:
        self.changes: list[Change] = []
        self._rules = rules
        self._pseudonymiser = pseudonymiser
        self._subject = subject
        self._values = values

    def top(self, item: Item) -> Elements:
        """Return the elements of the top level as they may be kept, in order of their tags."""
        return self._elements(item, Context(0, clean=False, dummy=False, pseudonym=self._subject.pseudonym))

    def _elements(self, item: Item, context: Context) -> Elements:
        context = context._replace(pseudonym=self._pseudonym_of(item, context))
        kept: Elements = {}
        for node in item.nodes:
            element: RawDataElement | DataElement | None
            if isinstance(node, Leaf):
                element = self._leaf(node, item, context)
            else:
                element = self._branch(node, item, context)
            if element is not None:
                kept[node.tag] = element
        self._drop_idle_creators(kept, context)
        return kept

    def _pseudonym_of(self, item: Item, context: Context) -> str:
        stated = item.text(PATIENT_ID)
        if context.depth == 0 or not stated or stated == self._subject.header_id:
            return context.pseudonym
        return self._pseudonymiser.patient(stated)

    def _leaf(self, leaf: Leaf, item: Item, context: Context) -> RawDataElement | None:
        result = self._result(leaf, item, context)
        if result.value is None:
            self._note(leaf.tag, context, result.change)
            return None
        implicit, little, _ = item.encoding
        # The reader of an implicit file decides on "US or SS" by other elements, so it stays open here.
        vr = None if implicit and " or " in leaf.vr else leaf.vr
        value = leaf.value
        if not _same(result.value, leaf.value):
            self._note(leaf.tag, context, result.change)
            value = padded(leaf.vr[:2], result.value)
        length = 0xFFFFFFFF if leaf.undefined else len(value)
        return RawDataElement(leaf.tag, vr, length, value, 0, implicit, little)

    def _branch(self, branch: Branch, item: Item, context: Context) -> DataElement | None:
        action = self._action(branch, "SQ", context)
        if action is Action.REMOVE:
            self._note(branch.tag, context, "private_removed" if branch.tag.is_private else "removed")
            return None
        if action is Action.EMPTY:
            if branch.items:
                self._note(branch.tag, context, "emptied")
            return DataElement(branch.tag, "SQ", Sequence())
        inner = context._replace(
            depth=context.depth + 1,
            clean=context.clean or action is Action.CLEAN,
            dummy=context.dummy or action is Action.DUMMY,
        )
        children = branch.items
        if action is Action.DUMMY:
            self._note(branch.tag, context, "replaced")
            children = children or (Item(item.encoding),)
        datasets = [as_dataset(self._elements(child, inner), child) for child in children]
        return DataElement(branch.tag, "SQ", Sequence(datasets))

    def _drop_idle_creators(self, kept: Elements, context: Context) -> None:
        private = [tag for tag in kept if tag.is_private]
        used = {(tag.group, tag.element >> 8) for tag in private if tag.element > _LAST_CREATOR}
        for tag in private:
            if tag.element <= _LAST_CREATOR and (tag.group, tag.element) not in used:
                del kept[tag]
                self._note(tag, context, "private_removed")

    def _action(self, node: Leaf | Branch, vr: str, context: Context) -> Action | None:
        tag = node.tag
        if tag.is_private:
            return self._private_action(node, vr)
        if tag.element == 0 or (context.depth == 0 and tag.group in (0, 2)):
            return Action.REMOVE
        if 0x5000 <= tag.group <= 0x50FF or 0x6000 <= tag.group <= 0x60FF:
            # A curve or overlay without its data is no valid one, so its description goes with it.
            return Action.REMOVE
        listed = self._rules.action(int(tag))
        if listed is None and known_vr(int(tag)) is None and vr not in _TELLING:
            return Action.REMOVE
        return listed

    def _private_action(self, node: Leaf | Branch, vr: str) -> Action:
        # The parser leaves the value of a private element that is not on the safe list unread, as UN.
        is_creator = 0x10 <= node.tag.element <= _LAST_CREATOR
        safe = node.creator is not None and vr != "UN"
        return Action.KEEP if self._rules.keeps_safe_private and (is_creator or safe) else Action.REMOVE

    def _result(self, leaf: Leaf, item: Item, context: Context) -> Result:
        action = self._action(leaf, leaf.vr, context)
        if leaf.tag.is_private:
            return self._private_result(action, leaf, item)
        if leaf.tag in (PATIENT_NAME, PATIENT_ID):
            named = bool(leaf.value.strip(b" \0")) or context.depth == 0
            return Result(context.pseudonym.encode() if named else b"", "replaced")
        if context.dummy and action is not Action.REMOVE:
            return self._in_dummy(leaf, item)
        if action is Action.CLEAN and leaf.vr not in _CLEANABLE:
            action = self._rules.basic(int(leaf.tag))
        return self._carry_out(action, leaf, item, context)

    def _private_result(self, action: Action | None, leaf: Leaf, item: Item) -> Result:
        if action is Action.REMOVE:
            return Result(None, "private_removed")
        if leaf.tag.element <= _LAST_CREATOR:
            return Result(leaf.value, "")
        return self._values.clean(leaf, item.encoding)

    def _carry_out(self, action: Action | None, leaf: Leaf, item: Item, context: Context) -> Result:
        match action:
            case Action.REMOVE:
                return REMOVED
            case Action.EMPTY:
                return EMPTIED
            case Action.MAP_UID:
                return self._values.uid(leaf, item.encoding)
            case Action.DUMMY:
                return self._dummy(leaf, item)
            case Action.CLEAN:
                return self._values.clean(leaf, item.encoding)
        return self._values.keep(leaf, item.encoding, clean=context.clean)

    def _in_dummy(self, leaf: Leaf, item: Item) -> Result:
        if leaf.tag in _STRUCTURE or not leaf.value:
            return Result(leaf.value, "")
        return self._dummy(leaf, item)

    def _dummy(self, leaf: Leaf, item: Item) -> Result:
        if leaf.vr == "UI" and leaf.value.strip(b" \0"):
            return self._values.uid(leaf, item.encoding)
        return Result(dummy(leaf.vr), "replaced")

    def _note(self, tag: BaseTag, context: Context, name: str) -> None:
        keyword = "" if tag.is_private else keyword_for_tag(tag)
        self.changes.append(Change(int(tag), keyword, context.depth, name))


def as_dataset(elements: Elements, item: Item) -> Dataset:
    """Make a data set of elements that are encoded as the item that they come from."""
    charset = list(item.encoding.charset)
    dataset = Dataset(elements, parent_encoding=charset)
    dataset.set_original_encoding(item.encoding.implicit, item.encoding.little, charset)
    return dataset


def _same(new: bytes, old: bytes) -> bool:
    return new == old or (bool(new and old) and new.rstrip(b" \0") == old.rstrip(b" \0"))
