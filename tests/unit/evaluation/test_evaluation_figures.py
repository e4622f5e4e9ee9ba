"""Plots: drawn from the data, fit to stand in a page, and without a trace in Matplotlib's global state."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest

from voxlake.evaluation.content import OperatingPoint, TrainingCurve
from voxlake.evaluation.figures import (
    calibration_figure,
    precision_recall_figure,
    roc_figure,
    training_figure,
)
from voxlake.metrics.curves import RocCurve, calibration_curve, precision_recall_curve, roc_curve

# One worker makes what they share.
pytestmark = pytest.mark.xdist_group("figures")

TRUTH = np.arange(200) % 2
SCORES = np.round(np.clip(0.3 + 0.4 * TRUTH + np.random.default_rng(0).normal(0, 0.2, 200), 0, 1), 3)
POINT = OperatingPoint(0.5, 0.8, 0.1, 0.9)


@pytest.fixture(scope="module")
def found() -> dict[str, str]:
    """One drawing of each kind."""
    return drawings()


def drawings() -> dict[str, str]:
    return {
        "roc": roc_figure({"model": roc_curve(TRUTH, SCORES)}, POINT),
        "precision-recall": precision_recall_figure(
            {"model": precision_recall_curve(TRUTH, SCORES)}, POINT, 0.5
        ),
        "calibration": calibration_figure({"model": calibration_curve(TRUTH, SCORES)}),
        "training": training_figure(
            [TrainingCurve(f"fold {n}", (0.7, 0.4), (0.8, 0.5), 2) for n in range(5)]
        ),
    }


@pytest.mark.parametrize("name", ["roc", "precision-recall", "calibration", "training"])
def test_a_drawing_is_whole_and_keeps_to_itself(name: str, found: dict[str, str]) -> None:
    svg = found[name]
    ET.fromstring(svg)  # well-formed, one root
    assert "<style" not in svg
    assert "http" not in svg
    assert "<metadata" not in svg
    ids = re.findall(r"\bid=\"([^\"]*)\"", svg)
    assert ids
    assert all(each.startswith(f"{name}-") for each in ids)
    assert "DejaVu" not in svg


def test_equal_curves_give_equal_drawings_and_settings_stay(found: dict[str, str]) -> None:
    before = dict(mpl.rcParams)
    assert drawings() == found
    assert dict(mpl.rcParams) == before


def test_text_is_text(found: dict[str, str]) -> None:
    for words in ("guessing", "operating point", "found (sensitivity)", "model"):
        assert f">{words}</text>" in found["roc"]
    for number in range(5):
        assert f">fold {number}</text>" in found["training"]
    assert found["training"].count(">epoch</text>") == 3
    assert "operating point" not in roc_figure({"model": roc_curve(TRUTH, SCORES)})


def test_several_curves_are_told_apart_without_colour() -> None:
    curve = roc_curve(TRUTH, SCORES)
    svg = roc_figure({"first": curve, "second": curve, "third": curve})
    lines = re.findall(r"stroke-dasharray: ([^;\"]*)", svg)
    assert len({line for line in lines if line}) >= 3


def test_straight_stretches_are_drawn_by_their_ends() -> None:
    steps = np.repeat(np.linspace(0, 1, 2), 500)
    dense = RocCurve(np.linspace(0, 1, 1000), np.ones(1000), steps)
    bare = RocCurve(np.array([0.0, 1.0]), np.ones(2), np.zeros(2))
    assert roc_figure({"model": dense}) == roc_figure({"model": bare})


def test_an_undefined_curve_does_not_stop_the_page() -> None:
    ET.fromstring(roc_figure({"model": roc_curve([1, 1], [0.1, 0.2])}))
    ET.fromstring(training_figure([TrainingCurve("fold", (0.5, float("nan")), ())]))
