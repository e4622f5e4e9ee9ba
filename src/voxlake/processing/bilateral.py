"""The bilateral filter: smooth within edges."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from voxlake.core.step import Step
from voxlake.core.volume import Volume
from voxlake.processing.filtering import Extent, Positive, each_image, refuse_colour
from voxlake.processing.weighted_mean import shifts, weighted_mean

__all__ = ["Bilateral"]

Image = NDArray[np.float32]


class Bilateral(Step):
    """Average neighbours by their distance in space and in value (Tomasi and Manduchi, ICCV 1998).

    The weight of a neighbour is a Gaussian of its distance in voxels times a Gaussian of the difference in
    value, within a ball of radius ceil(2 x sigma). The image is mirrored beyond its faces. RGB is refused:
    channels averaged apart get new colours at edges. Grid and unit stay; values are float32 afterwards. NaN
    and infinities stay where they are; the nearest finite voxel stands in for them.

    Parameters
    ----------
    sigma : float
        Standard deviation in space, in voxels.
    sigma_value : float
        Standard deviation in value, in the unit of the volume: about twice the noise, below the edges that
        are to be kept.
    extent : str
        ``"slice"`` for neighbours in the slice only, ``"volume"`` for all.

    Raises
    ------
    ItemError
        ``step_failed``: RGB, or no voxel is finite.
    """

    name: ClassVar[str] = "bilateral"
    version: ClassVar[int] = 1

    sigma: Annotated[float, Field(gt=0, le=20)] = 1.5
    sigma_value: Positive
    extent: Extent = "slice"

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        refuse_colour(volume, self.name, "channels averaged apart get new colours at edges")
        return volume.with_data(
            each_image(volume, self.name, self._filtered, extent=self.extent), step=self.tag
        )

    def _filtered(self, image: Image) -> Image:
        reach = math.ceil(2 * self.sigma)
        ball = [shift for shift in shifts(image.ndim, reach) if sum(n * n for n in shift) <= reach * reach]
        narrow = np.float32(math.sqrt(0.5) / self.sigma_value)

        def weigh(difference: Image, shift: tuple[int, ...]) -> Image:
            near = sum(n * n for n in shift) / (2 * self.sigma**2)
            difference *= narrow
            np.square(difference, out=difference)
            difference += np.float32(near)
            return np.exp(np.negative(difference, out=difference), out=difference)

        return weighted_mean(image, ball, weigh)
