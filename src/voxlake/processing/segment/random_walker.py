"""Random walker."""

from __future__ import annotations

import warnings
from typing import ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from voxlake.core.errors import ItemError
from voxlake.core.mask_step import MaskStep
from voxlake.core.volume import Mask, Volume
from voxlake.processing.segment.markers import marked, whole
from voxlake.processing.segment.parts import FOREGROUND, made, scalar, spacing_of

__all__ = ["RandomWalker"]


class RandomWalker(MaskStep):
    """Decide the unclear voxels by where a random walk, which avoids edges, arrives first.

    Grady, IEEE Trans. Pattern Anal. Mach. Intell. 2006, by scikit-image (conjugate gradients). Voxels between
    `below` and `above` are decided, the others are markers. Takes about 1 kB of memory for each of them.
    Flat images pass. Volumes with NaN or infinities are refused.

    Parameters
    ----------
    below : float
        Voxels of at most this value are background for sure.
    above : float
        Voxels of at least this value are foreground for sure.
    beta : float
        How much an edge holds a walk up; differences are relative to the deviation of the values.
    limit : int
        So many unclear voxels are refused.

    Raises
    ------
    ItemError
        ``step_failed``: a colour image, values that are not finite, markers without a voxel, more unclear
        voxels than `limit`, or a `beta` for which the equations have no solution in floating point.
    """

    name: ClassVar[str] = "random_walker"
    version: ClassVar[int] = 1

    below: float
    above: float
    beta: float = Field(default=130.0, gt=0, allow_inf_nan=False)
    limit: int = Field(default=2_000_000, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.below >= self.above:
            raise ValueError(f"'below' ({self.below}) must be less than 'above' ({self.above})")
        return self

    def __call__(self, volume: Volume) -> Mask:
        """Segment the volume; the input is not changed."""
        # Start-up: reading a plan must not load SciPy and scikit-image.
        from skimage.segmentation import random_walker

        values = whole(scalar(volume, self.name), self.name)
        markers = marked(values, self.below, self.above, self.name)
        unclear = int((markers == 0).sum())
        if unclear > self.limit:
            raise ItemError(
                "step_failed", f"random_walker: {unclear} unclear voxels, more than {self.limit}; crop first"
            )
        if unclear == 0:
            return made(markers == 2, volume, FOREGROUND, self.tag)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", UserWarning)
            found = random_walker(
                values.astype(np.float64), markers, beta=self.beta, mode="cg_j", spacing=spacing_of(volume)
            )
        # Probabilities a rounding beyond 0 and 1, the other thing it warns of, choose the same marker.
        if any("convergence" in str(warning.message) for warning in said):
            raise ItemError(
                "step_failed", f"random_walker: no solution was found; take a 'beta' less than {self.beta:g}"
            )
        return made(found == 2, volume, FOREGROUND, self.tag)
