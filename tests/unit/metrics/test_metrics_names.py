"""The list of names is what the figures are called."""

from __future__ import annotations

from voxlake.metrics.names import METRICS
from voxlake.metrics.summary import binary_estimates, multiclass_estimates


def test_every_figure_is_named() -> None:
    two = binary_estimates([0, 1, 0, 1], [0.1, 0.9, 0.4, 0.6], groups=None, replicates=10)
    assert tuple(each.name for each in two) == METRICS
    three = multiclass_estimates([0, 1, 2], [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]], groups=None)
    assert {each.name for each in three} <= set(METRICS)
