"""The false discovery rate of many tests.

References
----------
Benjamini Y, Hochberg Y. Controlling the false discovery rate. Journal of the Royal Statistical Society B
57 (1995) 289-300.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["discovery_rates"]


def discovery_rates(p_values: ArrayLike) -> NDArray[np.float64]:
    """Smallest false discovery rate at which each test would be called, after Benjamini and Hochberg.

    Parameters
    ----------
    p_values : array-like, shape (tests,)
        NaN for a test that could not be made: it does not count and stays NaN.

    Returns
    -------
    numpy.ndarray
        float64 (tests,).
    """
    values = np.asarray(p_values, dtype=np.float64)
    rates = np.full(values.shape, np.nan)
    made = np.flatnonzero(~np.isnan(values))
    order = made[np.argsort(values[made], kind="stable")]
    count = len(order)
    raw = values[order] * count / np.arange(1, count + 1)
    rates[order] = np.minimum(1, np.minimum.accumulate(raw[::-1])[::-1])
    return rates
