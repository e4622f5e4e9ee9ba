"""Trachea and bronchi in CT."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import ItemError
from voxlake.core.mask_step import MaskStep
from voxlake.core.volume import Mask, Volume
from voxlake.processing.distance import closed
from voxlake.processing.segment.axial import in_axial_slices
from voxlake.processing.segment.body_ct import body_in_ct
from voxlake.processing.segment.chest import airway_tree, lung_space
from voxlake.processing.segment.organs import AIRWAYS
from voxlake.processing.segment.parts import made, need_hounsfield

__all__ = ["AirwaysCT"]


class AirwaysCT(MaskStep):
    """The lumen of trachea and bronchi, as far as a threshold can follow it.

    The trachea is the longest chain of round holes near the middle of the body above the middle of the lungs;
    from there the lumen grows under a rising threshold until it leaks into the lung, and the last threshold
    before that counts: Mori et al., IEEE Trans. Med. Imaging 1996. Small bronchi are missed, all the more
    with thick slices. Needs the lungs and the trachea in the field of view. NaN is no air.

    Not measured on patients: no labelled airways were at hand. Checked on made-up chests, and on a CT of the
    abdomen, which it refuses.

    Raises
    ------
    ItemError
        ``step_failed``: no HU, or no trachea in the field of view.
    FlatGridError
        A flat image.
    """

    name: ClassVar[str] = "airways_ct"
    version: ClassVar[int] = 1

    def __call__(self, volume: Volume) -> Mask:
        """Segment the volume; the input is not changed."""
        values = need_hounsfield(volume, self.name)
        found = in_axial_slices(values, volume.grid, _airways)
        if not found.any():
            raise ItemError("step_failed", f"{self.name}: no trachea in the field of view")
        return made(found, volume, (AIRWAYS,), self.tag)


def _airways(values: NDArray[np.float32], spacing: tuple[float, float, float]) -> NDArray[np.bool_]:
    body = body_in_ct(values, spacing)
    tree = airway_tree(values, spacing, body, lung_space(values, spacing, body))
    return closed(tree, 1.5, spacing) if tree.any() else tree
