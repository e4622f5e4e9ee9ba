"""Non-local means: average voxels whose surroundings look alike."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from voxlake.core.step import Step
from voxlake.core.volume import Volume
from voxlake.processing.filtering import Extent, Odd, each_image, refuse_colour
from voxlake.processing.wavelet import noise_deviation
from voxlake.processing.weighted_mean import shifts, weighted_mean

__all__ = ["NonlocalMeans"]

Image = NDArray[np.float32]


class NonlocalMeans(Step):
    """Average voxels weighted by how alike the patches around them are (Buades, Coll and Morel, CVPR 2005).

    The weight is exp(-max(d - 2 s^2, 0) / h^2), where d is the mean squared difference of the two patches,
    s the deviation of the noise (see ``wavelet``) and h = strength x s (Buades et al., Image Processing On
    Line 1, 2011). An image without noise stays as it is. The image is mirrored beyond its faces. RGB is
    refused: channels averaged apart get new colours. Grid and unit stay; values are float32 afterwards. NaN
    and infinities stay where they are; the nearest finite voxel stands in for them.

    Parameters
    ----------
    strength : float
        Factor on the deviation of the noise; 0.6 to 1 is usual.
    patch : int
        Side of a patch in voxels, odd.
    search : int
        Side of the window of voxels that are averaged, odd. Time grows with its square, in a volume with its
        cube.
    extent : str
        ``"slice"`` for squares in each slice, ``"volume"`` for cubes.

    Raises
    ------
    ItemError
        ``step_failed``: RGB, or no voxel is finite.
    """

    name: ClassVar[str] = "nonlocal_means"
    version: ClassVar[int] = 1

    strength: Annotated[float, Field(gt=0, le=100)] = 0.8
    patch: Odd = 5
    search: Odd = 11
    extent: Extent = "slice"

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        refuse_colour(volume, self.name, "channels averaged apart get new colours")
        return volume.with_data(
            each_image(volume, self.name, self._filtered, extent=self.extent), step=self.tag
        )

    def _filtered(self, image: Image) -> Image:
        noise = noise_deviation(image)
        # Below it, h^2 is no number of float32 any more.
        if noise * self.strength < 1e-18:
            return image.copy()
        floor, width = np.float32(2 * noise**2), np.float32((self.strength * noise) ** 2)

        def weigh(difference: Image, _: tuple[int, ...]) -> Image:
            apart = patch_means(np.square(difference, out=difference), self.patch)
            apart -= floor
            np.maximum(apart, 0, out=apart)
            apart /= -width
            return np.exp(apart, out=apart)

        around = list(shifts(image.ndim, self.search // 2))
        return weighted_mean(image, around, weigh, patch=self.patch // 2)


def patch_means(values: Image, side: int) -> Image:
    """Mean over the window of `side` voxels around each voxel that has a whole one, along every axis."""
    # Start-up: reading a plan must not load SciPy.
    from scipy.ndimage import uniform_filter1d

    half, out = side // 2, values
    for axis in range(values.ndim):
        out = uniform_filter1d(out, side, axis=axis, mode="nearest", output=np.float32)
        out = out[(slice(None),) * axis + (slice(half, out.shape[axis] - half),)]
    # A running sum may fall below 0 by rounding; a mean of squares does not.
    return np.maximum(out, 0)
