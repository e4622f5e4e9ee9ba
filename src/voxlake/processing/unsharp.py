"""Unsharp masking: what smoothing takes away is added once more."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from voxlake.core.step import Step
from voxlake.core.volume import Volume
from voxlake.processing.filtering import Widths, each_image
from voxlake.processing.gaussian import in_voxels, smooth

__all__ = ["Unsharp"]


class Unsharp(Step):
    """Sharpen: value + amount x (value - smoothed value).

    Unsharp masking as in Gonzalez and Woods, Digital Image Processing, 3.6.3, with the smoothing of
    ``gaussian``. Edges overshoot on both sides and are not clipped; a constant stays exactly as it is and the
    mean is kept. RGB is sharpened channel by channel. Grid and unit stay; values are float32 afterwards. NaN
    and infinities stay where they are; the nearest finite voxel stands in for them.

    Parameters
    ----------
    sigma : number or three numbers
        Standard deviation of the smoothing along slice, row and column; 0 leaves an axis out.
    sigma_in : str
        ``"voxels"`` or ``"mm"``; flat images have no millimetres.
    amount : float
        How much of the difference is added.

    Raises
    ------
    FlatGridError
        ``sigma_in = "mm"`` on an image that has no spacing.
    ItemError
        ``step_failed``: no voxel is finite, or a value leaves the range of float32.
    """

    name: ClassVar[str] = "unsharp"
    version: ClassVar[int] = 1

    sigma: Widths = (1.0, 1.0, 1.0)
    sigma_in: Literal["voxels", "mm"] = "voxels"
    amount: Annotated[float, Field(ge=0, le=1000)] = 1.0

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        widths = in_voxels(self.sigma, self.sigma_in, volume.grid)

        def sharpen(image: NDArray[np.float32]) -> NDArray[np.float32]:
            detail = image - smooth(image, widths[3 - image.ndim :])
            return image + np.float32(self.amount) * detail

        return volume.with_data(each_image(volume, self.name, sharpen), step=self.tag)
