"""The tasks that are shipped as examples can be read, and their networks fit their images."""

from __future__ import annotations

from pathlib import Path

import pytest

from voxlake.learning.task import load_task
from voxlake.networks.registry import build

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*/task.toml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.parent.name for path in EXAMPLES])
def test_an_example_can_be_read_and_built(path):
    task = load_task(path)
    sizes = [step.shape for step in task.load_plan() if getattr(step, "shape", None) is not None]
    dimensions = task.network["dimensions"]
    network = build(
        task.network_name,
        task.network_settings,
        in_channels=1,
        outputs=len(task.classes or ("no", "yes")),
        shape=sizes[-1][-dimensions:],
        seed=task.training.seed,
    )
    assert sum(parameter.numel() for parameter in network.parameters()) < 1_000_000


def test_the_chest_example_is_there():
    assert "chest_xray" in [path.parent.name for path in EXAMPLES]
