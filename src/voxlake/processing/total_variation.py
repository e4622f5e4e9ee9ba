"""Total variation: the image with the least variation that is near the one at hand."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from voxlake.core.step import Step
from voxlake.core.volume import Volume
from voxlake.processing.filtering import Extent, Positive, each_image

__all__ = ["TotalVariation"]

Image = NDArray[np.float32]


class TotalVariation(Step):
    """Minimise the total variation of u plus (u - f)^2 / (2 x weight) by Chambolle's projection.

    Rudin, Osher and Fatemi, Physica D 60, 1992, solved as in Chambolle, Journal of Mathematical Imaging and
    Vision 20, 2004. Flat regions become flat, edges stay; the mean is kept. RGB is filtered channel by
    channel. Grid and unit stay; values are float32 afterwards. NaN and infinities stay where they are; the
    nearest finite voxel stands in for them.

    Parameters
    ----------
    weight : float
        In the unit of the volume: about the deviation of the noise; details with less contrast go away.
    iterations : int
        At most so many steps.
    tolerance : float
        Stop when a step changes the image by less than this share of `weight` (root mean square).
    extent : str
        ``"slice"`` for each slice apart, ``"volume"`` for variation across slices too.

    Raises
    ------
    ItemError
        ``step_failed``: no voxel is finite.
    """

    name: ClassVar[str] = "total_variation"
    version: ClassVar[int] = 1

    weight: Positive
    iterations: Annotated[int, Field(ge=1, le=100_000)] = 200
    tolerance: Annotated[float, Field(ge=0, le=1)] = 1e-3
    extent: Extent = "slice"

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        return volume.with_data(
            each_image(volume, self.name, self._filtered, extent=self.extent), step=self.tag
        )

    def _filtered(self, image: Image) -> Image:
        # In units of the weight around 0: float32 then holds small differences of large values too.
        middle = np.float32(image.mean(dtype=np.float64))
        target = (image - middle) / np.float32(self.weight)
        dual = np.zeros((image.ndim, *image.shape), np.float32)
        # Chambolle proves convergence up to 1/8 in two dimensions and sees it up to 1/4: 1 / (2 x axes).
        pace = np.float32(1 / (2 * image.ndim))
        now = target
        for _ in range(self.iterations):
            slope = _gradient(now)
            length = np.sqrt(np.square(slope).sum(axis=0))
            length *= pace
            length += 1
            slope *= pace
            dual -= slope
            dual /= length
            before, now = now, target - _divergence(dual)
            if float(np.sqrt(np.mean(np.square(now - before), dtype=np.float64))) < self.tolerance:
                break
        back = now * np.float32(self.weight) + middle
        return np.asarray(np.clip(back, image.min(), image.max()))


def _gradient(image: Image) -> Image:
    """Differences to the next voxel along each axis, 0 at the last; (axes, ...)."""
    out = np.zeros((image.ndim, *image.shape), np.float32)
    for axis in range(image.ndim):
        inside = (slice(None),) * axis + (slice(None, -1),)
        out[axis][inside] = np.diff(image, axis=axis)
    return out


def _divergence(field: Image) -> Image:
    """Sum of the backward differences: the negative adjoint of `_gradient` for fields that it makes."""
    out: Image = field.sum(axis=0)
    for axis in range(len(field)):
        later = (slice(None),) * axis + (slice(1, None),)
        earlier = (slice(None),) * axis + (slice(None, -1),)
        out[later] -= field[axis][earlier]
    return out
