"""Mining a lake: vectors as columns, another cohort of the lake, and images that look the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian
from threadpoolctl import threadpool_limits

from voxlake.core.errors import LeakageError, NotFoundError, UsageError
from voxlake.evaluation.evaluate import evaluate
from voxlake.lake.check import check
from voxlake.lake.cohorts import get_cohort, select
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake
from voxlake.learning.mine import mine
from voxlake.learning.mined import get_mined
from voxlake.learning.mining import MiningTask
from voxlake.learning.model_files import model_path
from voxlake.learning.predict import predict
from voxlake.learning.tables.folds import make_folds
from voxlake.learning.tables.gather import gather_table
from voxlake.learning.tables.settings import FoldSettings
from voxlake.learning.tables.store import load_estimator
from voxlake.learning.tables.table import FeatureTable
from voxlake.sources.phantoms import Phantoms
from voxlake.store.packs import read_member

# One worker makes what they share.
pytestmark = pytest.mark.xdist_group("learning-lake")

FAST = {
    "folds": {"outer": 2, "inner": 2},
    "search": {"estimators": ["logistic"], "candidates": 1},
}
TRUTH = """
select distinct series_instance_uid, patient_id, value
from labels join instances on subject = sop_instance_uid where name = 'nodule' order by patient_id
"""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with threadpool_limits(limits=1):
        yield


@pytest.fixture
def lake(lake_template: Callable[[int], Path], lake_copy: Callable[[Path], Lake]) -> Lake:
    """Twelve patients with a vector for each series and each patient; two cohorts share two of them."""
    found = lake_copy(lake_template(12))
    rows = found.sql(TRUTH).rows()
    draw = np.random.default_rng(5)
    shared = {"run_id": "run", "cohort_id": "c", "model_id": "m"}
    vectors = [
        {
            **shared,
            "embedding_id": "e" * 24,
            "name": "net",
            "subject_level": "series",
            "subject": uid,
            "patient_id": patient,
            "vector": [float(value == "present") * 2 + draw.normal(), draw.normal(), draw.normal()],
        }
        for uid, patient, value in rows
    ]
    vectors += [
        {
            **shared,
            "embedding_id": "p" * 24,
            "name": "patients",
            "subject_level": "patient",
            "subject": patient,
            "patient_id": patient,
            "vector": [float(place)],
        }
        for place, (_, patient, _) in enumerate(rows)
        if place != 3
    ]
    found.tables.append("embeddings", vectors)
    ill, well = ([row[1] for row in rows if row[2] == value] for value in ("present", "absent"))
    first, second = ill[:4] + well[:4], ill[3:] + well[3:]
    for name, members in (("first", first), ("second", second)):
        select(found, name, "patient_id in ({})".format(", ".join(f"'{one}'" for one in members)))
    return found


def task(*names: str, **more: Any) -> MiningTask:
    inputs = [{"source": "embeddings", "name": name} for name in names]
    shared = {"name": "vectors", "kind": "classification", "cohort": "first", "target": "nodule"}
    return MiningTask.read({**shared, "inputs": inputs, **FAST, **more})


def planted(lake: Lake, name: str) -> dict[str, np.ndarray[Any, Any]]:
    rows = lake.sql("select subject, vector from embeddings where name = $name", {"name": name}).rows()
    return {subject: np.array(vector, dtype=np.float64) for subject, vector in rows}


def test_vectors_are_columns(lake: Lake) -> None:
    cohort = get_cohort(lake, "all")
    table = gather_table(lake, task("net", "patients"), cohort)
    assert table.names == ("net.0", "net.1", "net.2", "patients.0")
    assert {column.source for column in table.inputs} == {"embeddings"}
    values, _ = table.numbers()
    of_series, of_patients = planted(lake, "net"), planted(lake, "patients")
    assert np.array_equal(values[:, :3], np.array([of_series[subject] for subject in table.subjects]))
    for patient, value in zip(table.patients, values[:, 3], strict=True):
        assert np.isnan(value) if patient not in of_patients else value == of_patients[patient][0]
    assert int(np.isnan(values[:, 3]).sum()) == 1
    # Of a patient's own vectors each is a value of the patient.
    whole = gather_table(lake, task("net", level="patient"), cohort)
    owners = dict(zip(table.subjects, table.patients, strict=True))
    means = {owners[subject]: vector[0] for subject, vector in of_series.items()}
    assert list(whole.column("net.0").values) == [means[patient] for patient in whole.subjects]
    chosen = task(inputs=[{"source": "embeddings", "name": "eeee", "include": ["net.[01]"], "prefix": "a "}])
    assert gather_table(lake, chosen, cohort).names == ("a net.0", "a net.1")


def test_vectors_that_are_not_there_or_not_one(lake: Lake) -> None:
    cohort = get_cohort(lake, "first")
    with pytest.raises(NotFoundError, match="no embedding 'nett'; did you mean 'net'"):
        gather_table(lake, task("nett"), cohort)
    lake.tables.append(
        "embeddings",
        [
            {
                "embedding_id": "f" * 24,
                "name": "net",
                "subject_level": "series",
                "subject": "1.2",
                "vector": [0.0],
            }
        ],
    )
    with pytest.raises(UsageError, match=r"2 embeddings are called 'net'; name one of \['eeee"):
        gather_table(lake, task("net"), cohort)
    # One that is there, but of none of these subjects.
    with pytest.raises(NotFoundError, match="a vector of no row of the table; it is about 1 subjects"):
        gather_table(lake, task("ffff"), cohort)


def test_a_mined_model_speaks_about_another_cohort(lake: Lake) -> None:
    mined = mine(lake, task("net", positive="present"), progress=False)
    assert mined.balance() == "8 seen = 8 stored"
    model = get_mined(lake, mined.result["model"])
    assert [(one["name"], one["source"]) for one in model.card["variables"]] == [
        (f"net.{place}", "embeddings") for place in range(3)
    ]
    with pytest.raises(UsageError, match="made with 0 CSV files, got 1"):
        predict(lake, "vectors", "second", table=["more.csv"])
    run = predict(lake, "vectors", "second")
    assert run.balance() == "6 seen = 6 stored"
    rows = lake.sql(
        'select subject, patient_id, part, fold, truth, "class", probability from predictions '
        "where model_id = $model and cohort_id = $cohort order by 1, 6",
        {"model": model.model_id, "cohort": get_cohort(lake, "second").cohort_id},
    ).dicts()
    trained = {member.patient_id for member in get_cohort(lake, "first").members()}
    assert {row["patient_id"] for row in rows if row["part"] == "seen"} == {
        row["patient_id"] for row in rows if row["patient_id"] in trained
    }
    assert sorted(row["part"] for row in rows) == ["new"] * 8 + ["seen"] * 4
    truth = {uid: value for uid, _, value in lake.sql(TRUTH).rows()}
    assert all(row["truth"] == truth[row["subject"]] for row in rows)
    assert {row["fold"] for row in rows} == {-1}
    # The final model by hand: fill, standardise, add up, and the logistic curve.
    kept = json.loads(model.get("final.json"))["preparation"]
    data = lake.objects.get(model_path(model.model_id, "final.skops"))
    line = load_estimator(data, sha256=model.card["artefacts"]["final.skops"])
    vectors = planted(lake, "net")
    assert kept["numbers"] == ["net.0", "net.1", "net.2"]
    for row in (row for row in rows if row["class"] == "present"):
        prepared = (vectors[row["subject"]][kept["kept"]] - kept["centre"]) / kept["scale"]
        expected = 1 / (1 + np.exp(-(prepared @ line.coef_[0] + line.intercept_[0])))
        assert row["probability"] == pytest.approx(expected, abs=1e-12)
    assert predict(lake, "vectors", "second").balance() == "6 seen = 6 already there"
    scored = evaluate(lake, "vectors", cohort="second")
    assert scored.balance() == "6 seen = 4 stored + 2 ignored"
    assert dict(scored.reasons) == {"seen_in_training": 2}


def test_a_vector_that_the_other_cohort_does_not_have_is_filled(lake: Lake) -> None:
    model = get_mined(lake, mine(lake, task("net", "patients"), progress=False).result["model"])
    missing = next(
        row[0]
        for row in lake.sql("select patient_id from patients order by 1").rows()
        if row[0] not in planted(lake, "patients")
    )
    fill = json.loads(model.get("final.json"))["preparation"]["fill"]
    known = [
        planted(lake, "patients")[member.patient_id][0]
        for member in get_cohort(lake, "first").members()
        if member.patient_id != missing
    ]
    assert fill[3] == pytest.approx(np.median(known))


def _noise(seed: int, slight: int) -> bytes:
    """A picture of 8 x 8 fields, 32 x 32 pixels, and a little noise on top."""
    fields = np.random.default_rng(seed).integers(100, 1600, (8, 8))
    picture = np.kron(fields, np.ones((4, 4))) + np.random.default_rng(slight).integers(-3, 3, (32, 32))
    return bytes(picture.astype("<i2").tobytes())


@pytest.fixture
def alike(tmp_path: Path, new_lake: Callable[..., Lake]) -> Lake:
    """Eleven patients, two of whom have pictures that look the same and are not: as from two archives."""
    folder = tmp_path / "files"
    folder.mkdir()
    patients: dict[str, int] = {}
    source = Phantoms(patients=11, slices=8, rows=32, columns=32, second_study=0.0)
    for number, item in enumerate(source):
        header = pydicom.dcmread(BytesIO(item.read(2**30)))
        who = patients.setdefault(str(header.PatientID), len(patients))
        # The last patient is shown what the first one is.
        del header.PixelData
        if header.file_meta.TransferSyntaxUID.is_compressed:
            header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header.PixelData = _noise(100 * (who % 10) + int(header.InstanceNumber), 10_000 + number)
        header["PixelData"].VR = "OW"
        header.save_as(folder / f"{number}.dcm")
    made = new_lake()
    ingest(made, folder, engine="serial", progress=False)
    select(made, "all")
    return made


def test_images_that_look_the_same_stay_together_or_stop_the_run(alike: Lake) -> None:
    cohort = get_cohort(alike, "all")
    unchecked = gather_table(alike, sizes(seed=0), cohort)
    assert len(set(unchecked.groups)) == 11
    first, last = pair_of(alike)
    # A seed by which nobody who has not looked at the pictures keeps them apart from each other.
    seed = next(seed for seed in range(20) if apart(unchecked, FoldSettings(outer=2, seed=seed), first, last))
    mine(alike, sizes(seed=seed), progress=False)
    assert evaluate(alike, "sizes").result["samples"] == 11
    found = {
        line["rule"]: line["found"]
        for line in check(alike, engine="serial", progress=False).result["findings"]
    }
    assert found["near_duplicate"] > 0
    # What was mined before is not scored any more, nor reported.
    with pytest.raises(LeakageError, match="1 pairs of series that look the same stand both in"):
        evaluate(alike, "sizes")
    # Mined again, both are on one side whatever the seed.
    table = gather_table(alike, sizes(seed=seed), cohort)
    places = [table.subjects.index(uid) for uid in (first, last)]
    assert len({table.groups[place] for place in places}) == 1
    assert len(set(table.groups)) == 10
    settings = [FoldSettings(outer=2, seed=seed) for seed in range(20)]
    assert not any(apart(table, one, first, last) for one in settings)
    again = mine(alike, sizes(seed=seed), progress=False)
    assert not again.result["already"]
    for fold in json.loads(get_mined(alike, again.result["model"]).get("split.json"))["folds"]:
        assert {first, last} <= set(fold["train"]) or {first, last} <= set(fold["test"])
    assert evaluate(alike, again.result["model"]).result["patients"] == 10
    _check_another_cohort(alike, first, last)
    # A split that tears them apart all the same stops the run.
    torn = replace(table, groups=table.patients)
    with pytest.raises(LeakageError):
        make_folds(torn, ["all"] * len(torn), FoldSettings(outer=2, seed=seed))


def _check_another_cohort(lake: Lake, first: str, last: str) -> None:
    """A series that looks like one of those that were learned from is not scored."""
    others = [row[0] for row in lake.sql("select series_instance_uid from series order by 1").rows()]
    new = [uid for uid in others if uid not in (first, last)][:2]
    rest = ", ".join(f"'{uid}'" for uid in (last, *new))
    select(lake, "most", f"series_instance_uid not in ({rest})")
    select(lake, "rest", f"series_instance_uid in ({rest})")
    mined = mine(lake, sizes(seed=0).model_copy(update={"cohort": "most", "name": "most"}), progress=False)
    assert predict(lake, mined.result["model"], "rest").balance() == "3 seen = 3 stored"
    parts = lake.sql("select subject, part from predictions where part in ('new', 'seen') order by 1").rows()
    assert parts == sorted([(last, "seen"), *((uid, "new") for uid in new)])
    assert evaluate(lake, "most", cohort="rest").balance() == "3 seen = 2 stored + 1 ignored"


SIZES = """
select series_instance_uid, hash(series_instance_uid) % 97 as size, hash(series_instance_uid) % 89 as wanted
from series
"""


def sizes(seed: int) -> MiningTask:
    columns = {"source": "sql", "statement": SIZES, "subject": "series_instance_uid"}
    return MiningTask.read(
        {
            "name": "sizes",
            "kind": "regression",
            "cohort": "all",
            "target": "wanted",
            "inputs": [columns],
            "folds": {"outer": 2, "inner": 2, "seed": seed},
            "search": {"estimators": ["linear"], "candidates": 1},
        }
    )


def apart(table: FeatureTable, settings: FoldSettings, first: str, last: str) -> bool:
    """Whether two subjects stand in different parts of every fold."""
    folds = make_folds(table, ["all"] * len(table), settings)
    one, other = table.subjects.index(first), table.subjects.index(last)
    return all((one in fold.test) != (other in fold.test) for fold in folds)


def pair_of(lake: Lake) -> tuple[str, str]:
    """The series whose pictures were made of the same fields."""
    by_series: dict[str, list[float]] = {}
    for uid, digest in lake.sql(
        "select series_instance_uid, sha256 from instances order by 1, instance_number"
    ).rows():
        row = lake.sql(
            'select pack, "offset", length from instances where sha256 = $d', {"d": digest}
        ).rows()[0]
        stored = pydicom.dcmread(BytesIO(read_member(lake.objects, *row)))
        by_series.setdefault(uid, []).append(float(stored.pixel_array.mean()))
    return min(
        combinations(sorted(by_series), 2),
        key=lambda pair: float(np.abs(np.subtract(by_series[pair[0]], by_series[pair[1]])).max()),
    )
