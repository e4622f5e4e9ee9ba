"""Normal deviates of confidence levels."""

from __future__ import annotations

from scipy.special import ndtri

from voxlake.core.errors import UsageError

__all__ = ["normal_deviate"]


def normal_deviate(level: float) -> float:
    """Half-width, in standard errors, of a two-sided normal interval: 1.96 for a level of 0.95.

    Raises
    ------
    UsageError
        The level does not lie between 0 and 1.
    """
    if not 0 < level < 1:
        raise UsageError(f"level must lie between 0 and 1, got {level}")
    return float(ndtri(0.5 + level / 2))
