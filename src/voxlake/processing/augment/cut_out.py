"""Blank boxes out."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import AfterValidator, Field

from voxlake.core.grid import Grid
from voxlake.core.volume import Volume
from voxlake.processing.augment.base import InPlace, RandomStep, SizeRange, uniform
from voxlake.processing.sizes import Fill
from voxlake.processing.values import as_float32, finite_range

__all__ = ["CutOut", "RandomCutOut"]

_Edge = Annotated[int, Field(ge=0, lt=2**31)]
_Box = tuple[_Edge, _Edge, _Edge, _Edge, _Edge, _Edge]


def _not_empty(boxes: tuple[_Box, ...]) -> tuple[_Box, ...]:
    for box in boxes:
        if not all(start < stop for start, stop in zip(box[:3], box[3:], strict=True)):
            raise ValueError(f"a box is three first and three last voxels (not included), got {list(box)}")
    return boxes


class CutOut(InPlace):
    """Set boxes of voxels to one value (DeVries and Taylor, Cutout, arXiv:1708.04552, 2017).

    The grid and the unit stay; values are float32 afterwards; NaN and infinities outside the boxes stay. What
    a mask says of the boxes stays too: the network is to tell what lies there from what lies around.

    Parameters
    ----------
    boxes : list of lists of six whole numbers
        First slice, row and column, and the slice, row and column behind the last. What reaches beyond the
        volume is cut off.
    fill : number or "minimum"
        Value of the boxes, in the unit of the volume; ``"minimum"`` is its smallest finite value.
    """

    name: ClassVar[str] = "cut_out"
    version: ClassVar[int] = 1

    boxes: Annotated[tuple[_Box, ...], AfterValidator(_not_empty)]
    fill: Fill = "minimum"

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        out = as_float32(volume, self.name).copy()
        fill = finite_range(out, self.name)[0] if self.fill == "minimum" else self.fill
        for box in self.boxes:
            out[tuple(slice(start, stop) for start, stop in zip(box[:3], box[3:], strict=True))] = fill
        return volume.with_data(out, step=self.tag)


class RandomCutOut(RandomStep):
    """Draw places and sizes of boxes inside the volume: a `CutOut`.

    Parameters
    ----------
    probability : float
        Share of draws in which the step is taken at all.
    count : int
        Number of boxes; they may overlap.
    size : range
        Share of each axis, up to 1, drawn for each box and axis.
    fill : number or "minimum"
        See `CutOut`.
    """

    name: ClassVar[str] = "cut_out"
    version: ClassVar[int] = 1

    count: Annotated[int, Field(ge=1, le=1000)] = 3
    size: SizeRange = (0.1, 0.3)
    fill: Fill = "minimum"

    def draw(self, rng: np.random.Generator, grid: Grid) -> CutOut:
        """Draw a step for volumes on `grid`."""
        boxes = []
        for _ in range(self.count):
            sizes = [max(1, round(min(uniform(rng, self.size), 1.0) * n)) for n in grid.shape]
            starts = [int(rng.integers(0, n - m + 1)) for n, m in zip(grid.shape, sizes, strict=True)]
            stops = [start + size for start, size in zip(starts, sizes, strict=True)]
            boxes.append((*starts, *stops))
        return CutOut.read({"boxes": boxes, "fill": self.fill}, where=self.name)
