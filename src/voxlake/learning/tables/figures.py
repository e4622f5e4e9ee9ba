"""Figures with intervals as plain values, and the split of kinds that test nothing."""

from __future__ import annotations

import math
from typing import Any

from voxlake.learning.tables.result import TableFold
from voxlake.metrics.estimate import Estimate

__all__ = ["estimate_row", "finite", "fitted_on"]


def estimate_row(estimate: Estimate, name: str | None = None) -> dict[str, Any]:
    """An estimate as plain values; what is not finite becomes None.

    Parameters
    ----------
    estimate : Estimate
        The figure.
    name : str, optional
        Another name for it.
    """
    row = {key: finite(value) if isinstance(value, float) else value for key, value in vars(estimate).items()}
    return row if name is None else {**row, "name": name}


def finite(value: float) -> float | None:
    """The number, or None where it is none: JSON has no word for that."""
    return float(value) if math.isfinite(value) else None


def fitted_on(rows: int) -> tuple[TableFold, ...]:
    """The split of a kind that tests nothing: all rows were fitted on.

    It is kept with the model, so that an erasure finds every patient who went into it.
    """
    return (TableFold(train=tuple(range(rows)), validation=(), test=()),)
