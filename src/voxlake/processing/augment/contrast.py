"""Draw the power of a gamma curve."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from voxlake.core.grid import Grid
from voxlake.processing.augment.base import RandomStep, Range, uniform
from voxlake.processing.gamma import Gamma

__all__ = ["RandomGamma"]


class RandomGamma(RandomStep):
    """Draw a power: a `Gamma` over the whole range of the volume.

    Parameters
    ----------
    probability : float
        Share of draws in which the step is taken at all.
    log2_gamma : range
        Power of two; between -6 and 6.
    """

    name: ClassVar[str] = "gamma"
    version: ClassVar[int] = 1

    log2_gamma: Range = (-0.4, 0.4)

    def draw(self, rng: np.random.Generator, grid: Grid) -> Gamma:
        """Draw a step; the grid does not matter."""
        del grid
        return Gamma(gamma=float(np.exp2(np.clip(uniform(rng, self.log2_gamma), -6, 6))))
