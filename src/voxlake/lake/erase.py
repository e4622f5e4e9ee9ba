"""The verb erase: everything of one patient goes, and a receipt says what."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from voxlake.core.errors import UsageError
from voxlake.core.run import Run
from voxlake.engine.contract import Engine
from voxlake.engine.open import using_engine
from voxlake.lake.erase_objects import delete_folder, delete_object, delete_unreferenced, write_moves
from voxlake.lake.erase_plan import Plan, drop_plan, load_plan, make_plan, save_plan
from voxlake.lake.erase_rows import Removal
from voxlake.lake.lake import Lake
from voxlake.lake.receipts import object_mac, write_receipt
from voxlake.lake.recorder import Recorder, start_run
from voxlake.lake.series import refresh_series
from voxlake.lake.withdrawals import find_patient, patient_mac, withdrawal_of
from voxlake.store.rewrite import forget_history, rewrite_table

__all__ = ["erase"]


def erase(
    lake: Lake,
    patient: str,
    *,
    yes: bool = False,
    original: bool = False,
    reason: str = "withdrawn",
    engine: str | Engine | None = None,
    workers: int | None = None,
    memory: int = 4 * 2**30,
) -> Run:
    """Delete everything of a patient from the lake and its history, and write a receipt.

    Objects, tables with all earlier versions, prepared arrays, labels, findings, predictions, items in
    quarantine and reports. Mined models that were fitted, chosen or tested on the patient go whole, with all
    that they said; `mine` makes them again from what is left. Networks are not changed; those that the
    patient had a part in are listed. What is shared with others is written anew without the patient. Further
    files of the patient are rejected.

    It cannot be taken back. Let nothing else write to the lake meanwhile. It may be stopped at any moment:
    run it again and it goes on where it was.

    Parameters
    ----------
    lake : Lake
        The lake, with its key.
    patient : str
        Pseudonym of the patient in this lake.
    yes : bool
        Needed to do it; without it, an error says what would go.
    original : bool
        The patient is given as the hospital writes the PatientID, which is never stored.
    reason : str
        A code of your own, for example ``"consent_revoked"``. No names: it is stored in the clear.
    engine : str, optional
        Where items in quarantine are opened to see whose they are; by default a process of its own.
    workers : int, optional
        How many processes the default engine has.
    memory : int
        Bytes that one worker may take.

    Returns
    -------
    Run
        ``result["receipt"]`` is the identifier of the receipt, ``result["models"]`` lists the models that
        stay, ``result["deleted_models"]`` those that went.

    Raises
    ------
    NotFoundError
        The lake holds nothing of such a patient.
    UsageError
        `yes` is missing.
    LakeError
        Another process wrote to the lake at the same time.
    KeyMismatchError
        This machine does not have the key of the lake.

    Examples
    --------
    >>> erase(lake, "P-7KQ2M5XH4TRAB", yes=True)  # doctest: +SKIP
    """
    lake.reload_key()
    who = find_patient(lake, patient, original=original)
    mac = patient_mac(lake, who)
    plan = load_plan(lake, mac)
    begun = plan is not None
    if plan is None:
        with using_engine(engine, 1 if engine is None and workers is None else workers) as pool:
            plan = make_plan(lake, who, mac, reason, pool, memory)
    if not yes:
        raise UsageError(f"erase cannot be taken back; it would delete {_said(plan)}. Do it with --yes")
    known = withdrawal_of(lake, mac)
    earlier = None if known is None or known["erased_at"] is None else str(known["receipt"])
    with start_run(lake, "erase", {"patient_mac": mac, "reason": plan.reason}) as recorder:
        recorder.saw()
        if earlier is not None and not begun and not _anything(plan):
            recorder.outcome(mac, "already")
            recorder.result |= {"patient_mac": mac, "receipt": earlier}
        else:
            if not begun:
                save_plan(lake, plan)
            recorder.result |= _carry_out(lake, recorder, plan) | {"finished_an_earlier_one": begun}
            recorder.outcome(mac, "stored")
    return recorder.run


def _carry_out(lake: Lake, recorder: Recorder, plan: Plan) -> dict[str, Any]:
    _mark(lake, recorder, plan)
    macs = sorted({object_mac(lake, digest) for digest in plan.names.contents if _is_digest(digest)})
    moves = write_moves(lake, plan)
    for table in plan.tables:
        rewrite_table(lake.tables, table, Removal(table, plan.names, moves, plan.deleted_models))
    for table in plan.tables:
        forget_history(lake.tables, table)
    _delete(lake, plan)
    _forget_caches(lake)
    series = refresh_series(lake, recorder)
    content = {
        "receipt": plan.receipt,
        "lake_id": lake.settings.lake_id,
        "key_fingerprint": lake.key.fingerprint,
        "patient_mac": plan.mac,
        "reason": plan.reason,
        "began_at": plan.began_at,
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "run_id": recorder.run_id,
        "rows": {table: plan.rows[table] for table in plan.tables},
        "objects": {
            "packs": len(plan.packs),
            "arrays": len(plan.arrays),
            "quarantined": len(plan.quarantine),
            "reports": len(plan.reports),
            "model_files": len(plan.model_files),
            "bytes": plan.bytes,
        },
        "erased": macs,
        "models": _listed(plan, deleted=False),
        "deleted_models": _listed(plan, deleted=True),
        "remaining": {
            "files_in_place": len(plan.in_place),
            "quarantined_of_unknown_patients": plan.unknown,
            "identifiers_shared_with_others": plan.names.shared,
        },
        "series_of_others_made_anew": series,
    }
    write_receipt(lake, content, plan.in_place)
    drop_plan(lake, plan.mac)
    shown = ("patient_mac", "receipt", "rows", "objects", "models", "deleted_models", "remaining")
    return {name: content[name] for name in shown}


def _mark(lake: Lake, recorder: Recorder, plan: Plan) -> None:
    """Say first that the patient is erased: whatever happens next, nothing of the patient comes in again."""
    known = withdrawal_of(lake, plan.mac)
    if known is None or known["receipt"] != plan.receipt:
        row = {"patient_mac": plan.mac, "patient_id": None, "reason": plan.reason, "receipt": plan.receipt}
        recorder.add("withdrawals", [{**row, "erased_at": datetime.fromisoformat(plan.began_at)}])
        recorder.commit()


def _delete(lake: Lake, plan: Plan) -> None:
    for path in (*plan.quarantine, *plan.reports):
        delete_object(lake, path)
    for model in sorted(plan.deleted_models):
        delete_folder(lake, f"models/{model}")
    # The packs and arrays of the plan are named by no row any more, unless others need them as they are.
    delete_unreferenced(lake)


def _forget_caches(lake: Lake) -> None:
    """Delete what this machine remembers of the lake; it is made anew when it is needed."""
    lake.tables.repeated_rows.clear()
    shutil.rmtree(lake.cache, ignore_errors=True)


def _anything(plan: Plan) -> bool:
    return bool(plan.rows or plan.quarantine or plan.reports or plan.deleted_models)


def _listed(plan: Plan, *, deleted: bool) -> list[dict[str, Any]]:
    return [
        {"model_id": one.model_id, "task": one.task, "parts": list(one.parts)}
        for one in plan.models
        if one.deleted == deleted
    ]


def _is_digest(name: str) -> bool:
    return len(name) == 64 and "." not in name


def _said(plan: Plan) -> str:
    parts: Iterable[tuple[int, str]] = (
        (plan.rows.get("instances", 0), "objects"),
        (plan.rows.get("series", 0), "series"),
        (plan.rows.get("volumes", 0), "prepared volumes"),
        (len(plan.quarantine), "items in quarantine"),
        (len(plan.reports), "files of reports"),
        (len(plan.deleted_models), "mined models with all that they said"),
    )
    counts = ", ".join(f"{count:,} {what}" for count, what in parts if count) or "rows that name the patient"
    staying = len(plan.models) - len(plan.deleted_models)
    return f"{counts}; {staying} models that the patient had a part in would stay and be listed"
