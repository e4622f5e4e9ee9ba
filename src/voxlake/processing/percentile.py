"""Map an interval of percentiles to 0..1."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from voxlake.core.errors import ItemError
from voxlake.core.step import Step
from voxlake.core.volume import Volume
from voxlake.processing.values import Region, as_float32, finite_range, select, to_unit_range

__all__ = ["Percentile"]

Percent = Annotated[float, Field(ge=0, le=100)]


class Percentile(Step):
    """Clip at two percentiles of the volume and map them linearly to 0..1.

    Robust against a few very bright or dark voxels (markers, metal). Equal percentiles give zeros. The grid
    stays; values are float32 and the unit is "normalised" afterwards. NaN and infinities do not count in
    the percentiles; NaN stays NaN, infinities become 0 or 1.

    Parameters
    ----------
    low, high : float
        Percent, 0 to 100; between two values the percentile is interpolated linearly.
    over : str, float or box
        Voxels that are ranked: ``"all"``, ``"nonzero"``, ``"above_mean"`` (of all voxels: a rough
        foreground), those above a number in the unit of the volume, or those in a box
        ``{start = [...], stop = [...]}`` in voxels.

    Raises
    ------
    ItemError
        ``step_failed``: no finite voxel, none above the number, or the box leaves the volume.
    """

    name: ClassVar[str] = "percentile"
    version: ClassVar[int] = 1

    low: Percent = 1.0
    high: Percent = 99.0
    over: Region = "all"

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")
        return self

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        data = as_float32(volume, self.name)
        low, high = self._limits(data)
        return volume.with_data(to_unit_range(data, low, high, self.name), step=self.tag, unit="normalised")

    def _limits(self, data: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> tuple[float, float]:
        values = select(data, self.over, self.name)
        if values.size == 0:
            finite_range(data, self.name)
            if not isinstance(self.over, float):
                return 0.0, 0.0
            raise ItemError("step_failed", f"percentile: no voxel lies above {self.over}")
        low, high = np.percentile(values, (self.low, self.high), overwrite_input=True)
        return float(low), float(high)
