"""The driver's decision on every item: new, already there, or in conflict with what is there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from voxlake.core.digest import short
from voxlake.core.errors import ItemError
from voxlake.lake.deidentifications import ShapeRecord
from voxlake.lake.lake import Lake
from voxlake.lake.quarantine import CONFLICT, quarantined
from voxlake.lake.recorder import Recorder
from voxlake.lake.taken import Taken
from voxlake.sources.item import Item

__all__ = ["Admission"]


class Admission:
    """Admits items in source order, so that the same input gives the same lake.

    Parameters
    ----------
    lake : Lake
        The lake; its lookup knows what is committed.
    recorder : Recorder
        The run.
    policy_digest : str
        Policy under which the items come in.

    Attributes
    ----------
    waived : Counter
        How many instances were stored under a waiver, by the rule on pixels that it waives.
    """

    def __init__(self, lake: Lake, recorder: Recorder, policy_digest: str) -> None:
        self.lake = lake
        self.recorder = recorder
        self.policy_digest = policy_digest
        self.waived: Counter[str] = Counter()
        self._shapes = ShapeRecord(lake, recorder)
        # What this run has admitted since the last commit.
        self._pending: dict[str, Mapping[str, Any]] = {}
        self._uids: dict[str, str] = {}
        self._labels: list[dict[str, Any]] = []
        self._findings: list[dict[str, Any]] = []

    def admit(self, items: Sequence[Item], taken: Sequence[Taken], labels_digest: str | None) -> None:
        """Decide on the items of a window and add their rows.

        Parameters
        ----------
        items, taken : sequence
            In source order.
        labels_digest : str or None
            What the labels come from: a mapping, or the settings of phantoms.
        """
        macs = {one.source_mac for one in taken if one.source_mac is not None}
        here = {mac for mac, _ in self.lake.lookup.known([(mac, self.policy_digest) for mac in macs])}
        rows = self._rows(here, taken)
        uids = [one.row["sop_instance_uid"] for one in taken if one.row is not None]
        stored = self.lake.lookup.conflicts(uids)
        sealed = self._sealed(taken)
        self._shapes.meet(taken)
        for item, one in zip(items, taken, strict=True):
            if one.outcome == "new":
                self._new(item, one, here, stored, rows)
            elif one.outcome == "already":
                self._already(one, rows)
            else:
                self._refused(one, sealed)
        source = None if labels_digest is None else short(labels_digest)
        self.recorder.add_missing("labels", [{**row, "source": source} for row in self._labels])
        self.recorder.add_missing("findings", self._findings)
        self._labels, self._findings = [], []
        if self.recorder.commit_if_due():
            self.lake.lookup.sync(self.lake.tables)
            self._pending.clear()
            self._uids.clear()

    def _rows(self, here: set[str], taken: Sequence[Taken]) -> dict[str, Mapping[str, Any]]:
        """Rows of items that are already there and of which something new may be said."""
        asked = {one.source_mac for one in taken if one.labels or one.patient is not None} & here
        if not asked:
            return {}
        found = self.lake.sql(
            "select source_mac, sop_instance_uid, patient_id from instances "
            "where policy_digest = $policy and source_mac in (select unnest($macs))",
            {"policy": self.policy_digest, "macs": sorted(asked)},
        )
        return {row["source_mac"]: row for row in found.dicts()}

    def _new(
        self,
        item: Item,
        one: Taken,
        here: set[str],
        stored: Mapping[str, Iterable[str]],
        rows: Mapping[str, Mapping[str, Any]],
    ) -> None:
        row = one.row
        if row is None or one.source_mac is None:
            raise RuntimeError("a new item comes with its row and its digest")
        mac, uid = one.source_mac, row["sop_instance_uid"]
        if mac in here or mac in self._pending:
            self._already(one, rows)
            return
        others = set(stored.get(uid, ())) | ({self._uids[uid]} if uid in self._uids else set())
        if others and mac not in others:
            self._conflict(item, one, uid)
            return
        self._pending[mac], self._uids[uid] = row, mac
        self._shapes.admit(row["deidentification"])
        self.recorder.add("instances", [row])
        self.waived.update(one.waived)
        self._label(one, row)
        if row["patient_id"] is None:
            self._finding(
                "missing_patient_id",
                "study",
                row["study_instance_uid"],
                "no PatientID: the study is the group",
            )
        self.recorder.outcome(one.item, "stored", attempts=one.attempts, seconds=one.seconds)

    def _already(self, one: Taken, rows: Mapping[str, Mapping[str, Any]]) -> None:
        mac = one.source_mac or ""
        row = rows.get(mac) or self._pending.get(mac)
        if row is not None:
            self._label(one, row)
        if row is not None and one.patient is not None and row["patient_id"] != one.patient:
            self._finding(
                "same_bytes_other_patient",
                "instance",
                row["sop_instance_uid"],
                f"the same bytes also came in as patient {one.patient}; they stay with {row['patient_id']}",
                severity="error",
            )
        self.recorder.outcome(one.item, "already", attempts=one.attempts, seconds=one.seconds)

    def _conflict(self, item: Item, one: Taken, uid: str) -> None:
        detail = f"SOPInstanceUID {uid} is already stored with other content"
        data = None
        try:
            data = item.read(2**62)
        except ItemError as error:
            # The file went away since the worker read it; the run goes on and the row says so.
            detail = f"{detail}; its bytes could not be read again ({error.reason})"
        row = quarantined(
            self.lake,
            item.name,
            data,
            mac=one.source_mac,
            policy_digest=self.policy_digest,
            reason=CONFLICT,
            detail=detail,
        )
        refused = Taken(
            one.item,
            "quarantined",
            one.source_mac,
            quarantine=row,
            reason=CONFLICT,
            detail=detail,
            seconds=one.seconds,
        )
        self._refused(refused, self.lake.lookup.quarantined([row["quarantine_id"]]))

    def _refused(self, one: Taken, sealed: set[str]) -> None:
        if one.quarantine is not None and one.quarantine["quarantine_id"] not in sealed:
            self.recorder.add("quarantine", [one.quarantine])
        self.recorder.outcome(
            one.item,
            one.outcome,
            reason=one.reason,
            detail=one.detail,
            attempts=one.attempts,
            seconds=one.seconds,
        )

    def _sealed(self, taken: Sequence[Taken]) -> set[str]:
        names = [str(one.quarantine["quarantine_id"]) for one in taken if one.quarantine is not None]
        return self.lake.lookup.quarantined(names)

    def _label(self, one: Taken, row: Mapping[str, Any]) -> None:
        subject = {"level": "instance", "subject": row["sop_instance_uid"], "reader": "mapping"}
        self._labels += [{**subject, "name": name, "value": value} for name, value in one.labels]

    def _finding(
        self, rule: str, level: str, subject: str, detail: str, *, severity: str = "warning"
    ) -> None:
        self._findings.append(
            {
                "rule": rule,
                "severity": severity,
                "subject_level": level,
                "subject": subject,
                "detail": detail,
            }
        )
