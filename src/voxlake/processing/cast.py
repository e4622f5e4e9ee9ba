"""Change the type of the values."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import ItemError
from voxlake.core.step import Step
from voxlake.core.volume import Volume

__all__ = ["Cast"]


class Cast(Step):
    """Store the values in another type, clipped to its range.

    Integers are rounded to the nearest (ties to even). Grid and unit stay. NaN stays NaN in floating point
    and is refused for integers; infinities stay infinite in floating point and are clipped for integers.

    Parameters
    ----------
    dtype : str
        ``"float32"``, ``"float16"`` (about 3 digits, up to 65,504), ``"int16"`` or ``"uint8"``.

    Raises
    ------
    ItemError
        ``step_failed``: NaN cannot be an integer.
    """

    name: ClassVar[str] = "cast"
    version: ClassVar[int] = 1

    dtype: Literal["float32", "float16", "int16", "uint8"]

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        data, target = volume.numpy(), np.dtype(self.dtype)
        if data.dtype == target:
            return volume.with_data(data, step=self.tag)
        values = _to_float(data, target) if target.kind == "f" else _to_whole(data, target)
        return volume.with_data(values, step=self.tag)


def _to_float(data: NDArray[Any], target: np.dtype[Any]) -> NDArray[Any]:
    limits = np.finfo(target)
    if data.dtype.kind != "f" or np.finfo(data.dtype).max <= limits.max:
        largest = np.iinfo(data.dtype).max if data.dtype.kind in "ui" else 0
        if largest <= float(limits.max):
            return data.astype(target)
    clipped: NDArray[Any] = np.clip(data, float(limits.min), float(limits.max))
    finite = clipped.astype(target)
    if data.dtype.kind == "f":
        infinite = np.isinf(data)
        finite[infinite] = data[infinite]
    return finite


def _to_whole(data: NDArray[Any], target: np.dtype[Any]) -> NDArray[Any]:
    if data.dtype.kind == "b":
        return data.astype(target)
    if data.dtype.kind == "f":
        if np.isnan(data).any():
            raise ItemError("step_failed", f"cast: NaN has no value in {target}; cast to float32 instead")
        # float16 cannot hold the largest int16.
        data = np.rint(data.astype(np.promote_types(data.dtype, np.float32), copy=False))
    limits = np.iinfo(target)
    own = np.iinfo(data.dtype) if data.dtype.kind in "ui" else None
    # Limits that the input type cannot reach need no clipping, and NumPy would refuse them.
    low = limits.min if own is None else max(limits.min, own.min)
    high = limits.max if own is None else min(limits.max, own.max)
    clipped: NDArray[Any] = np.clip(data, low, high)
    return clipped.astype(target)
