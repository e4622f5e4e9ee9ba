"""Active contours without edges."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from voxlake.core.errors import ItemError
from voxlake.core.mask_step import MaskStep
from voxlake.core.volume import Mask, Volume
from voxlake.processing.segment.markers import whole
from voxlake.processing.segment.parts import FOREGROUND, made, scalar
from voxlake.processing.segment.snakes import Smoothing, edge_lengths

__all__ = ["ChanVese"]


class ChanVese(MaskStep):
    """A contour that parts the volume into two regions of values as even as can be.

    Chan and Vese, IEEE Trans. Image Process. 2001, in the morphological form of Marquez-Neila, Baumela and
    Alvarez, IEEE Trans. Pattern Anal. Mach. Intell. 2014. Starts from the voxels whose value
    lies from `low` to `high`. Works in voxels. Flat images pass. Volumes with NaN or infinities are refused.

    Parameters
    ----------
    low, high : float
        Values of the voxels that it starts from, in the unit of the volume.
    rounds : int
        How often the contour moves.
    smoothing : int
        How often it is smoothed after each move.
    inside, outside : float
        Weight of the evenness inside and outside of the contour.

    Raises
    ------
    ItemError
        ``step_failed``: a colour image, values that are not finite, or nothing or everything to start from.
    """

    name: ClassVar[str] = "chan_vese"
    version: ClassVar[int] = 1

    low: float
    high: float
    rounds: int = Field(default=30, ge=1, le=10_000)
    smoothing: int = Field(default=1, ge=0, le=20)
    inside: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    outside: float = Field(default=1.0, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"'low' ({self.low}) is above 'high' ({self.high})")
        return self

    def __call__(self, volume: Volume) -> Mask:
        """Segment the volume; the input is not changed."""
        values = whole(scalar(volume, self.name), self.name)
        start = (values >= self.low) & (values <= self.high)
        if not start.any() or start.all():
            raise ItemError(
                "step_failed", f"{self.name}: all voxels or none lie from {self.low} to {self.high}"
            )
        # A single slice is worked on as a picture: the smoothing would wipe out what is one voxel thick.
        flat = values.shape[0] == 1
        found = self._evolve(values[0] if flat else values, start[0] if flat else start)
        return made(found[None] if flat else found, volume, FOREGROUND, self.tag)

    def _evolve(self, values: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
        smooth = Smoothing(values.ndim)
        for _ in range(self.rounds):
            if not inside.any() or inside.all():
                break
            within = float(values[inside].mean(dtype=np.float64))
            beyond = float(values[~inside].mean(dtype=np.float64))
            gain = self.inside * (values - within) ** 2 - self.outside * (values - beyond) ** 2
            gain *= edge_lengths(inside) > 0
            inside = (inside | (gain < 0)) & ~(gain > 0)
            for _ in range(self.smoothing):
                inside = smooth(inside)
        return inside
