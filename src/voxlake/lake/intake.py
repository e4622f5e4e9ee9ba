"""Taking items in: what a worker does with a group of source files.

Runs inside workers with memory and time caps; hostile bytes are touched nowhere else.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Literal

from voxlake.core.errors import ItemError
from voxlake.dicom.frame_index import frame_ranges
from voxlake.dicom.header import scan_bytes
from voxlake.dicom.physics import read_physics
from voxlake.dicom.read import is_dicomdir, read_dataset
from voxlake.lake.deidentifications import each_shape_once
from voxlake.lake.in_place import register
from voxlake.lake.lake import Lake, LakeReference
from voxlake.lake.originals import Compression, stored_form
from voxlake.lake.quarantine import CONFLICT, item_id, quarantine_id, quarantined
from voxlake.lake.taken import Taken
from voxlake.lake.withdrawals import WITHDRAWN, patient_of, refuse_withdrawn, withdrawn_macs
from voxlake.privacy.deidentify import deidentify
from voxlake.privacy.images import strip_metadata
from voxlake.privacy.pixel_facts import dicom_facts
from voxlake.privacy.pixels import PixelFacts, check_pixels
from voxlake.privacy.policy import Policy
from voxlake.privacy.pseudonym_list import PseudonymListReference
from voxlake.privacy.pseudonyms import Pseudonymiser
from voxlake.privacy.shapes import Shape, dicom_shape, image_shape
from voxlake.sources.images import scan_image, sniff
from voxlake.sources.item import Item
from voxlake.store.packs import write_pack

__all__ = ["Intake", "source_mac"]

# What is counted and left where it is: the policy wants it so, or there is no image in it.
_NOT_SEALED: Mapping[str, Literal["rejected", "ignored"]] = MappingProxyType(
    {"policy_rejected": "rejected", WITHDRAWN: "rejected", "ignored_system_file": "ignored"}
)


def source_mac(lake: Lake, data: bytes) -> str:
    """Keyed digest of incoming bytes: tells that a file is already there, and tells outsiders nothing."""
    return lake.key.mac("source", sha256(data).digest()).hex()


@dataclass
class _Opened:
    lake: Lake
    pseudonymiser: Pseudonymiser
    policy_digest: str
    withdrawn: frozenset[str]


@dataclass
class _Kept:
    """A file that goes into a pack, with its row as far as it is known."""

    place: int
    data: bytes
    row: dict[str, Any]
    changes: dict[str, int]
    shape: Shape


@dataclass
class Intake:
    """Function of a group of items, for `Engine.map`.

    Parameters
    ----------
    lake : LakeReference
        Where the lake and its key file lie; the worker opens them itself.
    policy : Policy
        De-identification policy.
    limit : int
        Largest file in bytes.
    patients : PseudonymListReference, optional
        Where the list of pseudonyms lies; the worker reads it itself.
    in_place : bool
        Register files where they lie instead of copying them; what is no file of its own is packed.
    compress : str, optional
        ``"htj2k"``: store native DICOM pixels compressed without loss.
    """

    lake: LakeReference
    policy: Policy
    limit: int
    patients: PseudonymListReference | None = None
    in_place: bool = False
    compress: Compression | None = None
    _cache: dict[str, _Opened] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_cache": {}}

    def __call__(self, group: Sequence[Item]) -> list[Taken]:
        """Take in a group: one pack for each series in it, one `Taken` for each item, in order."""
        opened = self._opened()
        taken: list[Taken] = []
        kept: list[_Kept] = []
        for place, item in enumerate(group):
            start = time.perf_counter()
            result = self._take(opened, item, place, kept)
            taken.append(replace(result, seconds=round(time.perf_counter() - start, 6)))
        _pack(opened.lake, kept)
        return each_shape_once(taken)

    def _opened(self) -> _Opened:
        if "it" not in self._cache:
            lake = self.lake.open()
            lake.lookup.sync(lake.tables)
            patients = None if self.patients is None else self.patients.open(lake.key)
            names = Pseudonymiser(lake.key, patients)
            self._cache["it"] = _Opened(lake, names, self.policy.digest(), withdrawn_macs(lake))
        return self._cache["it"]

    def _take(self, opened: _Opened, item: Item, place: int, kept: list[_Kept]) -> Taken:
        name = item_id(opened.lake, item.name)
        labels, data, mac = item.hints.labels, None, None
        try:
            data = item.read(self.limit)
            mac = source_mac(opened.lake, data)
            patient = self._patient(opened, item)
            if opened.lake.lookup.known([(mac, opened.policy_digest)]):
                return Taken(name, "already", mac, labels=labels, patient=patient)
            self._check_conflict(opened, item, mac)
            file = self._read(opened, item, data)
        except ItemError as error:
            return self._refused(opened, item, name, data, mac, error)
        file.place = place
        if file.row["format"] == "dicom":
            file.row["frame_offsets"], file.row["frame_lengths"] = frame_ranges(file.data, file.row)
        if self.in_place and file.data == data:
            register(file.row, item, data)
            file.data = b"" if "pack" in file.row else data
        file.row |= {
            "source_mac": mac,
            "policy_digest": opened.policy_digest,
            "deidentification": file.shape.digest,
        }
        kept.append(file)
        return Taken(
            name,
            "new",
            mac,
            row=file.row,
            labels=labels,
            patient=patient,
            changes=file.changes,
            waived=file.shape.waived,
            shape=file.shape,
        )

    def _check_conflict(self, opened: _Opened, item: Item, mac: str) -> None:
        """Refuse at once what was in conflict before, so that running again writes nothing."""
        known = quarantine_id(opened.lake, item.name, mac, opened.policy_digest, CONFLICT)
        if opened.lake.lookup.quarantined([known]):
            raise ItemError(CONFLICT, "its SOPInstanceUID is already stored with other content")

    def _refused(
        self, opened: _Opened, item: Item, name: str, data: bytes | None, mac: str | None, error: ItemError
    ) -> Taken:
        if error.reason in _NOT_SEALED:
            return Taken(name, _NOT_SEALED[error.reason], mac, reason=error.reason, detail=error.message)
        row = quarantined(
            opened.lake,
            item.name,
            data,
            mac=mac,
            policy_digest=opened.policy_digest,
            reason=error.reason,
            detail=error.message,
        )
        return Taken(name, "quarantined", mac, quarantine=row, reason=error.reason, detail=error.message)

    def _patient(self, opened: _Opened, item: Item) -> str | None:
        patient = item.hints.patient
        if patient is None or self.policy.profile == "none":
            return patient
        return opened.pseudonymiser.patient(patient)

    def _read(self, opened: _Opened, item: Item, data: bytes) -> _Kept:
        kind = sniff(data, item.name)
        if kind is None:
            raise ItemError(
                "unknown_format",
                f"{len(data)} bytes that are no DICOM, PNG, JPEG, TIFF, NIfTI or NRRD; "
                "ignore such files in the mapping",
            )
        file = self._dicom(opened, item, data) if kind == "dicom" else self._image(opened, item, data, kind)
        for column in ("modality", "body_part_examined"):
            hinted = getattr(item.hints, "body_part" if column == "body_part_examined" else column)
            if hinted is not None and file.row.get(column) is None:
                file.row[column] = hinted
        return file

    def _dicom(self, opened: _Opened, item: Item, data: bytes) -> _Kept:
        original = read_dataset(data)
        if is_dicomdir(original):
            raise ItemError("ignored_system_file", "an index of a medium (DICOMDIR), under whatever name")
        self._refuse_withdrawn(opened, item, original)
        waived = check_pixels(dicom_facts(original, data, modality=item.hints.modality), self.policy)
        physics = read_physics(original)
        clean = deidentify(data, self.policy, opened.pseudonymiser, patient=item.hints.patient)
        stored, origin = stored_form(clean.data, self.compress)
        row = scan_bytes(stored) | origin
        row |= {name: value for name, value in physics.items() if value is not None}
        row |= {"format": "dicom", "patient_id": clean.patient_id}
        return _Kept(0, stored, row, dict(clean.changes), dicom_shape(clean, self.policy, waived))

    def _refuse_withdrawn(self, opened: _Opened, item: Item, original: Any) -> None:
        if opened.withdrawn:
            keeps = self.policy.profile == "none"
            who = patient_of(original, opened.pseudonymiser, hint=item.hints.patient, keeps_names=keeps)
            refuse_withdrawn(opened.lake, opened.withdrawn, who)

    def _image(
        self, opened: _Opened, item: Item, data: bytes, kind: Literal["png", "jpeg", "tiff", "nifti", "nrrd"]
    ) -> _Kept:
        refuse_withdrawn(opened.lake, opened.withdrawn, self._patient(opened, item))
        row = scan_image(data, kind)
        waived = check_pixels(PixelFacts(kind), self.policy)
        clean = data if self.policy.profile == "none" else strip_metadata(data, kind)
        hints, names = item.hints, opened.pseudonymiser
        names.check_listed(hints.patient)
        # By the first generation of the key alone: the next one then gives the UIDs that re-keying gives.
        own = opened.lake.key.generations[0].mac("source", sha256(data).digest()).hex()
        patient = hints.patient or ""
        study = f"{patient}/{hints.study}" if hints.study else own
        series = f"{study}/{hints.series}" if hints.series else own
        row |= {
            "format": kind,
            "patient_id": self._patient(opened, item),
            "study_instance_uid": names.uid(f"study:{study}"),
            "series_instance_uid": names.uid(f"series:{series}"),
            "sop_instance_uid": names.uid(f"image:{own}"),
            "sop_class_uid": None,
            "tags": "{}",
        }
        changed = clean != data
        shape = image_shape(kind, self.policy, changed=changed, waived=waived)
        return _Kept(0, clean, row, {"metadata_stripped": 1} if changed else {}, shape)


def _pack(lake: Lake, kept: Sequence[_Kept]) -> None:
    """Write one pack for each series and complete the rows, which the results already hold."""
    by_series: defaultdict[str, list[_Kept]] = defaultdict(list)
    for file in kept:
        if "pack" in file.row:
            continue
        by_series[file.row["series_instance_uid"]].append(file)
    for files in by_series.values():
        for file, entry in zip(files, write_pack(lake.objects, [file.data for file in files]), strict=True):
            file.row |= {
                "pack": entry.pack,
                "offset": entry.offset,
                "length": entry.length,
                "sha256": entry.sha256,
            }
