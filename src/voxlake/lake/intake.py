"""Taking items in: what a worker does with a group of source files.

Runs inside workers with memory and time caps; hostile bytes are touched nowhere else.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Literal

from voxlake.core.errors import ItemError
from voxlake.dicom.frame_index import frame_ranges
from voxlake.dicom.header import Scanner
from voxlake.lake.deidentifications import each_shape_once
from voxlake.lake.in_place import register
from voxlake.lake.incoming import read_incoming
from voxlake.lake.lake import Lake, LakeReference
from voxlake.lake.originals import Compression, stored_form
from voxlake.lake.quarantine import CONFLICT, item_id, quarantine_id, quarantined
from voxlake.lake.taken import Taken
from voxlake.lake.withdrawals import WITHDRAWN, patient_of, refuse_withdrawn, withdrawn_macs
from voxlake.privacy.deidentify import Deidentified, Deidentifier
from voxlake.privacy.images import strip_metadata
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
# A group is hardly larger, but for sources that do not say how large their files are.
_BYTES_AT_ONCE = 64 * 2**20


def source_mac(lake: Lake, data: bytes) -> str:
    """Keyed digest of incoming bytes: tells that a file is already there, and tells outsiders nothing."""
    return lake.key.mac("source", sha256(data).digest()).hex()


@dataclass
class _Opened:
    lake: Lake
    pseudonymiser: Pseudonymiser
    policy_digest: str
    deidentifier: Deidentifier
    withdrawn: frozenset[str] = frozenset()
    withdrawals_version: int | None = None
    scanner: Scanner = field(default_factory=Scanner)


@dataclass
class _Kept:
    """A file that goes into a pack, with its row as far as it is known."""

    data: bytes
    row: dict[str, Any]
    changes: dict[str, int]
    shape: Shape
    digest: str | None = None


@dataclass
class _Source:
    """An item as it was read, with what it is called in the lake."""

    item: Item
    name: str
    data: bytes | None = None
    digest: bytes | None = None
    mac: str | None = None
    conflict: str | None = None
    error: ItemError | None = None
    seconds: float = 0.0


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
        for files in self._read_in(opened, group):
            macs = [file.mac for file in files if file.mac is not None]
            known = {
                mac for mac, _ in opened.lake.lookup.known([(mac, opened.policy_digest) for mac in macs])
            }
            conflicts = opened.lake.lookup.quarantined([file.conflict for file in files if file.conflict])
            for file in files:
                start = time.perf_counter()
                result = self._take(opened, file, kept, known, conflicts)
                seconds = file.seconds + time.perf_counter() - start
                taken.append(replace(result, seconds=round(seconds, 6)))
                # What is stored is in `kept`; the rest need not wait for the end of the group.
                file.data = None
        _pack(opened.lake, kept)
        return each_shape_once(taken)

    def _read_in(self, opened: _Opened, group: Sequence[Item]) -> Iterator[list[_Source]]:
        """Read files in lots of bounded size, so that the look-up is asked once for each lot."""
        files: list[_Source] = []
        size = 0
        for item in group:
            start = time.perf_counter()
            file = _Source(item, item_id(opened.lake, item.name))
            try:
                file.data = item.read(self.limit)
            except ItemError as error:
                file.error = error
            else:
                file.digest = sha256(file.data).digest()
                file.mac = opened.lake.key.mac("source", file.digest).hex()
                file.conflict = quarantine_id(
                    opened.lake, item.name, file.mac, opened.policy_digest, CONFLICT
                )
                size += len(file.data)
            file.seconds = time.perf_counter() - start
            files.append(file)
            if size >= _BYTES_AT_ONCE:
                yield files
                files, size = [], 0
        if files:
            yield files

    def _opened(self) -> _Opened:
        if "it" not in self._cache:
            lake = self.lake.open()
            lake.lookup.sync(lake.tables)
            patients = None if self.patients is None else self.patients.open(lake.key)
            names = Pseudonymiser(lake.key, patients)
            self._cache["it"] = _Opened(lake, names, self.policy.digest(), Deidentifier(self.policy, names))
        opened = self._cache["it"]
        # Whoever withdraws while a long ingest runs is not taken in any more from then on.
        version = opened.lake.tables.version("withdrawals")
        if version != opened.withdrawals_version:
            opened.withdrawn = withdrawn_macs(opened.lake)
            opened.withdrawals_version = version
        return opened

    def _take(
        self, opened: _Opened, source: _Source, kept: list[_Kept], known: set[str], conflicts: set[str]
    ) -> Taken:
        item, labels = source.item, source.item.hints.labels
        try:
            if source.data is None or source.mac is None:
                raise source.error or ItemError("unreadable_source", "there is nothing to read")
            patient = self._patient(opened, item)
            if source.mac in known:
                return Taken(source.name, "already", source.mac, labels=labels, patient=patient)
            _check_conflict(source, conflicts)
            file = self._read(opened, item, source.data)
        except ItemError as error:
            return self._refused(opened, source, error)
        self._complete(opened, file, source)
        kept.append(file)
        return Taken(
            source.name,
            "new",
            source.mac,
            row=file.row,
            labels=labels,
            patient=patient,
            changes=file.changes,
            waived=file.shape.waived,
            shape=file.shape,
        )

    def _complete(self, opened: _Opened, file: _Kept, source: _Source) -> None:
        """Add to a row what does not come from the header."""
        if file.row["format"] == "dicom":
            file.row["frame_offsets"], file.row["frame_lengths"] = frame_ranges(file.data, file.row)
        if source.digest is not None and (file.data is source.data or file.data == source.data):
            file.digest = source.digest.hex()
            if self.in_place:
                register(file.row, source.item, len(file.data), file.digest)
                file.data = b"" if "pack" in file.row else file.data
        file.row |= {
            "source_mac": source.mac,
            "policy_digest": opened.policy_digest,
            "deidentification": file.shape.digest,
        }

    def _refused(self, opened: _Opened, source: _Source, error: ItemError) -> Taken:
        name, mac = source.name, source.mac
        if error.reason in _NOT_SEALED:
            return Taken(name, _NOT_SEALED[error.reason], mac, reason=error.reason, detail=error.message)
        row = quarantined(
            opened.lake,
            source.item.name,
            source.data,
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
        policy, hints = self.policy, item.hints
        keeps = policy.profile == "none"
        tags = keeps or bool(opened.withdrawn)
        incoming = read_incoming(
            data, tags=tags, checked=not keeps, modality=hints.modality, scanner=opened.scanner
        )
        if opened.withdrawn:
            who = patient_of(incoming.header, opened.pseudonymiser, hint=hints.patient, keeps_names=keeps)
            refuse_withdrawn(opened.lake, opened.withdrawn, who)
        waived = () if incoming.facts is None else check_pixels(incoming.facts, policy)
        if keeps:
            who = patient_of(incoming.header, opened.pseudonymiser, hint=hints.patient, keeps_names=True)
            clean = Deidentified(data, who)
        else:
            clean = opened.deidentifier(data, patient=hints.patient)
        stored, origin = stored_form(clean.data, self.compress)
        same = incoming.row is not None and stored is data
        row = {**(incoming.row or {}), **origin} if same else opened.scanner.scan_bytes(stored) | origin
        row |= {**incoming.physics, "format": "dicom", "patient_id": clean.patient_id}
        return _Kept(stored, row, dict(clean.changes), dicom_shape(clean, policy, waived))

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
        return _Kept(clean, row, {"metadata_stripped": 1} if changed else {}, shape)


def _check_conflict(source: _Source, conflicts: set[str]) -> None:
    """Refuse at once what was in conflict before, so that running again writes nothing."""
    if source.conflict in conflicts:
        raise ItemError(CONFLICT, "its SOPInstanceUID is already stored with other content")


def _pack(lake: Lake, kept: Sequence[_Kept]) -> None:
    """Write one pack for each series and complete the rows, which the results already hold."""
    by_series: defaultdict[str, list[_Kept]] = defaultdict(list)
    for file in kept:
        if "pack" in file.row:
            continue
        by_series[file.row["series_instance_uid"]].append(file)
    for files in by_series.values():
        digests = [file.digest for file in files]
        entries = write_pack(lake.objects, [file.data for file in files], digests)
        for file, entry in zip(files, entries, strict=True):
            file.row |= {
                "pack": entry.pack,
                "offset": entry.offset,
                "length": entry.length,
                "sha256": entry.sha256,
            }
