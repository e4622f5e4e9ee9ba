"""De-identification of one DICOM object: bytes that hold no identity, and what was done to get there."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from io import BytesIO
from types import MappingProxyType
from typing import NamedTuple

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError

from voxlake.core.errors import ItemError, UsageError
from voxlake.dicom.nodes import Branch, Item, Leaf, keyword_of, tag_text
from voxlake.dicom.parse_bytes import OddFileError, parse_file
from voxlake.dicom.parse_dataset import parse_dataset, transfer_syntax
from voxlake.dicom.read import read_dataset
from voxlake.dicom.write_nodes import write_file
from voxlake.privacy.changes import Change, Changes
from voxlake.privacy.cleaning import cleaner_for
from voxlake.privacy.identifiers import header_identifiers
from voxlake.privacy.markers import IMPLEMENTATION_UID, file_meta, markers
from voxlake.privacy.overlays import embedded_overlays, without_overlay_bits
from voxlake.privacy.own_actions import OwnActions
from voxlake.privacy.own_rules import OwnRules
from voxlake.privacy.policy import Policy
from voxlake.privacy.pseudonyms import Pseudonymiser, normalise_identifier
from voxlake.privacy.rules import Action, Rules, required_in, rules_for
from voxlake.privacy.values import Subject, Values
from voxlake.privacy.walk import PATIENT_ID, PATIENT_NAME, Walker

__all__ = ["IMPLEMENTATION_UID", "Change", "Deidentified", "deidentify", "preview"]

_SOP_CLASS, _SOP_INSTANCE, _MODALITY = 0x00080016, 0x00080018, 0x00080060
_STUDY_UID, _SERIES_UID = 0x0020000D, 0x0020000E
_PIXELS, _METHOD_CODES = 0x7FE00010, 0x00120064
_IMPLICIT, _EXPLICIT, _BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
# Whatever a broken value makes pydicom or a codec raise: the object is refused, never half done.
_BROKEN = (
    ArithmeticError,
    AttributeError,
    BytesLengthException,
    InvalidDicomError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)


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
        tags = (PATIENT_ID, _STUDY_UID, _SERIES_UID, _SOP_INSTANCE)
        found = [self._root.text(tag) or "none" for tag in tags]
        return found[0], found[1], found[2], found[3]

    def remains(self) -> Mapping[str, str]:
        """Return what the object still holds: path without numbers of items -> keyword; no values."""
        found: dict[str, str] = {}
        if self._root is not None:
            _collect(self._root, "", found)
        return MappingProxyType(found)


class _Treatment(NamedTuple):
    """What one policy means, worked out once."""

    rules: Rules
    own: OwnRules
    markers: tuple[Leaf | Branch, ...]
    opens_private: bool


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
    if policy.profile == "none":
        return _kept(source, patient)
    with warnings.catch_warnings():
        # pydicom warns of every odd value; here each is handled by the rules or refused below.
        warnings.simplefilter("ignore")
        try:
            return _deidentify(source, policy, pseudonymiser, patient)
        except _BROKEN as error:
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
    source: bytes | Dataset, policy: Policy, pseudonymiser: Pseudonymiser, patient: str | None
) -> Deidentified:
    tree, syntax, treatment = _opened(source, policy)
    sop_class, instance = tree.text(_SOP_CLASS), tree.text(_SOP_INSTANCE)
    if not sop_class or not instance:
        raise ItemError("missing_uid", "SOPClassUID or SOPInstanceUID is absent; both are needed in a file")
    subject, named = _subject(tree, policy, pseudonymiser, patient)
    rules = treatment.rules
    names, identifiers = header_identifiers(tree, lambda tag: _keeps(rules, tag))
    if patient is not None:
        identifiers.add(patient)
    cleaner = cleaner_for(frozenset(names), frozenset(identifiers), uids=not rules.keeps_uids)
    values = Values(pseudonymiser, subject, cleaner, rules, max_age=policy.max_age)
    own = OwnActions(treatment.own.for_object(sop_class, tree.text(_MODALITY)), policy.rules, values)
    walker = Walker(rules, own, pseudonymiser, subject, values, required=required_in(sop_class))
    root = walker.top(tree)
    _add(root, _own_elements(treatment, subject, tree, walker))
    meta = file_meta(syntax, root.text(_SOP_CLASS), root.text(_SOP_INSTANCE))
    data = write_file(syntax, meta, root)
    return Deidentified(data, subject.pseudonym if named else None, walker.changes, root)


def _opened(source: bytes | Dataset, policy: Policy) -> tuple[Item, str, _Treatment]:
    treatment = _treatment(policy)
    rules = treatment.rules

    def private_vr(creator: str | None, tag: int, _stated: str) -> str | None:
        safe = rules.safe_vr(creator, tag)
        return "" if safe is None and treatment.opens_private else safe

    if isinstance(source, bytes):
        try:
            parsed = parse_file(source, private_vr)
        except OddFileError:
            source = read_dataset(source)
        else:
            return parsed.root, parsed.syntax, treatment
    tree = parse_dataset(source, private_vr)
    implicit, little = tree.encoding.implicit, tree.encoding.little
    fallback = _IMPLICIT if implicit else _EXPLICIT if little else _BIG_ENDIAN
    return tree, str(transfer_syntax(source) or fallback), treatment


@lru_cache(maxsize=64)
def _treatment(policy: Policy) -> _Treatment:
    rules = rules_for(policy.options)
    # What rules may want to keep of private elements is known only when they are opened.
    opens = any(rule.action != "remove" for rule in policy.rules)
    return _Treatment(rules, OwnRules(policy.rules), markers(policy, rules), opens)


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
        study = tree.text(_STUDY_UID)
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
    kept = [node for node in root.nodes if node.tag not in elements and node.tag != _METHOD_CODES]
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


def _collect(item: Item, path: str, found: dict[str, str]) -> None:
    for node in item.nodes:
        here = path + tag_text(node.tag)
        found[here] = keyword_of(node.tag)
        if isinstance(node, Branch):
            for child in node.items:
                _collect(child, f"{here}.", found)
