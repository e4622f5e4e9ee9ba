"""What else goes along when a lake is re-keyed: labels, findings, quarantine and cohorts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime

from voxlake.core.errors import IntegrityError, NotFoundError
from voxlake.lake.cohorts import Member, members_identifier
from voxlake.lake.lake import Lake
from voxlake.lake.quarantine import quarantine_id
from voxlake.lake.recorder import Recorder
from voxlake.lake.rekey_names import Names
from voxlake.lake.rekey_objects import new_mac
from voxlake.lake.series import MEMBERS_DIGEST
from voxlake.lake.withdrawals import patient_mac, withdrawn_macs

__all__ = ["carry_cohorts", "carry_quarantine", "carry_subjects", "carry_withdrawals"]

_ROWS_AT_ONCE = 5000
_OF_A_RUN = ("run_id", "committed_at")


def carry_subjects(old: Lake, new: Lake, recorder: Recorder, table: str) -> int:
    """Carry `labels` or `findings`; returns how many are new."""
    level = "level" if table == "labels" else "subject_level"
    names = Names(old, new)
    count = 0
    rows = old.sql(f"select * exclude ({', '.join(_OF_A_RUN)}) from {table} order by subject").arrow()
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        part = rows.slice(start, _ROWS_AT_ONCE).to_pylist()
        names.learn(row["subject"] for row in part)
        carried = [{**row, "subject": names.subject(row[level], row["subject"])} for row in part]
        if table == "findings":
            carried = [{**row, "detail": names.text(row["detail"])} for row in carried]
        count += recorder.add_missing(table, carried)
        recorder.commit()
    return count


def carry_quarantine(old: Lake, new: Lake, recorder: Recorder, *, settled: bool) -> None:
    """Seal what is in quarantine again, for the new lake; each is an item of the run.

    Parameters
    ----------
    old, new : Lake
        The lakes.
    recorder : Recorder
        The run.
    settled : bool
        Carry what was stored after it had been refused, or all else. By the order of commits a lake tells
        the two apart, so the first go before the objects and the others after them.
    """
    names = Names(old, new)
    join = "semi join" if settled else "anti join"
    rows = old.sql(
        f"select quarantine.* from quarantine {join} instances "
        "on quarantine.source_mac = instances.source_mac "
        "and quarantine.committed_at <= instances.committed_at order by quarantine_id"
    )
    for row in rows.dicts():
        recorder.saw()
        identifier = row["quarantine_id"]
        try:
            content = old.key.unseal(old.objects.get(f"quarantine/{identifier}"), context=identifier)
        except (IntegrityError, NotFoundError):
            item = new.key.generations[-1].mac("quarantine", identifier.encode()).hex()[:32]
            detail = "the sealed object is gone, changed, or another key's"
            recorder.outcome(item, "failed", reason="unsealable", detail=detail)
            continue
        mac = None if row["source_mac"] is None else new_mac(new, row["source_mac"])
        size = int.from_bytes(content[:4], "big")
        name = str(json.loads(content[4 : 4 + size])["name"])
        renamed = quarantine_id(new, name, mac, row["policy_digest"], row["reason"])
        if new.lookup.quarantined([renamed]):
            recorder.outcome(renamed, "already")
            continue
        new.objects.put(f"quarantine/{renamed}", new.key.seal(content, context=renamed))
        carried = {key: value for key, value in row.items() if key not in _OF_A_RUN}
        changes = {"quarantine_id": renamed, "source_mac": mac, "detail": names.text(row["detail"])}
        recorder.add("quarantine", [{**carried, **changes}])
        recorder.outcome(renamed, "stored")
        recorder.commit_if_due()
    recorder.commit()


def carry_cohorts(old: Lake, new: Lake, recorder: Recorder, frozen_at: datetime) -> int:
    """Carry the cohorts that were frozen at a moment; returns how many are new.

    Of the objects, those that were stored up to then must have been carried, and no others.
    """
    names = Names(old, new)
    there = set(new.sql("select name, version from cohorts").rows())
    versions = json.dumps(new.tables.versions(), sort_keys=True)
    count = 0
    found = old.sql(
        "select * from cohorts where committed_at = $at order by name, version", {"at": frozen_at}
    )
    for cohort in found.dicts():
        if (cohort["name"], cohort["version"]) in there:
            continue
        rows = old.sql(
            "select series_instance_uid, study_instance_uid, patient_id, members_digest from cohort_members "
            "where cohort_id = $id",
            {"id": cohort["cohort_id"]},
        ).rows()
        members = [Member(*row) for row in rows]
        names.learn(uid for one in members for uid in (one.series_instance_uid, one.study_instance_uid))
        carried = sorted(_members(old, new, names, members, frozen_at), key=lambda m: m.series_instance_uid)
        changes = {
            "cohort_id": members_identifier(carried),
            "condition": names.condition(cohort["condition"]),
            "table_versions": versions,
        }
        recorder.add(
            "cohort_members", [{"cohort_id": changes["cohort_id"], **vars(member)} for member in carried]
        )
        kept = {key: value for key, value in cohort.items() if key not in _OF_A_RUN}
        recorder.add("cohorts", [{**kept, **changes}])
        count += 1
    recorder.commit()
    return count


def carry_withdrawals(old: Lake, new: Lake, recorder: Recorder) -> int:
    """Carry who has withdrawn and is still in the lake; of the erased nothing is left to carry."""
    names = Names(old, new)
    there = withdrawn_macs(new)
    rows = []
    for row in old.sql("select * from withdrawals where patient_id is not null order by patient_mac").dicts():
        patient = names.patient(row["patient_id"])
        if patient is not None and patient_mac(new, patient) not in there:
            rows.append(
                {"patient_mac": patient_mac(new, patient), "patient_id": patient, "reason": row["reason"]}
            )
    recorder.add("withdrawals", rows)
    return len(rows)


def _members(
    old: Lake, new: Lake, names: Names, members: Sequence[Member], frozen_at: datetime
) -> Iterator[Member]:
    renamed = {one.series_instance_uid: names.uid(one.series_instance_uid) for one in members}
    before = _series(old, list(renamed), frozen_at)
    after = _series(new, list(renamed.values()), None)
    pairs = {
        (uid, digest): after[renamed[uid], policy][0]
        for (uid, policy), (digest, count) in before.items()
        # With objects missing it is not the series that was frozen.
        if after.get((renamed[uid], policy), ("", -1))[1] == count
    }
    for one in members:
        # What was not as its cohort froze it in the old lake gets a digest that fits nothing in the new one.
        other = new.key.generations[-1].mac("members", bytes.fromhex(one.members_digest)).hex()
        yield Member(
            renamed[one.series_instance_uid],
            names.uid(one.study_instance_uid),
            names.patient(one.patient_id),
            pairs.get((one.series_instance_uid, one.members_digest), other),
        )


def _series(
    lake: Lake, uids: list[str], frozen_at: datetime | None
) -> dict[tuple[str, str], tuple[str, int]]:
    """Digest and size of series, by series and policy, of what had been stored at a moment."""
    found = lake.sql(
        f"select series_instance_uid, policy_digest, {MEMBERS_DIGEST}, count(*) from instances "
        "where series_instance_uid in (select unnest($uids)) "
        "and ($at is null or committed_at <= $at) group by 1, 2",
        {"uids": uids, "at": frozen_at},
    )
    return {(uid, policy): (digest, count) for uid, policy, digest, count in found.rows()}
