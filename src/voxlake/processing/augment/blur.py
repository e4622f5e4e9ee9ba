"""Draw the width of a Gaussian filter."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from voxlake.core.grid import Grid
from voxlake.processing.augment.base import RandomStep, SizeRange, uniform
from voxlake.processing.gaussian import Gaussian

__all__ = ["RandomBlur"]


class RandomBlur(RandomStep):
    """Draw a width for each axis: a `Gaussian`.

    Parameters
    ----------
    probability : float
        Share of draws in which the step is taken at all.
    sigma : range
        Standard deviation in voxels, drawn for each axis; an axis of one voxel is left alone.
    """

    name: ClassVar[str] = "blur"
    version: ClassVar[int] = 1

    sigma: SizeRange = (0.25, 1.5)

    def draw(self, rng: np.random.Generator, grid: Grid) -> Gaussian:
        """Draw a step for volumes on `grid`."""
        widths = [uniform(rng, self.sigma) if size > 1 else 0.0 for size in grid.shape]
        return Gaussian(sigma=(widths[0], widths[1], widths[2]))
