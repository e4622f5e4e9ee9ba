"""From probabilities to decisions: recalibration and threshold, chosen on what inner folds said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.learning.tables.settings import DecideSettings
from voxlake.metrics.recalibration import Recalibration, fit_recalibration
from voxlake.metrics.threshold import threshold_at_recall, youden_threshold

__all__ = ["Decision", "decide"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Decision:
    """What is made of probabilities.

    Parameters
    ----------
    positive : int
        Index of the positive class.
    recalibration : Recalibration or None
        Fitted on the positive class where there are two, on all where there are more.
    threshold : float or None
        Operating point of the (recalibrated) probability of the positive class; None with more than two
        classes.
    """

    positive: int
    recalibration: Recalibration | None
    threshold: float | None

    def apply(self, said: Floats) -> Floats:
        """Recalibrated probabilities, float64 (N, classes)."""
        if self.recalibration is None:
            return said
        if said.shape[1] != 2:
            return np.asarray(self.recalibration.apply(said), dtype=np.float64)
        positive = np.asarray(self.recalibration.apply(said[:, self.positive]), dtype=np.float64)
        found = np.empty_like(said)
        found[:, self.positive], found[:, 1 - self.positive] = positive, 1 - positive
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        recalibration = None if self.recalibration is None else self.recalibration.to_dict()
        return {"positive": self.positive, "recalibration": recalibration, "threshold": self.threshold}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Decision:
        """The reverse of `to_dict`."""
        stored = values["recalibration"]
        recalibration = None if stored is None else Recalibration.from_dict(stored)
        return cls(int(values["positive"]), recalibration, values["threshold"])


def decide(
    truth: NDArray[np.int64] | Floats, said: Floats, *, positive: int, settings: DecideSettings
) -> Decision:
    """Choose recalibration and threshold.

    Parameters
    ----------
    truth : numpy.ndarray
        int64 (N,), index into the classes, of rows that `said` was not fitted on.
    said : numpy.ndarray
        float64 (N, classes).
    positive : int
        Index of the positive class.
    settings : DecideSettings
        How.
    """
    binary = said.shape[1] == 2
    recalibration = None
    if settings.recalibrate != "none":
        recalibration = (
            fit_recalibration(settings.recalibrate, truth == positive, said[:, positive])
            if binary
            else fit_recalibration(settings.recalibrate, truth, said)
        )
    decision = Decision(positive, recalibration, None)
    if not binary:
        return decision
    probability = decision.apply(said)[:, positive]
    if settings.threshold == "recall":
        threshold = threshold_at_recall(truth == positive, probability, settings.recall)
    else:
        threshold = youden_threshold(truth == positive, probability)
    return Decision(positive, recalibration, threshold)
