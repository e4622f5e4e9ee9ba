"""Limit the values."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from voxlake.core.errors import ItemError
from voxlake.core.step import Step
from voxlake.core.volume import Volume
from voxlake.processing.sizes import Value

__all__ = ["Clip"]


class Clip(Step):
    """Set what lies outside an interval to its nearer end.

    Grid, unit and type stay (half precision becomes float32). In a volume of integers, limits with a
    fraction are rounded inwards. Infinities are clipped, NaN stays NaN.

    Parameters
    ----------
    low, high : float, optional
        In the unit of the volume; None leaves that side open. One of them must be given.

    Raises
    ------
    ItemError
        ``step_failed``: the type of the volume holds no value inside the limits.
    """

    name: ClassVar[str] = "clip"
    version: ClassVar[int] = 1

    low: Value | None = None
    high: Value | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low is None and self.high is None:
            raise ValueError("give low, high or both")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low must not be above high, got {self.low} and {self.high}")
        return self

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        data = volume.numpy()
        if data.dtype.kind in "ui":
            return volume.with_data(self._whole(data), step=self.tag)
        values = data.astype(np.promote_types(data.dtype, np.float32), copy=False)
        return volume.with_data(np.clip(values, self.low, self.high), step=self.tag)

    def _whole(self, data: NDArray[Any]) -> NDArray[Any]:
        limits = np.iinfo(data.dtype)
        low = limits.min if self.low is None else max(limits.min, math.ceil(self.low))
        high = limits.max if self.high is None else min(limits.max, math.floor(self.high))
        if low > high:
            raise ItemError(
                "step_failed",
                f"clip: {data.dtype} has no value between {self.low} and {self.high}; cast first",
            )
        clipped: NDArray[Any] = np.clip(data, low, high)
        return clipped
