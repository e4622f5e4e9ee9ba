"""Smooth with a Gaussian."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from voxlake.core.grid import Grid
from voxlake.core.step import Step
from voxlake.core.volume import Volume
from voxlake.processing.filtering import Widths, each_image

__all__ = ["Gaussian", "in_voxels", "smooth"]

# Beyond it the Gaussian is below 4e-4 of its peak.
_REACH = 4.0


class Gaussian(Step):
    """Smooth with a Gaussian, one axis after the other.

    The kernel is the sampled Gaussian out to 4 standard deviations, normalised to sum 1 (Lindeberg,
    Scale-Space Theory, 1994, chapter 3); the volume is mirrored at its faces, so that its mean is kept.
    RGB is smoothed channel by channel. Grid and unit stay; values are float32 afterwards. NaN and infinities
    stay where they are; the nearest finite voxel stands in for them.

    Parameters
    ----------
    sigma : number or three numbers
        Standard deviation along slice, row and column; 0 leaves an axis as it is, and so does
        less than an eighth of a voxel.
    sigma_in : str
        ``"voxels"`` or ``"mm"``; flat images have no millimetres.

    Raises
    ------
    FlatGridError
        ``sigma_in = "mm"`` on an image that has no spacing.
    ItemError
        ``step_failed``: no voxel is finite.
    """

    name: ClassVar[str] = "gaussian"
    version: ClassVar[int] = 1

    sigma: Widths = (1.0, 1.0, 1.0)
    sigma_in: Literal["voxels", "mm"] = "voxels"

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        widths = in_voxels(self.sigma, self.sigma_in, volume.grid)
        data = each_image(volume, self.name, lambda image: smooth(image, widths[3 - image.ndim :]))
        return volume.with_data(data, step=self.tag)


def in_voxels(sigma: Sequence[float], sigma_in: str, grid: Grid) -> tuple[float, ...]:
    """Widths in voxels along (slice, row, column).

    Raises
    ------
    FlatGridError
        Millimetres on a flat grid.
    """
    steps = grid.spacing if sigma_in == "mm" else (1.0, 1.0, 1.0)
    return tuple(width / step for width, step in zip(sigma, steps, strict=True))


def smooth(image: NDArray[np.float32], widths: Sequence[float]) -> NDArray[np.float32]:
    """Smooth each axis of a finite image; `widths` in voxels, one for each axis."""
    # Start-up: reading a plan must not load SciPy.
    from scipy.ndimage import gaussian_filter1d

    out = image
    for axis, width in enumerate(widths):
        if round(width * _REACH) > 0 and image.shape[axis] > 1:
            # Wider than some extents the mean is all that is left, at any cost in time.
            used = min(width, 4.0 * image.shape[axis])
            out = gaussian_filter1d(out, used, axis=axis, mode="reflect", output=np.float32, truncate=_REACH)
    # Rounding must not take a value out of the range that it was averaged from.
    return out if out is image else np.clip(out, image.min(), image.max())
