"""Survival curves by definition and against statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.duration.survfunc import SurvfuncRight

from voxlake.evaluation.kaplan_meier import kaplan_meier


def test_a_curve_by_hand() -> None:
    time = np.array([1.0, 2.0, 2.0, 3.0, 4.0])
    event = np.array([True, True, False, False, True])
    curve = kaplan_meier(time, event)
    np.testing.assert_array_equal(curve.time, [0, 1, 2, 3, 4])
    np.testing.assert_allclose(curve.survival, [1, 4 / 5, 4 / 5 * 3 / 4, 4 / 5 * 3 / 4, 0])
    assert curve.low[0] == curve.high[0] == 1
    assert np.isnan(curve.low[-1])
    # Greenwood at the first event: variance of log(-log S) is (1 / (5 * 4)) / log(S)^2.
    error = 1.959964 * np.sqrt(1 / 20) / abs(np.log(0.8))
    assert curve.low[1] == pytest.approx(0.8 ** np.exp(error), rel=1e-5)
    assert curve.high[1] == pytest.approx(0.8 ** np.exp(-error), rel=1e-5)


def test_equal_to_statsmodels() -> None:
    draw = np.random.default_rng(0)
    time = draw.integers(1, 40, 200).astype(float)
    event = draw.random(200) < 0.6
    curve = kaplan_meier(time, event)
    peer = SurvfuncRight(time, event.astype(int))
    at = np.searchsorted(curve.time, peer.surv_times)
    np.testing.assert_allclose(curve.survival[at], peer.surv_prob, atol=1e-12)
    assert np.all(np.diff(curve.survival) <= 0)
    inside = (curve.survival > 0) & (curve.survival < 1)
    assert np.all((curve.low < curve.survival)[inside])
    assert np.all((curve.survival < curve.high)[inside])
