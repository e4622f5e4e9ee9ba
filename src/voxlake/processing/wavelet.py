"""Wavelet shrinkage: small coefficients are noise."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from voxlake.core.step import Step
from voxlake.core.volume import Volume
from voxlake.processing.filtering import Extent, each_image

__all__ = ["Wavelet", "noise_deviation"]

Image = NDArray[np.float32]
# The median of the absolute values of normal noise, in standard deviations.
_MEDIAN_OF_NORMAL = 0.6744897501960817


class Wavelet(Step):
    """Shrink wavelet coefficients by a threshold for each band (BayesShrink).

    The threshold of a band is (strength x s)^2 / sqrt(max(v - (strength x s)^2, 0)), where v is the mean
    square of its coefficients and s the deviation of the noise; a band without signal goes away (Chang, Yu
    and Vetterli, IEEE Transactions on Image Processing 9, 2000). The noise is the median of the absolute
    finest diagonal coefficients (Daubechies 2) over 0.6745 (Donoho and Johnstone, Biometrika 81, 1994); exact
    zeros, as in masked background, do not count. RGB is filtered channel by channel. Grid and unit stay;
    values are float32 afterwards and may leave the range of the input a little. NaN and infinities stay where
    they are; the nearest finite voxel stands in for them.

    Parameters
    ----------
    family : str
        The wavelet: ``"haar"``, ``"db2"``, ``"db4"``, ``"sym4"``, ``"sym8"``, ``"coif1"`` or ``"bior4.4"``.
    levels : int, optional
        Number of scales; three less than the image allows unless given, at least 1.
    strength : float
        Factor on the deviation of the noise.
    extent : str
        ``"slice"`` for each slice apart, ``"volume"`` for three dimensions.

    Raises
    ------
    ItemError
        ``step_failed``: no voxel is finite.
    """

    name: ClassVar[str] = "wavelet"
    version: ClassVar[int] = 1

    family: Literal["haar", "db2", "db4", "sym4", "sym8", "coif1", "bior4.4"] = "sym4"
    levels: Annotated[int, Field(ge=1, le=16)] | None = None
    strength: Annotated[float, Field(gt=0, le=100)] = 1.0
    extent: Extent = "slice"

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        return volume.with_data(
            each_image(volume, self.name, self._filtered, extent=self.extent), step=self.tag
        )

    def _filtered(self, image: Image) -> Image:
        # Start-up: reading a plan must not load PyWavelets.
        import pywt

        power = (self.strength * noise_deviation(image)) ** 2
        most = pywt.dwtn_max_level(image.shape, self.family)
        levels = min(most, self.levels or max(most - 3, 1))
        if power == 0 or levels == 0:
            return image.copy()
        rough, *details = pywt.wavedecn(image, self.family, mode="symmetric", level=levels)
        shrunk = [{key: _shrink(band, power) for key, band in each.items()} for each in details]
        back = pywt.waverecn([rough, *shrunk], self.family, mode="symmetric")
        return np.asarray(back[tuple(slice(n) for n in image.shape)], dtype=np.float32)


def _shrink(band: NDArray[np.floating], power: float) -> NDArray[np.floating]:
    signal = float(np.mean(np.square(band, dtype=np.float64))) - power
    if signal <= 0:
        return np.zeros_like(band)
    threshold = band.dtype.type(power / np.sqrt(signal))
    # Soft: towards 0 by the threshold.
    return np.asarray(band - np.clip(band, -threshold, threshold))


def noise_deviation(image: Image) -> float:
    """Standard deviation of the noise of a finite image of 2 or 3 axes; 0 where there is none.

    From the finest diagonal wavelet coefficients, see `Wavelet`.
    """
    # Start-up: reading a plan must not load PyWavelets.
    import pywt

    bands = pywt.dwtn(image.astype(np.float64), "db2", mode="symmetric")
    finest = np.abs(bands["d" * image.ndim])
    # Rounding of a linear slope is no noise.
    least = 1e-6 * float(np.abs(image).max())
    counted = finest[finest > least]
    return float(np.median(counted)) / _MEDIAN_OF_NORMAL if counted.size else 0.0
