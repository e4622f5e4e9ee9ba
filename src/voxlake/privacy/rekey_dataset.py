"""A stored, de-identified object moved on to the newest generation of a key, without the original.

What comes out is, byte for byte, what de-identification of the original with the whole key would give: only
what depends on the key changes, and what that is, the policy says, as it did when the object came in.
"""

from __future__ import annotations

from typing import NamedTuple

from voxlake.core.errors import ItemError
from voxlake.dicom.nodes import Branch, Item, Leaf, decode
from voxlake.dicom.parse_bytes import OddFileError, parse_file
from voxlake.dicom.write_nodes import padded, write_file
from voxlake.privacy.cleaning import Cleaner
from voxlake.privacy.dummies import dummy
from voxlake.privacy.own_rules import ObjectRules, OwnRules
from voxlake.privacy.policy import Policy
from voxlake.privacy.pseudonyms import Pseudonymiser
from voxlake.privacy.rules import Action, rules_for
from voxlake.privacy.values import Subject, Values
from voxlake.privacy.walk import PATIENT_ID, PATIENT_NAME

__all__ = ["rekey_dataset"]

_SOP_CLASS, _SOP_INSTANCE, _MODALITY = 0x00080016, 0x00080018, 0x00080060
_META_LENGTH, _META_INSTANCE = 0x00020000, 0x00020003
_TITLE = "AE"


class _Context(NamedTuple):
    """One object: what moves its values, and whether the sequence around was replaced by dummies."""

    values: Values
    own: ObjectRules
    dummy: bool = False


def rekey_dataset(data: bytes, policy: Policy, newest: Pseudonymiser) -> bytes:
    """Move the pseudonyms, UIDs, dates and tokens of a stored object on by one generation of the key.

    Parameters
    ----------
    data : bytes
        A DICOM file as `voxlake.privacy.deidentify` wrote it.
    policy : Policy
        The policy that it was written under.
    newest : Pseudonymiser
        Of the newest generation alone; see `Pseudonymiser.newest`.

    Returns
    -------
    bytes
        The file. Pixels, text and transfer syntax are those of `data`.

    Raises
    ------
    ItemError
        ``parse_error``: these bytes are not as de-identification writes them.
    """
    return _Rekeyer(policy, newest).file(data)


class _Rekeyer:
    def __init__(self, policy: Policy, newest: Pseudonymiser) -> None:
        self._policy = policy
        self._newest = newest
        self._rules = rules_for(policy.options)

    def file(self, data: bytes) -> bytes:
        try:
            parsed = parse_file(data, self._private_vr)
        except OddFileError:
            raise ItemError(
                "parse_error", "the stored object is not as de-identification writes it"
            ) from None
        root = parsed.root
        name = root.text(PATIENT_ID)
        if not name:
            raise ItemError("parse_error", "the stored object names no patient, not even a pseudonym")
        days = self._newest.shift_days(name, maximum=self._policy.max_shift_days)
        subject = Subject(name, self._newest.patient(name), days)
        # No identifier of the header is left to be looked for, so the cleaner has nothing to find.
        values = Values(self._newest, subject, Cleaner((), ()), self._rules, max_age=None)
        own = OwnRules(self._policy.rules).for_object(root.text(_SOP_CLASS), root.text(_MODALITY))
        moved = self._item(root, _Context(values, own))
        instance = padded("UI", moved.text(_SOP_INSTANCE).encode())
        meta = [
            leaf._replace(value=instance) if leaf.tag == _META_INSTANCE else leaf
            for leaf in parsed.meta.nodes
            if isinstance(leaf, Leaf) and leaf.tag != _META_LENGTH
        ]
        return write_file(parsed.syntax, meta, moved)

    def _private_vr(self, creator: str | None, tag: int, _stated: str) -> str:
        # Everything is opened: what is still there was allowed to stay.
        return self._rules.safe_vr(creator, tag) or ""

    def _item(self, item: Item, context: _Context) -> Item:
        nodes: list[Leaf | Branch] = []
        for node in item.nodes:
            if isinstance(node, Branch):
                nodes.append(self._branch(node, context))
            else:
                value = self._value(node, item, context)
                nodes.append(node if value is None else node._replace(value=padded(node.vr[:2], value)))
        return Item(item.encoding, nodes)

    def _branch(self, branch: Branch, context: _Context) -> Branch:
        own = context.own.find(branch.tag, "SQ", branch.creator, str) if context.own else None
        action = own.action if own is not None else self._action(branch.tag, "SQ")
        if own is None and action == Action.REMOVE:
            # The policy takes such a sequence away: this one is a marker that de-identification wrote.
            return branch
        inner = context._replace(dummy=context.dummy or action == Action.DUMMY)
        return branch._replace(items=tuple(self._item(item, inner) for item in branch.items))

    def _action(self, tag: int, vr: str) -> Action | None:
        if tag & 0x10000:
            return Action.CLEAN
        decision = self._rules.decide(tag, vr)
        return None if decision is None else decision.action

    def _value(self, leaf: Leaf, item: Item, context: _Context) -> bytes | None:
        """The new value of an element, None where the old one stays."""
        if not leaf.value:
            return None
        if leaf.tag in (PATIENT_ID, PATIENT_NAME):
            stated = decode(leaf, item.encoding).strip(" \0")
            return self._newest.patient(stated).encode() if stated else None
        if context.own:
            rule = context.own.find(leaf.tag, leaf.vr, leaf.creator, lambda: decode(leaf, item.encoding))
            if rule is not None:
                return self._by_own_rule(rule.action, leaf, item, context)
        action = self._action(leaf.tag, leaf.vr)
        match leaf.vr:
            case "UI":
                return self._uid(leaf, item, action, context)
            case "DA" | "DT":
                moves = action in (None, Action.CLEAN) and self._rules.dates == "shift" and not context.dummy
                return context.values.shifted(leaf, item.encoding).value if moves else None
            case "AE" if action is Action.CLEAN and not context.dummy:
                return self._title(leaf, item)
        return None

    def _by_own_rule(self, action: str, leaf: Leaf, item: Item, context: _Context) -> bytes | None:
        match action, leaf.vr:
            case "map_uid", "UI":
                return context.values.uid(leaf, item.encoding).value
            case "shift_date", "DA" | "DT":
                return context.values.shifted(leaf, item.encoding).value
            case "token", _:
                return context.values.token(leaf, item.encoding).value
        return None

    def _uid(self, leaf: Leaf, item: Item, action: Action | None, context: _Context) -> bytes | None:
        if leaf.value == dummy("UI"):
            return None
        if not context.dummy:
            kept = action is None or action is Action.CLEAN
            if action is Action.KEEP or action is Action.REMOVE or (kept and self._rules.keeps_uids):
                return None
        return context.values.uid(leaf, item.encoding).value

    def _title(self, leaf: Leaf, item: Item) -> bytes:
        parts = [part.strip(" \0") for part in decode(leaf, item.encoding).split("\\")]
        tokens = [self._newest.token("ae", part.removeprefix(_TITLE)) if part else "" for part in parts]
        return "\\".join(f"{_TITLE}{token}" if token else "" for token in tokens).encode()
