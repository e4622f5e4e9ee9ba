"""Tutorials that need real images: every block runs on them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

TUTORIALS = Path(__file__).parents[2] / "docs" / "tutorials"
_BLOCK = re.compile(
    r'^```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$', re.MULTILINE | re.DOTALL
)


def run(page: str) -> dict[str, object]:
    session: dict[str, object] = {"__name__": "__docs__"}
    for block in _BLOCK.finditer((TUTORIALS / page).read_text("utf-8")):
        if block["title"]:
            Path(block["title"]).write_text(block["text"], "utf-8")
        elif block["language"] == "python":
            exec(compile(block["text"], page, "exec"), session)
    return session


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "work").mkdir()
    monkeypatch.setattr(Path, "home", staticmethod(lambda: tmp_path))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.mark.realdata
@pytest.mark.slow
def test_header_tables(realdata: Path, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "multivendor_dicom").symlink_to(realdata / "multivendor_dicom")
    run("header-tables.md")
    said = capsys.readouterr().out
    assert "cluster 2" in said
    assert "reference: Siemens" in said


@pytest.mark.realdata
@pytest.mark.slow
def test_similar_cases(realdata: Path, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("NORMAL", "PNEUMONIA"):
        folder = work / "xrays" / kind
        folder.mkdir(parents=True)
        for path in sorted((realdata / "chest_xray_pneumonia" / "train" / kind).iterdir())[::12]:
            (folder / path.name).write_bytes(path.read_bytes())
    session = run("similar-cases.md")
    assert "by chance" in capsys.readouterr().out
    assert len(session["cases"].subjects) >= 150


@pytest.mark.realdata
@pytest.mark.slow
def test_breast_ultrasound(realdata: Path, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Copies: links that leave the folder are refused.
    shutil.copytree(realdata / "breast_ultrasound_busi", work / "busi", copy_function=shutil.copyfile)
    session = run("breast-ultrasound.md")
    assert "320 images in 293 groups; 0 patients known" in capsys.readouterr().out
    scores = session["run"].result["scores"]
    # Brightness tells these classes hardly better than chance; the page says so.
    assert 0.5 < scores["roc_auc"]["value"] < 0.65
    assert scores["accuracy"]["low"] < 140 / 320 < scores["accuracy"]["high"]
    precision = session["results"]["estimates"][0]
    assert precision["name"] == "precision_at_5"
    assert round(precision["value"], 2) == 0.39
    assert round(session["results"]["by_chance"], 2) == 0.36
    # What a network that was trained on photographs sees tells them well.
    assert 0.87 < session["better"]["roc_auc"]["value"] < 0.94
    assert 0.53 < session["nearer"][0]["value"] < 0.64
    page = (work / "tissue.html").read_text("utf-8")
    assert "No patient is known of any sample." in page
    assert "Of 320 subjects no patient is known" in page
