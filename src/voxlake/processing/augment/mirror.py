"""Mirror what a volume shows."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import AfterValidator, Field

from voxlake.core.grid import Grid
from voxlake.core.step import Step
from voxlake.core.volume import Mask, Volume
from voxlake.processing.augment.base import RandomStep
from voxlake.processing.flip import Axis
from voxlake.processing.maps import moved_mask

__all__ = ["Mirror", "RandomMirror"]

_ORDER: tuple[Axis, ...] = ("slice", "row", "column")


def _sorted_once(value: tuple[Axis, ...]) -> tuple[Axis, ...]:
    if len(set(value)) != len(value):
        raise ValueError("an axis is named twice")
    return tuple(axis for axis in _ORDER if axis in value)


Axes = Annotated[tuple[Axis, ...], AfterValidator(_sorted_once)]


class Mirror(Step):
    """Reverse the order of the voxels along axes, while the grid stays: the anatomy is mirrored.

    A liver on the right comes to lie on the left, which `flip` (it turns the grid too) never does. Values,
    type and unit stay, NaN too. Flat images are mirrored alike.

    Parameters
    ----------
    axes : list of str
        Of ``"slice"``, ``"row"`` and ``"column"``, each at most once; empty mirrors nothing.
    """

    name: ClassVar[str] = "mirror"
    version: ClassVar[int] = 1

    axes: Axes

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        data = np.ascontiguousarray(np.flip(volume.numpy(), self._numbers()))
        return volume.with_data(data, step=self.tag)

    def apply_mask(self, mask: Mask) -> Mask:
        """Mirror a mask alike."""
        return moved_mask(mask, np.ascontiguousarray(np.flip(mask.numpy(), self._numbers())), self.tag)

    def _numbers(self) -> tuple[int, ...]:
        return tuple(_ORDER.index(axis) for axis in self.axes)


class RandomMirror(RandomStep):
    """Draw for each axis whether it is mirrored: a `Mirror`.

    Parameters
    ----------
    probability : float
        Share of draws in which the step is taken at all.
    axes : list of str
        Axes that may be mirrored.
    chance : float
        Of each axis.
    """

    name: ClassVar[str] = "mirror"
    version: ClassVar[int] = 1

    axes: Annotated[Axes, Field(min_length=1)] = ("column",)
    chance: Annotated[float, Field(ge=0, le=1)] = 0.5

    def draw(self, rng: np.random.Generator, grid: Grid) -> Mirror:
        """Draw a step; the grid does not matter."""
        del grid
        taken = rng.random(len(self.axes)) < self.chance
        return Mirror(axes=tuple(axis for axis, yes in zip(self.axes, taken, strict=True) if yes))
