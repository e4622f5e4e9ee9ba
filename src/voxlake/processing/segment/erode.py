"""Make regions smaller."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from voxlake.core.mask_step import MaskEdit
from voxlake.core.volume import Mask, Volume
from voxlake.processing.distance import eroded
from voxlake.processing.segment.labelled import Lengths, each_label, edited, steps_of

__all__ = ["Erode"]


class Erode(MaskEdit):
    """Take away every voxel within `radius` of what is outside of its label.

    Mathematical morphology (Serra, Image Analysis and Mathematical Morphology, 1982) with a ball: by distance
    from centre to centre, so voxels may be of any shape. What lies beyond the array is neither inside nor
    outside. Labels are eroded one by one.

    Parameters
    ----------
    radius : float
        Of the ball, above 0.
    lengths : str
        ``"mm"``, or ``"voxel"`` (a flat image has no millimetres).

    Raises
    ------
    FlatGridError
        Millimetres on a flat image.
    """

    name: ClassVar[str] = "erode"
    version: ClassVar[int] = 1

    radius: float = Field(gt=0, allow_inf_nan=False)
    lengths: Lengths = "mm"

    def __call__(self, mask: Mask, volume: Volume) -> Mask:  # noqa: ARG002 - the interface of an edit
        """Edit the mask; the inputs are not changed."""
        spacing = steps_of(mask, self.lengths)
        return edited(mask, each_label(mask, lambda one: eroded(one, self.radius, spacing)), self.tag)
