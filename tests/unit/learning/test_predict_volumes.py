"""Networks speak about cohorts: on any engine, by any runtime, with mirror images; what they have seen."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from voxlake.core.errors import IntegrityError, UsageError
from voxlake.engine.contract import Failure, Outcome
from voxlake.engine.serial import SerialEngine
from voxlake.lake.cohorts import get_cohort, select
from voxlake.lake.fingerprints import VERSION
from voxlake.lake.ingest import ingest
from voxlake.lake.label import label
from voxlake.lake.lake import Lake, open_lake
from voxlake.learning import predict_volumes
from voxlake.learning.inputs import image_inputs
from voxlake.learning.model import get_model
from voxlake.learning.model_files import model_path
from voxlake.learning.predict import predict
from voxlake.learning.predict_options import PredictOptions
from voxlake.learning.predict_spread import in_groups
from voxlake.learning.predict_work import Speaking, SpeakTask
from voxlake.learning.task import load_task
from voxlake.learning.train import train
from voxlake.learning.units import find_units
from voxlake.processing.registry import load_plan
from voxlake.sources.phantoms import Phantoms
from voxlake.store.keys import LakeKey
from voxlake.testing.learning_tasks import CNN, SMALL_PLAN, small_task
from voxlake.volumes.prepare import prepare
from voxlake.volumes.read import volume_rows

# One worker makes what they share.
pytestmark = pytest.mark.xdist_group("learning-predict")

KEY = bytes(range(32))
COMMON = small_task("old")
TASKS = {
    "nodule": f'target = "nodule"\n{COMMON}{CNN}',
    "size": f"""kind = "regression"
target = "size"
{COMMON}
[network]
name = "fusion"
features = 3
encoder = {{name = "cnn", dimensions = 3, blocks = [2]}}
[[inputs]]
source = "headers"
include = ["patient_sex", "patient_age"]
""",
    "unusual": f"""kind = "reconstruction"
target = "nodule"
positive = "present"
{COMMON}
[network]
name = "autoencoder"
dimensions = 3
channels = [2]
""",
}
SAID = (
    'select subject, part, fold, "class", probability, value, uncertainty, truth, truth_value '
    "from predictions where model_id = $model and fold = -1 order by all"
)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight patients whom three networks have learned from, and five who came later."""
    folder = tmp_path_factory.mktemp("predict")
    LakeKey(KEY).save(folder / "key")
    lake = open_lake(folder / "lake", key=folder / "key")
    small: dict[str, Any] = {"slices": 8, "rows": 16, "columns": 16, "second_study": 0.0}
    ingest(lake, Phantoms(patients=8, **small), engine="serial")
    select(lake, "old")
    ingest(lake, Phantoms(patients=5, seed=5, **small), engine="serial")
    prepare(select(lake, "all"), plan=load_plan(SMALL_PLAN), engine="serial")
    series = [row[0] for row in lake.sql("select series_instance_uid from cohort_all order by 1").rows()]
    table = folder / "labels.csv"
    lines = [f"{uid},{10 + number}" for number, uid in enumerate(series)]
    table.write_text("\n".join(["series,size", *lines]) + "\n")
    label(lake, table, level="series", identifiers="lake")
    for name, text in TASKS.items():
        train(lake, load_task(f'name = "{name}"\n{text}'), progress=False)
    return folder


@pytest.fixture
def copies(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Lake]:
    monkeypatch.setattr(Path, "home", staticmethod(lambda: tmp_path))

    def copy(name: str = "lake") -> Lake:
        shutil.copytree(template / "lake", tmp_path / name)
        return open_lake(tmp_path / name, key=template / "key")

    return copy


@pytest.fixture
def lake(copies: Callable[[str], Lake]) -> Lake:
    return copies("lake")


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three subjects to a worker, so that there is something to be spread."""
    monkeypatch.setattr(predict_volumes, "_TOGETHER", 3)


def said(lake: Lake, name: str) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = lake.sql(SAID, {"model": get_model(lake, name).model_id}).rows()
    return rows


def numbers(lake: Lake, name: str) -> np.ndarray[Any, Any]:
    """Probability or value of each row."""
    return np.array([row[5] if row[4] is None else row[4] for row in said(lake, name)])


def vectors(lake: Lake, name: str) -> list[tuple[Any, ...]]:
    model = get_model(lake, name).model_id
    rows: list[tuple[Any, ...]] = lake.sql(
        "select subject, vector from embeddings where model_id = $model order by 1", {"model": model}
    ).rows()
    return rows


def tasks(lake: Lake, name: str) -> list[SpeakTask]:
    model, cohort = get_model(lake, name), get_cohort(lake, "all")
    units, _ = find_units(cohort, model.task, volume_rows(cohort, model.row["plan_digest"]))
    return [SpeakTask(unit) for unit in units]


@pytest.mark.slow
@pytest.mark.usefixtures("small_groups")
def test_other_processes_say_the_same(copies: Callable[[str], Lake]) -> None:
    here, there = copies("here"), copies("there")
    for lake, engine in ((here, None), (there, "processes:2")):
        for name in ("nodule", "size"):
            run = predict(lake, name, "all", embeddings=True, engine=engine)
            assert run.balance() == "13 seen = 13 stored"
            assert run.arguments["runtime"] == "torch"
    for name in ("nodule", "size"):
        ours = said(here, name)
        assert {row[1] for row in ours} == {"seen", "new"}
        assert len({row[0] for row in ours}) == 13
        assert said(there, name) == ours
        assert len(vectors(here, name)) == 13
        assert vectors(there, name) == vectors(here, name)
    assert predict(there, "size", "all", embeddings=True, workers=2).balance() == (
        "13 seen = 13 already there"
    )


class Customs:
    """An engine that sends all through pickle, and looks for the key in it."""

    url, workers = "customs", 2

    def __init__(self) -> None:
        self.functions: list[bytes] = []
        self.groups: list[int] = []

    def map(self, function: Any, items: Iterable[Any], **limits: Any) -> Iterator[Any]:
        self.functions.append(self.through(function))
        again = pickle.loads(self.functions[-1])
        with SerialEngine() as engine:
            yield from engine.map(again, (self._item(one) for one in items))
        # What a worker has loaded stays with it.
        assert again._cache
        assert len(self.through(again)) == len(self.functions[-1])

    def through(self, thing: Any) -> bytes:
        sent = pickle.dumps(thing)
        assert KEY not in sent
        assert KEY.hex().encode() not in sent
        return sent

    def _item(self, group: Any) -> Any:
        self.groups.append(len(group))
        return pickle.loads(self.through(group))

    def close(self) -> None:
        pass


@pytest.mark.usefixtures("small_groups")
def test_networks_and_keys_do_not_travel(lake: Lake) -> None:
    customs = Customs()
    run = predict(lake, "size", "all", engine=customs)
    assert run.balance() == "13 seen = 13 stored"
    assert customs.groups == [3, 3, 3, 3, 1]
    (function,) = customs.functions
    assert isinstance(pickle.loads(function), Speaking)
    assert len(function) < 5_000


class Faulty(SerialEngine):
    """Loses every group in which a volume is, as if its worker had died of it."""

    workers = 2

    def __init__(self, victim: str) -> None:
        super().__init__()
        self.victim = victim

    def map(self, function: Any, items: Iterable[Any], **limits: Any) -> Iterator[Any]:
        for outcome in super().map(function, items):
            if any(task.unit.subject == self.victim for task in outcome.item):
                failure = Failure("worker_died", "the worker died", None)
                yield Outcome(outcome.index, outcome.item, None, failure, 2, 0.0)
            else:
                yield outcome


@pytest.mark.usefixtures("small_groups")
def test_a_lost_worker_costs_the_subject_and_nobody_else(lake: Lake) -> None:
    victim = tasks(lake, "nodule")[4].unit.subject
    run = predict(lake, "nodule", "all", engine=Faulty(victim))
    assert run.balance() == "13 seen = 12 stored + 1 failed"
    assert run.reasons == {"worker_died": 1}
    assert lake.sql("select item, attempts from items where reason = 'worker_died'").rows() == [(victim, 2)]
    assert victim not in {row[0] for row in said(lake, "nodule")}
    # The next run does what is missing.
    again = predict(lake, "nodule", "all")
    assert again.balance() == "13 seen = 1 stored + 12 already there"


def test_a_missing_array_costs_the_subject_and_nobody_else(lake: Lake) -> None:
    victim = tasks(lake, "nodule")[4].unit
    for path in list(lake.objects.list(str(victim.rows[0]["array"]))):
        lake.objects.delete(path)
    run = predict(lake, "nodule", "all")
    assert run.balance() == "13 seen = 12 stored + 1 failed"
    assert run.reasons == {"missing_array": 1}


def test_damaged_weights_end_the_run_and_blame_no_item(lake: Lake) -> None:
    model = get_model(lake, "nodule")
    path = model_path(model.model_id, "fold-1.safetensors")
    data = bytearray(lake.objects.get(path))
    data[-1] ^= 1
    lake.objects.put(path, bytes(data))
    with pytest.raises(IntegrityError):
        predict(lake, "nodule", "all")
    assert lake.sql("select count(*) from items where outcome = 'failed'").rows() == [(0,)]


@pytest.mark.parametrize("runtime", ["openvino", pytest.param("onnxruntime", marks=pytest.mark.slow)])
def test_runtimes_say_the_same_and_are_recorded(copies: Callable[[str], Lake], runtime: Any) -> None:
    pytest.importorskip(runtime)
    pytest.importorskip("onnx")
    plain, fast = copies("plain"), copies("fast")
    for name in ("nodule", "unusual"):
        predict(plain, name, "all")
        run = predict(fast, name, "all", runtime=runtime)
        assert run.arguments["runtime"] == runtime
        ours, theirs = numbers(plain, name), numbers(fast, name)
        # As `networks/runtimes.py` has it; probabilities and errors are smaller than the outputs.
        assert np.abs(ours - theirs).max() <= 1e-2 * max(1.0, np.abs(ours).max())
        assert [row[:4] for row in said(fast, name)] == [row[:4] for row in said(plain, name)]
    # "auto" goes on with whoever began, another one is refused.
    assert predict(fast, "nodule", "all", runtime="auto").counts == {"seen": 13, "already": 13}
    with pytest.raises(UsageError, match=f"runtime = '{runtime}', asked for is .*'torch'; give the same"):
        predict(fast, "nodule", "all")


def test_who_is_to_compute_is_known_before_the_run(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="runtime 'onnxrunt' is unknown; did you mean 'onnxruntime'"):
        predict(lake, "nodule", "all", runtime="onnxrunt")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="computes networks of one input, not of image and table"):
        predict(lake, "size", "all", runtime="onnxruntime")
    monkeypatch.setattr("voxlake.networks.runtimes.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"the module openvino.*voxlake\[runtime\]"):
        predict(lake, "nodule", "all", runtime="openvino")
    run = predict(lake, "nodule", "all", runtime="auto")
    assert (run.arguments["runtime"], run.balance()) == ("torch", "13 seen = 13 stored")


@pytest.mark.parametrize("name", ["nodule", "size", pytest.param("unusual", marks=pytest.mark.slow)])
def test_mirror_images_are_averaged(lake: Lake, name: str) -> None:
    run = predict(lake, name, "all", mirror=("column", "slice"))
    assert run.arguments["mirror"] == ["slice", "column"]
    model = get_model(lake, name)
    asked = tasks(lake, name)
    (images,) = image_inputs(lake, model.task, [task.unit for task in asked])
    columns = None
    if name == "size":
        table = predict_volumes.table_of(
            get_cohort(lake, "all"),
            model.task,
            [task.unit for task in asked],
            variables=model.card["variables"],
        )
        prepared = [model.preparation(fold) for fold in range(2)]
        columns = [one.apply(table).astype(np.float32) for one in prepared if one is not None]
    networks = model.ensemble().members
    each = []
    for place, member in enumerate(networks):
        views = [images.flip(axes) if axes else images for axes in ((), (2,), (4,), (2, 4))]
        answers = [
            member.answers(member.inputs((view,), None if columns is None else columns[place]))
            for view in views
        ]
        assert np.abs(answers[0] - answers[1]).max() > 1e-7
        each.append(np.mean(answers, axis=0))
    mean, apart = np.mean(each, axis=0), np.std(each, axis=0, ddof=1)
    expected = {
        (task.unit.subject, number): (values, spreads)
        for task, row, spread in zip(
            asked, mean.reshape(len(asked), -1), apart.reshape(len(asked), -1), strict=True
        )
        for number, (values, spreads) in enumerate(zip(row, spread, strict=True))
    }
    for subject, _, _, kind, probability, value, uncertainty, *_ in said(lake, name):
        number = 0 if kind is None else model.classes.index(kind)
        claimed = value if kind is None else probability
        assert (claimed, uncertainty) == pytest.approx(expected[subject, number], rel=1e-6, abs=1e-9)


def test_a_task_says_how_its_network_is_to_be_mirrored(lake: Lake) -> None:
    task = load_task(f'name = "nodule"\nmirror = ["column"]\n{TASKS["nodule"]}')
    plain = get_model(lake, "nodule")
    mirrored = get_model(lake, train(lake, task, progress=False).result["model"])
    held_out = (
        "select fold, subject, probability from predictions where model_id = $model and part = 'test' "
        'and "class" = $positive order by fold, subject'
    )
    rows = lake.sql(held_out, {"model": mirrored.model_id, "positive": plain.classes[-1]}).rows()
    assert len(rows) == 8
    by_subject = {one.unit.subject: one.unit for one in tasks(lake, "nodule")}
    seen = []
    for fold, subject, probability in rows:
        (image,) = image_inputs(lake, plain.task, [by_subject[subject]])
        # Mirroring changes no weight.
        member = plain.member(fold)
        views = [member.answers((view,))[0, -1] for view in (image, image.flip(4))]
        assert probability == pytest.approx(np.mean(views), rel=1e-6)
        seen.append(abs(views[0] - views[1]))
        assert mirrored.ensemble().members[fold].mirror == ("column",)
    assert max(seen) > 1e-7
    assert predict(lake, mirrored.model_id, "old").arguments["mirror"] == ["column"]
    assert predict(lake, mirrored.model_id, "all", mirror=["none"]).arguments["mirror"] == []


def test_rows_made_with_other_options_are_never_taken_for_these(lake: Lake) -> None:
    model_id = get_model(lake, "nodule").model_id
    cohort_id = get_cohort(lake, "all").cohort_id
    note = model_path(model_id, f"predicted/{cohort_id}.json")
    # A run was killed before its first row: what it wanted binds nobody.
    lake.objects.put(note, b'{"mirror": ["row"], "runtime": "torch"}')
    predict(lake, "nodule", "all", mirror=["column"])
    assert json.loads(lake.objects.get(note)) == {"mirror": ["column"], "runtime": "torch"}
    before = said(lake, "nodule")
    for mirror in ((), ["row"], ["column", "row"]):
        with pytest.raises(UsageError, match=r'were made with mirror = \["column"\].*give the same options'):
            predict(lake, "nodule", "all", mirror=mirror)
    assert predict(lake, "nodule", "all", mirror=["column"]).counts == {"seen": 13, "already": 13}
    assert said(lake, "nodule") == before
    # Another cohort is another matter.
    assert predict(lake, "nodule", "old").balance() == "8 seen = 8 stored"
    with pytest.raises(UsageError, match=r"were made with mirror = \[\]"):
        predict(lake, "nodule", "old", mirror=["column"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mirror": ["colum"]}, "mirror 'colum' is no axis; did you mean 'column'"),
        ({"mirror": ["none", "row"]}, "axes or 'none', not both"),
        ({"mirror": ["slice"], "dimensions": 2}, "single images, which have no slices"),
        ({"mirror": ["row"], "takes": "table"}, "takes a table and no image"),
        ({"runtime": "openvino", "takes": "sequence"}, "one input, not of sequence"),
    ],
)
def test_options_that_make_no_sense_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PredictOptions.of(**{"mirror": (), "runtime": "torch", **given})


def test_options_of_networks_are_not_for_mined_models(lake: Lake) -> None:
    row = {"model_id": "ab" * 16, "kind": "table", "task": "mined", "task_kind": "classification"}
    lake.tables.append("models", [row])
    given: list[dict[str, Any]] = [
        {"engine": "processes:2"},
        {"workers": 2},
        {"mirror": ["row"]},
        {"runtime": "auto"},
        {"embeddings": True},
    ]
    for options in given:
        (name,) = options
        with pytest.raises(UsageError, match=f"'mined' was mined and has no {name}; leave '{name}' out"):
            predict(lake, "mined", "all", **options)
    with pytest.raises(UsageError, match="'nodule' is a network and has no table"):
        predict(lake, "nodule", "all", table=["a.csv"])


def test_images_that_look_like_those_of_the_training_are_seen(lake: Lake) -> None:
    series = lake.sql(
        "select series_instance_uid, list(sha256 order by sop_instance_uid), "
        "series_instance_uid in (select series_instance_uid from cohort_old) from instances group by 1, 3 "
        "order by 3, 1"
    ).rows()
    draw = np.random.default_rng(0)
    hashes = {uid: [draw.bytes(32).hex() for _ in digests] for uid, digests, _ in series}
    new, old = series[0], series[-1]
    assert (new[2], old[2]) == (False, True)
    # All but one bit of each picture of a new patient is that of one who was learned from.
    hashes[new[0]] = [f"{int(one, 16) ^ 1:064x}" for one in hashes[old[0]]]
    rows = [
        {"sha256": digest, "version": VERSION, "pixel_digest": digest, "perceptual_hash": one}
        for uid, digests, _ in series
        for digest, one in zip(digests, hashes[uid], strict=True)
    ]
    lake.tables.append("fingerprints", rows)
    predict(lake, "nodule", "all")
    parts = dict(
        lake.sql(
            "select distinct series_instance_uid, part from predictions join volumes using (volume_id) "
            "where fold = -1 and predictions.model_id = $model",
            {"model": get_model(lake, "nodule").model_id},
        ).rows()
    )
    assert parts == {uid: "seen" if learned or uid == new[0] else "new" for uid, _, learned in series}


def test_groups_are_bounded() -> None:
    sizes = [1, 1, 1, 1, 5, 9, 20, 1]
    found = list(in_groups(sizes, lambda size: size, most=3, limit=10))
    assert found == [(1, 1, 1), (1, 5), (9,), (20,), (1,)]
    assert list(in_groups([], lambda size: size, most=3, limit=10)) == []


def test_a_large_image_goes_through_the_network_alone(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    from voxlake.learning import answer

    member = get_model(lake, "nodule").member(0)
    images = torch.randn((5, 1, 4, 8, 8), generator=torch.Generator().manual_seed(0))
    together = member.answers((images,))
    seen: list[int] = []
    member.network.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    monkeypatch.setattr(answer, "_VALUES_AT_A_TIME", 600)
    np.testing.assert_allclose(member.answers((images,)), together, atol=1e-6)
    assert seen == [2, 2, 1]
