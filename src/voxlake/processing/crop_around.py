"""Cut a fixed box out, for example the one around a mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from voxlake.core.errors import ItemError
from voxlake.core.grid import Grid
from voxlake.core.step import Step
from voxlake.core.volume import Mask, Volume
from voxlake.processing.box import cut, put_back

__all__ = ["CropAround", "fit_crop_around"]

Place = Annotated[int, Field(ge=0)]


class CropAround(Step):
    """Keep the voxels between two corners; `fit_crop_around` finds them around a mask.

    Kept voxels stay where they are in the world; values, type and unit stay, NaN too. Flat images are cropped
    alike. What of the box leaves the volume is left out.

    Parameters
    ----------
    start, stop : three numbers of voxels
        Slice, row, column of the first voxel kept, and of the first one no longer kept.

    Raises
    ------
    ItemError
        ``step_failed``: the box lies outside of the volume.
    """

    name: ClassVar[str] = "crop_around"
    version: ClassVar[int] = 1

    start: tuple[Place, Place, Place]
    stop: tuple[Place, Place, Place]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if any(low >= high for low, high in zip(self.start, self.stop, strict=True)):
            raise ValueError(f"start must be below stop on every axis, got {self.start} and {self.stop}")
        return self

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        stop = [min(high, size) for high, size in zip(self.stop, volume.grid.shape, strict=True)]
        if any(low >= high for low, high in zip(self.start, stop, strict=True)):
            raise ItemError(
                "step_failed",
                f"crop_around: the box from {self.start} lies outside of a volume of {volume.grid.shape}",
            )
        data, grid = cut(volume.numpy(), volume.grid, self.start, stop)
        return volume.with_data(data, step=self.tag, grid=grid)

    def undo(self, volume: Volume, before: Volume | Grid) -> Volume:
        """Put the voxels back where they were; see `voxlake.core.step.Invertible`."""
        return put_back(volume, before, step=self.tag)


def fit_crop_around(mask: Mask, *, margin: float = 0.0, labels: Sequence[int] | None = None) -> CropAround:
    """The step that keeps the box around a mask, for volumes on its grid.

    Parameters
    ----------
    mask : Mask
        What is to be kept.
    margin : float
        In mm on each side (in pixels where the mask is flat), rounded up to whole voxels.
    labels : sequence of int, optional
        The values that count; all above 0 if left out.

    Raises
    ------
    ItemError
        ``step_failed``: the mask is empty.
    """
    data = mask.numpy()
    chosen = data > 0 if labels is None else np.isin(data, list(labels))
    if not chosen.any():
        raise ItemError("step_failed", "crop_around: the mask is empty; there is nothing to crop around")
    spacing = (1.0, 1.0, 1.0) if mask.grid.flat else mask.grid.spacing
    start, stop = [], []
    for axis, size in enumerate(mask.grid.shape):
        places = np.flatnonzero(chosen.any(axis=tuple({0, 1, 2} - {axis})))
        wide = int(np.ceil(margin / spacing[axis] - 1e-6))
        start.append(max(0, int(places[0]) - wide))
        stop.append(min(size, int(places[-1]) + 1 + wide))
    return CropAround.read({"start": start, "stop": stop})
