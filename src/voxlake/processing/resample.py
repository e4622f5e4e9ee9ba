"""Resample to a spacing in millimetres."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import ItemError
from voxlake.core.grid import Grid
from voxlake.core.step import Step
from voxlake.core.volume import Volume
from voxlake.processing.box import grid_of, need_match
from voxlake.processing.separable import linear_weights, mix, positions, take_nearest
from voxlake.processing.sizes import Spacing, resolve_spacing
from voxlake.processing.spline import mix_splines, spline_weights
from voxlake.processing.values import mixable

__all__ = ["Resample", "gaussian_width", "interpolate", "need_finite"]

_FWHM = 2 * math.sqrt(2 * math.log(2))


class Resample(Step):
    """Interpolate onto a grid of another spacing over the same field of view (`Grid.resampled`).

    The voxel faces at both ends of an axis stay centred on those of the input and the shape is rounded to
    whole voxels. Beyond the outermost voxel centres the edge is repeated (``"cubic"``: mirrored, as in
    SimpleITK). The unit stays. Values are float32 afterwards, except with ``order = "nearest"``, which keeps
    values and type. NaN and infinities spread to the neighbours that interpolation or smoothing mixes them
    into; ``"cubic"``, whose filter would spread them over the whole volume, refuses them. Flat images are
    refused: use ``resize``.

    Parameters
    ----------
    spacing : three numbers in mm
        Slice, row, column; ``"keep"`` (None in Python) leaves an axis as it is.
    order : str
        ``"nearest"``, ``"linear"`` or ``"cubic"``: the B-spline through the voxels (Unser, IEEE Signal
        Processing Magazine 1999), which may overshoot.
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
    version: ClassVar[int] = 2

    spacing: Spacing
    order: Literal["nearest", "linear", "cubic"] = "linear"
    antialias: bool = True

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        have = volume.grid.spacing
        target = resolve_spacing(self.spacing, have)
        grid = volume.grid.resampled(target)
        factors = [want / old for want, old in zip(target, have, strict=True)]
        data = interpolate(volume, grid.shape, factors, self.order, antialias=self.antialias, step=self.name)
        return volume.with_data(data, step=self.tag, grid=grid)

    def undo(self, volume: Volume, before: Volume | Grid) -> Volume:
        """Interpolate back onto the grid of the volume before the step, with the same order.

        What smoothing or a coarser grid took away does not come back.
        """
        grid = grid_of(before)
        need_match(volume.grid, grid.resampled(resolve_spacing(self.spacing, grid.spacing)), self.tag)
        factors = [want / have for want, have in zip(grid.spacing, volume.grid.spacing, strict=True)]
        data = interpolate(volume, grid.shape, factors, self.order, antialias=self.antialias, step=self.name)
        return volume.with_data(data, step=f"undo {self.tag}", grid=grid)


def interpolate(
    volume: Volume, shape: Sequence[int], factors: Sequence[float], order: str, *, antialias: bool, step: str
) -> NDArray[Any]:
    """Sample a volume on a centred grid along its own axes.

    Parameters
    ----------
    volume : Volume
        What is sampled.
    shape : three numbers
        Samples along (slice, row, column).
    factors : three numbers
        Distance between samples in voxels.
    order : str
        ``"nearest"``, ``"linear"`` or ``"cubic"``.
    antialias : bool
        Smooth along axes with a factor above 1.
    step : str
        Who asks, for messages.
    """
    sizes = volume.grid.shape
    axes = list(zip(sizes, shape, factors, strict=True))
    if order == "nearest":
        return take_nearest(volume.numpy(), [positions(n, m, k) for n, m, k in axes])
    data = mixable(volume, step)
    widths = [gaussian_width(n, k) if antialias else 0.0 for n, _, k in axes]
    moves = [
        (n, m, k, width) if (m, k) != (n, 1.0) else None
        for (n, m, k), width in zip(axes, widths, strict=True)
    ]
    if order == "cubic":
        need_finite(data, step)
        return mix_splines(data, [move and spline_weights(*move) for move in moves])
    return mix(data, [move and linear_weights(*move) for move in moves])


def gaussian_width(size: int, factor: float) -> float:
    """Standard deviation, in voxels, of the Gaussian that acts before taking every `factor`-th voxel."""
    if factor <= 1 or size == 1:
        return 0.0
    # Beyond the extent of the volume a wider filter changes nothing but the time it takes.
    return math.sqrt(min(factor, 2.0 * size) ** 2 - 1) / _FWHM


def need_finite(data: NDArray[Any], step: str) -> None:
    """Refuse what the filter of the cubic B-spline would spread over the whole volume."""
    # The extremes of a volume with NaN are NaN: two quick passes instead of a third of booleans.
    if data.dtype.kind == "f" and not np.isfinite([data.min(), data.max()]).all():
        raise ItemError("step_failed", f'{step}: "cubic" needs finite values; use "linear"')
