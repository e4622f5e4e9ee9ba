"""The median of a window."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from voxlake.core.step import Step
from voxlake.core.volume import Volume
from voxlake.processing.filtering import Extent, Odd, without_holes

__all__ = ["Median"]


class Median(Step):
    """Replace each voxel by the median of the window around it (Tukey, Exploratory Data Analysis, 1977).

    Takes away single bright and dark voxels and keeps edges. The window is a square in a slice or a cube;
    beyond the faces the edge is repeated. RGB is filtered channel by channel. Grid and unit stay. Integers
    and bool keep their type, all else is float32 afterwards: every value was in the input. NaN and infinities
    stay where they are; the nearest finite voxel stands in for them.

    Parameters
    ----------
    size : int
        Side of the window in voxels, odd.
    extent : str
        ``"slice"`` for a square in each slice, ``"volume"`` for a cube.

    Raises
    ------
    ItemError
        ``step_failed``: no voxel is finite.
    """

    name: ClassVar[str] = "median"
    version: ClassVar[int] = 1

    size: Odd = 3
    extent: Extent = "slice"

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        data = volume.numpy()
        if data.dtype.kind == "f":
            data = data.astype(np.float32, copy=False)
        if data.ndim == 4:
            done = np.stack([self._channel(data[..., number]) for number in range(3)], axis=-1)
        else:
            done = self._channel(data)
        return volume.with_data(done, step=self.tag)

    def _channel(self, data: NDArray[Any]) -> NDArray[Any]:
        whole, holes = without_holes(data, self.name)
        if self.extent == "volume" and len(whole) > 1:
            out = _median(whole, self.size)
        else:
            out = np.stack([_plane(plane, self.size) for plane in whole])
        return out if holes is None else np.where(holes, data, out)


def _plane(plane: NDArray[Any], size: int) -> NDArray[Any]:
    # What OpenCV sorts in registers; it is several times as fast and gives the same values.
    if size not in (3, 5) or plane.dtype not in (np.uint8, np.uint16, np.int16, np.float32):
        return _median(plane, size)
    # Start-up: reading a plan must not load OpenCV.
    import cv2

    if plane.dtype == np.int16:
        # Adding 32768 keeps the order, and so the median.
        flip = np.uint16(0x8000)
        shifted = np.bitwise_xor(np.ascontiguousarray(plane).view(np.uint16), flip)
        return np.bitwise_xor(np.asarray(cv2.medianBlur(shifted, size)), flip).view(np.int16)
    return np.asarray(cv2.medianBlur(np.ascontiguousarray(plane), size))


def _median(image: NDArray[Any], size: int) -> NDArray[Any]:
    # Start-up: reading a plan must not load SciPy.
    from scipy.ndimage import median_filter

    if image.dtype == np.bool_:
        return np.asarray(median_filter(image.view(np.uint8), size, mode="nearest")).view(np.bool_)
    return np.asarray(median_filter(image, size, mode="nearest"))
