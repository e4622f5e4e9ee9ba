"""The body in CT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from voxlake.core.errors import ItemError
from voxlake.core.mask_step import MaskStep
from voxlake.core.volume import Mask, Volume
from voxlake.processing.components import component_sizes, label_components
from voxlake.processing.distance import dilated, eroded
from voxlake.processing.segment.axial import in_axial_slices
from voxlake.processing.segment.fill_holes import filled_planes
from voxlake.processing.segment.organs import BODY
from voxlake.processing.segment.parts import made, need_hounsfield

__all__ = ["BodyCT", "body_in_ct"]

# HU: the median of a lung; that of the air around the body is lower.
_LUNG = (-940.0, -500.0)
# Of the slice; smaller holes at the border are left to the outside.
_LUNG_SHARE = 0.005


class BodyCT(MaskStep):
    """The patient without table, clothes and air around, with all that the body encloses.

    Threshold; opening by a ball, which parts the body from the table; the largest component; holes filled
    slice by slice, so that lungs and bowel belong to the body also where the stack ends. Thresholding and
    connectivity as in Hu, Hoffman and Reinhardt, IEEE Trans. Med. Imaging 2001. A body that is larger than
    the field of view passes. Of several bodies apart from each other (two legs) all those are kept that have
    at least `share` of the largest one's voxels. NaN is air.

    Measured on one low-resolution CT of the abdomen (3 mm) with 41 organ labels of TotalSegmentator: all of
    their voxels lie inside.

    Parameters
    ----------
    low : float
        HU that skin has at least.
    radius : float
        mm; what is thinner than twice that goes.
    share : float
        See above.

    Raises
    ------
    ItemError
        ``step_failed``: no HU, or nothing denser than air.
    FlatGridError
        A flat image.
    """

    name: ClassVar[str] = "body_ct"
    version: ClassVar[int] = 1

    low: float = -400.0
    radius: float = Field(default=4.0, gt=0, le=50)
    share: float = Field(default=0.2, gt=0, le=1)

    def __call__(self, volume: Volume) -> Mask:
        """Segment the volume; the input is not changed."""
        values = need_hounsfield(volume, self.name)
        found = in_axial_slices(values, volume.grid, self._body)
        if not found.any():
            raise ItemError("step_failed", f"{self.name}: nothing is denser than {self.low} HU and thick")
        return made(found, volume, (BODY,), self.tag)

    def _body(self, values: NDArray[np.float32], spacing: tuple[float, float, float]) -> NDArray[np.bool_]:
        return body_in_ct(values, spacing, low=self.low, radius=self.radius, share=self.share)


def body_in_ct(
    values: NDArray[np.float32],
    spacing: Sequence[float],
    *,
    low: float = -400.0,
    radius: float = 4.0,
    share: float = 0.2,
) -> NDArray[np.bool_]:
    """Where the body is, see `BodyCT`.

    Parameters
    ----------
    values : array
        HU, (slices, rows, columns).
    spacing : three numbers
        mm.
    low, radius, share : float
        See `BodyCT`.
    """
    dense = filled_planes(values > low)
    dense |= _cut_lungs(values, dense)
    # In the plane alone: thick slices would else lose the ends of the body.
    flat = (1e6, spacing[1], spacing[2])
    core = _large(eroded(dense, radius, flat), share)
    grown = dilated(core, radius, flat) & dense if core.any() else core
    return filled_planes(grown)


def _cut_lungs(values: NDArray[np.float32], dense: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What looks like the outside but has the density of lung: lungs that the field of view cuts."""
    found = np.zeros(dense.shape, dtype=bool)
    for number, plane in enumerate(dense):
        labels, count = label_components(~plane[None])
        sizes = component_sizes(labels, count)
        for component in np.flatnonzero(sizes >= _LUNG_SHARE * plane.size):
            inside = labels[0] == component
            if component and _LUNG[0] < float(np.median(values[number][inside])) < _LUNG[1]:
                found[number] |= inside
    return found


def _large(mask: NDArray[np.bool_], share: float) -> NDArray[np.bool_]:
    labels, count = label_components(mask)
    sizes = component_sizes(labels, count)
    sizes[0] = 0
    keep = sizes >= share * sizes.max()
    keep[0] = False
    return np.asarray(keep[labels])
