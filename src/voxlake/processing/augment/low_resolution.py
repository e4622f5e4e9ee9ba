"""Take detail away along axes, as thick slices do."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from voxlake.core.grid import Grid
from voxlake.core.volume import Volume
from voxlake.processing.augment.base import InPlace, RandomStep, SizeRange, uniform
from voxlake.processing.flip import Axis
from voxlake.processing.separable import area_weights, mix, triangle_weights
from voxlake.processing.values import as_float32

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["LowResolution", "RandomLowResolution"]

_ORDER: tuple[Axis, ...] = ("slice", "row", "column")
_Factor = Annotated[float, Field(ge=1, le=64)]


class LowResolution(InPlace):
    """Average over coarser voxels and interpolate linearly back onto the same grid.

    Along each axis the extent is divided into as many coarse voxels as its size over the factor gives
    (rounded, at least one); each is the mean of what it covers (simulation of thick slices as in Billot et
    al., Partial volume segmentation of brain MRI scans of any resolution and contrast, MICCAI 2020). The grid
    and the unit stay; values are float32 afterwards; NaN and infinities spread over the coarse voxels that
    hold them and their neighbours.

    Parameters
    ----------
    factors : three numbers
        From 1, how many times coarser slice, row and column become.
    """

    name: ClassVar[str] = "low_resolution"
    version: ClassVar[int] = 1

    factors: tuple[_Factor, _Factor, _Factor]

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        sizes = zip(volume.grid.shape, self.factors, strict=True)
        out = mix(as_float32(volume, self.name), [_there_and_back(size, factor) for size, factor in sizes])
        return volume.with_data(out, step=self.tag)


class RandomLowResolution(RandomStep):
    """Draw along which axis and how far detail is lost: a `LowResolution`.

    Parameters
    ----------
    probability : float
        Share of draws in which the step is taken at all.
    axes : list of str
        One of these is drawn.
    factor : range
        How many times coarser it becomes; below 1 counts as 1.
    """

    name: ClassVar[str] = "low_resolution"
    version: ClassVar[int] = 1

    axes: Annotated[tuple[Axis, ...], Field(min_length=1)] = _ORDER
    factor: SizeRange = (1.5, 4.0)

    def draw(self, rng: np.random.Generator, grid: Grid) -> LowResolution:
        """Draw a step; the grid does not matter."""
        del grid
        axis = _ORDER.index(self.axes[int(rng.integers(len(self.axes)))])
        factors = [1.0, 1.0, 1.0]
        factors[axis] = min(max(uniform(rng, self.factor), 1.0), 64.0)
        return LowResolution(factors=(factors[0], factors[1], factors[2]))


@lru_cache(maxsize=64)
def _there_and_back(size: int, factor: float) -> csr_array[Any] | None:
    coarse = max(1, int(np.floor(size / factor + 0.5)))
    if coarse == size:
        return None
    both: csr_array[Any] = triangle_weights(coarse, size) @ area_weights(size, coarse)
    return both
