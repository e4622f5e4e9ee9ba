"""Threshold at fixed values."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
from pydantic import model_validator

from voxlake.core.errors import ItemError
from voxlake.core.mask_step import MaskStep
from voxlake.core.volume import Mask, Unit, Volume
from voxlake.processing.segment.parts import FOREGROUND, made, scalar

__all__ = ["Threshold"]


class Threshold(MaskStep):
    """Voxels whose value lies from `low` to `high`, both included.

    NaN is outside. Flat images pass. By definition; the same as SimpleITK's ``BinaryThreshold``.

    Parameters
    ----------
    low, high : float, optional
        In the unit of the volume; at least one of them.
    unit : str, optional
        Unit that the volume must be in, for example ``"HU"``; by default any.

    Raises
    ------
    ItemError
        ``step_failed``: a colour image, or another unit.
    """

    name: ClassVar[str] = "threshold"
    version: ClassVar[int] = 1

    low: float | None = None
    high: float | None = None
    unit: Unit | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low is None and self.high is None:
            raise ValueError("give 'low', 'high' or both")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"'low' ({self.low}) is above 'high' ({self.high})")
        return self

    def __call__(self, volume: Volume) -> Mask:
        """Segment the volume; the input is not changed."""
        if self.unit is not None and volume.unit != self.unit:
            raise ItemError("step_failed", f"threshold: needs '{self.unit}', got '{volume.unit}'")
        values = scalar(volume, self.name)
        inside = ~np.isnan(values)
        if self.low is not None:
            inside &= values >= self.low
        if self.high is not None:
            inside &= values <= self.high
        return made(inside, volume, FOREGROUND, self.tag)
