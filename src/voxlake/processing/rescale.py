"""A linear map of the values."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from voxlake.core.errors import ItemError
from voxlake.core.grid import Grid
from voxlake.core.step import Step
from voxlake.core.volume import Unit, Volume
from voxlake.processing.box import grid_of, need_match
from voxlake.processing.sizes import Value
from voxlake.processing.values import as_float32, single_precision

__all__ = ["Rescale"]


class Rescale(Step):
    """Multiply by `scale`, then add `offset`.

    The grid stays; values are float32 afterwards. NaN stays NaN, infinities stay infinite.

    Parameters
    ----------
    scale : float
        Factor.
    offset : float
        Added afterwards, in the new unit.
    unit : str
        The unit afterwards; "arbitrary" unless said otherwise, for what is scaled is no longer in its old
        unit.

    Raises
    ------
    ItemError
        ``step_failed``: a value leaves the range of float32.
    """

    name: ClassVar[str] = "rescale"
    version: ClassVar[int] = 1

    scale: Value = 1.0
    offset: Value = 0.0
    unit: Unit = "arbitrary"

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        with single_precision(self.name):
            data = as_float32(volume, self.name) * np.float32(self.scale)
            data += np.float32(self.offset)
        return volume.with_data(data, step=self.tag, unit=self.unit)

    def undo(self, volume: Volume, before: Volume | Grid) -> Volume:
        """Subtract `offset`, then divide by `scale`; the unit is that of `before` if it is a volume.

        Values are float32, and equal to those before up to its rounding.
        """
        if self.scale == 0:
            raise ItemError("step_failed", "undo rescale: a scale of 0 has left nothing of the values")
        need_match(volume.grid, grid_of(before), self.tag)
        with single_precision(self.name):
            data = as_float32(volume, self.name) - np.float32(self.offset)
            data /= np.float32(self.scale)
        unit = before.unit if isinstance(before, Volume) else "arbitrary"
        return volume.with_data(data, step=f"undo {self.tag}", unit=unit)
