"""Every registered step keeps the contract of a step."""

from __future__ import annotations

from typing import Any

import pytest

from voxlake.processing.registry import STEPS
from voxlake.testing.steps import StepContract

WARP: dict[str, Any] = {
    "matrix": [[1.0, 0.1, 0.0, 0.5], [-0.1, 0.9, 0.0, -1.0], [0.0, 0.0, 1.0, 0.0]],
    "displacements": [[[[0.1 * x, -0.2 * y, 0.05] for x in range(4)] for y in range(5)]],
    "outside": "edge",
}
EXAMPLES: dict[str, list[dict[str, Any]]] = {
    "bias_field": [{"coefficients": [0.2, -0.1, 0.3]}],
    "bilateral": [{"sigma_value": 30.0}, {"sigma": 1.0, "sigma_value": 200.0, "extent": "volume"}],
    "cast": [{"dtype": "float32"}, {"dtype": "float16"}, {"dtype": "int16"}, {"dtype": "uint8"}],
    "clahe": [{}, {"tiles": 3, "clip": 4.0, "bins": 64, "extent": "volume"}],
    "clip": [{"low": -100.0, "high": 90.5}, {"low": 10.0}, {"high": 80.0}],
    "crop": [{"shape": [8, 8]}, {"shape": [5, 8, "keep"]}],
    "crop_around": [{"start": [0, 2, 1], "stop": [1, 9, 8]}, {"start": [2, 0, 0], "stop": [99, 12, 9]}],
    "crop_foreground": [{"threshold": 20.0, "margin": 1}],
    "crop_or_pad": [{"shape": [16, 8]}, {"shape": [4, 16, 16], "fill": "minimum"}],
    "cut_out": [
        {"boxes": [[0, 2, 3, 4, 9, 30]]},
        {"boxes": [[0, 0, 0, 1, 4, 4], [9, 9, 9, 10, 10, 10]], "fill": -7.5},
    ],
    "flip": [{"axes": ["slice", "column"]}],
    "gamma": [{"gamma": 0.5}, {"gamma": 2.0, "low": -1000.0, "high": 1000.0}],
    "gaussian": [{}, {"sigma": [0, 1.5, 1.5], "sigma_in": "mm"}],
    "ghosting": [
        {"axis": "row", "ghosts": 4, "intensity": 0.5},
        {"axis": "slice", "ghosts": 2, "intensity": 1.0},
    ],
    "grayscale": [{}],
    "histogram_match": [{"values": [0.0, 1.5, 10.0]}, {"values": [-5.0, 5.0], "over": "nonzero"}],
    "invert": [{}],
    "low_resolution": [{"factors": [2.0, 1.0, 3.5]}],
    "median": [{}, {"size": 5}, {"size": 3, "extent": "volume"}],
    "minmax": [{}, {"over": {"start": [0, 1, 2], "stop": [1, 8, 9]}}],
    "mirror": [{"axes": ["slice", "column"]}],
    "n4": [{"iterations": [5, 5]}, {"iterations": [3], "shrink": 1, "over": 20.0, "tolerance": 0.01}],
    "noise": [{"deviation": 3.0, "seed": 5}, {"deviation": 2.5, "seed": 6, "kind": "rician"}],
    "nonlocal_means": [{"search": 5, "patch": 3}, {"search": 3, "patch": 3, "extent": "volume"}],
    "nyul": [
        {"landmarks": [0.0, 50.0, 100.0], "percents": [1.0, 50.0, 99.0]},
        {"landmarks": [-1.0, 1.0], "percents": [10.0, 90.0], "over": "all"},
    ],
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
        {"shape": [9, 5], "filter": "cubic"},
    ],
    "suv": [{}, {"kind": "bsa"}],
    "total_variation": [{"weight": 20.0}, {"weight": 30.0, "iterations": 20, "extent": "volume"}],
    "to_grid": [
        {
            "shape": [5, 9, 8],
            "affine": [[0.0, 0.0, 1.1, 0.5], [0.0, 1.0, 0.0, -1.0], [3.0, 0.0, 0.0, 0.0]],
            "order": order,
            "fill": fill,
        }
        for order, fill in (("nearest", "minimum"), ("linear", 0.0), ("cubic", -7.0))
    ],
    "transform_to": [
        {
            "shape": [6, 9, 8],
            "affine": [[0.0, 0.0, 1.0, 0.5], [0.0, 1.0, 0.0, 0.0], [3.0, 0.0, 0.0, 0.0]],
            "matrix": WARP["matrix"],
            "displacements": WARP["displacements"],
        }
    ],
    "unsharp": [{}, {"sigma": 1.0, "sigma_in": "mm", "amount": 0.5}],
    "warp": [WARP, {**WARP, "outside": 12.5}],
    "wavelet": [{}, {"family": "haar", "levels": 2, "strength": 1.5, "extent": "volume"}],
    "window": [{"low": 0.0, "high": 200.0}, {"low": -1000.0, "high": 400.0, "unit": "HU"}],
    "zscore": [{"over": "all"}, {"over": "nonzero"}, {"over": 90.0}, {"over": "above_mean"}],
}
CASES = [STEPS[name].read(settings) for name in STEPS for settings in EXAMPLES.get(name, [{}])]


def test_every_step_has_an_example() -> None:
    assert sorted(EXAMPLES) == list(STEPS)


@pytest.mark.parametrize("step", CASES, ids=lambda step: f"{step.name}-{step.digest()[:6]}")
class TestEveryStep(StepContract):
    """The contract, over the registry."""
