"""De-identification of one DICOM object: bytes that hold no identity, and what was done to get there."""

from __future__ import annotations

import struct
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from types import MappingProxyType

from pydicom import dcmread
from pydicom.charset import convert_encodings
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from voxlake.core.digest import short
from voxlake.core.errors import ItemError, UsageError
from voxlake.privacy.cleaning import Cleaner
from voxlake.privacy.dummies import padded
from voxlake.privacy.identifiers import header_identifiers
from voxlake.privacy.policy import OPTION_CODES, POLICY_VERSION, Policy
from voxlake.privacy.profile import load_safe_private
from voxlake.privacy.pseudonyms import Pseudonymiser, normalise_identifier
from voxlake.privacy.rules import rules_for
from voxlake.privacy.tree import Encoding, Item, parse
from voxlake.privacy.values import Subject, Values
from voxlake.privacy.walk import PATIENT_ID, PATIENT_NAME, Change, Elements, Walker, as_dataset

__all__ = ["IMPLEMENTATION_UID", "Change", "Deidentified", "deidentify", "preview"]

IMPLEMENTATION_UID = "2.25.302859461830475113250697431840229176411"
_STUDY_UID = 0x0020000D
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
    dataset : pydicom.Dataset
        `data`, read back.
    changes : mapping
        How many elements were removed, emptied, replaced, uid_mapped, date_shifted, cleaned, private_removed.
    patient_id : str or None
        Pseudonym; the original where the policy is ``none``; None where no patient is named and the study
        stands for one.
    """

    data: bytes
    dataset: Dataset
    changes: Mapping[str, int]
    patient_id: str | None


def deidentify(
    dataset: Dataset,
    policy: Policy,
    pseudonymiser: Pseudonymiser,
    *,
    patient: str | None = None,
    original: bytes | None = None,
) -> Deidentified:
    """Take the identities out of an object (PS3.15 Annex E).

    The same input, key and policy give the same bytes. Pixel data and transfer syntax do not change.

    Parameters
    ----------
    dataset : pydicom.Dataset
        As read; its values do not change.
    policy : Policy
        What to do.
    pseudonymiser : Pseudonymiser
        Keyed pseudonyms.
    patient : str, optional
        Patient identifier that counts instead of the one in the header, for example from a mapping file.
        Without either, the study stands for the patient.
    original : bytes, optional
        The incoming bytes; needed where the policy is ``none``, which keeps them bit for bit.

    Raises
    ------
    ItemError
        ``deidentify_failed``: some element could not be read, so nothing is let through; ``missing_uid``:
        no SOP class or instance, or neither a patient identifier nor a study.
    UsageError
        Policy ``none`` without the original bytes.
    """
    if policy.profile == "none":
        if original is None:
            raise UsageError("policy 'none' keeps the incoming bytes: pass them as original=")
        return Deidentified(original, dataset, MappingProxyType({}), _stated_patient(dataset, patient))
    with warnings.catch_warnings():
        # pydicom warns of every odd value; here each is handled by the rules or refused below.
        warnings.simplefilter("ignore")
        try:
            return _deidentify(dataset, policy, pseudonymiser, patient)
        except _BROKEN as error:
            raise ItemError(
                "deidentify_failed",
                f"an element could not be read or written ({type(error).__name__}); the object is not stored",
            ) from None


def preview(
    dataset: Dataset, policy: Policy, pseudonymiser: Pseudonymiser, *, patient: str | None = None
) -> list[Change]:
    """Say what `deidentify` would change, element by element, without any value.

    Parameters and errors are those of `deidentify`.
    """
    if policy.profile == "none":
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            walker, tree, _ = _prepare(dataset, policy, pseudonymiser, patient)
            walker.top(tree)
        except _BROKEN as error:
            raise ItemError(
                "deidentify_failed", f"an element could not be read ({type(error).__name__})"
            ) from None
    return walker.changes


def _deidentify(
    dataset: Dataset, policy: Policy, pseudonymiser: Pseudonymiser, patient: str | None
) -> Deidentified:
    walker, tree, subject = _prepare(dataset, policy, pseudonymiser, patient)
    elements = walker.top(tree)
    elements.update(_markers(policy, subject, tree))
    result = as_dataset(dict(sorted(elements.items())), tree)
    result.file_meta = _file_meta(dataset, result, tree.encoding)
    stream = BytesIO()
    dcmwrite(stream, result, enforce_file_format=True)
    data = stream.getvalue()
    written = dcmread(BytesIO(data))
    if list(written.keys()) != sorted(elements) or written.SOPInstanceUID != result.SOPInstanceUID:
        raise ItemError("deidentify_failed", "the written object does not read back as it was written")
    counts = Counter(change.action for change in walker.changes)
    known = normalise_identifier(patient or "") or normalise_identifier(tree.text(PATIENT_ID))
    changes = MappingProxyType(dict(sorted(counts.items())))
    return Deidentified(data, written, changes, subject.pseudonym if known else None)


def _prepare(
    dataset: Dataset, policy: Policy, pseudonymiser: Pseudonymiser, patient: str | None
) -> tuple[Walker, Item, Subject]:
    rules = rules_for(policy.options)
    tree = parse(dataset, _encoding(dataset), load_safe_private() if rules.keeps_safe_private else None)
    subject = _subject(tree, policy, pseudonymiser, patient)
    names, identifiers = header_identifiers(tree)
    if patient is not None:
        identifiers.add(patient)
    values = Values(pseudonymiser, subject, Cleaner(names, identifiers), shifts_dates=rules.shifts_dates)
    return Walker(rules, pseudonymiser, subject, values), tree, subject


def _subject(tree: Item, policy: Policy, pseudonymiser: Pseudonymiser, patient: str | None) -> Subject:
    header_id = tree.text(PATIENT_ID)
    who = normalise_identifier(patient or "") or normalise_identifier(header_id)
    if not who:
        study = tree.text(_STUDY_UID)
        if not study:
            raise ItemError(
                "missing_uid", "neither PatientID nor StudyInstanceUID: no one to name this after"
            )
        who = f"study:{study}"
    days = pseudonymiser.shift_days(who, maximum=policy.max_shift_days)
    return Subject(header_id, pseudonymiser.patient(who), days)


def _stated_patient(dataset: Dataset, patient: str | None) -> str | None:
    return normalise_identifier(patient or str(dataset.get("PatientID") or "")) or None


def _encoding(dataset: Dataset) -> Encoding:
    implicit, little = dataset.original_encoding
    if implicit is None or little is None:
        syntax = _transfer_syntax(dataset)
        known = syntax is not None and syntax.is_transfer_syntax and not syntax.is_private
        implicit = syntax.is_implicit_VR if known and syntax is not None else False
        little = syntax.is_little_endian if known and syntax is not None else True
    return Encoding(implicit, little, tuple(convert_encodings("")))


def _transfer_syntax(dataset: Dataset) -> UID | None:
    meta = getattr(dataset, "file_meta", None)
    stated = meta.get("TransferSyntaxUID") if meta is not None else None
    return UID(str(stated)) if stated else None


def _file_meta(source: Dataset, result: Dataset, encoding: Encoding) -> FileMetaDataset:
    if not result.get("SOPClassUID") or not result.get("SOPInstanceUID"):
        raise ItemError("missing_uid", "SOPClassUID or SOPInstanceUID is absent; both are needed in a file")
    fallback = {
        (True, True): ImplicitVRLittleEndian,
        (False, True): ExplicitVRLittleEndian,
        (False, False): ExplicitVRBigEndian,
    }
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = result.SOPClassUID
    meta.MediaStorageSOPInstanceUID = result.SOPInstanceUID
    meta.TransferSyntaxUID = _transfer_syntax(source) or fallback[encoding.implicit, encoding.little]
    meta.ImplementationClassUID = UID(IMPLEMENTATION_UID)
    meta.ImplementationVersionName = f"VOXLAKE_{POLICY_VERSION}"
    return meta


def _markers(policy: Policy, subject: Subject, tree: Item) -> Elements:
    def text(tag: int, vr: str, value: str) -> RawDataElement:
        data = padded(vr, value.encode())
        return RawDataElement(Tag(tag), vr, len(data), data, 0, tree.encoding.implicit, tree.encoding.little)

    def code(value: str, meaning: str) -> Dataset:
        parts = (
            text(0x00080100, "SH", value),
            text(0x00080102, "SH", "DCM"),
            text(0x00080104, "LO", meaning),
        )
        return as_dataset({part.tag: part for part in parts}, Item(tree.encoding))

    method = f"voxlake policy {policy.name}\\policy sha256 {short(policy.digest())}"
    kept_dates = "retain_longitudinal_modified_dates" in policy.options
    codes = [code(*OPTION_CODES[name]) for name in ("basic", *policy.options)]
    elements: list[RawDataElement | DataElement] = [
        text(PATIENT_NAME, "PN", subject.pseudonym),
        text(PATIENT_ID, "LO", subject.pseudonym),
        text(0x00120062, "CS", "YES"),
        text(0x00120063, "LO", method),
        DataElement(Tag(0x00120064), "SQ", Sequence(codes)),
        text(0x00280303, "CS", "MODIFIED" if kept_dates else "REMOVED"),
    ]
    return {element.tag: element for element in elements}
