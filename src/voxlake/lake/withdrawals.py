"""Who has withdrawn: the verb withdraw, and what asks before a patient is used."""

from __future__ import annotations

from typing import Any

from voxlake.core.errors import ItemError, NotFoundError, UsageError
from voxlake.core.run import Run
from voxlake.lake.cohorts import Cohort, Member
from voxlake.lake.lake import Lake
from voxlake.lake.mined_people import is_in_mined
from voxlake.lake.recorder import Recorder, start_run
from voxlake.privacy.pseudonyms import Pseudonymiser, normalise_identifier

__all__ = [
    "WITHDRAWN",
    "account_withdrawn",
    "find_patient",
    "patient_mac",
    "patient_of",
    "refuse_withdrawn",
    "withdraw",
    "withdrawal_of",
    "withdrawn_macs",
]

WITHDRAWN = "patient_withdrawn"


def withdraw(lake: Lake, patient: str, *, original: bool = False, reason: str = "withdrawn") -> Run:
    """Mark a patient as withdrawn: from now on nothing of the patient is used or taken in.

    New cohorts leave the patient out, and so do the members of cohorts that are frozen already; prepare,
    train and predict count the series as rejected, and ingest rejects further files. Nothing is deleted: that
    is `erase`.

    Parameters
    ----------
    lake : Lake
        The lake, with its key.
    patient : str
        Pseudonym of the patient in this lake.
    original : bool
        The patient is given as the hospital writes the PatientID, which is never stored.
    reason : str
        A code of your own, for example ``"consent_revoked"``. No names: it is stored in the clear.

    Returns
    -------
    Run
        ``result`` has the number of series and the cohorts that hold the patient.

    Raises
    ------
    NotFoundError
        The lake holds nothing of such a patient.
    KeyMismatchError
        This machine does not have the key of the lake.

    Examples
    --------
    >>> withdraw(lake, "P-7KQ2M5XH4TRAB", reason="consent_revoked")  # doctest: +SKIP
    """
    who = find_patient(lake, patient, original=original)
    mac = patient_mac(lake, who)
    known = withdrawal_of(lake, mac)
    with start_run(lake, "withdraw", {"patient_mac": mac, "reason": reason}) as recorder:
        recorder.saw()
        if known is None:
            recorder.add("withdrawals", [{"patient_mac": mac, "patient_id": who, "reason": reason}])
        recorder.outcome(mac, "stored" if known is None else "already")
        recorder.result |= {
            "patient_mac": mac,
            "series": len(
                lake.sql("select 1 from series where patient_id = $patient", {"patient": who}).rows()
            ),
            "cohorts": [f"{name}@{version}" for name, version in _cohorts(lake, who)],
        }
    return recorder.run


def find_patient(lake: Lake, patient: str, *, original: bool) -> str:
    """Pseudonym of a patient of whom the lake holds something, or who has withdrawn.

    Raises
    ------
    NotFoundError
        There is nothing of such a patient; the message does not repeat an original identifier.
    UsageError
        The identifier is empty.
    """
    if not normalise_identifier(patient):
        raise UsageError("the patient is empty; give a pseudonym, or a PatientID with --original")
    who = Pseudonymiser(lake.key).patient(patient) if original else patient
    held = "select 1 from {} where patient_id = $patient limit 1"
    tables = ("instances", "series", "cohort_members", "withdrawals", "predictions", "embeddings")
    if any(lake.sql(held.format(table), {"patient": who}).rows() for table in tables):
        return who
    if withdrawal_of(lake, patient_mac(lake, who)) is not None or is_in_mined(lake, who):
        return who
    way = "" if original else "; for a PatientID of the hospital use --original"
    raise NotFoundError(f"the lake holds nothing of such a patient{way}")


def patient_mac(lake: Lake, patient: str) -> str:
    """Keyed digest (hex) of a pseudonym: what stands for a patient who is not to be named any more."""
    return lake.key.mac("withdrawal", patient.encode()).hex()[:32]


def withdrawal_of(lake: Lake, mac: str) -> dict[str, Any] | None:
    """The row of `withdrawals` of a patient; None for one who has not withdrawn."""
    rows = lake.sql("select * from withdrawals where patient_mac = $mac", {"mac": mac}).dicts()
    return rows[0] if rows else None


def withdrawn_macs(lake: Lake) -> frozenset[str]:
    """Keyed digests of all patients who have withdrawn or were erased."""
    return frozenset(row[0] for row in lake.sql("select patient_mac from withdrawals").rows())


def refuse_withdrawn(lake: Lake, withdrawn: frozenset[str], patient: str | None) -> None:
    """Refuse an item of a patient who has withdrawn.

    Raises
    ------
    ItemError
        ``patient_withdrawn``.
    """
    if withdrawn and patient is not None and patient_mac(lake, patient) in withdrawn:
        raise ItemError(WITHDRAWN, "its patient has withdrawn from this lake; it is not taken in")


def patient_of(header: Any, names: Pseudonymiser, *, hint: str | None, keeps_names: bool) -> str | None:
    """How the patient of an original DICOM object is called in the lake; None where none is named.

    Parameters
    ----------
    header : mapping by keyword
        The original data set.
    names : Pseudonymiser
        Of the lake.
    hint : str or None
        Patient that a mapping gives, which counts first.
    keeps_names : bool
        The policy is ``none``.
    """
    who = normalise_identifier(hint or "") or normalise_identifier(str(header.get("PatientID") or ""))
    if not who:
        return None
    return who if keeps_names else names.patient(who)


def account_withdrawn(cohort: Cohort, recorder: Recorder) -> list[Member]:
    """Count the series of a cohort whose patients have withdrawn as rejected; returns them."""
    left = cohort.withdrawn()
    recorder.saw(len(left))
    for member in left:
        recorder.outcome(member.series_instance_uid, "rejected", reason=WITHDRAWN)
    return left


def _cohorts(lake: Lake, patient: str) -> list[tuple[str, int]]:
    found = lake.sql(
        "select distinct name, version from cohorts join cohort_members using (cohort_id) "
        "where cohort_members.patient_id = $patient order by 1, 2",
        {"patient": patient},
    )
    return [(str(name), int(version)) for name, version in found.rows()]
