"""Erasing a patient leaves nothing behind, no row and no earlier version; others keep what they have."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from voxlake.core.errors import LakeError, NotFoundError, UsageError
from voxlake.lake.cohorts import cohort_show, get_cohort
from voxlake.lake.erase import erase
from voxlake.lake.erase_names import Names
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake
from voxlake.lake.receipts import receipt, verify_receipt
from voxlake.privacy.pseudonyms import Pseudonymiser
from voxlake.sources.phantoms import Phantoms
from voxlake.store.arrays import read_array, read_stack_item, value_digest, write_stack
from voxlake.store.objects import Objects
from voxlake.store.packs import read_member, write_pack
from voxlake.store.schema import TABLES
from voxlake.volumes.prepare import prepare
from voxlake.volumes.read import iter_volumes

# One worker makes what they share.
pytestmark = pytest.mark.xdist_group("erase")

Holding = Callable[[Lake, Iterable[str]], list[str]]

PLAN = """
[[steps]]
step = "clip"
low = -1000
high = 1000
"""


@pytest.fixture
def filled(lake_template: Callable[[int], Path], lake_copy: Callable[[Path], Lake]) -> Lake:
    """A lake with four patients and a cohort of all."""
    return lake_copy(lake_template(4))


def names_of(lake: Lake, patient: str) -> set[str]:
    """Every identifier of a patient, from the tables."""
    columns = ("sop_instance_uid", "series_instance_uid", "study_instance_uid", "sha256", "source_mac")
    found = {patient}
    for column in columns:
        found |= {
            row[0]
            for row in lake.sql(
                f"select {column} from instances where patient_id = $p", {"p": patient}
            ).rows()
        }
    volumes = lake.sql("select volume_id from volumes where patient_id = $p", {"p": patient})
    return found | {row[0] for row in volumes.rows()}


def patients(lake: Lake) -> list[str]:
    return [row[0] for row in lake.sql("select patient_id from patients order by 1").rows()]


def everything(lake: Lake, *, but: str) -> dict[str, list[tuple[Any, ...]]]:
    """Rows of others in every table that says whose a row is."""
    tables = ("instances", "series", "cohort_members", "volumes")
    return {
        table: lake.sql(
            f'select * exclude (pack, "offset") from {table} where patient_id <> $p order by all'
            if table == "instances"
            else f"select * from {table} where patient_id <> $p order by all",
            {"p": but},
        ).rows()
        for table in tables
    }


def test_nothing_is_left(filled: Lake, holding: Holding, tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(PLAN)
    prepare(get_cohort(filled, "all"), plan=tmp_path / "plan.toml", engine="serial")
    who = patients(filled)[1]
    names = names_of(filled, who)
    assert len(names) > 12
    assert len(holding(filled, names)) > 5
    others = everything(filled, but=who)
    run = erase(filled, who, yes=True, engine="serial", reason="consent_revoked")
    assert holding(filled, names) == []
    assert everything(filled, but=who) == others
    assert run.result["rows"]["instances"] == 8
    assert run.result["objects"]["packs"] >= 1
    assert run.result["objects"]["arrays"] == 1
    assert len(list(iter_volumes(get_cohort(filled, "all")))) == 3
    for row in filled.sql('select pack, "offset", length, sha256 from instances').rows():
        read_member(filled.objects, row[0], row[1], row[2], sha256=row[3])
    root = filled.objects.local_path("")
    assert root is not None
    assert len(list((root / "arrays").iterdir())) == 3
    shown = cohort_show(filled, "all")
    assert (shown["series"], shown["erased"], shown["withdrawn"]) == (4, 1, 0)
    assert filled.sql("select patient_id, reason from withdrawals").rows() == [(None, "consent_revoked")]


def test_the_receipt(filled: Lake) -> None:
    who = patients(filled)[0]
    digests = [
        r[0] for r in filled.sql("select sha256 from instances where patient_id = $p", {"p": who}).rows()
    ]
    run = erase(filled, who, yes=True, engine="serial")
    checked = receipt(filled, run.result["receipt"])
    assert checked.holds
    assert checked.values["erased"] == len(digests) == 8
    assert checked.values["in_place"] == []
    path = f"receipts/{run.result['receipt']}.json"
    content = json.loads(filled.objects.get(path))
    assert verify_receipt(filled, content)
    content["rows"]["instances"] = 7
    assert not verify_receipt(filled, content)
    filled.objects.put(path, json.dumps(content).encode())
    assert not receipt(filled, run.result["receipt"]).holds
    with pytest.raises(NotFoundError):
        receipt(filled, "0" * 32)
    with pytest.raises(NotFoundError):
        receipt(filled, "../lake.toml")


def test_it_asks_first_and_is_done_once(filled: Lake) -> None:
    who = patients(filled)[0]
    with pytest.raises(UsageError, match=r"8 objects, 1 series; 0 models .* --yes"):
        erase(filled, who, engine="serial")
    assert len(patients(filled)) == 4
    first = erase(filled, who, yes=True, engine="serial")
    again = erase(filled, who, yes=True, engine="serial")
    assert again.counts == {"seen": 1, "already": 1}
    assert again.result["receipt"] == first.result["receipt"]
    with pytest.raises(NotFoundError):
        erase(filled, "P-AAAAAAAAAAAAA", yes=True, engine="serial")


def test_the_patient_does_not_come_back(filled: Lake, holding: Holding, phantoms: Phantoms) -> None:
    who = patients(filled)[2]
    names = names_of(filled, who)
    erase(filled, who, yes=True, engine="serial")
    run = ingest(filled, phantoms, engine="serial")
    assert run.counts == {"seen": 32, "already": 24, "rejected": 8}
    assert run.reasons == {"patient_withdrawn": 8}
    assert holding(filled, names) == []


def rows_naming(lake: Lake, who: str) -> dict[str, set[str]]:
    """One row in every table whose every column of text names the patient, beside the rows that are there."""
    known = lake.sql("select * from instances where patient_id = $p limit 1", {"p": who}).dicts()[0]
    made: dict[str, set[str]] = {}
    for name, table in TABLES.items():
        row: dict[str, Any] = {}
        for column in table.columns:
            kind = str(column.type)
            if column.name in known and name == "instances":
                row[column.name] = known[column.name]
            elif column.name.endswith("_instance_uid"):
                row[column.name] = known.get(column.name, known["series_instance_uid"])
            elif column.name == "patient_id":
                row[column.name] = who
            elif column.name.endswith("_id"):
                row[column.name] = f"{name}-{column.name}"
            elif kind == "string" and column.name not in {"array", "pack", "committed_at"}:
                row[column.name] = json.dumps({"text": f"about {who} and {known['sop_instance_uid']}."})
            elif kind.startswith("list") and "string" in kind:
                row[column.name] = [known["sop_instance_uid"], "other"]
        lake.tables.append(name, [row])
        made[name] = {column.name for column in table.columns}
    return made


def test_no_table_is_unknown_to_it(filled: Lake, holding: Holding) -> None:
    """Fails when a table is added in whose columns a patient could stay behind."""
    who = patients(filled)[3]
    names = names_of(filled, who) - {None}
    made = rows_naming(filled, who)
    assert set(made) == set(TABLES)
    found = holding(filled, names)
    assert {path.split("/")[1] for path in found if path.startswith("tables/")} == set(TABLES)
    erase(filled, who, yes=True, engine="serial")
    assert holding(filled, names) == []
    assert len(patients(filled)) == 3


def test_what_is_shared_is_written_anew(filled: Lake) -> None:
    gone, kept = patients(filled)[:2]
    rows = filled.sql(
        "select * from instances where patient_id in ($a, $b) order by patient_id, instance_number",
        {"a": gone, "b": kept},
    ).dicts()
    blobs = [read_member(filled.objects, r["pack"], r["offset"], r["length"]) for r in rows]
    entries = write_pack(filled.objects, blobs)
    images = np.arange(4 * 2 * 3, dtype=np.int16).reshape(4, 2, 3)
    stack = write_stack(filled.objects, "shared", images, {"volumes": ["a", "b", "c", "d"], "unit": "HU"})
    moved = [
        {**row, **vars(entry), "policy_digest": "other"} for row, entry in zip(rows, entries, strict=True)
    ]
    filled.tables.append("instances", moved)
    volumes = [
        {
            "volume_id": name,
            "patient_id": who,
            "array": stack.array,
            "position": place,
            "shards": stack.shards,
            "sha256": value_digest(images[place]),
        }
        for place, (name, who) in enumerate(zip("abcd", (kept, gone, kept, gone), strict=True))
    ]
    filled.tables.append("volumes", volumes)
    erase(filled, gone, yes=True, engine="serial")
    assert not filled.objects.exists(entries[0].pack)
    left = filled.sql(
        "select * from instances where policy_digest = 'other' order by instance_number"
    ).dicts()
    assert [row["sop_instance_uid"] for row in left] == [
        row["sop_instance_uid"] for row in rows if row["patient_id"] == kept
    ]
    for row in left:
        read_member(filled.objects, row["pack"], row["offset"], row["length"], sha256=row["sha256"])
    stacked = filled.sql("select * from volumes order by volume_id").dicts()
    assert [(row["volume_id"], row["position"]) for row in stacked] == [("a", 0), ("c", 1)]
    for row in stacked:
        read_stack_item(
            filled.objects, row["array"], row["position"], shards=row["shards"], sha256=row["sha256"]
        )
    assert stacked[0]["array"] != stack.array
    assert len(read_array(filled.objects, stacked[0]["array"], shards=stacked[0]["shards"])) == 2


def test_quarantine_models_and_reports(filled: Lake, phantoms: Phantoms, tmp_path: Path) -> None:
    who, other = patients(filled)[:2]
    for number, item in enumerate(phantoms):
        header = pydicom.dcmread(BytesIO(item.read(2**30)))
        if Pseudonymiser(filled.key).patient(str(header.PatientID)) in {who, other} and number % 8 == 0:
            # Nobody checked a secondary capture for burned-in text, so it is held back.
            header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
            header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
            header.save_as(tmp_path / f"{number}.dcm")
    (tmp_path / "notes.dcm").write_bytes(b"no image")
    held = ingest(filled, *sorted(tmp_path.glob("*.dcm")), engine="serial")
    assert held.counts == {"seen": 3, "quarantined": 3}
    volume = {"volume_id": "0" * 32, "patient_id": who}
    filled.tables.append("volumes", [volume])
    cohort = get_cohort(filled, "all")
    for model, volumes in (("a" * 24, ["0" * 32]), ("b" * 24, ["1" * 32])):
        split = {"seed": 0, "folds": [{"train": volumes, "validation": [], "test": []}]}
        filled.objects.put(f"models/{model}/split.json", json.dumps(split).encode())
        filled.tables.append(
            "models", [{"model_id": model, "task": f"task {model[0]}", "cohort_id": cohort.cohort_id}]
        )
        for name, subject in (("x", model[:8]), ("y", f"task {model[0]}")):
            run = f"run-{name}-{model[0]}"
            arguments = json.dumps({"subject": subject, "cohort": None, "gallery": None})
            filled.tables.append("runs", [{"run_id": run, "verb": "report", "arguments": arguments}])
            filled.objects.put(f"reports/{run}/report.html", b"<html>")
    study = filled.sql("select study_instance_uid from series where patient_id = $p", {"p": who}).rows()[0][0]
    filled.objects.put("reports/run-x-b/report.json", json.dumps({"of": study}).encode())
    run = erase(filled, who, yes=True, engine="serial")
    assert run.result["objects"]["quarantined"] == 1
    assert run.result["remaining"]["quarantined_of_unknown_patients"] == 1
    assert len(list(filled.objects.list("quarantine"))) == 2
    assert filled.sql("select count(*) from quarantine").rows() == [(2,)]
    assert run.result["models"] == [{"model_id": "a" * 24, "task": "task a", "parts": ["train"]}]
    assert sorted(filled.objects.list("reports")) == ["reports/run-y-b/report.html"]
    assert filled.objects.exists(f"models/{'a' * 24}/split.json")


def test_files_in_place_are_listed_and_left(filled: Lake, tmp_path: Path) -> None:
    who = patients(filled)[0]
    file = tmp_path / "own.dcm"
    file.write_bytes(b"theirs")
    row = filled.sql("select * from instances where patient_id = $p limit 1", {"p": who}).dicts()[0]
    moved = {"pack": file.as_uri(), "offset": 0, "policy_digest": "other"}
    filled.tables.append("instances", [{**row, **moved}])
    run = erase(filled, who, yes=True, engine="serial")
    assert file.read_bytes() == b"theirs"
    assert run.result["remaining"]["files_in_place"] == 1
    assert str(file) not in filled.objects.get(f"receipts/{run.result['receipt']}.json").decode()
    assert receipt(filled, run.result["receipt"]).values["in_place"] == [file.as_uri()]


def test_short_originals_are_no_numbers() -> None:
    names = Names("1", frozenset({"2.25.7"}), contents=frozenset(), shared=0, stand_in="gone")
    assert names.redacted("patient_id = '1' and slices > 1") == "patient_id = 'gone' and slices > 1"
    assert names.redacted("came in as patient 1; see 2.25.7.") == "came in as patient gone; see gone."
    assert names.redacted("2.25.71 and 12.25.7") == "2.25.71 and 12.25.7"
    assert not names.mentions("1 of 2")


class Stopped(RuntimeError):
    """Stands for a killed process."""


@pytest.mark.parametrize("step", [0, 1, 2, 4, 9])
def test_stopped_anywhere_it_goes_on(
    filled: Lake, holding: Holding, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    lake = filled
    who = patients(lake)[0]
    names = names_of(lake, who)
    others = everything(lake, but=who)
    calls = 0

    def failing(name: str) -> None:
        real = getattr(Objects, name)

        def stop(self: Objects, *arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > step:
                raise Stopped
            return real(self, *arguments)

        patch.setattr(Objects, name, stop)

    with monkeypatch.context() as patch:
        for name in ("put", "put_new", "delete"):
            failing(name)
        with pytest.raises(Stopped):
            erase(lake, who, yes=True, engine="serial")
    run = erase(lake, who, yes=True, engine="serial")
    assert run.result["finished_an_earlier_one"] == (step > 0)
    assert holding(lake, names) == []
    assert everything(lake, but=who) == others
    assert run.result["rows"]["instances"] == 8
    assert receipt(lake, run.result["receipt"]).holds
    assert list(lake.objects.list("erasures")) == []


def test_another_writer_is_noticed(filled: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    who = patients(filled)[0]
    monkeypatch.setattr(Objects, "put_new", lambda *_: False)
    with pytest.raises(LakeError, match="another process"):
        erase(filled, who, yes=True, engine="serial")
    monkeypatch.undo()
    assert erase(filled, who, yes=True, engine="serial").result["finished_an_earlier_one"]
