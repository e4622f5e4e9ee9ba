"""Multiply with a smooth field, as uneven coils do."""

from __future__ import annotations

import math
from itertools import product
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from voxlake.core.grid import Grid
from voxlake.core.volume import Volume
from voxlake.processing.augment.base import InPlace, RandomStep
from voxlake.processing.values import as_float32, single_precision

__all__ = ["BiasField", "RandomBiasField"]

Degree = Annotated[int, Field(ge=1, le=5)]
_Coefficient = Annotated[float, Field(ge=-10, le=10)]


_DEGREES = {math.comb(degree + 3, 3) - 1: degree for degree in range(1, 6)}


def _complete(value: tuple[float, ...]) -> tuple[float, ...]:
    if len(value) not in _DEGREES:
        raise ValueError(f"a field has one of {list(_DEGREES)} coefficients, got {len(value)}")
    return value


class BiasField(InPlace):
    """Multiply with the exponential of a polynomial of the position.

    The model of Van Leemput et al., IEEE TMI 18(10), 1999. Position runs from -1 to 1 between the outer voxel
    centres of each axis; an axis of one voxel is at 0. The grid and the unit stay; values are float32
    afterwards; NaN and infinities stay.

    Parameters
    ----------
    coefficients : list of numbers
        Of slice^a row^b column^c for every (a, b, c) with a sum from 1 to the degree, in lexicographic order:
        3, 9, 19, 34 or 55 numbers for degree 1 to 5. There is no constant term: it would only scale the
        volume.
    """

    name: ClassVar[str] = "bias_field"
    version: ClassVar[int] = 1

    coefficients: Annotated[tuple[_Coefficient, ...], AfterValidator(_complete)]

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        data = as_float32(volume, self.name)
        field = self.field(volume.grid)
        with single_precision(self.name):
            out = data * (field if data.ndim == 3 else field[..., np.newaxis])
        return volume.with_data(out, step=self.tag)

    def field(self, grid: Grid) -> NDArray[np.float32]:
        """What is multiplied with, float32 (slices, rows, columns)."""
        degree = _DEGREES[len(self.coefficients)]
        table = np.zeros((degree + 1,) * 3)
        for powers, value in zip(_powers(degree), self.coefficients, strict=True):
            table[powers] = value
        for axis, size in enumerate(grid.shape):
            at = np.linspace(-1, 1, size) if size > 1 else np.zeros(1)
            basis = np.vander(at, degree + 1, increasing=True)
            # Only the last product is large; the ones before are of a few numbers each.
            table = np.moveaxis(np.tensordot(basis, table, axes=(1, axis)), 0, axis)
        out = table.astype(np.float32)
        with single_precision(self.name):
            return np.exp(out, out=out)


class RandomBiasField(RandomStep):
    """Draw the coefficients of a field: a `BiasField`.

    Parameters
    ----------
    probability : float
        Share of draws in which the step is taken at all.
    degree : int
        Highest sum of exponents.
    strength : float
        Coefficients are uniform up to this number, either sign.
    """

    name: ClassVar[str] = "bias_field"
    version: ClassVar[int] = 1

    degree: Degree = 3
    strength: Annotated[float, Field(ge=0, le=10)] = 0.5

    def draw(self, rng: np.random.Generator, grid: Grid) -> BiasField:
        """Draw a step; the grid does not matter."""
        del grid
        values = rng.uniform(-self.strength, self.strength, math.comb(self.degree + 3, 3) - 1)
        return BiasField(coefficients=tuple(float(value) for value in values))


def _powers(degree: int) -> list[tuple[int, int, int]]:
    found = product(range(degree + 1), repeat=3)
    return [(a, b, c) for a, b, c in found if 1 <= a + b + c <= degree]
