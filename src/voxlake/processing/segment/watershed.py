"""Watershed from markers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self

from numpy.typing import NDArray
from pydantic import Field, model_validator

from voxlake.core.mask_step import MaskStep
from voxlake.core.volume import Mask, Volume
from voxlake.processing.segment.markers import marked, whole
from voxlake.processing.segment.parts import FOREGROUND, made, scalar, spacing_of

__all__ = ["Watershed"]


class Watershed(MaskStep):
    """Flood the edges of the image from sure background and sure foreground; the border is where they meet.

    The relief is the gradient magnitude of the volume, smoothed by a Gaussian. Beucher and Lantuejoul 1979;
    flooding by priority as in Soille and Ansoult, Signal Processing 1990, by scikit-image. Flat images pass,
    in pixels. Volumes with NaN or infinities are refused.

    Parameters
    ----------
    below : float
        Voxels of at most this value are background for sure.
    above : float
        Voxels of at least this value are foreground for sure.
    sigma : float
        Width of the Gaussian, mm.

    Raises
    ------
    ItemError
        ``step_failed``: a colour image, values that are not finite, or markers without a voxel.
    """

    name: ClassVar[str] = "watershed"
    version: ClassVar[int] = 1

    below: float
    above: float
    sigma: float = Field(default=1.0, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.below >= self.above:
            raise ValueError(f"'below' ({self.below}) must be less than 'above' ({self.above})")
        return self

    def __call__(self, volume: Volume) -> Mask:
        """Segment the volume; the input is not changed."""
        # Start-up: reading a plan must not load SciPy and scikit-image.
        from scipy.ndimage import gaussian_gradient_magnitude
        from skimage import segmentation

        flood: Callable[..., NDArray[Any]] = segmentation.watershed
        values = whole(scalar(volume, self.name), self.name)
        markers = marked(values, self.below, self.above, self.name)
        widths = [self.sigma / step for step in spacing_of(volume)]
        relief = gaussian_gradient_magnitude(values, widths, mode="nearest")
        return made(flood(relief, markers) == 2, volume, FOREGROUND, self.tag)
