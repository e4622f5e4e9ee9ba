"""Grow regions from seeds."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from voxlake.core.errors import ItemError
from voxlake.core.mask_step import MaskStep
from voxlake.core.volume import Mask, Volume
from voxlake.processing.components import Connectivity, label_components
from voxlake.processing.segment.parts import FOREGROUND, made, scalar

__all__ = ["RegionGrow"]

Seed = tuple[float, float, float]


class RegionGrow(MaskStep):
    """Voxels from `low` to `high` that are connected to a seed through such voxels.

    Adams and Bischof, IEEE Trans. Pattern Anal. Mach. Intell. 1994, in the form with fixed limits; the same
    as SimpleITK's ``ConnectedThreshold``. A seed whose value is outside of the limits grows nothing. NaN is
    outside. Flat images pass with seeds in voxels.

    Parameters
    ----------
    seeds : list of three numbers
        Where to start: x, y, z in LPS mm, or slice, row, column counted from 0.
    places : str
        ``"mm"`` or ``"voxel"``: what the seeds are.
    low, high : float
        In the unit of the volume.
    connectivity : str
        ``"faces"``, ``"edges"`` or ``"corners"``.

    Raises
    ------
    ItemError
        ``step_failed``: a colour image, a seed outside of the volume, or no seed within the limits.
    FlatGridError
        Seeds in mm on an image that has none.
    """

    name: ClassVar[str] = "region_grow"
    version: ClassVar[int] = 1

    seeds: tuple[Seed, ...] = Field(min_length=1)
    places: Literal["mm", "voxel"] = "mm"
    low: float
    high: float
    connectivity: Connectivity = "faces"

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"'low' ({self.low}) is above 'high' ({self.high})")
        return self

    def __call__(self, volume: Volume) -> Mask:
        """Segment the volume; the input is not changed."""
        values = scalar(volume, self.name)
        places = self._indices(volume)
        labels, count = label_components(
            (values >= self.low) & (values <= self.high), connectivity=self.connectivity
        )
        keep = np.zeros(count + 1, dtype=bool)
        keep[labels[tuple(places.T)]] = True
        keep[0] = False
        if not keep.any():
            raise ItemError("step_failed", "region_grow: no seed has a value within the limits")
        return made(keep[labels], volume, FOREGROUND, self.tag)

    def _indices(self, volume: Volume) -> NDArray[np.int64]:
        seeds = np.asarray(self.seeds, dtype=np.float64)
        if self.places == "mm":
            # A flat image says itself that it has no millimetres.
            _ = volume.grid.spacing
            seeds = volume.grid.world_to_index(seeds)
        indices = np.rint(seeds).astype(np.int64)
        if (indices < 0).any() or (indices >= volume.grid.shape).any():
            raise ItemError("step_failed", "region_grow: a seed lies outside of the volume")
        return indices
