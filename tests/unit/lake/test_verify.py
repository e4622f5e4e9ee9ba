"""Whatever is missing, cut short or changed is found, and nothing else; a copy repairs it byte for byte."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxlake.cli.main import run
from voxlake.core.errors import IntegrityError, UsageError
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake, open_lake
from voxlake.lake.quarantine import quarantined
from voxlake.lake.verify import verify
from voxlake.sources.phantoms import Phantoms
from voxlake.store.arrays import value_digest, write_stack
from voxlake.store.keys import LakeKey

# One worker makes what they share.
pytestmark = pytest.mark.xdist_group("verify")

WEIGHTS = b"weights of a network"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with one of each kind of object, verified once."""
    from hashlib import sha256

    folder = tmp_path_factory.mktemp("template")
    LakeKey(bytes(range(32))).save(folder / "key")
    lake = open_lake(folder / "lake", key=folder / "key")
    ingest(lake, Phantoms(patients=1, slices=8, rows=16, columns=16, second_study=0.0), engine="serial")
    images = np.arange(3 * 16 * 16, dtype=np.int16).reshape(3, 16, 16)
    info = write_stack(lake.objects, "stack", images)
    rows = [
        {
            "volume_id": f"v{n}",
            "array": info.array,
            "position": n,
            "shards": info.shards,
            "sha256": value_digest(one),
        }
        for n, one in enumerate(images)
    ]
    lake.tables.append("volumes", rows)
    sealed = quarantined(lake, "n", b"bad", mac="00", policy_digest="p", reason="not_dicom", detail="d")
    lake.tables.append("quarantine", [sealed])
    lake.objects.put("models/m1/card.json", json.dumps({"weights": [sha256(WEIGHTS).hexdigest()]}).encode())
    lake.objects.put("models/m1/fold-0.safetensors", WEIGHTS)
    lake.tables.append("models", [{"model_id": "m1"}])
    done = lake.sql("select min(run_id) from runs").rows()[0][0]
    lake.objects.put(f"reports/{done}/report.html", b"<p>report</p>")
    run = verify(lake, engine="serial")
    assert run.failures == 0
    assert run.result["orphans"]["objects"] == 0
    return folder


@pytest.fixture
def sound(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """A copy of the template."""
    monkeypatch.setattr(Path, "home", staticmethod(lambda: tmp_path))
    shutil.copytree(template / "lake", tmp_path / "lake")
    return open_lake(tmp_path / "lake", key=template / "key")


KINDS: dict[str, Callable[[Path], Path]] = {
    "pack": lambda root: next((root / "packs").rglob("*.pack")),
    "shard": lambda root: max((root / "arrays/stack.zarr/0/c").rglob("*"), key=lambda file: file.is_file()),
    "sealed": lambda root: next((root / "quarantine").iterdir()),
    "weights": lambda root: root / "models/m1/fold-0.safetensors",
    "card": lambda root: root / "models/m1/card.json",
    "report": lambda root: next((root / "reports").rglob("*.html")),
    "policy": lambda root: root / "policy.toml",
    "rows": lambda root: next((root / "tables/instances").glob("*.parquet")),
    "log": lambda root: root / "tables/labels/_delta_log" / f"{0:020}.json",
}


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 4
    file.write_bytes(bytes(data))


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "flip": flip,
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-5]),
    "delete": Path.unlink,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_found_and_repaired(kind: str, damage: str, sound: Lake, template: Path, tmp_path: Path) -> None:
    if (kind, damage) == ("report", "delete"):
        pytest.skip("no row names a report; whether there is one is nobody's claim")
    file = KINDS[kind](tmp_path / "lake")
    whole = file.read_bytes()
    DAMAGES[damage](file)
    run = verify(sound, engine="serial") if kind not in ("log", "rows") else None
    if run is not None:
        path = str(file.relative_to(tmp_path / "lake"))
        named = "arrays/stack.zarr" if kind == "shard" else path
        assert {fault["object"] for fault in run.result["faults"]} == {named}
        assert run.failures == run.counts["failed"] == 1
    repaired = verify(
        open_lake(tmp_path / "lake", key=template / "key"),
        engine="serial",
        repair_from=str(template / "lake"),
    )
    assert file.read_bytes() == whole
    assert repaired.failures == 0
    assert repaired.counts["stored"] == 1
    assert all(fault["repaired"] for fault in repaired.result["faults"])
    again = verify(open_lake(tmp_path / "lake", key=template / "key"), engine="serial")
    assert again.failures == 0
    assert again.result["faults"] == []


def test_damaged_rows_are_said_and_the_rest_is_read(sound: Lake, tmp_path: Path) -> None:
    KINDS["rows"](tmp_path / "lake").unlink()
    run = verify(sound, engine="serial")
    assert run.reasons == {"object_missing": 1}
    assert run.result["not_verified"] == ["instances"]


def test_the_last_commit_is_missed(sound: Lake, tmp_path: Path) -> None:
    sound.tables.append("labels", [{"level": "series", "subject": "s", "name": "n", "value": "v"}])
    verify(sound, engine="serial")
    last = max((tmp_path / "lake/tables/labels/_delta_log").glob("*.json"))
    last.unlink()
    run = verify(open_lake(tmp_path / "lake", key=sound.key_file), engine="serial")
    assert run.reasons["object_missing"] == 1


def test_a_damaged_copy_is_refused(sound: Lake, template: Path, tmp_path: Path) -> None:
    shutil.copytree(template / "lake", tmp_path / "copy")
    for root in (tmp_path / "lake", tmp_path / "copy"):
        flip(KINDS["pack"](root))
    damaged = KINDS["pack"](tmp_path / "lake").read_bytes()
    run = verify(sound, engine="serial", repair_from=str(tmp_path / "copy"))
    assert run.failures == 1
    assert "the copy is damaged as well" in run.result["faults"][0]["detail"]
    assert KINDS["pack"](tmp_path / "lake").read_bytes() == damaged


def test_what_is_no_copy(sound: Lake, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="from itself"):
        verify(sound, repair_from=sound.url)
    other = open_lake(tmp_path / "other", key=tmp_path / "other-key")
    with pytest.raises(UsageError, match="no copy of this one"):
        verify(sound, repair_from=other.url)
    with pytest.raises(UsageError, match="share"):
        verify(sound, sample=0)


def test_without_the_tables_of_runs(sound: Lake, tmp_path: Path) -> None:
    next((tmp_path / "lake/tables/runs").glob("*.parquet")).unlink()
    with pytest.raises(IntegrityError, match="runs"):
        verify(sound, engine="serial")


def test_files_in_place(new_lake: Callable[..., Lake], tmp_path: Path) -> None:
    lake = new_lake()
    source = tmp_path / "source"
    source.mkdir()
    (entry,) = [Phantoms(patients=1, slices=8, rows=16, columns=16, second_study=0.0)]
    for number, item in enumerate(entry):
        (source / f"{number}.dcm").write_bytes(item.read(1 << 30))
    ingest(lake, source, policy="none", in_place=True, engine="serial")
    assert verify(lake, engine="serial").failures == 0
    flip(source / "0.dcm")
    (source / "1.dcm").unlink()
    run = verify(lake, engine="serial")
    assert run.reasons == {"object_changed": 1, "object_missing": 1}
    assert not any("source" in json.dumps(fault) for fault in run.result["faults"])


def test_exit_status(sound: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["verify", "--lake", sound.url, "--key", str(sound.key_file), "--engine", "serial", "--json"]
    assert run(command) == 0
    flip(KINDS["pack"](tmp_path / "lake"))
    assert run(command) == 1
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert answer["counts"]["failed"] == 1


def test_many_objects_in_workers(sound: Lake) -> None:
    assert verify(sound, engine="processes:1", sample=0.5).failures == 0
