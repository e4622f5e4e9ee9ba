"""The verb embed: vectors of a pre-trained encoder, once for each volume, to be mined like any others."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from voxlake.core.errors import NotFoundError, UsageError
from voxlake.lake.cohorts import Cohort, get_cohort, select
from voxlake.lake.erase import erase
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake, open_lake
from voxlake.lake.verify import verify
from voxlake.learning.embed import embed
from voxlake.learning.embed_work import Embedding
from voxlake.learning.mine import mine
from voxlake.learning.mined import get_mined
from voxlake.learning.mining import load_mining_task
from voxlake.learning.predict import predict
from voxlake.learning.tables.gather import gather_table
from voxlake.networks.pretrained_encoders import ENCODERS, known_encoder
from voxlake.networks.scaling import scaled
from voxlake.processing.registry import load_plan
from voxlake.sources.phantoms import Phantoms
from voxlake.store.keys import LakeKey
from voxlake.volumes.prepare import prepare
from voxlake.volumes.pretrained_models import models_import, models_list, stored_encoder
from voxlake.volumes.read import read_values, volume_rows

# One worker makes what they share.
pytestmark = pytest.mark.xdist_group("learning-embed")

LITE = "efficientnet-lite0"
PLAN = load_plan('[[steps]]\nstep = "percentile"\n')
# Nothing is left of the values: all black.
BLACK = load_plan('[[steps]]\nstep = "window"\nlow = 30000\nhigh = 30001\n')
VECTORS = "select subject, vector from embeddings where embedding_id = $id order by 1"
TASK = """
name = "{name}"
kind = "{kind}"
cohort = "people"
level = "series"
{more}

[[inputs]]
source = "embeddings"
name = "{LITE}"
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten patients, and an encoder."""
    folder = tmp_path_factory.mktemp("embed")
    LakeKey(bytes(range(32))).save(folder / "key")
    lake = open_lake(folder / "lake", key=folder / "key")
    ingest(lake, Phantoms(patients=10, slices=8, rows=20, columns=16), engine="serial")
    prepare(select(lake, "people"), plan=PLAN, engine="serial")
    run = models_import(lake, LITE)
    assert (run.counts, run.result["models"]) == ({"seen": 1, "stored": 1}, [LITE])
    return folder


@pytest.fixture
def lake(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setattr(Path, "home", staticmethod(lambda: tmp_path))
    shutil.copytree(template / "lake", tmp_path / "lake")
    return open_lake(tmp_path / "lake", key=template / "key")


@pytest.fixture
def people(lake: Lake) -> Cohort:
    return get_cohort(lake, "people")


def vectors(lake: Lake, made: str) -> dict[str, np.ndarray]:
    return {row[0]: np.asarray(row[1], np.float32) for row in lake.sql(VECTORS, {"id": made}).rows()}


def test_vectors_are_what_the_encoder_sees(lake: Lake, people: Cohort) -> None:
    run = embed(people, model=LITE, extent=33)
    rows = volume_rows(people, PLAN.digest())
    assert run.counts == {"seen": len(rows), "stored": len(rows)}
    assert run.result["coordinates"] == known_encoder(LITE).coordinates
    found = vectors(lake, run.result["embedding"])
    assert set(found) == {row["volume_id"] for row in rows}
    encoder = stored_encoder(lake.objects, LITE)
    for row, values in zip(rows, read_values(lake, rows), strict=True):
        low, high = values.min(), values.max()
        expected = encoder.vectors([(values - low) / (high - low)], extent=33)[0]
        np.testing.assert_allclose(found[row["volume_id"]], expected, rtol=1e-3, atol=1e-3)
    kept = lake.sql("select distinct name, model_id, subject_level from embeddings").rows()
    assert kept == [(LITE, known_encoder(LITE).model_id, "volume")]
    patients = dict(lake.sql("select subject, patient_id from embeddings").rows())
    assert patients == {row["volume_id"]: row["patient_id"] for row in rows}
    assert verify(lake).failures == 0


def test_only_what_is_missing_is_done(lake: Lake, people: Cohort) -> None:
    first = select(lake, "one", "patient_id = (select min(patient_id) from series)")
    some = embed(first, model=LITE, extent=33)
    run = embed(people, model=LITE, extent=33)
    assert run.counts["already"] == some.counts["stored"] > 0
    assert run.counts["stored"] == run.counts["seen"] - run.counts["already"] > 0
    assert run.result["embedding"] == some.result["embedding"]
    again = embed(people, model=LITE, extent=33)
    assert again.counts == {"seen": run.counts["seen"], "already": run.counts["seen"]}
    # Another extent, or another plan, gives other vectors.
    other = embed(first, model=LITE, extent=65)
    assert other.result["embedding"] != some.result["embedding"]


def test_engines_say_the_same(lake: Lake, people: Cohort) -> None:
    here = embed(people, model=LITE, extent=33)
    expected = vectors(lake, here.result["embedding"])
    plan = load_plan('[[steps]]\nstep = "percentile"\n[[steps]]\nstep = "rescale"\nscale = 2.0\n')
    prepare(people, plan=plan, engine="serial")
    there = embed(people, model=LITE, volumes=plan, extent=33, workers=2)
    assert there.counts == here.counts
    found = vectors(lake, there.result["embedding"])
    rows = {row["volume_id"]: row["series_instance_uid"] for row in volume_rows(people, plan.digest())}
    before = {row["series_instance_uid"]: row["volume_id"] for row in volume_rows(people, PLAN.digest())}
    assert len(found) == len(expected)
    for volume, vector in found.items():
        # Twice as bright is as bright: what is black and what is white is asked of each volume.
        np.testing.assert_allclose(vector, expected[before[rows[volume]]], rtol=1e-3, atol=1e-3)


def test_images_without_anything_have_no_vector(lake: Lake, people: Cohort) -> None:
    prepare(people, plan=BLACK, engine="serial")
    run = embed(people, model=LITE, volumes=BLACK, extent=33)
    assert run.counts == {"seen": run.counts["seen"], "failed": run.counts["seen"]}
    assert run.reasons == {"step_failed": run.counts["seen"]}
    assert lake.sql("select count(*) from embeddings").rows() == [(0,)]


def test_each_volume_of_a_group_gets_its_own_vector(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    pictures = [generator.random((2, 40, 40), dtype=np.float32) for _ in range(2)]
    black = np.zeros((1, 40, 40), np.float32)
    nowhere = np.full((1, 40, 40), np.nan, np.float32)
    given = [black, pictures[0], nowhere, pictures[1]]
    monkeypatch.setattr("voxlake.learning.embed_work.read_values", lambda _, rows: given[: len(rows)])
    found = Embedding(lake.reference, LITE, 33)([{}] * len(given))
    assert [one.reason for one in found] == ["step_failed", None, "step_failed", None]
    encoder = stored_encoder(lake.objects, LITE)
    for picture, one in zip(pictures, found[1::2], strict=True):
        assert one.vector is not None
        expected = encoder.vectors([scaled(picture, "range")], extent=33)[0]
        np.testing.assert_allclose(one.vector, expected, rtol=1e-4, atol=1e-4)


def test_a_series_that_was_not_prepared_is_accounted_for(lake: Lake) -> None:
    ingest(
        lake, Phantoms(patients=1, seed=9, slices=8, rows=20, columns=16, second_study=0.0), engine="serial"
    )
    later = select(lake, "later")
    run = embed(later, model=LITE, extent=33)
    assert run.reasons == {"no_volume": 1}
    assert run.counts["seen"] == run.counts["stored"] + 1


def test_damaged_arrays_fail_alone(lake: Lake, people: Cohort) -> None:
    rows = volume_rows(people, PLAN.digest())
    alone = next(row for row in rows if [one["array"] for one in rows].count(row["array"]) == 1)
    for path in lake.objects.list(alone["array"]):
        lake.objects.delete(path)
    run = embed(people, model=LITE, extent=33)
    assert run.reasons == {"missing_array": 1}
    assert run.counts["stored"] == len(rows) - 1


def test_what_cannot_be(lake: Lake, people: Cohort) -> None:
    with pytest.raises(NotFoundError, match="did you mean 'efficientnet-lite0'"):
        embed(people, model="efficientnet-lit0")
    with pytest.raises(UsageError, match="33 rows and columns"):
        embed(people, model=LITE, extent=32)
    for workers in (None, 2):
        with pytest.raises(NotFoundError, match="voxlake models import efficientnet-lite1"):
            embed(people, model="efficientnet-lite1", workers=workers)
    with pytest.raises(NotFoundError, match="no volume under this plan"):
        embed(people, model=LITE, volumes=BLACK)
    with pytest.raises(UsageError, match="voxlake embed COHORT --model efficientnet-lite0"):
        predict(lake, LITE, "people")
    with pytest.raises(NotFoundError, match="did you mean 'efficientnet-lite0'"):
        models_import(lake, "efficientnet-light0")
    imported = {row["name"]: row["imported"] for row in models_list(lake) if row["name"] in ENCODERS}
    assert imported == {"efficientnet-lite0": True, "efficientnet-lite1": False}


def test_a_patient_who_is_erased_leaves_the_vectors_and_not_the_encoder(lake: Lake, people: Cohort) -> None:
    made = embed(people, model=LITE, extent=33).result["embedding"]
    patient = lake.sql("select min(patient_id) from embeddings").rows()[0][0]
    before = vectors(lake, made)
    (gone,) = lake.sql(
        "select count(*) from embeddings where patient_id = $patient", {"patient": patient}
    ).rows()[0]
    erase(lake, patient, yes=True, engine="serial")
    assert len(vectors(lake, made)) == len(before) - gone < len(before)
    # The encoder never learned from anybody here.
    assert {row["name"] for row in models_list(lake) if row["imported"]} == {LITE}
    stored_encoder(lake.objects, LITE)
    assert verify(lake).failures == 0


@pytest.mark.parametrize("combine", ["mean", "median", "min", "max"])
def test_vectors_of_one_patient_are_combined(lake: Lake, people: Cohort, combine: str) -> None:
    made = embed(people, model=LITE, extent=33).result["embedding"]
    found = vectors(lake, made)
    owners = dict(lake.sql("select subject, patient_id from embeddings").rows())
    text = TASK.format(name="patients", kind="clustering", more=f'combine = "{combine}"', LITE=made[:12])
    table = gather_table(lake, load_mining_task(text.replace('"series"', '"patient"')), people)
    assert len(table) == len(set(owners.values())) < len(found)
    assert table.names[:2] == (f"{LITE}.0", f"{LITE}.1")
    matrix, names = table.numbers()
    assert len(names) == known_encoder(LITE).coordinates
    for patient, row in zip(table.subjects, matrix, strict=True):
        its = [found[volume] for volume, owner in owners.items() if owner == patient]
        expected = getattr(np, combine)(np.stack(its).astype(np.float64), axis=0)
        np.testing.assert_allclose(row, expected, rtol=1e-12)


def test_columns_of_vectors_are_chosen_like_any_others(lake: Lake, people: Cohort) -> None:
    embed(people, model=LITE, extent=33)
    task = TASK.format(name="some", kind="clustering", more="", LITE=LITE)
    chosen = f'{task}include = ["*.1?"]\nexclude = ["*.13"]\nprefix = "a-"\n'
    table = gather_table(lake, load_mining_task(chosen), people)
    assert table.names == tuple(f"a-{LITE}.{number}" for number in range(10, 20) if number != 13)
    with pytest.raises(NotFoundError, match="no column named"):
        gather_table(lake, load_mining_task(f'{task}include = ["nothing"]\n'), people)


def test_vectors_must_be_told_apart(lake: Lake, people: Cohort) -> None:
    task = load_mining_task(TASK.format(name="any", kind="clustering", more="", LITE=LITE))
    with pytest.raises(NotFoundError, match=f"no embedding '{LITE}'"):
        gather_table(lake, task, people)
    first = select(lake, "one", "patient_id = (select min(patient_id) from series)")
    others = select(lake, "others", "patient_id > (select min(patient_id) from series)")
    embed(first, model=LITE, extent=33)
    with pytest.raises(NotFoundError, match="a vector of no row of the table"):
        gather_table(lake, task, others)
    # Rows without a vector stay, and have none of its numbers.
    matrix, _ = gather_table(lake, task, people).numbers()
    assert np.isnan(matrix).all(axis=1).sum() == len(matrix) - len(first.members()) > 0
    embed(first, model=LITE, extent=65)
    with pytest.raises(UsageError, match="2 embeddings are called"):
        gather_table(lake, task, people)


@pytest.fixture
def mined(lake: Lake, people: Cohort) -> Callable[[str, str, str], str]:
    embed(people, model=LITE, extent=33)

    def work(name: str, kind: str, more: str) -> str:
        task = TASK.format(name=name, kind=kind, more=more, LITE=LITE)
        return str(mine(lake, load_mining_task(task), progress=False).result["model"])

    return work


def test_vectors_tell_classes_and_count_as_one_variable(
    lake: Lake, mined: Callable[[str, str, str], str]
) -> None:
    folds = 'target = "nodule"\nfolds = {outer = 2, inner = 2}\n'
    model = mined(
        "nodules", "classification", f'{folds}search = {{estimators = ["logistic"], candidates = 1}}'
    )
    card = get_mined(lake, model).card
    (variable,) = card["results"]["importance"]
    assert variable["name"] == LITE
    # New rows of the same people are predicted from the vectors that are there.
    assert predict(lake, model, "people").failures == 0


def test_vectors_fall_into_groups(lake: Lake, mined: Callable[[str, str, str], str]) -> None:
    model = mined("groups", "clustering", "options = {clusters = 2}")
    assert get_mined(lake, model).card["table"]["rows"] > 5
