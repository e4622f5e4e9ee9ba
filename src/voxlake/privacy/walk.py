"""The rules at work: one data set in, one without identities out, every change noted."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from voxlake.dicom.nodes import Branch, Item, Leaf, is_creator, tag_text
from voxlake.dicom.write_nodes import padded
from voxlake.privacy.changes import Changes
from voxlake.privacy.dummies import dummy_like
from voxlake.privacy.overlays import can_clean, clean_overlay, is_graphics
from voxlake.privacy.own_actions import OWN_RULE, OwnActions
from voxlake.privacy.pseudonyms import Pseudonymiser
from voxlake.privacy.rules import FILE_FORMAT, Action, Decision, Rules
from voxlake.privacy.values import CLEANABLE, Result, Subject, Values

__all__ = ["PATIENT_ID", "PATIENT_NAME", "Memory", "Treated", "Walker"]

PATIENT_NAME = 0x00100010
PATIENT_ID = 0x00100020
# Without these the items of a report whose values became dummies could not even be read as items: kinds of
# items, values and coordinates, and numbers of frames, segments, channels and items.
_STRUCTURE = frozenset(
    {
        0x00081160, 0x0040A010, 0x0040A040, 0x0040A050, 0x0040A0B0, 0x0040A130, 0x0040DB73, 0x00480301,
        0x0062000B, 0x00700023,
    }
)  # fmt: skip
_PRIVATE = Decision(Action.REMOVE, "private")
_SAFE = Decision(Action.CLEAN, "option retain_safe_private")
_PSEUDONYM = Decision(Action.DUMMY, "pseudonym")
_IN_DUMMY = Decision(Action.DUMMY, "in a replaced sequence")
_REQUIRED = Decision(Action.DUMMY, "Table E.1-1 X, required by its class")
_FIRST_GRAPHICS = 0x50000000
_GRAPHICS = Decision(Action.REMOVE, "belongs to removed graphics")


# Longer values are texts or pixels that no other object repeats.
_LONGEST_REMEMBERED = 256
_REMEMBERED = 4096

Treated: TypeAlias = tuple[Leaf | None, str, str]
"""What an element becomes (None: it goes), what that is called (``""``: nothing was done), and why."""
Memory: TypeAlias = dict[tuple[object, ...], Treated]


class _Context(NamedTuple):
    """Where in the data set the rules are, and what the sequences around ask for."""

    path: str
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
    own : OwnActions or None
        Own rules of the policy; they come first.
    pseudonymiser : Pseudonymiser
        Gives the pseudonyms of other patients that a data set names.
    subject : Subject
        Whose data set it is.
    values : Values
        Gives new values.
    required : frozenset of int
        Attributes that get a dummy where the table says to remove them: the class requires them.
    memory : dict, optional
        What became of elements under the same rules, for the same subject and in the same kind of object: the
        slices of a series differ in few. It is read and added to.

    Attributes
    ----------
    changes : Changes
        What was done.
    ends : list of int
        How many changes there were after each element of the top level.
    """

    def __init__(
        self,
        rules: Rules,
        own: OwnActions | None,
        pseudonymiser: Pseudonymiser,
        subject: Subject,
        values: Values,
        *,
        required: frozenset[int] = frozenset(),
        memory: Memory | None = None,
    ) -> None:
        self.changes = Changes()
        self.ends: list[int] = []
        self._top = _Context("", 0, clean=False, dummy=False, pseudonym=subject.pseudonym)
        self._rules = rules
        self._own = own or None
        self._pseudonymiser = pseudonymiser
        self._subject = subject
        self._values = values
        self._required = required
        self._memory: Memory = {} if memory is None else memory

    def top(self, item: Item) -> Item:
        """Return the top level as it may be kept."""
        kept: list[Leaf | Branch] = []
        for node in item.nodes:
            new = self.element(node, item)
            self.ends.append(len(self.changes))
            if new is not None:
                kept.append(new)
        return self._with(item, kept, self._top)

    def element(self, node: Leaf | Branch, item: Item) -> Leaf | Branch | None:
        """Return one element of the top level as it may be kept, None where it goes.

        Parameters
        ----------
        node : Leaf or Branch
            The element.
        item : Item
            The top level. Only of curves and overlays more counts of it than its encoding.
        """
        if isinstance(node, Branch):
            return self._branch(node, item, self._top)
        return self._leaf(node, item, self._top)

    @property
    def keeps_pixels(self) -> bool:
        """Whether pixel data stay as they are whatever they are: no own rule looks into them."""
        return self._own is None

    def again(self) -> Walker:
        """Return a walker for the next object with all that this one was made with."""
        return Walker(
            self._rules,
            self._own,
            self._pseudonymiser,
            self._subject,
            self._values,
            required=self._required,
            memory=self._memory,
        )

    def _item(self, item: Item, context: _Context) -> Item:
        context = context._replace(pseudonym=self._pseudonym_of(item, context))
        kept: list[Leaf | Branch] = []
        for node in item.nodes:
            new: Leaf | Branch | None
            if isinstance(node, Branch):
                new = self._branch(node, item, context)
            else:
                new = self._leaf(node, item, context)
            if new is not None:
                kept.append(new)
        return self._with(item, kept, context)

    def _with(self, item: Item, kept: list[Leaf | Branch], context: _Context) -> Item:
        private = any(node.tag & 0x10000 for node in kept)
        return Item(item.encoding, self._without_idle_creators(kept, context) if private else kept)

    def _pseudonym_of(self, item: Item, context: _Context) -> str:
        stated = item.text(PATIENT_ID)
        if not stated or stated == self._subject.header_id:
            return context.pseudonym
        return self._pseudonymiser.patient(stated)

    def _without_idle_creators(self, kept: list[Leaf | Branch], context: _Context) -> list[Leaf | Branch]:
        used = {node.tag >> 8 for node in kept if node.tag & 0x10000 and not is_creator(node.tag)}
        result = []
        for node in kept:
            if is_creator(node.tag) and (node.tag >> 16 << 8 | node.tag & 0xFF) not in used:
                self.changes.note(context.path, node.tag, "removed", _PRIVATE.why)
            else:
                result.append(node)
        return result

    def _branch(self, branch: Branch, item: Item, context: _Context) -> Branch | None:
        decision = self._own.branch(branch) if self._own else None
        if decision is None:
            decision = self._by_table(branch, "SQ", item, context)
        action, why = (None, "") if decision is None else decision
        if action is Action.REMOVE:
            self.changes.note(context.path, branch.tag, "removed", why)
            return None
        if action is Action.EMPTY:
            if branch.items:
                self.changes.note(context.path, branch.tag, "emptied", why)
            return branch._replace(items=())
        if action is Action.DUMMY and branch.items:
            self.changes.note(context.path, branch.tag, "replaced", why)
        clean = context.clean or action is Action.CLEAN
        dummies = context.dummy or action is Action.DUMMY
        path, depth, name = f"{context.path}{tag_text(branch.tag)}", context.depth + 1, context.pseudonym
        items = [
            self._item(child, _Context(f"{path}[{place}].", depth, clean, dummies, name))
            for place, child in enumerate(branch.items)
        ]
        return branch._replace(items=tuple(items))

    def _leaf(self, leaf: Leaf, item: Item, context: _Context) -> Leaf | None:
        memory = self._memory
        if len(leaf.value) > _LONGEST_REMEMBERED or is_graphics(leaf.tag):
            treated = self._treated(leaf, item, context)
        else:
            key = (leaf, item.encoding, context.depth == 0, *context[2:])
            known = memory.get(key)
            treated = known or self._treated(leaf, item, context)
            if known is None and len(memory) < _REMEMBERED:
                memory[key] = treated
        new, action, why = treated
        if action:
            self.changes.note(context.path, leaf.tag, action, why)
        return new

    def _treated(self, leaf: Leaf, item: Item, context: _Context) -> Treated:
        if leaf.tag & 0x10000 and leaf.vr == "UN" and self._own is None:
            return None, "removed", _PRIVATE.why
        decision, result = self._result(leaf, item, context)
        value = result.value
        if value is leaf.value:
            own = decision is not None and decision.why.startswith(OWN_RULE)
            return (leaf, "kept", decision.why) if own and decision is not None else (leaf, "", "")
        why = decision.why if decision is not None else result.why
        if value is None:
            return None, "removed", why
        if _same(value, leaf.value):
            return leaf, "", ""
        return leaf._replace(value=padded(leaf.vr[:2], value)), result.change, why

    def _result(self, leaf: Leaf, item: Item, context: _Context) -> tuple[Decision | None, Result]:
        own = self._own.leaf(leaf, item) if self._own else None
        if own is not None:
            return own
        tag = leaf.tag
        decision = self._by_table(leaf, leaf.vr, item, context)
        action = None if decision is None else decision.action
        if tag in (PATIENT_NAME, PATIENT_ID):
            named = context.depth == 0 or bool(leaf.value.strip(b" \0"))
            return _PSEUDONYM, Result(context.pseudonym.encode() if named else b"", "replaced")
        if tag & 0x10000 and is_creator(tag):
            return None, Result(leaf.value, "")
        if context.dummy and action is not Action.REMOVE:
            return _IN_DUMMY, self._in_dummy(leaf, item)
        if action is Action.CLEAN and is_graphics(tag) and leaf.vr[:2] in ("OB", "OW"):
            return decision, Result(clean_overlay(item, tag >> 16), "cleaned")
        if action is Action.CLEAN and leaf.vr not in CLEANABLE and not tag & 0x10000:
            decision = self._rules.basic(tag)
            action = decision.action
        return decision, self._carry_out(action, leaf, item, context)

    def _by_table(self, node: Leaf | Branch, vr: str, item: Item, context: _Context) -> Decision | None:
        tag = node.tag
        if tag & 0x10000:
            # Whether a block keeps anything, and with it its creator, is known at the end of the item.
            if is_creator(tag):
                return None
            return _PRIVATE if self._rules.safe_vr(node.creator, tag) is None else _SAFE
        if tag < 0x00040000 and context.depth == 0:
            return FILE_FORMAT
        decision = self._rules.decide(tag, vr)
        if decision is not None and decision.action is Action.REMOVE and tag in self._required:
            return _REQUIRED
        if (
            tag >= _FIRST_GRAPHICS
            and is_graphics(tag)
            and not (self._rules.cleans_graphics and can_clean(item, tag >> 16))
        ):
            # A curve or overlay without its data is no valid one, so its description goes with it.
            return self._rules.basic(tag) if decision is not None else _GRAPHICS
        return decision

    def _carry_out(self, action: Action | None, leaf: Leaf, item: Item, context: _Context) -> Result:
        match action:
            case None:
                return self._values.unlisted(leaf, item.encoding, clean=context.clean)
            case Action.REMOVE:
                return Result(None, "removed")
            case Action.EMPTY:
                return Result(b"", "emptied")
            case Action.MAP_UID:
                return self._values.uid(leaf, item.encoding)
            case Action.DUMMY:
                return self._dummy(leaf, item)
            case Action.CLEAN:
                return self._values.clean(leaf, item.encoding)
        return self._values.retain(leaf, item.encoding)

    def _in_dummy(self, leaf: Leaf, item: Item) -> Result:
        if leaf.tag in _STRUCTURE or not leaf.value:
            return Result(leaf.value, "")
        return self._dummy(leaf, item)

    def _dummy(self, leaf: Leaf, item: Item) -> Result:
        if leaf.vr == "UI" and leaf.value.strip(b" \0"):
            return self._values.uid(leaf, item.encoding)
        return Result(dummy_like(leaf.vr, leaf.value), "replaced")


def _same(new: bytes, old: bytes) -> bool:
    return new == old or (bool(new and old) and new.rstrip(b" \0") == old.rstrip(b" \0"))
