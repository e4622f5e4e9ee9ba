"""Colour to luminance."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from voxlake.core.step import Step
from voxlake.core.volume import Volume
from voxlake.processing.values import as_float32, single_precision

__all__ = ["Grayscale"]

# ITU-R BT.601-7, 2.5.1: luminance from red, green, blue.
_LUMINANCE = (0.299, 0.587, 0.114)


class Grayscale(Step):
    """Turn RGB into luminance, 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601).

    The values are taken as they are, without undoing a display gamma. Equal channels give exactly that
    value. Grid and unit stay; values are float32 afterwards. A scalar volume passes unchanged, type
    included. NaN in a channel gives NaN, and so does an infinity.
    """

    name: ClassVar[str] = "grayscale"
    version: ClassVar[int] = 1

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        if volume.channels == 1:
            return volume.with_data(volume.data, step=self.tag)
        red, green, blue = np.moveaxis(as_float32(volume, self.name), 3, 0)
        # Written as differences from green, so that equal channels come out exactly equal.
        with single_precision(self.name):
            data = green + np.float32(_LUMINANCE[0]) * (red - green)
            data += np.float32(_LUMINANCE[2]) * (blue - green)
        return volume.with_data(data, step=self.tag)
