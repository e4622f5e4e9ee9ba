"""Which axes of a NRRD file lie in space, and where."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import GeometryError, ItemError
from voxlake.core.grid import Grid

__all__ = ["Place", "read_place"]

# Signs that turn x and y of an anatomical space to those of LPS.
_SIGNS: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {
        "right-anterior-superior": (-1, -1, 1), "ras": (-1, -1, 1),
        "left-anterior-superior": (1, -1, 1), "las": (1, -1, 1),
        "left-posterior-superior": (1, 1, 1), "lps": (1, 1, 1),
    }
)  # fmt: skip
_MILLIMETRES: Mapping[str, float] = MappingProxyType(
    {"m": 1000.0, "cm": 10.0, "mm": 1.0, "um": 1e-3, "micron": 1e-3, "microns": 1e-3, "nm": 1e-6}
)
_COLOURS = frozenset({"rgb-color", "3-color"})
_IN_SPACE = frozenset({"domain", "space", "none", "???"})
_VECTOR = re.compile(r"none|\([^()]*\)")
_UNIT = re.compile(r'"([^"]*)"')


@dataclass(frozen=True)
class Place:
    """Where the values of a file lie.

    Parameters
    ----------
    grid : Grid
        Of one volume.
    samples, times : int
        Samples of a voxel (1 or 3), and how many volumes there are.
    sizes, order : tuple of int
        Sizes of the axes as in the file, fastest first, and the order in which they make the array
        [slice, row, column] or [slice, row, column, colour].
    notes : tuple of str
        What was done to the place.
    """

    grid: Grid
    samples: int
    times: int
    sizes: tuple[int, ...]
    order: tuple[int, ...]
    notes: tuple[str, ...]

    def ordered(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values in the order of the file as an array of the shape of a volume."""
        array = values.reshape(self.sizes, order="F").transpose(self.order)
        shape = self.grid.shape if self.samples == 1 else (*self.grid.shape, self.samples)
        return array.reshape(shape)


def read_place(fields: Mapping[str, str]) -> Place:
    """Read the place from the fields of a clean header.

    Raises
    ------
    ItemError
        ``geometry_none``: axes of which it cannot be told how they lie.
    """
    sizes = tuple(int(size) for size in fields["sizes"].split())
    vectors = _vectors(fields.get("space directions", ""))
    kinds = fields.get("kinds", "").lower().split() or ["???"] * len(sizes)
    if vectors:
        inside = [axis for axis, vector in enumerate(vectors) if vector is not None]
    else:
        inside = [axis for axis, kind in enumerate(kinds) if kind in _IN_SPACE]
    if len(inside) not in (2, 3):
        message = (
            f"{len(inside)} axes of the NRRD file lie in space, expected 2 or 3; state directions or kinds"
        )
        raise ItemError("geometry_none", message)
    outside = [axis for axis in range(len(sizes)) if axis not in inside]
    colour = [axis for axis in outside if kinds[axis] in _COLOURS and sizes[axis] == 3]
    samples = 3 if len(colour) == 1 else 1
    times = math.prod(sizes[axis] for axis in outside) // samples
    columns, rows, *slices = (sizes[axis] for axis in inside)
    shape = (slices[0] if slices else 1, rows, columns)
    grid, notes = _grid(fields, shape, [vectors[axis] for axis in inside] if vectors else [], inside)
    rest = [axis for axis in outside if samples == 1 or axis not in colour]
    order = (*rest, *inside[::-1], *(colour if samples == 3 else ()))
    return Place(grid, samples, times, sizes, order, notes)


def _grid(
    fields: Mapping[str, str],
    shape: tuple[int, int, int],
    vectors: Sequence[tuple[float, ...] | None],
    inside: Sequence[int],
) -> tuple[Grid, tuple[str, ...]]:
    found = [vector for vector in vectors if vector is not None]
    signs = _SIGNS.get(fields.get("space", "").lower())
    if found and all(len(vector) == 3 for vector in found):
        steps = np.array(found, dtype=np.float64) * (signs or (1, 1, 1))
        (origin,) = _vectors(fields.get("space origin", "(0,0,0)"))
        start = np.array(origin or (0.0, 0.0, 0.0)) * (signs or (1, 1, 1))
        scale = _scale(fields)
        return _made(shape, scale * steps, scale * start), _notes(fields, known=signs is not None)
    if found:
        if len(inside) == 2:
            return Grid.flat_image(shape), ()
        raise ItemError("geometry_none", f"NRRD directions of {len(found[0])} numbers, expected 3")
    spacings = [float(text) for text in fields.get("spacings", "").split()]
    if len(inside) == 2 or not spacings:
        return Grid.flat_image(shape), ()
    steps = np.diag([abs(spacings[axis]) for axis in inside])
    return _made(shape, steps, np.zeros(3)), _notes(fields, known=False)


def _made(shape: tuple[int, int, int], steps: NDArray[np.float64], origin: NDArray[np.float64]) -> Grid:
    if len(steps) == 2:
        normal = np.cross(steps[0], steps[1])
        length = float(np.linalg.norm(normal))
        # A single slice without a thickness: 1 mm, so that there is a grid at all.
        steps = np.vstack([steps, normal / length if length else normal])
    try:
        # Adding 0.0 turns -0.0 into 0.0.
        return Grid.from_vectors(
            shape,
            origin=origin + 0.0,
            slice_step=steps[2] + 0.0,
            row_step=steps[1] + 0.0,
            column_step=steps[0] + 0.0,
        )
    except GeometryError:
        raise ItemError("geometry_none", "the NRRD directions or spacings cannot be inverted") from None


def _scale(fields: Mapping[str, str]) -> float:
    units = {unit.lower() for unit in _UNIT.findall(fields.get("space units", ""))}
    return _MILLIMETRES.get(units.pop(), 1.0) if len(units) == 1 else 1.0


def _notes(fields: Mapping[str, str], *, known: bool) -> tuple[str, ...]:
    space = fields.get("space", "").lower()
    if not known:
        return ("NRRD without an anatomical space taken for LPS",)
    return (
        () if _SIGNS[space] == (1, 1, 1) else (f"NRRD {''.join(w[0] for w in _words(space))} turned to LPS",)
    )


def _words(space: str) -> list[str]:
    return [word.upper() for word in (space.split("-") if "-" in space else list(space))]


def _vectors(text: str) -> list[tuple[float, ...] | None]:
    return [
        None if part == "none" else tuple(float(number) for number in part.strip("()").split(","))
        for part in _VECTOR.findall(text)
    ]
