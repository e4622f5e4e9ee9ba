"""The verb keys rekey: a new lake with other pseudonyms, UIDs and dates, made without the originals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from voxlake.core.errors import KeyMismatchError, NotFoundError, UsageError
from voxlake.core.run import Run
from voxlake.engine.contract import Engine
from voxlake.engine.open import using_engine
from voxlake.engine.progress import progress_bar
from voxlake.lake.deidentifications import carry_shapes
from voxlake.lake.grouped import Lost, map_groups
from voxlake.lake.lake import Lake, make_lake, open_lake
from voxlake.lake.policies import stored_policies
from voxlake.lake.recorder import Recorder, start_run
from voxlake.lake.rekey_objects import RekeyObjects, new_mac
from voxlake.lake.rekey_rows import carry_cohorts, carry_quarantine, carry_subjects, carry_withdrawals
from voxlake.lake.series import refresh_series
from voxlake.store.keys import LakeKey
from voxlake.store.schema import TABLES

__all__ = ["keys_rekey"]

_GROUP_FILES = 64
_GROUP_BYTES = 64 * 2**20
# What is asked of the tables at a time; a pack holds at most a group of files.
_PACKS = 128
_NOT_CARRIED = (
    "volumes, masks, features, embeddings, models, predictions, scores and associations; make them again "
    "with prepare, segment, measure, embed, train, mine, predict, evaluate"
)
_LEFT_OUT = {"tags", "run_id", "committed_at"}
_COLUMNS = ", ".join(f'"{one.name}"' for one in TABLES["instances"].columns if one.name not in _LEFT_OUT)


def keys_rekey(  # noqa: PLR0913 - each option of the command is a parameter
    lake: Lake,
    new_lake: str | Path,
    *,
    new_key: str | Path | None = None,
    engine: str | Engine | None = None,
    workers: int | None = None,
    timeout: float = 60.0,
    memory: int = 4 * 2**30,
    progress: bool | None = None,
    metrics: str | Path | None = None,
) -> Run:
    """Make a new lake with other pseudonyms, UIDs and dates, without the original images.

    For a lake whose key was disclosed, or whose recipient must not be able to link it to this one. The new
    key has all that the old one has and one generation more, so that what came in before is recognised, and
    new images of known patients get the pseudonyms of the new lake. Run it again at any time: it brings over
    what is missing. What was made of the images (volumes, masks, features, embeddings, models and all that
    these say) is not brought over; it is made again.

    Parameters
    ----------
    lake : Lake
        The lake, with its key. It is only read.
    new_lake : path
        Folder of the new lake; it is made if it is not there.
    new_key : path, optional
        Key file of the new lake, made if it is not there; by default in the usual place.
    engine : str, optional
        ``"serial"`` or ``"processes:N"``; by default a process for each core.
    workers : int, optional
        How many processes the default engine has.
    timeout : float
        Seconds that one object may take.
    memory : int
        Bytes that one worker may take.
    progress : bool, optional
        Whether to show a progress bar; by default only on a terminal.
    metrics : path, optional
        File that says how the run goes, for Prometheus; written every few seconds.

    Returns
    -------
    Run
        Recorded in the new lake. Items are stored objects and quarantined ones: seen = stored + already
        there + failed.

    Raises
    ------
    UsageError
        Objects are stored under policy ``none``, or the new lake or its key belongs to something else.
    KeyMismatchError
        This machine does not have the key of one of the lakes.

    Examples
    --------
    >>> keys_rekey(lake, "./new-lake")  # doctest: +SKIP
    """
    policies = stored_policies(lake)
    if lake.policy.profile == "none" or any(policy.profile == "none" for policy in policies.values()):
        raise UsageError(
            "this lake takes or took objects in under policy 'none', with the identifiers of the hospital, "
            "which no key can change. Ingest the originals into a new lake, under another policy"
        )
    new = _open_new(lake, new_lake, new_key)
    new.lookup.sync(new.tables)
    arguments: dict[str, Any] = {
        "key_fingerprint": new.key.fingerprint,
        "policies": {digest: policy.model_dump(mode="json") for digest, policy in policies.items()},
    }
    with start_run(new, "keys rekey", arguments, metrics=metrics) as recorder:
        worker = RekeyObjects(lake.reference, new.reference, policies)
        ((total,),) = lake.sql("select count(*) from instances").rows()
        with (
            using_engine(engine, workers) as pool,
            progress_bar("keys rekey", total, enabled=progress, counts=recorder.counts) as bar,
        ):
            recorder.facts.workers = pool.workers
            carry_shapes(lake, new, recorder)
            carry_quarantine(lake, new, recorder, settled=True)
            cohorts = 0
            for after, until in _spans(lake):
                for rows in _rows(lake, after, until):
                    wanted = _missing(new, recorder, rows)
                    groups = list(_groups(wanted))
                    results = map_groups(pool, worker, groups, timeout=timeout, memory=memory)
                    for group, moved in zip(groups, results, strict=True):
                        _admit(new, recorder, group, moved)
                    recorder.commit_if_due()
                    recorder.facts.bytes += sum(row["length"] for row in wanted)
                    bar.advance(len(rows))
                recorder.commit()
                if until is not None:
                    cohorts += carry_cohorts(lake, new, recorder, until)
        recorder.result["series"] = refresh_series(new, recorder)
        for table in ("labels", "findings"):
            recorder.result[table] = carry_subjects(lake, new, recorder, table)
        recorder.result["withdrawals"] = carry_withdrawals(lake, new, recorder)
        carry_quarantine(lake, new, recorder, settled=False)
        recorder.result |= {
            "cohorts": cohorts,
            "key_fingerprint": new.key.fingerprint,
            "not_carried": _NOT_CARRIED,
        }
    return recorder.run


def _open_new(lake: Lake, url: str | Path, new_key: str | Path | None) -> Lake:
    key = None if new_key is None else Path(new_key).expanduser()
    wrong = UsageError(
        "the key of the new lake does not continue the key of this one: expected its generations and one "
        "more; name another file with --new-key, or leave it out and a right one is made"
    )
    try:
        new = open_lake(url, key=key, create=False)
    except NotFoundError:
        if key is not None and key.is_file() and not LakeKey.from_file(key).follows(lake.key):
            raise wrong from None
        make_lake(url, key=key, policy=lake.policy, new_key=lake.key.with_generation)
        new = open_lake(url, key=key, create=False)
    if new.settings.lake_id == lake.settings.lake_id:
        raise UsageError("the new lake is the old one; name another folder")
    try:
        follows = new.key.follows(lake.key)
    except KeyMismatchError:
        raise wrong from None
    if not follows:
        raise wrong
    return new


def _spans(lake: Lake) -> Iterator[tuple[datetime | None, datetime | None]]:
    """The time of the old lake, cut where cohorts were frozen: in each the new lake must hold the same."""
    frozen = [row[0] for row in lake.sql("select distinct committed_at from cohorts order by 1").rows()]
    yield from pairwise((None, *frozen, None))


def _rows(lake: Lake, after: datetime | None, until: datetime | None) -> Iterator[list[dict[str, Any]]]:
    span = "($after is null or committed_at > $after) and ($until is null or committed_at <= $until)"
    values = {"after": after, "until": until}
    found = lake.sql(f"select distinct pack from instances where {span} order by pack", values)
    packs = [row[0] for row in found.rows()]
    for start in range(0, len(packs), _PACKS):
        yield lake.sql(
            f"select {_COLUMNS} from instances where {span} and pack in (select unnest($packs)) "
            'order by pack, "offset"',
            {**values, "packs": packs[start : start + _PACKS]},
        ).dicts()


def _missing(new: Lake, recorder: Recorder, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    recorder.saw(len(rows))
    keys = [(new_mac(new, row["source_mac"]), row["policy_digest"]) for row in rows]
    known = new.lookup.known(keys)
    for key in keys:
        if key in known:
            recorder.outcome(_item(key[0]), "already")
    return [row for row, key in zip(rows, keys, strict=True) if key not in known]


def _groups(rows: Sequence[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], ...]]:
    group: list[dict[str, Any]] = []
    for row in rows:
        # Groups do not cross packs, so that a pack of one series becomes a pack of one series.
        full = len(group) >= _GROUP_FILES or sum(one["length"] for one in group) >= _GROUP_BYTES
        if group and (full or row["pack"] != group[-1]["pack"]):
            yield tuple(group)
            group = []
        group.append(row)
    if group:
        yield tuple(group)


def _admit(new: Lake, recorder: Recorder, group: Sequence[Mapping[str, Any]], moved: Sequence[Any]) -> None:
    for old, one in zip(group, moved, strict=True):
        item = _item(new_mac(new, old["source_mac"]))
        if isinstance(one, Lost):
            failure = one.failure
            recorder.outcome(
                item, "failed", reason=failure.reason, detail=failure.message, attempts=one.attempts
            )
        elif one.row is None:
            recorder.outcome(item, "failed", reason=one.reason, detail=one.detail)
        else:
            recorder.add("instances", [one.row])
            recorder.outcome(item, "stored")


def _item(mac: str) -> str:
    return mac[:32]
