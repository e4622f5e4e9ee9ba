"""Erasing a patient deletes the mined models that are made of the patient, and leaves all others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from voxlake.core.errors import NotFoundError, UsageError
from voxlake.lake.cohorts import select
from voxlake.lake.erase import erase
from voxlake.lake.erase_names import Names
from voxlake.lake.lake import Lake, open_lake
from voxlake.lake.receipts import receipt
from voxlake.lake.withdrawals import find_patient
from voxlake.learning.mine import mine
from voxlake.learning.mining import MiningTask
from voxlake.privacy.pseudonyms import Pseudonymiser
from voxlake.store.objects import Objects

# One worker makes what they share.
pytestmark = pytest.mark.xdist_group("erase-mined")

Holding = Callable[[Lake, Iterable[str]], list[str]]
SIZES = "select series_instance_uid, hash(series_instance_uid) % 97 as size from series"


@pytest.fixture(scope="module")
def template(lake_template: Callable[[int], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with four patients, similar cases among three of them, and a model of the fourth."""
    folder = tmp_path_factory.mktemp("mined")
    shutil.copytree(lake_template(4), folder, dirs_exist_ok=True)
    lake = open_lake(folder / "lake", key=folder / "key")
    fourth = patients(lake)[3]
    select(lake, "some", f"patient_id <> '{fourth}'")
    sizes = {"source": "sql", "statement": SIZES, "subject": "series_instance_uid"}
    task = {"name": "like", "kind": "similarity", "cohort": "some", "inputs": [sizes]}
    mine(lake, MiningTask.read(task), progress=False)
    made(lake, "0" * 24, split=split(fourth), table={"subjects": [fourth]})
    lake.tables.append("embeddings", [{"embedding_id": "0", "model_id": "0" * 24, "subject_level": "patient",
                                       "subject": fourth, "patient_id": fourth}])  # fmt: skip
    return folder


@pytest.fixture
def lake(template: Path, lake_copy: Callable[[Path], Lake]) -> Lake:
    """A copy of the template, with a home and caches of its own."""
    return lake_copy(template)


def patients(lake: Lake) -> list[str]:
    return [row[0] for row in lake.sql("select patient_id from patients order by 1").rows()]


def model_of(lake: Lake, task: str) -> str:
    return str(lake.sql("select model_id from models where task = $task", {"task": task}).rows()[0][0])


def names_of(lake: Lake, patient: str) -> set[str]:
    found = lake.sql(
        "select sop_instance_uid, series_instance_uid, study_instance_uid, sha256 from instances "
        "where patient_id = $patient",
        {"patient": patient},
    )
    return {patient}.union(*found.rows())


def rows_of(lake: Lake, model: str) -> dict[str, int]:
    tables = ("models", "predictions", "scores", "associations", "embeddings")
    counts = {
        table: lake.sql(f"select count(*) from {table} where model_id = $model", {"model": model}).rows()[0][
            0
        ]
        for table in tables
    }
    return {table: count for table, count in counts.items() if count}


def folders(lake: Lake) -> set[str]:
    return {path.split("/")[1] for path in lake.objects.list("models")}


def say(lake: Lake, model: str, other: str) -> None:
    """Figures of a model, of another one against it, and reports of both."""
    lake.tables.append("associations", [{"model_id": model, "variable": "size", "target": "t", "value": 1.0}])
    figure = {"cohort_id": "c", "part": "test", "metric": "recall", "value": 0.5, "run_id": "r"}
    lake.tables.append(
        "scores",
        [
            {**figure, "model_id": model},
            {**figure, "model_id": other, "against": model},
            {**figure, "model_id": other, "metric": "precision"},
        ],
    )
    for run, arguments in {"own": {"subject": model[:9]}, "beside": {"subject": other, "against": "like"},
                           "another": {"subject": other}}.items():  # fmt: skip
        lake.tables.append("runs", [{"run_id": run, "verb": "report", "arguments": json.dumps(arguments)}])
        lake.objects.put(f"reports/{run}/report.html", b"<html>")


def test_a_mined_model_of_the_patient_goes_whole(lake: Lake, holding: Holding) -> None:
    who = patients(lake)[0]
    gone, kept = model_of(lake, "like"), "0" * 24
    say(lake, gone, kept)
    names = names_of(lake, who)
    before = rows_of(lake, kept)
    files = {path: lake.objects.get(path) for path in lake.objects.list(f"models/{kept}")}
    assert rows_of(lake, gone) == {"models": 1, "scores": 1, "associations": 1, "embeddings": 3}
    assert [path for path in holding(lake, names) if path.startswith(f"models/{gone}")]
    with pytest.raises(UsageError, match=r"1 mined models with all that they said; 0 models .* would stay"):
        erase(lake, who, engine="serial")
    assert rows_of(lake, gone)["embeddings"] == 3
    count = len(list(lake.objects.list(f"models/{gone}")))
    run = erase(lake, who, yes=True, engine="serial")
    assert holding(lake, names) == []
    assert holding(lake, [gone]) == holding_runs(holding, lake, gone, run.result["receipt"])
    assert run.result["deleted_models"] == [{"model_id": gone, "task": "like", "parts": ["train"]}]
    assert run.result["models"] == []
    assert run.result["objects"]["model_files"] == count > 5
    taken = ("models", "scores", "associations", "embeddings")
    assert {name: run.result["rows"][name] for name in taken} == {
        "models": 1, "scores": 2, "associations": 1, "embeddings": 3
    }  # fmt: skip
    assert folders(lake) == {kept}
    assert rows_of(lake, kept) == {**before, "scores": 1}
    assert {path: lake.objects.get(path) for path in lake.objects.list(f"models/{kept}")} == files
    assert sorted(lake.objects.list("reports")) == ["reports/another/report.html"]
    shown = receipt(lake, run.result["receipt"])
    assert shown.holds
    assert shown.values["deleted_models"] == run.result["deleted_models"]


def holding_runs(holding: Holding, lake: Lake, model: str, identifier: str) -> list[str]:
    """Only the account of what was done names a model that is gone."""
    found = holding(lake, [model])
    assert f"receipts/{identifier}.json" in found
    assert all(path.startswith(("receipts/", "tables/runs/")) for path in found)
    return found


class Stopped(RuntimeError):
    """Stands for a killed process."""


def test_stopped_while_files_of_the_model_are_deleted(
    lake: Lake, holding: Holding, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = patients(lake)[0]
    names, gone = names_of(lake, who), model_of(lake, "like")
    real = Objects.delete

    def stop(self: Objects, path: str) -> None:
        # Some files are gone by then, table.json is not.
        if path.startswith("models/") and path.endswith("split.json"):
            raise Stopped
        real(self, path)

    with monkeypatch.context() as patch:
        patch.setattr(Objects, "delete", stop)
        with pytest.raises(Stopped):
            erase(lake, who, yes=True, engine="serial")
    assert rows_of(lake, gone) == {}
    assert 0 < len(list(lake.objects.list(f"models/{gone}"))) < 5
    run = erase(lake, who, yes=True, engine="serial")
    assert run.result["finished_an_earlier_one"]
    assert run.result["deleted_models"] == [{"model_id": gone, "task": "like", "parts": ["train"]}]
    assert folders(lake) == {"0" * 24}
    assert holding(lake, names) == []


def made(lake: Lake, model: str, *, kind: str = "table", row: bool = True, **files: Any) -> None:
    """A model with these files, ``table`` standing for table.json."""
    for name, content in files.items():
        lake.objects.put(f"models/{model}/{name}.json", json.dumps(content).encode())
    if row:
        lake.tables.append("models", [{"model_id": model, "kind": kind, "task": f"of {model[0]}"}])


def split(*subjects: str) -> dict[str, Any]:
    return {"seed": 0, "folds": [{"train": list(subjects), "validation": [], "test": []}]}


def test_who_is_in_a_model_is_found_wherever_it_stands(lake: Lake) -> None:
    who, other = patients(lake)[:2]
    erased = "adefhi"
    rows = {"subjects": ["r1", "r2"], "subject_groups": [other, other]}
    made(lake, "a" * 24, split=split("r1", "r2"), table={**rows, "subject_patients": [other, who]})
    made(lake, "b" * 24, split=split("r1"), table={**rows, "subject_patients": [other, other]})
    made(lake, "c" * 24, kind="network", split=split(who))
    made(lake, "d" * 24, row=False, split=split(who))
    made(lake, "e" * 24, split=split("r1"), card={"statement": f"where patient_id <> '{who}'"})
    made(lake, "f" * 24, split=split("r1"))
    made(lake, "h" * 24, split=split("r1"))
    made(lake, "i" * 24, split=split("r1"), contents=[])
    # Said of others later on: the model stays, what it said of the patient does not.
    made(lake, "g" * 24, split=split("r1"))
    made(lake, "k" * 24, row=False, split=split("r1"))
    spoken = {"subject_level": "row", "subject": "r2", "patient_id": who, "fold": 0}
    # Who is known from a table from outside alone can be erased too.
    outside = "P-AAAAAAAAAAAAA"
    with pytest.raises(NotFoundError):
        find_patient(lake, outside, original=False)
    lake.tables.append("predictions", [{**spoken, "model_id": "b" * 24, "patient_id": outside}])
    assert find_patient(lake, outside, original=False) == outside
    lake.tables.append("predictions", [{**spoken, "model_id": "f" * 24, "part": "test"},
                                       {**spoken, "model_id": "g" * 24, "part": "new"}])  # fmt: skip
    lake.tables.append("embeddings", [{"embedding_id": "h", "model_id": "h" * 24, "subject_level": "row",
                                       "subject": "r2", "patient_id": who}])  # fmt: skip
    digest = lake.sql("select min(sha256) from instances where patient_id = $who", {"who": who}).rows()[0][0]
    lake.objects.put(
        f"models/{'i' * 24}/table.json", json.dumps({**rows, "contents": [[digest], []]}).encode()
    )
    run = erase(lake, who, yes=True, engine="serial")
    deleted = {
        one["model_id"][0]: one["parts"] for one in run.result["deleted_models"] if one["task"] != "like"
    }
    assert deleted == {
        "a": ["fit"], "d": ["train"], "e": ["named"], "f": ["test"], "h": ["fit"], "i": ["fit"]
    }  # fmt: skip
    listed = [(one["model_id"][0], one["parts"]) for one in run.result["models"]]
    assert listed == [("c", ["train"]), ("g", ["new"])]
    left = {model[0] for model in folders(lake) if len(set(model)) == 1}
    assert left == set("0bcgk")
    assert not left & set(erased)
    assert lake.sql("select patient_id from predictions").rows() == [(outside,)]


def test_a_short_original_is_not_taken_for_a_class() -> None:
    names = Names("1", frozenset({"2.25.7"}), contents=frozenset(), shared=0, stand_in="gone")
    assert names.mentions('["0", "1"]')
    assert not names.surely_in('["0", "1"]')
    assert names.surely_in('["2.25.7"]')
    assert Names("LIDC-0001", frozenset(), frozenset(), 0, "gone").surely_in("of LIDC-0001.")


@pytest.mark.parametrize(
    "asked",
    [
        {"kind": "association", "target": "grade"},
        {"kind": "drift", "options": {"centre": "site", "fewest": 4}},
    ],
    ids=["association", "drift"],
)
def test_who_is_known_from_the_rows_of_a_table_from_outside_alone(
    lake: Lake, holding: Holding, tmp_path: Path, asked: dict[str, Any]
) -> None:
    lines = [f"m{n},Name^{n // 2},{n * 7 % 11},{n % 3},{'ab'[n % 4 // 2]}" for n in range(40)]
    (tmp_path / "marks.csv").write_text("\n".join(["mark,who,size,grade,site", *lines]))
    table = {"source": "file", "path": str(tmp_path / "marks.csv"), "subject": "mark"}
    mine(lake, MiningTask.read({"name": "links", "group": "who", "inputs": [table], **asked}), progress=False)
    gone, who = model_of(lake, "links"), Pseudonymiser(lake.key).patient("Name^3")
    # No table of the lake knows the patient: only the file that says who the rows are.
    assert holding(lake, [who]) == [f"models/{gone}/table.json"]
    with pytest.raises(NotFoundError, match="nothing of such a patient"):
        find_patient(lake, "Name^99", original=True)
    assert find_patient(lake, "Name^3", original=True) == who
    run = erase(lake, "Name^3", original=True, yes=True, engine="serial")
    assert run.result["deleted_models"] == [{"model_id": gone, "task": "links", "parts": ["fit"]}]
    assert rows_of(lake, gone) == {}
    assert list(lake.objects.list(f"models/{gone}")) == []
    assert holding(lake, [who]) == []
