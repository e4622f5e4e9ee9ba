"""Every registered step keeps the contract of a step."""

from __future__ import annotations

from typing import Any

import pytest

from voxlake.processing.registry import STEPS
from voxlake.testing.steps import StepContract

EXAMPLES: dict[str, list[dict[str, Any]]] = {
    "cast": [{"dtype": "float32"}, {"dtype": "float16"}, {"dtype": "int16"}, {"dtype": "uint8"}],
    "clip": [{"low": -100.0, "high": 90.5}, {"low": 10.0}, {"high": 80.0}],
    "crop": [{"shape": [8, 8]}, {"shape": [5, 8, "keep"]}],
    "crop_foreground": [{"threshold": 20.0, "margin": 1}],
    "crop_or_pad": [{"shape": [16, 8]}, {"shape": [4, 16, 16], "fill": "minimum"}],
    "flip": [{"axes": ["slice", "column"]}],
    "grayscale": [{}],
    "invert": [{}],
    "minmax": [{}],
    "pad": [{"shape": [16, 12]}, {"shape": [9, "keep", 16], "fill": "minimum"}],
    "percentile": [{"low": 2.0, "high": 95.0}, {"over": "nonzero"}, {"over": 50.0}],
    "reorient": [{"orientation": "RAS"}],
    "resample": [
        {"spacing": [2.0, 1.0, 1.0]},
        {"spacing": ["keep", 0.5, 0.5], "order": "nearest"},
        {"spacing": ["keep", 1.0, 0.5], "order": "cubic"},
        {"spacing": [4.0, 1.5, 1.5], "antialias": False},
    ],
    "rescale": [{"scale": 2.0, "offset": -3.0}],
    "resize": [
        {"shape": [8, 8]},
        {"shape": [4, 16, 16], "filter": "area"},
        {"shape": [9, 9], "filter": "nearest", "keep_aspect": True, "fill": "minimum"},
    ],
    "suv": [{}, {"kind": "bsa"}],
    "window": [{"low": 0.0, "high": 200.0}, {"low": -1000.0, "high": 400.0, "unit": "HU"}],
    "zscore": [{"over": "all"}, {"over": "nonzero"}, {"over": 90.0}],
}
CASES = [STEPS[name].read(settings) for name in STEPS for settings in EXAMPLES.get(name, [{}])]


def test_every_step_has_an_example() -> None:
    assert sorted(EXAMPLES) == list(STEPS)


@pytest.mark.parametrize("step", CASES, ids=lambda step: f"{step.name}-{step.digest()[:6]}")
class TestEveryStep(StepContract):
    """The contract, over the registry."""
