"""How a series whose slices are no volume may be mended; by default not at all."""

from __future__ import annotations

from typing import Literal

from voxlake.core.settings import Settings

__all__ = ["Mends"]


class Mends(Settings):
    """What a plan allows to be done to a bad geometry, its table ``[geometry]``.

    Parameters
    ----------
    tilt : str
        ``"resample"``: slices sheared against their normal are moved within their plane onto a grid at right
        angles, by linear interpolation; whole pixels are moved without.
    gap : str
        ``"fill"``: missing slices are interpolated linearly between their neighbours.
    uneven : str
        ``"resample"``: slices at changing distances (or shifted within their plane) are interpolated
        linearly at a constant one, the median distance fitted to the whole length.
    duplicates : str
        ``"first"``: of several images at one place the first by instance number is taken; ``"mean"``: their
        mean.

    The default of each is ``"refuse"``.
    """

    tilt: Literal["refuse", "resample"] = "refuse"
    gap: Literal["refuse", "fill"] = "refuse"
    uneven: Literal["refuse", "resample"] = "refuse"
    duplicates: Literal["refuse", "first", "mean"] = "refuse"

    def allows(self, kind: str) -> bool:
        """Whether a stack with this verdict may be mended."""
        return getattr(self, kind, "refuse") != "refuse"
