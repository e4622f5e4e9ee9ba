"""The lungs in CT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from voxlake.core.errors import ItemError
from voxlake.core.mask_step import MaskStep
from voxlake.core.volume import Mask, Volume
from voxlake.processing.components import component_sizes, label_components
from voxlake.processing.distance import closed, dilated, distance_map
from voxlake.processing.segment.axial import in_axial_slices
from voxlake.processing.segment.body_ct import body_in_ct
from voxlake.processing.segment.chest import airway_tree, lung_space
from voxlake.processing.segment.fill_holes import filled_planes
from voxlake.processing.segment.organs import LEFT_LUNG, RIGHT_LUNG
from voxlake.processing.segment.parts import made, need_hounsfield

__all__ = ["LungsCT"]

Float = NDArray[np.float32]
Bool = NDArray[np.bool_]


class LungsCT(MaskStep):
    """The right lung (1) and the left lung (2), with their vessels, without trachea and main bronchi.

    Air that the body encloses; gas (bowel, airways) is told from lung by its median; the airway tree is taken
    away; right and left are parted where they touch; a ball closes over vessels. Hu, Hoffman and Reinhardt,
    IEEE Trans. Med. Imaging 2001; Armato and Sensakovic, Academic Radiology 2004. Consolidated lung, effusion
    and large tumours at the border are not found: they have the density of soft tissue. NaN is no air.

    Measured on one low-resolution CT of the abdomen (3 mm) with the bases of the lungs, against the lobes of
    TotalSegmentator: Dice 0.956 (right 0.962, left 0.947). Sides need both lungs in the field of view.

    Parameters
    ----------
    gap : float
        mm; radius of the ball that closes over vessels and small nodules.

    Raises
    ------
    ItemError
        ``step_failed``: no HU, or no lung in the field of view.
    FlatGridError
        A flat image.
    """

    name: ClassVar[str] = "lungs_ct"
    version: ClassVar[int] = 1

    gap: float = Field(default=5.0, gt=0, le=30)

    def __call__(self, volume: Volume) -> Mask:
        """Segment the volume; the input is not changed."""
        values = need_hounsfield(volume, self.name)
        found = in_axial_slices(values, volume.grid, self._lungs)
        if not found.any():
            raise ItemError("step_failed", f"{self.name}: no lung in the field of view")
        return made(found, volume, (RIGHT_LUNG, LEFT_LUNG), self.tag)

    def _lungs(self, values: Float, spacing: tuple[float, float, float]) -> NDArray[np.uint8]:
        body = body_in_ct(values, spacing)
        space = lung_space(values, spacing, body)
        result = np.zeros(values.shape, dtype=np.uint8)
        if not space.any():
            return result
        tree = airway_tree(values, spacing, body, space)
        if tree.any():
            space &= ~dilated(tree, 2.0, spacing)
        columns = np.flatnonzero(body.any(axis=(0, 1)))
        sides = _sides(space, spacing, float(columns.mean()))
        for side in (1, 2):
            one = sides == side
            if one.any():
                whole = filled_planes(closed(one, self.gap, spacing)) & body & ~tree
                result[whole & (sides != 3 - side) & (result == 0)] = side
        return result


def _sides(space: Bool, spacing: Sequence[float], middle: float) -> NDArray[Any]:
    """1 for the patient's right (low columns), 2 for the left: each voxel goes to the nearer of two cores."""
    labels, count = label_components(space)
    columns = np.arange(space.shape[2])
    result = np.zeros(space.shape, dtype=np.uint8)
    sizes = component_sizes(labels, count)
    for number in range(1, count + 1):
        one = labels == number
        per_column = one.sum(axis=(0, 1))
        right = per_column[columns < middle].sum() / sizes[number]
        if 0.15 < right < 0.85 and sizes[number] > 0.3 * sizes[1:].max():
            result[one] = _parted(one, spacing, middle)[one]
        else:
            result[one] = 1 if right >= 0.5 else 2
    return result


def _parted(lungs: Bool, spacing: Sequence[float], middle: float) -> NDArray[np.uint8]:
    """Erode until one component becomes two of a good size; each voxel goes to the nearer one."""
    inside = distance_map(lungs, spacing=spacing)
    for radius in np.arange(1.0, 16.0, 1.0):
        labels, count = label_components(inside > radius)
        sizes = component_sizes(labels, count)
        sizes[0] = 0
        if count >= 2:
            first, second = np.argsort(-sizes, kind="stable")[:2]
            if sizes[second] > 0.2 * sizes[first]:
                return _nearer(labels == first, labels == second, spacing)
    right = np.broadcast_to(np.arange(lungs.shape[2]) < middle, lungs.shape)
    return np.where(right, 1, 2).astype(np.uint8)


def _nearer(one: Bool, other: Bool, spacing: Sequence[float]) -> NDArray[np.uint8]:
    to_one, to_other = distance_map(~one, spacing=spacing), distance_map(~other, spacing=spacing)
    one_is_right = np.nonzero(one)[2].mean() < np.nonzero(other)[2].mean()
    return np.where((to_one <= to_other) == one_is_right, 1, 2).astype(np.uint8)
