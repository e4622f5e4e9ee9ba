"""Keep the largest regions."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from voxlake.core.mask_step import MaskEdit
from voxlake.core.volume import Mask, Volume
from voxlake.processing.components import Connectivity, largest_components
from voxlake.processing.segment.labelled import each_label, edited

__all__ = ["KeepLargest"]


class KeepLargest(MaskEdit):
    """Keep the largest connected components, by the number of their voxels; of equal ones the first.

    Components as in Rosenfeld and Pfaltz, J. ACM 1966.

    Parameters
    ----------
    count : int
        How many components are kept, of every label.
    together : bool
        Count the components of all labels together as one region instead.
    connectivity : str
        ``"faces"``, ``"edges"`` or ``"corners"``.
    """

    name: ClassVar[str] = "keep_largest"
    version: ClassVar[int] = 1

    count: int = Field(default=1, ge=1)
    together: bool = False
    connectivity: Connectivity = "faces"

    def __call__(self, mask: Mask, volume: Volume) -> Mask:  # noqa: ARG002 - the interface of an edit
        """Edit the mask; the inputs are not changed."""
        values = each_label(
            mask,
            lambda one: largest_components(one, count=self.count, connectivity=self.connectivity),
            together=self.together,
        )
        return edited(mask, values, self.tag)
