"""Geodesic active contours."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from voxlake.core.errors import ItemError
from voxlake.core.mask_step import MaskStep
from voxlake.core.volume import Mask, Volume
from voxlake.processing.segment.markers import whole
from voxlake.processing.segment.parts import FOREGROUND, made, scalar, spacing_of
from voxlake.processing.segment.snakes import Smoothing, follow_edges, push

__all__ = ["GeodesicContour"]


class GeodesicContour(MaskStep):
    """A contour that grows or shrinks until edges of the image hold it.

    Caselles, Kimmel and Sapiro, Int. J. Comput. Vis. 1997, in the morphological form of Marquez-Neila,
    Baumela and Alvarez, IEEE Trans. Pattern Anal. Mach. Intell. 2014. Starts from the voxels
    whose value lies from `low` to `high`. The edges are those of the smoothed volume, as
    1 / sqrt(1 + alpha |gradient|). Flat images pass. Volumes with NaN or infinities are refused.

    Parameters
    ----------
    low, high : float
        Values of the voxels that it starts from, in the unit of the volume. An edge of the start
        holds it too, so the start should lie well inside of what is looked for.
    rounds : int
        How often the contour moves.
    balloon : int
        1 grows, -1 shrinks, 0 does neither where there are no edges.
    sigma : float
        Width of the Gaussian that smooths the volume, mm (pixels of a flat image).
    alpha : float
        Steepness: the larger, the fainter an edge may be.
    edge : float
        Speed, from 0 to 1, at and below which an edge holds the contour.
    smoothing : int
        How often the contour is smoothed after each move.

    Raises
    ------
    ItemError
        ``step_failed``: a colour image, values that are not finite, or nothing or everything to start from.
    """

    name: ClassVar[str] = "geodesic_contour"
    version: ClassVar[int] = 1

    low: float
    high: float
    rounds: int = Field(default=50, ge=1, le=10_000)
    balloon: int = Field(default=1, ge=-1, le=1)
    sigma: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    alpha: float = Field(default=100.0, gt=0, allow_inf_nan=False)
    edge: float = Field(default=0.3, gt=0, lt=1)
    smoothing: int = Field(default=1, ge=0, le=20)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"'low' ({self.low}) is above 'high' ({self.high})")
        return self

    def __call__(self, volume: Volume) -> Mask:
        """Segment the volume; the input is not changed."""
        # Start-up: reading a plan must not load SciPy.
        from scipy.ndimage import gaussian_gradient_magnitude

        values = whole(scalar(volume, self.name), self.name)
        start = (values >= self.low) & (values <= self.high)
        if not start.any() or start.all():
            raise ItemError(
                "step_failed", f"{self.name}: all voxels or none lie from {self.low} to {self.high}"
            )
        widths = [self.sigma / step for step in spacing_of(volume)]
        # Edges are measured against the spread of the values, so that `alpha` suits any unit.
        spread = float(values.std(dtype=np.float64))
        gradient = gaussian_gradient_magnitude(values / np.float32(spread), widths, mode="nearest")
        speed = 1 / np.sqrt(1 + self.alpha * gradient)
        flat = values.shape[0] == 1
        found = self._evolve(speed[0] if flat else speed, start[0] if flat else start)
        return made(found[None] if flat else found, volume, FOREGROUND, self.tag)

    def _evolve(self, speed: NDArray[np.float64], inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
        smooth = Smoothing(speed.ndim)
        slopes = [np.gradient(speed, axis=axis) for axis, size in enumerate(speed.shape) if size > 1]
        for _ in range(self.rounds):
            inside = push(inside, self.balloon, speed > self.edge)
            inside = follow_edges(inside, slopes)
            for _ in range(self.smoothing):
                inside = smooth(inside)
        return inside
