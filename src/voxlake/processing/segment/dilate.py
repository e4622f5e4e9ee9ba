"""Make regions larger."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from voxlake.core.mask_step import MaskEdit
from voxlake.core.volume import Mask, Volume
from voxlake.processing.segment.labelled import Lengths, edited, grown, steps_of

__all__ = ["Dilate"]


class Dilate(MaskEdit):
    """Add every voxel of the background within `radius` of a region.

    Mathematical morphology (Serra, Image Analysis and Mathematical Morphology, 1982) with a ball: by distance
    from centre to centre, so voxels may be of any shape. What lies beyond the array is neither inside nor
    outside. Labels never take each other's voxels; between two, the
    nearer one wins.

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

    name: ClassVar[str] = "dilate"
    version: ClassVar[int] = 1

    radius: float = Field(gt=0, allow_inf_nan=False)
    lengths: Lengths = "mm"

    def __call__(self, mask: Mask, volume: Volume) -> Mask:  # noqa: ARG002 - the interface of an edit
        """Edit the mask; the inputs are not changed."""
        spacing = steps_of(mask, self.lengths)
        return edited(mask, grown(mask, self.radius, spacing), self.tag)
