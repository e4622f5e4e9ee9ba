"""The tutorial on image statistics, on the chest X-rays that it is about."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from voxlake.lake.lake import open_lake

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tutorials" / "image-statistics.md"
_BLOCK = re.compile(r'^```(sh|toml)(?: title="([^"]+)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)

pytestmark = [pytest.mark.realdata, pytest.mark.slow, pytest.mark.timeout(1200)]


def test_the_page_does_what_it_says(realdata: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = sorted((realdata / "chest_xray_pneumonia" / "train").glob("*/*.jpeg"))[::8]
    for image in images:
        folder = tmp_path / "chest_xray_pneumonia" / image.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image, folder / image.name)
    shutil.copytree(ROOT / "src/voxlake/learning/recipes/chest_xray", tmp_path / "chest_xray")
    monkeypatch.setattr(Path, "home", staticmethod(lambda: tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    for language, title, text in _BLOCK.findall(PAGE.read_text("utf-8")):
        if language == "toml":
            Path(title).write_text(text, "utf-8")
        else:
            done = subprocess.run(
                ["bash", "-e", "-c", text], capture_output=True, text=True, timeout=600, check=False
            )
            assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    lake = open_lake(tmp_path / "lake")
    (count,) = lake.sql("select count(distinct volume_id) from features").rows()[0]
    assert count > 250
    assert lake.sql("select count(*) from features").rows() == [(41 * count,)]
    found = lake.sql("select value, low, high from scores where metric = 'roc_auc' and part = 'test'").rows()
    # Brightness alone tells a good part of these images apart, and far from all.
    assert len(found) == 1
    value, low, high = found[0]
    assert 0.7 < low < value < high < 1.0
