"""Every verb on a lake in a bucket gives what it gives on a lake in a folder."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow.parquet as pq
import pytest

from voxlake.core.errors import NotFoundError, VoxlakeError
from voxlake.core.run import Run
from voxlake.evaluation.evaluate import evaluate
from voxlake.evaluation.report import report
from voxlake.exchange.export import export
from voxlake.features.measure import measure
from voxlake.lake.changes import changes
from voxlake.lake.check import check
from voxlake.lake.cohort_diff import cohort_diff
from voxlake.lake.cohort_split import cohort_split
from voxlake.lake.cohorts import cohort_list, cohort_show, get_cohort, select
from voxlake.lake.compact import compact
from voxlake.lake.erase import erase
from voxlake.lake.find import find
from voxlake.lake.ingest import ingest
from voxlake.lake.keys import keys_show
from voxlake.lake.label import label
from voxlake.lake.lake import Lake, open_lake
from voxlake.lake.leakage import cohort_leakage
from voxlake.lake.manifest import cohort_export
from voxlake.lake.manifest_check import cohort_verify
from voxlake.lake.originals import original_bytes
from voxlake.lake.pseudonym import pseudonym
from voxlake.lake.quarantine import quarantine_list, quarantine_show
from voxlake.lake.receipts import receipt
from voxlake.lake.rekey import keys_rekey
from voxlake.lake.rotate import keys_rotate
from voxlake.lake.verify import verify
from voxlake.lake.withdrawals import withdraw
from voxlake.learning.embed import embed
from voxlake.learning.export_model import models_export
from voxlake.learning.mine import mine
from voxlake.learning.mining import load_mining_task
from voxlake.learning.predict import predict
from voxlake.learning.task import load_task
from voxlake.learning.train import train
from voxlake.processing.registry import load_plan
from voxlake.sources.phantoms import Phantoms
from voxlake.store.keys import LakeKey
from voxlake.store.objects import Objects
from voxlake.testing.s3 import S3Server
from voxlake.verbs import VERBS
from voxlake.volumes.frames import read_frame
from voxlake.volumes.prepare import prepare
from voxlake.volumes.pretrained_models import models_import, models_list
from voxlake.volumes.segment import segment

pytestmark = pytest.mark.xdist_group("s3")

PHANTOMS = Phantoms(patients=8, slices=8, rows=16, columns=16, second_study=0.0)
PLAN = """
[[steps]]
step = "crop_or_pad"
shape = [8, 12, 12]
fill = "minimum"
"""
MASK_PLAN = """
[segment]
method = "otsu"

[[clean]]
edit = "keep_largest"
"""
TASK = load_task(
    f"""
name = "nodule"
cohort = "all"
target = "nodule"
positive = "present"
[plan]
{PLAN.replace("[[steps]]", "[[plan.steps]]")}
[split]
kind = "kfold"
folds = 2
validation = 0.5
[network]
name = "cnn"
dimensions = 3
blocks = [4]
[training]
epochs = 1
batch_size = 4
threads = 1
"""
)
MINING = """
name = "groups"
kind = "clustering"
cohort = "all"
level = "series"

[[inputs]]
source = "features"

[options]
clusters = 2
"""
NO_LAKE = {
    "deidentify": "it reads files and writes files",
    "recipe": "it writes files that come with the package",
    "demo": "it makes a lake in its own folder and calls other verbs, which are here",
}


@dataclass(frozen=True)
class Place:
    """A lake, where another one may lie, a folder for files, and what is to be remembered."""

    lake: Lake
    beside: str
    folder: Path
    notes: dict[str, Any]

    def rows(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        return self.lake.sql(statement, list(parameters) or None).rows()

    def patient(self, number: int) -> str:
        return str(self.rows("select distinct patient_id from instances order by 1")[number][0])


def counted(run: Run) -> tuple[dict[str, int], dict[str, int]]:
    return dict(run.counts), dict(run.reasons)


def ingested(at: Place) -> Any:
    first = ingest(at.lake, PHANTOMS, engine="serial", progress=False)
    folder = at.folder / "files"
    folder.mkdir()
    data = next(iter(Phantoms(patients=1, slices=8, rows=20, columns=16, seed=5))).read(1 << 20)
    (folder / "compressed.dcm").write_bytes(data)
    (folder / "short.dcm").write_bytes(data[:-64])
    (folder / "text.txt").write_text("no image")
    again = ingest(at.lake, folder, PHANTOMS, compress="htj2k", engine="processes:1", progress=False)
    new = at.rows("select sop_instance_uid from instances where rows = 20")
    assert len(new) == 1, counted(again)
    uid = new[0][0]
    return counted(first), counted(again), original_bytes(at.lake, uid), read_frame(at.lake, uid).tolist()


def labelled(at: Place) -> Any:
    uids = [uid for (uid,) in at.rows("select series_instance_uid from series order by 1")]
    table = at.folder / "labels.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("series", "side"), *((uid, "lr"[n % 2]) for n, uid in enumerate(uids))])
    run = label(at.lake, table, level="series", identifiers="lake")
    return counted(run), at.rows("select subject, name, value from labels order by all")


def queried(at: Place) -> Any:
    return [
        at.rows("select sop_instance_uid, source_mac, sha256, length, tags from instances order by all"),
        at.rows("select series_instance_uid, geometry, members_digest from series order by all"),
        at.rows("select modality, count(*), sum(rows) from instances where slice_thickness > 0 group by all"),
    ]


def found(at: Place) -> Any:
    """What a SOP, a series and a study UID name, and that the place holds the instance."""
    columns = "sop_instance_uid, series_instance_uid, study_instance_uid"
    uids = at.rows(f"select {columns} from instances where rows = 16 order by 1")[3]
    with pytest.raises(NotFoundError, match="nothing in the lake"):
        find(at.lake, "1.2.3")
    spot = at.lake.find(uids[0])
    assert spot is not None
    ((pack, offset),) = at.rows('select pack, "offset" from instances where sop_instance_uid = ?', uids[0])
    assert (spot.spots[0].pack, spot.spots[0].offset) == (pack, offset)
    rows = [[(*row[:6], row[9]) for row in find(at.lake, uid).rows()] for uid in uids]
    return rows, read_frame(at.lake, uids[0]).tolist()


def selected(at: Place) -> Any:
    condition = "patient_id <> (select min(patient_id) from series)"
    both = [select(at.lake, "all", "rows = 16"), select(at.lake, "some", condition), select(at.lake, "some")]
    return [(one.cohort_id, one.version) for one in both]


def listed(at: Place) -> Any:
    return [(one["name"], one["version"], one["series"]) for one in cohort_list(at.lake)]


def shown(at: Place) -> Any:
    values = cohort_show(at.lake, "all")
    return {name: value for name, value in values.items() if name not in {"run_id", "committed_at"}}


def split(at: Place) -> Any:
    run = cohort_split(at.lake, "all", parts="one=0.5,two=0.5", stratify="nodule")
    return counted(run), [get_cohort(at.lake, f"all-{part}").members() for part in ("one", "two")]


def exported(at: Place) -> Any:
    file = at.folder / "all.manifest"
    run = cohort_export(get_cohort(at.lake, "all"), file)
    return counted(run), len(file.read_text().splitlines())


def verified_manifest(at: Place) -> Any:
    held = cohort_verify(at.folder / "all.manifest", at.lake.url, key=at.lake.key_file, read_bytes=True)
    return held.holds, {name: held.values[name] for name in ("signature", "instances", "present", "extra")}


def prepared(at: Place) -> Any:
    cohort = get_cohort(at.lake, "all")
    runs = [prepare(cohort, plan=load_plan(PLAN), engine="serial", progress=False) for _ in "ab"]
    rows = at.rows('select volume_id, sha256, shards, shape, "array" from volumes order by all')
    return [counted(run) for run in runs], rows


def segmented(at: Place) -> Any:
    cohort = get_cohort(at.lake, "all")
    runs = [segment(cohort, plan=MASK_PLAN, engine="serial", progress=False) for _ in "ab"]
    masks = "select series_instance_uid, kind, labels, shards, shape from masks order by all"
    return [counted(run) for run in runs], at.rows(masks)


def measured(at: Place) -> Any:
    cohort = get_cohort(at.lake, "all")
    volumes = load_plan(PLAN)
    runs = [
        measure(cohort, plan="image-statistics", volumes=volumes, engine="serial", progress=False)
        for _ in "ab"
    ]
    numbers = "select series_instance_uid, family, feature, value, unit from features order by all"
    return [counted(run) for run in runs], at.rows(numbers)


def mined(at: Place) -> Any:
    runs = [mine(at.lake, load_mining_task(MINING), progress=False) for _ in "ab"]
    said = "select subject, class, part from predictions where subject_level = 'series' order by all"
    return [counted(run) for run in runs], at.rows(said)


def sent_out(at: Place) -> Any:
    folder = at.folder / "out"
    cohort, plan = get_cohort(at.lake, "all"), load_plan(PLAN)
    runs = [export(cohort, folder, to="nrrd", plan=plan, engine="serial", progress=False) for _ in "ab"]
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.nrrd"))
    return [counted(run) for run in runs], files


def brought(at: Place) -> Any:
    """Where there are no weights, nothing is brought, and that is said; those of a package are."""
    empty = at.folder / "weights"
    empty.mkdir()
    with pytest.raises(VoxlakeError) as refused:
        models_import(at.lake, empty)
    runs = [models_import(at.lake, "efficientnet-lite0") for _ in "ab"]
    return str(refused.value).replace(str(empty), ""), [counted(run) for run in runs], models_list(at.lake)


def looked_at(at: Place) -> Any:
    cohort, volumes = get_cohort(at.lake, "all"), load_plan(PLAN)
    runs = [
        embed(cohort, model="efficientnet-lite0", volumes=volumes, extent=33, progress=False) for _ in "ab"
    ]
    vectors = "select subject, vector from embeddings where name = 'efficientnet-lite0' order by 1"
    return [counted(run) for run in runs], at.rows(vectors)


def trained(at: Place) -> Any:
    runs = [train(at.lake, TASK, progress=False) for _ in "ab"]
    tested = at.rows("select volume_id, fold, class, probability from predictions order by all")
    return [counted(run) for run in runs], [run.result.get("already") for run in runs], tested


def predicted(at: Place) -> Any:
    run = predict(at.lake, "nodule", "all", progress=False)
    return counted(run), at.rows("select volume_id, fold, part, probability from predictions order by all")


def carried_out(at: Place) -> Any:
    folder = at.folder / "networks"
    runs = [models_export(at.lake, "nodule", folder, progress=False) for _ in "ab"]
    card = json.loads((folder / "card.json").read_text())
    return [counted(run) for run in runs], sorted(path.name for path in folder.iterdir()), card["output"]


def evaluated(at: Place) -> Any:
    run = evaluate(at.lake, "nodule")
    return counted(run), run.result["scores"], at.rows("select metric, value from scores order by all")


def reported(at: Place) -> Any:
    page = at.folder / "report.html"
    run = report(at.lake, "nodule", output=page)
    assert at.lake.objects.get(f"reports/{run.run_id}/report.html") == page.read_bytes()
    return counted(run), len(re.findall("<h[12]", page.read_text()))


def checked(at: Place) -> Any:
    run = check(at.lake, engine="serial", progress=False)
    return counted(run), at.rows("select * exclude (committed_at, run_id) from findings order by all")


def waiting(at: Place) -> Any:
    return sorted((row["quarantine_id"], row["reason"]) for row in quarantine_list(at.lake))


def opened(at: Place) -> Any:
    values = quarantine_show(at.lake, waiting(at)[0][0][:8])
    return values["reason"], values["bytes"], sorted(values)


def rotated(at: Place) -> Any:
    runs = [keys_rotate(at.lake) for _ in "ab"]
    return [counted(run) for run in runs], opened(at)


def rekeyed(at: Place) -> Any:
    key = at.folder / "new-key"
    runs = [keys_rekey(at.lake, at.beside, new_key=key, engine="serial", progress=False) for _ in "ab"]
    new = open_lake(at.beside, key=key, create=False)
    patients = "select patient_id from patients"
    assert not set(new.sql(patients).rows()) & set(at.rows(patients))
    assert verify(new, engine="serial", progress=False).failures == 0
    return [counted(run) for run in runs], new.sql("select count(*) from labels").rows()


def compacted(at: Place) -> Any:
    """The views and look-ups give the same before and after; no local copy of an old file stays."""
    before = queried(at), found(at)
    run = compact(at.lake, grace="0", engine="serial", progress=False)
    assert (queried(at), found(at)) == before
    if at.lake.tables.places.remote:
        copies = {path.name for path in (at.lake.cache / "tables" / "instances").iterdir()}
        assert copies == {Path(file).name for file in at.lake.tables.files("instances")}
    # How many table files there were hangs on how many commits the seconds of a run made.
    names = ("packs", "into_packs", "duplicates", "moved")
    return {name: run.result[name] for name in names}


def verified(at: Place) -> Any:
    """A damaged pack and a missing array are mended by a copy in a folder, then by one elsewhere."""
    faults = []
    for url in (str(at.folder / "copy"), at.beside.replace("rekeyed", "copies").replace("beside", "copies")):
        copy = Objects.open(url)
        for path in at.lake.objects.list():
            copy.put(path, at.lake.objects.get(path))
        pack, array = at.rows('select min(pack), (select min("array") from volumes) from instances')[0]
        data = bytearray(at.lake.objects.get(pack))
        data[len(data) // 2] ^= 1
        at.lake.objects.put(pack, bytes(data))
        for path in list(at.lake.objects.list(array)):
            at.lake.objects.delete(path)
        run = verify(at.lake, repair_from=url, engine="serial", progress=False)
        faults.append([(one["object"], one["fault"], one["repaired"]) for one in run.result["faults"]])
    again = verify(at.lake, engine="serial", progress=False)
    assert again.failures == 0, again.result
    assert [(fault, repaired) for _, fault, repaired in faults[0]] == [("damaged", True), ("missing", True)]
    return faults


def followed(at: Place) -> Any:
    feed = changes(at.lake, tables=("instances", "series", "labels", "volumes"))
    assert changes(at.lake, feed.cursor, tables=("instances",)).rows == ()
    return sorted((row["table"], row["kind"], row["key"]) for row in feed.rows)


def withdrawn(at: Place) -> Any:
    run = withdraw(at.lake, at.patient(0), reason="consent_revoked")
    refused = ingest(at.lake, PHANTOMS, engine="serial", progress=False)
    return counted(run), counted(refused), cohort_show(at.lake, "all")["withdrawn"]


def erased(at: Place) -> Any:
    """Everything of a patient goes, from the bucket, the history of its tables and the caches here."""
    who = at.rows("select max(patient_id) from instances where rows = 16")[0][0]
    names = {who}
    for column in ("sop_instance_uid", "series_instance_uid", "source_mac", "sha256"):
        names |= {row[0] for row in at.rows(f"select {column} from instances where patient_id = ?", who)}
    names |= {row[0] for row in at.rows("select volume_id from volumes where patient_id = ?", who)}
    uid = at.rows("select min(sop_instance_uid) from instances where patient_id = ?", who)[0][0]
    assert len(find(at.lake, uid)) == 1
    assert len(holding(at, names)) > 5
    run = erase(at.lake, who, yes=True, engine="serial")
    assert not (left := holding(at, names)), left
    assert at.lake.find(uid) is None
    with pytest.raises(NotFoundError):
        read_frame(at.lake, uid)
    again = ingest(at.lake, PHANTOMS, engine="serial", progress=False)
    assert not (left := holding(at, names)), left
    at.notes["receipt"] = run.result["receipt"]
    result = {name: run.result[name] for name in ("rows", "remaining")}
    return counted(run), result, len(run.result["models"]), counted(again), found(at)


def holding(at: Place, names: Iterable[str]) -> list[tuple[str, str]]:
    """Objects of the lake, and files of its caches, in which a name stands; tables without compression."""
    parts = [(str(path), path.read_bytes()) for path in at.lake.cache.rglob("*") if path.is_file()]
    # Models are not changed; the receipt lists them.
    paths = [path for path in at.lake.objects.list() if not path.startswith("models/")]
    parts += [(path, at.lake.objects.get(path)) for path in paths]
    held = []
    for path, data in parts:
        content = data
        if path.endswith(".parquet"):
            rows = pq.ParquetFile(BytesIO(data)).read().to_pylist()
            content += json.dumps(rows, default=str).encode()
        held += [(path, name) for name in names if name.encode() in content]
    return held


def receipted(at: Place) -> Any:
    held = receipt(at.lake, at.notes["receipt"])
    return held.holds, held.values["erased"], held.values["in_place"]


def keys(at: Place) -> Any:
    return {name: value for name, value in keys_show(at.lake).items() if name == "fingerprint"}


# In an order in which each finds what it needs.
CASES: dict[str, Callable[[Place], Any]] = {
    "ingest": ingested,
    "label": labelled,
    "sql": queried,
    "find": found,
    "check": checked,
    "select": selected,
    "cohort list": listed,
    "cohort show": shown,
    "cohort diff": lambda at: cohort_diff(at.lake, "some@1", "some@2"),
    "cohort split": split,
    "cohort leakage": lambda at: cohort_leakage(at.lake, "all", "some").values,
    "cohort export": exported,
    "cohort verify": verified_manifest,
    "prepare": prepared,
    "segment": segmented,
    "export": sent_out,
    "measure": measured,
    "mine": mined,
    "models import": brought,
    "models list": lambda at: models_list(at.lake),
    "embed": looked_at,
    "train": trained,
    "predict": predicted,
    "models export": carried_out,
    "evaluate": evaluated,
    "report": reported,
    "quarantine list": waiting,
    "quarantine show": opened,
    "pseudonym": lambda at: pseudonym(at.lake, "4711"),
    "keys show": keys,
    "keys rotate": rotated,
    "compact": compacted,
    "verify": verified,
    "keys rekey": rekeyed,
    "changes": followed,
    "withdraw": withdrawn,
    "erase": erased,
    "receipt": receipted,
}


def test_every_verb_has_a_case() -> None:
    assert {*CASES, *NO_LAKE} == {verb.command for verb in VERBS}


@pytest.fixture
def places(s3: S3Server, tmp_path: Path) -> tuple[Place, Place]:
    """A lake in a folder and one in a bucket, of the same key."""
    made = []
    for name, url in (("here", str(tmp_path / "lake")), ("there", s3.url("voxlake", f"verbs/{uuid4().hex}"))):
        folder = tmp_path / name
        folder.mkdir()
        LakeKey(bytes(range(32))).save(folder / "key")
        beside = str(tmp_path / "beside") if name == "here" else url.replace("/verbs/", "/rekeyed/")
        made.append(Place(open_lake(url, key=folder / "key"), beside, folder, {}))
    return made[0], made[1]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_verb_gives_the_same(places: tuple[Place, Place]) -> None:
    for command, case in CASES.items():
        ours, theirs = map(case, places)
        assert theirs == ours, command
