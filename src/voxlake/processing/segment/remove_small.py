"""Remove small regions."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from pydantic import Field

from voxlake.core.errors import FlatGridError
from voxlake.core.mask_step import MaskEdit
from voxlake.core.volume import Mask, Volume
from voxlake.processing.components import Connectivity, remove_small
from voxlake.processing.segment.labelled import each_label, edited

__all__ = ["RemoveSmall"]

# A component of exactly the size that is asked for stays, whatever the rounding of the spacing does.
_ROUNDING = 1e-6


class RemoveSmall(MaskEdit):
    """Remove connected components below a size, of every label by itself.

    The same as scikit-image's ``remove_small_objects``; components as in Rosenfeld and Pfaltz, J. ACM 1966.

    Parameters
    ----------
    size : float
        Components of at least this size stay.
    lengths : str
        ``"mm"``: the size is in mm^3; ``"voxel"``: in voxels.
    connectivity : str
        ``"faces"``, ``"edges"`` or ``"corners"``.

    Raises
    ------
    FlatGridError
        Millimetres on a flat image.
    """

    name: ClassVar[str] = "remove_small"
    version: ClassVar[int] = 1

    size: float = Field(gt=0, allow_inf_nan=False)
    lengths: Literal["mm", "voxel"] = "mm"
    connectivity: Connectivity = "faces"

    def __call__(self, mask: Mask, volume: Volume) -> Mask:  # noqa: ARG002 - the interface of an edit
        """Edit the mask; the inputs are not changed."""
        if self.lengths == "mm" and mask.grid.flat:
            raise FlatGridError('this mask is flat and has no millimetres; give the size in "voxel"')
        voxel = math.prod(mask.grid.spacing) if self.lengths == "mm" else 1.0
        least = self.size / voxel * (1 - _ROUNDING)
        values = each_label(mask, lambda one: remove_small(one, least, connectivity=self.connectivity))
        return edited(mask, values, self.tag)
