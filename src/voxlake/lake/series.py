"""The tables of series and of their stacks: what the instances of a series add up to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from voxlake.core.digest import digest_bytes
from voxlake.dicom.stacks import Stack, series_verdict, split
from voxlake.lake.lake import Lake
from voxlake.lake.recorder import Recorder
from voxlake.store.schema import TABLES

__all__ = ["MEMBERS_DIGEST", "members_digest", "refresh_series"]

# Order does not matter, so that the digest is the same whichever way the files came in.
MEMBERS_DIGEST = "sha256(string_agg(sha256, '' order by sha256))"

_STALE = f"""
with now as (
    select series_instance_uid, policy_digest, {MEMBERS_DIGEST} as members_digest,
           max(committed_at) as newest
    from instances group by all
),
latest as (
    select * from now qualify row_number() over (
        partition by series_instance_uid order by newest desc, policy_digest) = 1
)
select latest.series_instance_uid, latest.policy_digest, latest.members_digest
from latest left join series using (series_instance_uid, members_digest, policy_digest)
where series.series_instance_uid is null
order by 1
"""

_SERIES_AT_A_TIME = 500
# Of these the first instance that has a value speaks for the series.
_SHARED = tuple(
    column.name
    for column in TABLES["series"].columns
    if column.name in {inner.name for inner in TABLES["instances"].columns}
    and column.name not in {"series_instance_uid", "policy_digest", "run_id", "committed_at"}
)
_HEAVY = {"tags"}
_COLUMNS = ", ".join(column.name for column in TABLES["instances"].columns if column.name not in _HEAVY)


def members_digest(digests: Iterable[str]) -> str:
    """Digest over the stored bytes of the instances of a series, whatever their order."""
    return digest_bytes("".join(sorted(digests)).encode())


def refresh_series(lake: Lake, recorder: Recorder) -> int:
    """Add a row for every series that is new or has grown; returns how many.

    What is missing is found by comparing the tables, so a run that was killed before it came here is
    made good by the next.
    """
    stale = lake.sql(_STALE).rows()
    for start in range(0, len(stale), _SERIES_AT_A_TIME):
        part = stale[start : start + _SERIES_AT_A_TIME]
        digests = {(uid, policy): digest for uid, policy, digest in part}
        for uid, policy, members in _members(lake, [uid for uid, _, _ in part]):
            if (uid, policy) in digests:
                digest, stacks = digests[uid, policy], split(members)
                # The stacks first: where a series has its row, its stacks are there.
                recorder.add("stacks", [_stack_row(digest, members, stack) for stack in stacks])
                recorder.add("series", [_row(uid, policy, digest, members, stacks)])
        recorder.commit_if_due()
    recorder.commit()
    return len(stale)


def _members(lake: Lake, uids: Sequence[str]) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    rows = lake.sql(
        f"select {_quoted()} from instances where series_instance_uid in (select unnest($uids)) "
        "order by series_instance_uid, policy_digest, instance_number, sop_instance_uid",
        {"uids": list(uids)},
    ).dicts()
    for (uid, policy), group in groupby(
        rows, key=lambda row: (row["series_instance_uid"], row["policy_digest"])
    ):
        yield uid, policy, list(group)


def _quoted() -> str:
    return ", ".join(f'"{name.strip()}"' for name in _COLUMNS.split(","))


def _row(
    uid: str, policy: str, digest: str, members: Sequence[Mapping[str, Any]], stacks: Sequence[Stack]
) -> dict[str, Any]:
    verdict = series_verdict(stacks)
    shared = {
        name: next((member[name] for member in members if member[name] is not None), None) for name in _SHARED
    }
    with_pixels = [member for member in members if member["pixel_offset"] is not None]
    return {
        **shared,
        "series_instance_uid": uid,
        "policy_digest": policy,
        "members_digest": digest,
        "instances": len(members),
        "images": sum(member["number_of_frames"] or 1 for member in with_pixels),
        "slices": verdict.slices,
        "stacks": len(stacks),
        "geometry": verdict.kind,
        "geometry_note": verdict.note,
        "spacing": None if verdict.spacing is None else list(verdict.spacing),
        "bytes": sum(member["length"] for member in members),
    }


def _stack_row(digest: str, members: Sequence[Mapping[str, Any]], stack: Stack) -> dict[str, Any]:
    verdict = stack.verdict
    return {
        "series_instance_uid": members[0]["series_instance_uid"],
        "policy_digest": members[0]["policy_digest"],
        "members_digest": digest,
        "stack": stack.number,
        "patient_id": members[0]["patient_id"],
        "label": json.dumps(dict(stack.label)),
        "geometry": verdict.kind,
        "geometry_note": verdict.note,
        "slices": verdict.slices,
        "spacing": None if verdict.spacing is None else list(verdict.spacing),
        "grid": None if verdict.grid is None else json.dumps(verdict.grid.to_dict()),
        "sop_instance_uids": [members[instance]["sop_instance_uid"] for instance, _ in verdict.order],
        "frames": [frame for _, frame in verdict.order],
    }
