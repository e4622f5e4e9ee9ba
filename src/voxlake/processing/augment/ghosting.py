"""Ghosts along an axis, as a periodic motion leaves them in MR."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from voxlake.core.grid import Grid
from voxlake.core.volume import Volume
from voxlake.processing.augment.base import InPlace, RandomStep, SizeRange, uniform
from voxlake.processing.flip import Axis
from voxlake.processing.values import as_float32

__all__ = ["Ghosting", "RandomGhosting"]

_ORDER: tuple[Axis, ...] = ("slice", "row", "column")
_Share = Annotated[float, Field(ge=0, le=1)]


def _counts(value: tuple[int, int]) -> tuple[int, int]:
    if not 2 <= value[0] <= value[1] <= 64:
        raise ValueError(f"two whole numbers from 2 to 64, the lower first; got {list(value)}")
    return value


class Ghosting(InPlace):
    """Weaken every n-th line of k-space along an axis: n ghosts, each 1/n of the extent further.

    Lines are counted from zero frequency, and those within `restore` of it are left alone (the idea is that
    of Shaw et al., A k-space model of movement artefacts, IEEE TMI 39(9), 2020, for a periodic change). The
    weights do not depend on the frequencies of the other axes, so one transform along the axis is the same
    as one of the whole volume. The grid and the unit stay; values are float32 afterwards; a NaN or infinity
    makes NaN of its line along the axis.

    Parameters
    ----------
    axis : str
        ``"slice"``, ``"row"`` or ``"column"``: the direction of phase encoding.
    ghosts : int
        Every so many-th line is weakened.
    intensity : float
        Share that the weakened lines lose.
    restore : float
        Share of the highest frequency up to which lines are left alone; zero frequency always is.
    """

    name: ClassVar[str] = "ghosting"
    version: ClassVar[int] = 1

    axis: Axis
    ghosts: Annotated[int, Field(ge=2, le=64)]
    intensity: _Share
    restore: _Share = 0.02

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        # Start-up: reading a plan must not load SciPy.
        from scipy.fft import irfft, rfft

        data = as_float32(volume, self.name)
        axis = _ORDER.index(self.axis)
        size = data.shape[axis]
        spectrum = rfft(data, axis=axis)
        shape = [1] * data.ndim
        shape[axis] = -1
        spectrum *= self.weights(size).reshape(shape)
        out = irfft(spectrum, n=size, axis=axis)
        return volume.with_data(np.ascontiguousarray(out, dtype=np.float32), step=self.tag)

    def weights(self, size: int) -> NDArray[np.float32]:
        """Factor of each frequency from 0 to the highest, for an axis of `size` voxels."""
        frequency = np.arange(size // 2 + 1)
        weakened = (frequency % self.ghosts == 0) & (frequency > self.restore * (size // 2))
        weakened[0] = False
        return np.where(weakened, 1 - self.intensity, 1.0).astype(np.float32)


class RandomGhosting(RandomStep):
    """Draw axis, number and intensity of ghosts: a `Ghosting`.

    Parameters
    ----------
    probability : float
        Share of draws in which the step is taken at all.
    axes : list of str
        One of these is drawn.
    ghosts : two whole numbers
        Fewest and most ghosts.
    intensity : range
        See `Ghosting`.
    restore : float
        See `Ghosting`.
    """

    name: ClassVar[str] = "ghosting"
    version: ClassVar[int] = 1

    axes: Annotated[tuple[Axis, ...], Field(min_length=1)] = ("row",)
    ghosts: Annotated[tuple[int, int], AfterValidator(_counts)] = (4, 10)
    intensity: SizeRange = (0.3, 0.8)
    restore: _Share = 0.02

    def draw(self, rng: np.random.Generator, grid: Grid) -> Ghosting:
        """Draw a step; the grid does not matter."""
        del grid
        return Ghosting(
            axis=self.axes[int(rng.integers(len(self.axes)))],
            ghosts=int(rng.integers(self.ghosts[0], self.ghosts[1] + 1)),
            intensity=min(uniform(rng, self.intensity), 1.0),
            restore=self.restore,
        )
