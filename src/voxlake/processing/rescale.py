"""A linear map of the values."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from voxlake.core.step import Step
from voxlake.core.volume import Unit, Volume
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
