"""Moving stored objects to the newest generation of a key: what a worker does with a group of rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from voxlake.core.errors import IntegrityError, ItemError
from voxlake.dicom.read import read_dataset
from voxlake.dicom.scan import scan
from voxlake.lake.lake import Lake, LakeReference
from voxlake.lake.originals import restored, stored_form
from voxlake.privacy.policy import Policy
from voxlake.privacy.pseudonyms import Pseudonymiser
from voxlake.privacy.rekey_dataset import rekey_dataset
from voxlake.store.packs import read_member, write_pack

__all__ = ["RekeyObjects", "Rekeyed", "new_mac"]


def new_mac(lake: Lake, mac: str) -> str:
    """The `source_mac` of the newest generation, from that of the one before."""
    return lake.key.generations[-1].mac("source", bytes.fromhex(mac)).hex()


@dataclass(frozen=True)
class Rekeyed:
    """One object after the worker was done with it: a row for the new lake, or a reason why there is none."""

    source_mac: str
    row: Mapping[str, Any] | None = None
    reason: str | None = None
    detail: str | None = None


@dataclass
class _Opened:
    old: Lake
    new: Lake
    newest: Pseudonymiser


@dataclass
class RekeyObjects:
    """Function of a group of rows of `instances`, for `Engine.map`.

    Parameters
    ----------
    old, new : LakeReference
        Where the lakes and their key files lie; the worker opens them itself.
    policies : mapping of digest to Policy
        Under which the objects came in.
    """

    old: LakeReference
    new: LakeReference
    policies: Mapping[str, Policy]
    _cache: dict[str, _Opened] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_cache": {}}

    def __call__(self, group: Sequence[Mapping[str, Any]]) -> list[Rekeyed]:
        """Move a group: one pack for each series in it, one `Rekeyed` for each row, in order."""
        opened = self._opened()
        results: list[Rekeyed] = []
        kept: defaultdict[str, list[tuple[bytes, dict[str, Any]]]] = defaultdict(list)
        for old_row in group:
            mac = new_mac(opened.new, old_row["source_mac"])
            try:
                data, row = self._move(opened, old_row)
            except ItemError as error:
                results.append(Rekeyed(mac, reason=error.reason, detail=error.message))
            except IntegrityError:
                # Its message names the pack of the other lake.
                detail = "its stored bytes are damaged or gone: restore them from a copy"
                results.append(Rekeyed(mac, reason="unreadable_source", detail=detail))
            else:
                row["source_mac"] = mac
                kept[row["series_instance_uid"]].append((data, row))
                results.append(Rekeyed(mac, row))
        for members in kept.values():
            entries = write_pack(opened.new.objects, [data for data, _ in members])
            # The results already hold these rows.
            for (_, row), entry in zip(members, entries, strict=True):
                row.update(vars(entry))
        return results

    def _opened(self) -> _Opened:
        if "it" not in self._cache:
            new = self.new.open()
            self._cache["it"] = _Opened(self.old.open(), new, Pseudonymiser(new.key).newest)
        return self._cache["it"]

    def _move(self, opened: _Opened, old: Mapping[str, Any]) -> tuple[bytes, dict[str, Any]]:
        data = read_member(
            opened.old.objects, old["pack"], old["offset"], old["length"], sha256=old["sha256"]
        )
        row = dict(old)
        if old["format"] == "dicom":
            plain = restored(data, old)
            moved = rekey_dataset(plain, self.policies[old["policy_digest"]], opened.newest)
            moved, origin = stored_form(moved, None if plain is data else "htj2k")
            row |= origin
            before, after = scan(read_dataset(data), data), scan(read_dataset(moved), moved)
            # What a row knows from the original or from a mapping, and no scan of stored bytes, stays.
            changed = {name for name, value in after.items() if name == "tags" or before.get(name) != value}
            row |= {name: after[name] for name in changed}
            data = moved
        else:
            for name in ("sop_instance_uid", "series_instance_uid", "study_instance_uid"):
                row[name] = opened.newest.uid(old[name])
            row["tags"] = "{}"
        patient = old["patient_id"]
        row["patient_id"] = None if patient is None else opened.newest.patient(patient)
        return data, row
