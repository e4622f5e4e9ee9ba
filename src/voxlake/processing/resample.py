"""Resample to a spacing in millimetres."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import ItemError
from voxlake.core.step import Step
from voxlake.core.volume import Volume
from voxlake.processing.separable import linear_weights, mix, positions, take_nearest
from voxlake.processing.sizes import Spacing, resolve_spacing
from voxlake.processing.values import as_float32

__all__ = ["Resample"]

_FWHM = 2 * math.sqrt(2 * math.log(2))


class Resample(Step):
    """Interpolate onto a grid of another spacing over the same field of view (`Grid.resampled`).

    The voxel faces at both ends of an axis stay centred on those of the input and the shape is rounded to
    whole voxels. Beyond the outermost voxel centres the edge is repeated. The unit stays. Values are
    float32 afterwards, except with ``order = "nearest"``, which keeps values and type. NaN and infinities
    spread to the neighbours that interpolation or smoothing mixes them into; ``"cubic"``, whose filter
    would spread them over the whole volume, refuses them. Flat images are refused: use ``resize``.

    Parameters
    ----------
    spacing : three numbers in mm
        Slice, row, column; ``"keep"`` (None in Python) leaves an axis as it is.
    order : str
        ``"nearest"``, ``"linear"`` or ``"cubic"`` (B-spline; needs 8 more bytes a voxel and may overshoot).
    antialias : bool
        Smooth axes that are made coarser with a Gaussian, so that fine structure does not fold into coarse
        patterns. Its width is that of Cardoso et al., MICCAI 2015: sigma = sqrt(k^2 - 1) / 2.355 input
        voxels for a factor k. ``"nearest"`` never smooths.

    Raises
    ------
    FlatGridError
        The image has no spacing.
    ItemError
        ``step_failed``: ``"cubic"`` on a volume with NaN or infinities.
    """

    name: ClassVar[str] = "resample"
    version: ClassVar[int] = 1

    spacing: Spacing
    order: Literal["nearest", "linear", "cubic"] = "linear"
    antialias: bool = True

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        have = volume.grid.spacing
        target = resolve_spacing(self.spacing, have)
        grid = volume.grid.resampled(target)
        factors = [want / old for want, old in zip(target, have, strict=True)]
        return volume.with_data(self._values(volume, grid.shape, factors), step=self.tag, grid=grid)

    def _values(self, volume: Volume, shape: Sequence[int], factors: Sequence[float]) -> NDArray[Any]:
        sizes = volume.grid.shape
        if self.order == "nearest":
            at = [positions(n, m, k) for n, m, k in zip(sizes, shape, factors, strict=True)]
            return take_nearest(volume.numpy(), at)
        data = as_float32(volume, self.name)
        if self.order == "cubic" and not np.isfinite(data).all():
            raise ItemError("step_failed", 'resample: "cubic" needs finite values; use "linear"')
        if self.antialias:
            data = _smooth(data, factors)
        if self.order == "cubic":
            return _cubic(data, sizes, shape, factors)
        axes = zip(sizes, shape, factors, strict=True)
        return mix(data, [linear_weights(n, m, k) if (m, k) != (n, 1.0) else None for n, m, k in axes])


def _smooth(data: NDArray[np.float32], factors: Sequence[float]) -> NDArray[np.float32]:
    # Start-up: reading a plan must not load SciPy.
    from scipy.ndimage import gaussian_filter1d

    for axis, factor in enumerate(factors):
        if factor > 1 and data.shape[axis] > 1:
            # Beyond the extent of the volume a wider filter changes nothing but the time it takes.
            width = math.sqrt(min(factor, 2.0 * data.shape[axis]) ** 2 - 1) / _FWHM
            # Mirrored edges keep the mean; repeated ones would weigh the border more than the inside.
            data = gaussian_filter1d(data, width, axis=axis, mode="reflect", output=np.float32)
    return data


def _cubic(
    data: NDArray[np.float32], sizes: Sequence[int], shape: Sequence[int], factors: Sequence[float]
) -> NDArray[np.float32]:
    # Start-up: reading a plan must not load SciPy.
    from scipy.ndimage import affine_transform

    offset = [positions(n, m, k)[0] for n, m, k in zip(sizes, shape, factors, strict=True)]
    channels = np.moveaxis(data, 3, 0) if data.ndim == 4 else data[np.newaxis]
    done = [
        affine_transform(
            channel, np.asarray(factors), offset, tuple(shape), output=np.float32, order=3, mode="nearest"
        )
        for channel in channels
    ]
    return np.stack(done, axis=-1) if data.ndim == 4 else np.asarray(done[0])
