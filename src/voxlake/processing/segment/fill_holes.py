"""Fill holes."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from voxlake.core.mask_step import MaskEdit
from voxlake.core.volume import Mask, Volume
from voxlake.processing.components import label_components
from voxlake.processing.segment.labelled import each_label, edited

__all__ = ["FillHoles", "filled", "filled_planes"]


class FillHoles(MaskEdit):
    """Fill background that a region encloses, voxels of other labels left as they are.

    A hole is background that is connected (by faces) to no border of the array; the same as
    ``scipy.ndimage.binary_fill_holes`` (Soille, Morphological Image Analysis, 2003).

    Parameters
    ----------
    within : str
        ``"volume"``: holes that are closed in three dimensions. ``"slices"``: holes that are closed within a
        slice, which fills lungs that are open at the ends of the stack, too. A flat image is one slice, so
        only ``"slices"`` fills anything in it.
    """

    name: ClassVar[str] = "fill_holes"
    version: ClassVar[int] = 1

    within: Literal["volume", "slices"] = "volume"

    def __call__(self, mask: Mask, volume: Volume) -> Mask:  # noqa: ARG002 - the interface of an edit
        """Edit the mask; the inputs are not changed."""
        fill = filled if self.within == "volume" else filled_planes
        return edited(mask, each_label(mask, fill), self.tag)


def filled(mask: NDArray[Any]) -> NDArray[np.bool_]:
    """The mask with what it encloses in three dimensions."""
    outside, count = label_components(mask == 0)
    border = np.zeros(count + 1, dtype=bool)
    for axis in range(3):
        for end in (0, -1):
            border[np.unique(np.take(outside, end, axis=axis))] = True
    border[0] = False
    return np.asarray(~border[outside])


def filled_planes(mask: NDArray[Any]) -> NDArray[np.bool_]:
    """The mask with what it encloses within each slice."""
    result = np.empty(mask.shape, dtype=bool)
    for number, plane in enumerate(mask):
        outside, count = label_components(plane[None] == 0)
        border = np.zeros(count + 1, dtype=bool)
        for line in (outside[0, 0], outside[0, -1], outside[0, :, 0], outside[0, :, -1]):
            border[line] = True
        border[0] = False
        result[number] = ~border[outside[0]]
    return result
