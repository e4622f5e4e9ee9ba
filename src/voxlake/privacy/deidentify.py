"""De-identification of one DICOM object: bytes that hold no identity, and what was done to get there."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from io import BytesIO
from types import MappingProxyType
from typing import NamedTuple

from pydicom import dcmread
from pydicom.dataset import Dataset

from voxlake.core.errors import ItemError, UsageError
from voxlake.dicom.nodes import Branch, Item, Leaf, PrivateVr
from voxlake.dicom.parse_bytes import OddFileError, ParsedFile, parse_file
from voxlake.dicom.parse_dataset import parse_dataset, transfer_syntax
from voxlake.dicom.read import read_dataset
from voxlake.dicom.write_nodes import write_file
from voxlake.privacy.changes import Change, Changes
from voxlake.privacy.cleaning import Cleaner, cleaner_for
from voxlake.privacy.identifiers import Searched, header_identifiers, searched
from voxlake.privacy.markers import IMPLEMENTATION_UID, file_meta, markers
from voxlake.privacy.overlays import embedded_overlays, without_overlay_bits
from voxlake.privacy.own_actions import OwnActions
from voxlake.privacy.own_rules import OwnRules
from voxlake.privacy.policy import Policy
from voxlake.privacy.pseudonyms import Pseudonymiser, normalise_identifier
from voxlake.privacy.remains import outline_of, remaining
from voxlake.privacy.rules import Action, Rules, required_in, rules_for
from voxlake.privacy.series_memory import BROKEN, SeriesMemory
from voxlake.privacy.series_template import (
    METHOD_CODES,
    MODALITY,
    SOP_CLASS,
    SOP_INSTANCE,
    STUDY_UID,
    Seen,
)
from voxlake.privacy.values import Subject, Values
from voxlake.privacy.walk import PATIENT_ID, PATIENT_NAME, Memory, Walker

__all__ = ["IMPLEMENTATION_UID", "Change", "Deidentified", "Deidentifier", "deidentify", "preview"]

_SERIES_UID, _PIXELS = 0x0020000E, 0x7FE00010
_IMPLICIT, _EXPLICIT, _BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"


@dataclass(frozen=True)
class Deidentified:
    """Result of `deidentify`.

    Parameters
    ----------
    data : bytes
        The object in the DICOM file format.
    patient_id : str or None
        Pseudonym; the original where the policy is ``none``; None where no patient is named and the study
        stands for one.
    """

    data: bytes
    patient_id: str | None
    _changes: Changes = field(default_factory=Changes, repr=False, compare=False)
    _root: Item | None = field(default=None, repr=False, compare=False)
    _remains: Mapping[str, str] | None = field(default=None, repr=False, compare=False)

    @cached_property
    def report(self) -> tuple[Change, ...]:
        """What was done to each element that did not stay as it was, and why."""
        return self._changes.report()

    @property
    def changes(self) -> Mapping[str, int]:
        """How many elements were removed, emptied, replaced, uid_mapped, date_shifted, cleaned, ..."""
        return MappingProxyType(self._changes.counts())

    @cached_property
    def dataset(self) -> Dataset:
        """`data`, read back by pydicom."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return dcmread(BytesIO(self.data), force=True)

    def names(self) -> tuple[str, str, str, str]:
        """Return the pseudonyms of patient, study, series and instance; ``"none"`` where one is absent."""
        if self._root is None:
            raise UsageError("policy 'none' gives no pseudonyms")
        tags = (PATIENT_ID, STUDY_UID, _SERIES_UID, SOP_INSTANCE)
        found = [self._root.text(tag) or "none" for tag in tags]
        return found[0], found[1], found[2], found[3]

    def remains(self) -> Mapping[str, str]:
        """Return what the object still holds: path without numbers of items -> keyword; no values."""
        if self._remains is not None:
            return self._remains
        return MappingProxyType({}) if self._root is None else remaining(outline_of(self._root.nodes))


class _Treatment(NamedTuple):
    """What one policy means, worked out once."""

    rules: Rules
    own: OwnRules
    markers: tuple[Leaf | Branch, ...]
    private_vr: PrivateVr
    searched: Searched


class _Opened(NamedTuple):
    """A data set as nodes; `parsed` where it was a plain file."""

    tree: Item
    syntax: str
    parsed: ParsedFile | None


def deidentify(
    source: bytes | Dataset, policy: Policy, pseudonymiser: Pseudonymiser, *, patient: str | None = None
) -> Deidentified:
    """Take the identities out of an object (PS3.15 Annex E).

    The same input, key and policy give the same bytes. The transfer syntax does not change, nor do pixels,
    but for overlays in their unused bits.

    Parameters
    ----------
    source : bytes or pydicom.Dataset
        A DICOM file, or a data set, whose values do not change. The file is the faster way.
    policy : Policy
        What to do. Policy ``none`` keeps the bytes and needs them.
    pseudonymiser : Pseudonymiser
        Keyed pseudonyms.
    patient : str, optional
        Patient identifier that counts instead of the one in the header, for example from a mapping file.
        Without either, the study stands for the patient.

    Raises
    ------
    ItemError
        ``deidentify_failed``: some element could not be read, so nothing is let through; ``missing_uid``:
        no SOP class or instance, or neither a patient identifier nor a study; ``policy_rejected``: an own
        rule of the policy; ``pixels_unchecked``: overlays in pixels that are not described; and
        those of `read_dataset`.

    Examples
    --------
    >>> clean = deidentify(data, load_policy("research"), pseudonymiser)  # doctest: +SKIP
    >>> clean.changes["removed"]  # doctest: +SKIP
    """
    return _guarded(source, policy, pseudonymiser, patient, None)


class Deidentifier:
    """`deidentify` for many files, one after the other, under one policy and one key.

    The files of a series have most elements in common; what became of those is remembered, and only the
    others are looked at. What it gives depends on the file alone, never on what came before. It is for one
    thread, and holds a few megabytes at most.

    Parameters
    ----------
    policy : Policy
        What to do.
    pseudonymiser : Pseudonymiser
        Keyed pseudonyms.

    Examples
    --------
    >>> clean = Deidentifier(load_policy("research"), pseudonymiser)(data)  # doctest: +SKIP
    """

    def __init__(self, policy: Policy, pseudonymiser: Pseudonymiser) -> None:
        self._policy, self._pseudonymiser = policy, pseudonymiser
        self._memory = SeriesMemory()

    def __call__(self, source: bytes | Dataset, *, patient: str | None = None) -> Deidentified:
        """Take the identities out of an object, as `deidentify`."""
        return _guarded(source, self._policy, self._pseudonymiser, patient, self._memory)


def _guarded(
    source: bytes | Dataset,
    policy: Policy,
    pseudonymiser: Pseudonymiser,
    patient: str | None,
    memory: SeriesMemory | None,
) -> Deidentified:
    if policy.profile == "none":
        return _kept(source, patient)
    with warnings.catch_warnings():
        # pydicom warns of every odd value; here each is handled by the rules or refused below.
        warnings.simplefilter("ignore")
        try:
            found = memory.recall(source, patient) if memory and isinstance(source, bytes) else None
            if found is not None:
                return Deidentified(found.data, found.patient_id, found.changes, found.root, found.remains)
            return _deidentify(source, policy, pseudonymiser, patient, memory)
        except BROKEN as error:
            raise ItemError(
                "deidentify_failed",
                f"an element could not be read or written ({type(error).__name__}); the object is not stored",
            ) from None


def preview(
    source: bytes | Dataset, policy: Policy, pseudonymiser: Pseudonymiser, *, patient: str | None = None
) -> list[Change]:
    """Say what `deidentify` would do, element by element, without any value.

    Parameters and errors are those of `deidentify`.
    """
    return (
        []
        if policy.profile == "none"
        else list(deidentify(source, policy, pseudonymiser, patient=patient).report)
    )


def _deidentify(
    source: bytes | Dataset,
    policy: Policy,
    pseudonymiser: Pseudonymiser,
    patient: str | None,
    memory: SeriesMemory | None,
) -> Deidentified:
    treatment = _treatment(policy)
    tree, syntax, parsed = _opened(source, treatment.private_vr)
    sop_class, instance = tree.text(SOP_CLASS), tree.text(SOP_INSTANCE)
    if not sop_class or not instance:
        raise ItemError("missing_uid", "SOPClassUID or SOPInstanceUID is absent; both are needed in a file")
    subject, named = _subject(tree, policy, pseudonymiser, patient)
    rules = treatment.rules
    names, identifiers = header_identifiers(tree, treatment.searched)
    if patient is not None:
        identifiers.add(patient)
    cleaner = cleaner_for(frozenset(names), frozenset(identifiers), uids=not rules.keeps_uids)
    values = Values(pseudonymiser, subject, cleaner, rules, max_age=policy.max_age)
    modality = tree.text(MODALITY)
    own = OwnActions(treatment.own.for_object(sop_class, modality), policy.rules, values)
    leaves = _leaves(treatment.own, pseudonymiser, subject, cleaner, (sop_class, modality))
    required = required_in(sop_class)
    walker = Walker(rules, own, pseudonymiser, subject, values, required=required, memory=leaves)
    root = walker.top(tree)
    elements = _own_elements(treatment, subject, tree, walker)
    _add(root, elements)
    meta = file_meta(syntax, root.text(SOP_CLASS), root.text(SOP_INSTANCE))
    data = write_file(syntax, meta, root)
    patient_id = subject.pseudonym if named else None
    if memory is not None and parsed is not None and isinstance(source, bytes):
        seen = (walker, treatment.searched, frozenset(elements), root, patient_id)
        memory.learn(Seen(source, parsed, treatment.private_vr, *seen), patient)
    return Deidentified(data, patient_id, walker.changes, root)


def _opened(source: bytes | Dataset, private_vr: PrivateVr) -> _Opened:
    if isinstance(source, bytes):
        try:
            parsed = parse_file(source, private_vr)
        except OddFileError:
            source = read_dataset(source)
        else:
            return _Opened(parsed.root, parsed.syntax, parsed)
    tree = parse_dataset(source, private_vr)
    implicit, little = tree.encoding.implicit, tree.encoding.little
    fallback = _IMPLICIT if implicit else _EXPLICIT if little else _BIG_ENDIAN
    return _Opened(tree, str(transfer_syntax(source) or fallback), None)


@lru_cache(maxsize=64)
def _treatment(policy: Policy) -> _Treatment:
    rules = rules_for(policy.options)
    # What rules may want to keep of private elements is known only when they are opened.
    opens = any(rule.action != "remove" for rule in policy.rules)

    def private_vr(creator: str | None, tag: int, _stated: str) -> str | None:
        safe = rules.safe_vr(creator, tag)
        return "" if safe is None and opens else safe

    where = searched(lambda tag: _keeps(rules, tag))
    return _Treatment(rules, OwnRules(policy.rules), markers(policy, rules), private_vr, where)


@lru_cache(maxsize=16)
def _leaves(
    own: OwnRules,  # noqa: ARG001 - these make the key: of each policy there is one
    pseudonymiser: Pseudonymiser,  # noqa: ARG001 - as above
    subject: Subject,  # noqa: ARG001 - as above
    cleaner: Cleaner,  # noqa: ARG001 - as above
    kind: tuple[str, str],  # noqa: ARG001 - as above
) -> Memory:
    """Return what is remembered of objects of one kind (SOP class, modality) of one subject."""
    return {}


def _keeps(rules: Rules, tag: int) -> bool:
    decision = rules.decide(tag, "LO")
    return decision is not None and decision.action is Action.KEEP


def _subject(
    tree: Item, policy: Policy, pseudonymiser: Pseudonymiser, patient: str | None
) -> tuple[Subject, bool]:
    header_id = tree.text(PATIENT_ID)
    who = normalise_identifier(patient or "") or normalise_identifier(header_id)
    named = bool(who)
    if not who:
        study = tree.text(STUDY_UID)
        if not study:
            raise ItemError(
                "missing_uid", "neither PatientID nor StudyInstanceUID: no one to name this after"
            )
        who = f"study:{study}"
    days = pseudonymiser.shift_days(who, maximum=policy.max_shift_days)
    return Subject(header_id, pseudonymiser.patient(who), days), named


def _own_elements(
    treatment: _Treatment, subject: Subject, tree: Item, walker: Walker
) -> dict[int, Leaf | Branch]:
    """Return what is written whatever was there: pseudonym, markers, pixels without overlay bits."""
    pseudonym = subject.pseudonym.encode() + b" " * (len(subject.pseudonym) % 2)
    elements: dict[int, Leaf | Branch] = {node.tag: node for node in treatment.markers}
    elements |= {tag: Leaf(tag, vr, pseudonym) for tag, vr in ((PATIENT_NAME, "PN"), (PATIENT_ID, "LO"))}
    for node in treatment.markers:
        walker.changes.note("", node.tag, "added", "marker of de-identification")
    if embedded_overlays(tree):
        pixels = without_overlay_bits(tree)
        if pixels is not None:
            elements[_PIXELS] = pixels
            walker.changes.note("", _PIXELS, "cleaned", "overlays in unused bits")
    return elements


def _add(root: Item, elements: dict[int, Leaf | Branch]) -> None:
    little = root.encoding.little
    # What the sender claims to have done does not stand for what was done here.
    kept = [node for node in root.nodes if node.tag not in elements and node.tag != METHOD_CODES]
    root.nodes = sorted([*kept, *(_in_order(node, little=little) for node in elements.values())], key=_tag)


def _in_order(node: Leaf | Branch, *, little: bool) -> Leaf | Branch:
    """Give the items of a marker the byte order of their file; there is no binary number in them."""
    if isinstance(node, Leaf) or little:
        return node
    items = [
        Item(item.encoding._replace(little=False), [_in_order(inner, little=False) for inner in item.nodes])
        for item in node.items
    ]
    return node._replace(items=tuple(items))


def _tag(node: Leaf | Branch) -> int:
    return node.tag


def _kept(source: bytes | Dataset, patient: str | None) -> Deidentified:
    if not isinstance(source, bytes):
        raise ItemError(
            "deidentify_failed", "policy 'none' keeps the incoming bytes: pass them, not a data set"
        )
    header = read_dataset(source)
    stated = normalise_identifier(patient or str(header.get("PatientID") or "")) or None
    return Deidentified(source, stated)
