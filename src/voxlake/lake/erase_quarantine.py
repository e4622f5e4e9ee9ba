"""Whose the sealed items in quarantine are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa

from voxlake.core.errors import IntegrityError, ItemError
from voxlake.dicom.read import looks_like_dicom, read_dataset
from voxlake.engine.contract import Engine
from voxlake.engine.limits import can_cap_memory
from voxlake.lake.erase_names import Names
from voxlake.lake.erase_rows import Removal
from voxlake.lake.keys import SEALED
from voxlake.lake.lake import Lake, LakeReference
from voxlake.lake.withdrawals import patient_mac, patient_of
from voxlake.privacy.pseudonyms import Pseudonymiser
from voxlake.store.rewrite import raw_rows

__all__ = ["Owner", "find_quarantined"]

_SECONDS = 60.0
Whose = Literal["patient", "other", "unknown"]


def find_quarantined(lake: Lake, names: Names, engine: Engine, memory: int) -> tuple[set[str], int]:
    """Paths of the sealed items of a patient, and of how many others nobody can tell whose they are.

    `memory` is what a worker may take, in bytes; not enforced on systems that cannot.
    """
    known: set[str] = set()
    removal = Removal("quarantine", names)
    for rows in raw_rows(lake.tables, "quarantine"):
        mine = rows.filter(pa.array(removal.mask(rows)))
        known.update(mine["quarantine_id"].to_pylist())
    there = {path.rpartition("/")[2] for path in lake.objects.list(SEALED)}
    open_ = sorted(there - known)
    owner = Owner(lake.reference, patient_mac(lake, names.patient))
    unknown = 0
    cap = memory if can_cap_memory() else None
    for outcome in engine.map(owner, open_, timeout=_SECONDS, memory=cap):
        if outcome.value == "patient":
            known.add(outcome.item)
        elif outcome.value != "other":
            unknown += 1
    return {f"{SEALED}/{identifier}" for identifier in known & there}, unknown


@dataclass
class Owner:
    """Function of a quarantined item, for `Engine.map`: whose it is.

    Parameters
    ----------
    lake : LakeReference
        Where the lake and its key file lie; the worker opens them itself.
    mac : str
        Keyed digest of the patient's pseudonym.
    """

    lake: LakeReference
    mac: str
    _cache: dict[str, tuple[Lake, Pseudonymiser]] = field(default_factory=dict, repr=False)

    def __call__(self, identifier: str) -> Whose:
        """Open an item and compare its PatientID."""
        if "it" not in self._cache:
            lake = self.lake.open()
            self._cache["it"] = (lake, Pseudonymiser(lake.key))
        lake, names = self._cache["it"]
        try:
            content = lake.key.unseal(lake.objects.get(f"{SEALED}/{identifier}"), context=identifier)
        except IntegrityError:
            return "unknown"
        data = content[4 + int.from_bytes(content[:4], "big") :]
        if not looks_like_dicom(data):
            return "unknown"
        try:
            header = read_dataset(data)
        except ItemError:
            return "unknown"
        called = {patient_of(header, names, hint=None, keeps_names=keeps) for keeps in (True, False)}
        found = {patient_mac(lake, one) for one in called if one is not None}
        return "patient" if self.mac in found else "other" if found else "unknown"

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_cache": {}}
