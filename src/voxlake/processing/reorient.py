"""Bring the axes into a given order and direction."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import field_validator

from voxlake.core.errors import GeometryError
from voxlake.core.grid import Grid
from voxlake.core.step import Step
from voxlake.core.volume import Volume
from voxlake.processing.box import grid_of, need_match

__all__ = ["Reorient"]


class Reorient(Step):
    """Permute and flip the axes to an orientation, without interpolation.

    Every voxel keeps its value, its type and its place in the world; only the order in memory and the grid
    change. An oblique volume is brought to the nearest orientation. A flat image has no orientation and
    passes unchanged. The unit stays. NaN stays NaN.

    Parameters
    ----------
    orientation : str
        Where the slice, row and column axis point: one letter each of R/L, A/P and I/S.
        ``"SPL"`` is axial, feet to head, as a radiologist sees it.
    """

    name: ClassVar[str] = "reorient"
    version: ClassVar[int] = 1

    orientation: str = "SPL"

    @field_validator("orientation")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            Grid.from_spacing((1, 1, 1), (1, 1, 1)).reorientation(value)
        except GeometryError as error:
            raise ValueError(str(error)) from None
        return value.upper()

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        if volume.grid.flat:
            return volume.with_data(volume.data, step=self.tag)
        order, flips = volume.grid.reorientation(self.orientation)
        data = volume.numpy()
        turned = np.flip(np.transpose(data, (*order, 3)[: data.ndim]), flips)
        return volume.with_data(
            np.ascontiguousarray(turned), step=self.tag, grid=volume.grid.reoriented(self.orientation)
        )

    def undo(self, volume: Volume, before: Volume | Grid) -> Volume:
        """Permute and flip the axes back; exact."""
        grid = grid_of(before)
        if grid.flat:
            return volume.with_data(volume.data, step=f"undo {self.tag}")
        need_match(volume.grid, grid.reoriented(self.orientation), self.tag)
        order, flips = grid.reorientation(self.orientation)
        data = np.flip(volume.numpy(), flips)
        turned = np.transpose(data, (*np.argsort(order).tolist(), 3)[: data.ndim])
        return volume.with_data(np.ascontiguousarray(turned), step=f"undo {self.tag}", grid=grid)
