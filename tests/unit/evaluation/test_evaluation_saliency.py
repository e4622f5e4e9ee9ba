"""What the answers of a network rest on, on the page of a report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from voxlake.core.errors import UsageError
from voxlake.evaluation.content import ReportData
from voxlake.evaluation.page import render_report
from voxlake.evaluation.parts import Example
from voxlake.evaluation.report import report
from voxlake.evaluation.saliency import heated, saliency_section
from voxlake.lake.cohorts import select
from voxlake.lake.lake import Lake
from voxlake.learning.explain import explain
from voxlake.learning.model import get_model
from voxlake.learning.task import load_task
from voxlake.learning.train import train
from voxlake.volumes.prepare import prepare

TASK = """
name = "small"
target = "nodule"
cohort = "everyone"
[[plan.steps]]
step = "resize"
shape = [4, 8, 8]
[[plan.steps]]
step = "window"
low = -1000
high = 200
[network]
name = "cnn"
dimensions = 3
blocks = [2]
[split]
folds = 2
validation = 0.3
[training]
epochs = 1
threads = 1
precision = "float32"
"""


def test_a_map_is_laid_over_a_picture() -> None:
    grey = np.full((4, 6), 100, dtype=np.uint8)
    heat = np.zeros((2, 3))
    heat[0, 0], heat[1, 2] = 2.0, -1.0
    found = heated(grey, heat)
    assert found.shape == (4, 6, 3)
    assert (found[2, 0] == 100).all()
    # Twice as much speaks for the class as against it.
    assert found[1, 1].tolist() == [round(100 + 0.7 * (c - 100)) for c in (230, 159, 0)]
    assert found[2, 4].tolist() == [round(100 + 0.35 * (c - 100)) for c in (0, 114, 178)]
    assert (heated(grey, np.zeros((4, 6))) == 100).all()


@pytest.mark.parametrize(("correlation", "words"), [(0.1, "depend on what"), (0.9, "must not be believed")])
def test_the_section_says_whether_maps_can_be_believed(correlation: float, words: str) -> None:
    image = np.zeros((4, 4, 3), dtype=np.uint8)
    section = saliency_section(
        "grad-cam",
        [Example(image, "abc", "ill", "well")],
        [(1, "8", 0.95), (3, "0", correlation)],
        limit=0.5,
        passed=correlation < 0.5,
    )
    page = render_report(ReportData(title="T", task="t", summary="s", created="c", sections=(section,)))
    assert "What the answers rest on" in page
    assert words in page
    assert f"{correlation:.2f}" in page
    assert page.count('<li class="example">') == 1


def test_a_trained_network_is_explained_in_its_report(
    lake_template: Callable[[int], Path], lake_copy: Callable[[Path], Lake]
) -> None:
    lake = lake_copy(lake_template(12))
    task = load_task(TASK)
    prepare(select(lake, "everyone"), plan=task.load_plan(), engine="serial")
    train(lake, task)
    run = report(lake, "small", saliency="occlusion")
    page = Path(run.result["report"]).read_text()
    assert "What the answers rest on" in page
    assert "Occlusion (Zeiler" in page
    figures = json.loads((Path(run.result["report"]).parent / "figures.json").read_text())
    assert figures["asked"]["saliency"] == "occlusion"
    shown = [one for one in figures["figures"] if "/pictures/" in one and one.endswith("/image")]
    assert 1 <= len(shown) <= 8
    again = report(lake, run.run_id, rebuild=True)
    assert again.result["same"], again.result["differences"]

    rows = lake.sql("select * from volumes order by volume_id limit 3").dicts()
    model = get_model(lake, "small")
    each = [explain(lake, "small", rows, [0, 1, 0], [fold] * 3).maps for fold in (0, 1)]
    mean = explain(lake, "small", rows, [0, 1, 0], [-1] * 3)
    assert mean.maps.shape == (3, 4, 8, 8)
    np.testing.assert_allclose(mean.maps, (each[0] + each[1]) / 2, atol=1e-6)
    assert mean.check.stages[-1].layers == len(
        [1 for module in model.network(0).modules() if list(module.parameters(recurse=False))]
    )
    with pytest.raises(UsageError, match="takes no saliency"):
        report(lake, "everyone", saliency="grad-cam")
    with pytest.raises(UsageError, match="saliency 'gradcam' is unknown; did you mean 'grad-cam'"):
        report(lake, "small", saliency="gradcam")  # type: ignore[arg-type]  # typed by a person
