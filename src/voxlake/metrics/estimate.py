"""A number with its uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Estimate"]


@dataclass(frozen=True)
class Estimate:
    """A metric, its interval, and what both rest on.

    Parameters
    ----------
    name : str
        Metric, for example ``"roc_auc"``.
    value : float
        Point estimate on the data as they are; NaN where the metric is not defined.
    low, high : float
        Ends of the confidence interval; NaN where there is no honest one, and `method` says why.
    level : float
        Confidence level, for example 0.95.
    method : str
        How the interval was made, or why there is none.
    samples : int
        Number of images or volumes.
    groups : int
        Number of independent units, normally patients.
    """

    name: str
    value: float
    low: float
    high: float
    level: float
    method: str
    samples: int
    groups: int

    @property
    def has_interval(self) -> bool:
        """Whether both ends are known."""
        return not (math.isnan(self.low) or math.isnan(self.high))

    def __str__(self) -> str:
        if math.isnan(self.value):
            return f"{self.name} not defined"
        if not self.has_interval:
            return f"{self.name} {self.value:.3f} (interval {self.method})"
        return f"{self.name} {self.value:.3f} ({self.level:.0%} interval {self.low:.3f} to {self.high:.3f})"
