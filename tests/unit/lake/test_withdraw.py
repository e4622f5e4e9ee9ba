"""Who has withdrawn is used no more: in no cohort, old or new, and nothing of the patient comes in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

from voxlake.core.errors import NotFoundError, UsageError
from voxlake.lake.cohorts import cohort_show, select
from voxlake.lake.ingest import ingest
from voxlake.lake.label import label
from voxlake.lake.lake import Lake, open_lake
from voxlake.lake.rekey import keys_rekey
from voxlake.lake.withdrawals import withdraw
from voxlake.sources.phantoms import Phantoms
from voxlake.volumes.prepare import prepare
from voxlake.volumes.read import iter_volumes

SMALL = Phantoms(patients=3, slices=8, rows=16, columns=16, second_study=0.0)
MORE = Phantoms(patients=3, slices=9, rows=16, columns=16, second_study=0.0)


@pytest.fixture
def filled(lake_ingested: Callable[[int], Path], lake_copy: Callable[[Path], Lake]) -> Lake:
    """Three patients."""
    return lake_copy(lake_ingested(3))


def first_patient(lake: Lake) -> str:
    return str(lake.sql("select min(patient_id) from series").rows()[0][0])


def test_cohorts_leave_the_patient_out(filled: Lake, tmp_path: Path) -> None:
    cohort = select(filled, "all")
    (tmp_path / "plan.toml").write_text('[[steps]]\nstep = "clip"\nlow = -1000\n')
    prepare(cohort, plan=tmp_path / "plan.toml", engine="serial")
    assert len(list(iter_volumes(cohort))) == 3
    who = first_patient(filled)
    run = withdraw(filled, who, reason="consent_revoked")
    assert run.counts == {"seen": 1, "stored": 1}
    assert (run.result["series"], run.result["cohorts"]) == (1, ["all@1"])
    assert len(cohort.members()) == 2
    assert [member.patient_id for member in cohort.withdrawn()] == [who]
    assert len(list(iter_volumes(cohort))) == 2
    shown = cohort_show(filled, "all")
    assert (shown["series"], shown["withdrawn"], shown["erased"]) == (3, 1, 0)
    assert shown["modalities"] == [{"modality": "CT", "series": 2}]
    assert filled.sql("select count(*) from cohort_all").rows() == [(2,)]
    again = prepare(cohort, plan=tmp_path / "plan.toml", engine="serial")
    assert again.counts == {"seen": 3, "already": 2, "rejected": 1}
    assert again.reasons == {"patient_withdrawn": 1}
    assert select(filled, "all").series == 2
    assert withdraw(filled, who).counts == {"seen": 1, "already": 1}


def test_nothing_more_comes_in(filled: Lake, tmp_path: Path) -> None:
    original = tmp_path / "x.dcm"
    original.write_bytes(next(iter(SMALL)).read(2**30))
    name = str(pydicom.dcmread(original).PatientID)
    run = withdraw(filled, name, original=True)
    assert run.result["series"] == 1
    assert name not in filled.sql("select * from runs").df().to_csv()
    taken = ingest(filled, MORE, engine="serial")
    assert taken.counts["rejected"] == 9
    assert taken.reasons["patient_withdrawn"] == 9
    table = tmp_path / "labels.csv"
    table.write_text(f"patient,grade\n{name},high\n")
    assert label(filled, table, level="patient").reasons == {"patient_withdrawn": 1}


def test_withdrawals_go_along_to_a_new_key(filled: Lake, tmp_path: Path) -> None:
    withdraw(filled, first_patient(filled), reason="consent_revoked")
    keys_rekey(filled, tmp_path / "new", new_key=tmp_path / "new.key", engine="serial")
    new = open_lake(tmp_path / "new", key=tmp_path / "new.key")
    assert new.sql("select reason, patient_id is not null from withdrawals").rows() == [
        ("consent_revoked", True)
    ]
    assert select(new, "all").series == 2


def test_mistakes(filled: Lake) -> None:
    with pytest.raises(NotFoundError, match="--original"):
        withdraw(filled, "P-AAAAAAAAAAAAA")
    with pytest.raises(NotFoundError) as caught:
        withdraw(filled, "4711", original=True)
    assert "4711" not in str(caught.value)
    with pytest.raises(UsageError, match="empty"):
        withdraw(filled, " ")
