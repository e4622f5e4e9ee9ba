"""Reverse the order along axes."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from voxlake.core.grid import Grid
from voxlake.core.step import Step
from voxlake.core.volume import Volume
from voxlake.processing.box import grid_of, need_match

__all__ = ["Flip"]

Axis = Literal["slice", "row", "column"]
_AXES: tuple[Axis, ...] = ("slice", "row", "column")


class Flip(Step):
    """Reverse the order of the voxels along one or more axes.

    The grid is flipped with the array: every voxel stays where it is in the world, and left stays left.
    Values, type and unit stay, NaN too. Flat images are flipped alike.

    Parameters
    ----------
    axes : list of str
        Of ``"slice"``, ``"row"`` and ``"column"``: the array axes to reverse, each at most once.
    """

    name: ClassVar[str] = "flip"
    version: ClassVar[int] = 1

    axes: Annotated[tuple[Axis, ...], Field(min_length=1)]

    @field_validator("axes")
    @classmethod
    def _once(cls, value: tuple[Axis, ...]) -> tuple[Axis, ...]:
        if len(set(value)) != len(value):
            raise ValueError("an axis is named twice")
        return tuple(axis for axis in _AXES if axis in value)

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        numbers = tuple(_AXES.index(axis) for axis in self.axes)
        grid = volume.grid
        for axis in numbers:
            grid = grid.flip(axis)
        data = np.ascontiguousarray(np.flip(volume.numpy(), numbers))
        return volume.with_data(data, step=self.tag, grid=grid)

    def undo(self, volume: Volume, before: Volume | Grid) -> Volume:
        """Reverse the same axes again."""
        done = self(volume)
        grid = grid_of(before)
        need_match(done.grid, grid, self.tag)
        return volume.with_data(done.data, step=f"undo {self.tag}", grid=grid)
