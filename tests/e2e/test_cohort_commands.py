"""From the shell: split, leak, export, verify, withdraw, erase, receipt, with their exit statuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from voxlake.cli.main import run
from voxlake.lake.lake import open_lake

SOURCE = "phantoms:?patients=6&slices=8&rows=16&columns=16&second_study=0"


def test_the_life_of_a_cohort(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Path, "home", staticmethod(lambda: tmp_path))
    place = ["--lake", str(tmp_path / "lake"), "--key", str(tmp_path / "key")]
    assert run(["ingest", SOURCE, "--engine", "serial", *place]) == 0
    assert run(["select", "all", *place]) == 0
    assert run(["cohort", "split", "all", "--parts", "a=0.5,b=0.5", "--stratify", "nodule", *place]) == 0
    assert run(["cohort", "leakage", "all-a", "all-b", *place]) == 0
    assert run(["cohort", "leakage", "all-a", "all", *place]) == 1
    capsys.readouterr()
    assert run(["cohort", "diff", "all-a", "all", "--json", *place]) == 0
    assert len(json.loads(capsys.readouterr().out)["added"]) == 3
    manifest = str(tmp_path / "all.manifest")
    assert run(["cohort", "export", "all", manifest, *place]) == 0
    assert run(["cohort", "verify", manifest, str(tmp_path / "lake"), "--read-bytes"]) == 0
    lake = open_lake(tmp_path / "lake", key=tmp_path / "key")
    first, second = [row[0] for row in lake.sql("select patient_id from patients order by 1 limit 2").rows()]
    assert run(["withdraw", first, "--reason", "revoked", *place]) == 0
    assert run(["erase", second, "--engine", "serial", *place]) == 2
    assert "--yes" in capsys.readouterr().err
    assert run(["erase", second, "--yes", "--engine", "serial", *place]) == 0
    assert run(["cohort", "verify", manifest, str(tmp_path / "lake")]) == 1
    assert "missing: 8" in capsys.readouterr().out
    (receipt,) = lake.sql("select receipt from withdrawals where receipt is not null").rows()[0]
    assert run(["receipt", receipt, *place]) == 0
    assert "signature_is_right: True" in capsys.readouterr().out
    path = tmp_path / "lake" / "receipts" / f"{receipt}.json"
    path.write_text(path.read_text().replace('"reason": "withdrawn"', '"reason": "other"'))
    assert run(["receipt", receipt, *place]) == 1
