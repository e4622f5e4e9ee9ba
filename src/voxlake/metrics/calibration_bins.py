"""What calibration is counted in: bins of probability."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxlake.core.errors import UsageError
from voxlake.metrics.inputs import Floats, as_binary, as_labels, as_probability, as_scores

__all__ = ["Scheme", "bin_starts", "top_label"]

Scheme: TypeAlias = Literal["equal_count", "equal_width"]


def bin_starts(
    probability: Floats, *, bins: int, scheme: Scheme
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Order of the samples by probability, and where each bin that holds any begins in that order.

    Raises
    ------
    UsageError
        Fewer than one bin, or an unknown scheme.
    """
    if bins < 1 or scheme not in ("equal_count", "equal_width"):
        raise UsageError(f"expected one bin or more, equal_count or equal_width; got {bins} and {scheme!r}")
    order = np.argsort(probability, kind="stable")
    ordered = probability[order]
    edges = (
        ordered[np.arange(bins) * ordered.size // bins] if scheme == "equal_count" else np.arange(bins) / bins
    )
    starts = np.unique(np.searchsorted(ordered, edges, side="left"))
    return order, starts[starts < ordered.size]


def top_label(truth: ArrayLike, probability: ArrayLike) -> tuple[Floats, Floats]:
    """What is said to be probable and whether it came true, shape (samples,) both, for one or more classes.

    Raises
    ------
    UsageError
        Shapes differ, or probabilities lie outside 0 to 1.
    """
    labels = as_labels(truth, "truth")
    certain = as_scores(probability, "probability", labels.size)
    if certain.ndim == 1:
        return as_binary(labels).astype(np.float64), as_probability(certain, labels.size)
    chosen = certain.argmax(axis=1)
    said = as_probability(certain[np.arange(labels.size), chosen], labels.size)
    return (labels == chosen).astype(np.float64), said
