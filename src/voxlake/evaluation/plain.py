"""Figures as plain values: JSON has no NaN, so what is not defined is null."""

from __future__ import annotations

import math

from voxlake.metrics.estimate import Estimate

__all__ = ["figure", "interval"]


def figure(number: float) -> float | None:
    """A number; None where it is not defined."""
    return float(number) if math.isfinite(number) else None


def interval(estimate: Estimate) -> dict[str, float | None]:
    """Value and both ends."""
    return {name: figure(getattr(estimate, name)) for name in ("value", "low", "high")}
