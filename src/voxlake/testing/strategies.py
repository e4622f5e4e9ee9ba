"""Hypothesis strategies: random grids, volumes, masks, steps and plans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from voxlake.core.grid import Grid
from voxlake.core.plan import Plan
from voxlake.core.step import Step
from voxlake.core.volume import Label, Lineage, Mask, Unit, Volume
from voxlake.processing.registry import STEPS

__all__ = ["flat_grids", "grids", "masks", "plans", "rotations", "shapes", "steps", "volumes"]

_UNITS: tuple[Unit, ...] = ("HU", "SUVbw", "arbitrary", "normalised")
_FRAMES = (None, "2.25.1", "2.25.2")


def shapes(*, smallest: int = 1, largest: int = 8) -> st.SearchStrategy[tuple[int, int, int]]:
    """Sizes of (slices, rows, columns)."""
    size = st.integers(smallest, largest)
    return st.tuples(size, size, size)


@st.composite
def rotations(draw: st.DrawFn) -> NDArray[np.float64]:
    """Rotation matrices, 3 x 3, of any angle about any axis (from unit quaternions)."""
    part = st.floats(-1, 1, allow_nan=False)
    quaternion = np.array([draw(part) for _ in range(4)])
    length = np.linalg.norm(quaternion)
    w, x, y, z = quaternion / length if length > 1e-3 else np.array([1.0, 0.0, 0.0, 0.0])
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


@st.composite
def grids(
    draw: st.DrawFn,
    *,
    smallest: int = 1,
    largest: int = 8,
    spacing: tuple[float, float] = (0.3, 6.0),
    oblique: bool = True,
    shear: bool = False,
) -> Grid:
    """Grids in millimetres.

    Parameters
    ----------
    smallest, largest : int
        Bounds of the sizes.
    spacing : tuple of float
        Bounds of the spacing in mm.
    oblique : bool
        Whether the axes may stand askew to the patient; otherwise they are permuted and flipped only.
    shear : bool
        Whether the axes may lean against each other, as the slices of a tilted gantry do.
    """
    if oblique:
        direction = draw(rotations())
    else:
        signs = draw(st.tuples(*[st.sampled_from((-1.0, 1.0))] * 3))
        direction = np.eye(3)[:, draw(st.permutations(range(3)))] * np.array(signs)
    if oblique and draw(st.booleans()):
        direction = direction * np.array([-1.0, 1.0, 1.0])
    if shear:
        direction[:, 0] += draw(st.floats(-0.4, 0.4)) * direction[:, 1]
    steps_mm = np.array([draw(st.floats(*spacing)) for _ in range(3)])
    affine = np.eye(4)
    affine[:3, :3] = direction * steps_mm
    affine[:3, 3] = [draw(st.floats(-500, 500)) for _ in range(3)]
    shape = draw(shapes(smallest=smallest, largest=largest))
    return Grid.from_affine(shape, affine, frame=draw(st.sampled_from(_FRAMES)))


def flat_grids(*, smallest: int = 1, largest: int = 12) -> st.SearchStrategy[Grid]:
    """Grids of flat images: one slice, pixels only."""
    size = st.integers(smallest, largest)
    return st.builds(Grid.flat_image, st.tuples(size, size))


@st.composite
def volumes(
    draw: st.DrawFn,
    *,
    on: st.SearchStrategy[Grid] | None = None,
    dtypes: Sequence[str] = ("float32", "int16", "uint8", "float64"),
    colour: bool = False,
) -> Volume:
    """Finite volumes of some type, unit and lineage; -1000 to 1000 as far as the type reaches.

    Parameters
    ----------
    on : strategy of Grid
        Default: `grids` or `flat_grids`.
    dtypes : sequence of str
        Types of the values.
    colour : bool
        Whether RGB volumes are drawn too.
    """
    grid = draw(st.one_of(grids(largest=6), flat_grids(largest=8)) if on is None else on)
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    channels: tuple[int, ...] = (3,) if colour and draw(st.booleans()) else ()
    data = draw(arrays(dtype, (*grid.shape, *channels), elements=_elements(dtype)))
    lineage = Lineage(inputs=tuple(draw(st.lists(st.sampled_from(("a" * 64, "b" * 64)), max_size=2))))
    unit = draw(st.sampled_from(_UNITS))
    return Volume(data, grid, unit, draw(st.sampled_from((None, "CT", "MR", "DX"))), lineage)


def _elements(dtype: np.dtype[Any]) -> st.SearchStrategy[Any]:
    if dtype.kind == "f":
        return st.floats(-1000, 1000, width=32)
    limits = np.iinfo(dtype.name)
    return st.integers(max(-1000, int(limits.min)), min(1000, int(limits.max)))


@st.composite
def masks(draw: st.DrawFn, *, on: st.SearchStrategy[Grid] | None = None, labels: int = 3) -> Mask:
    """Masks with up to `labels` labelled values above the background 0.

    Parameters
    ----------
    on : strategy of Grid
        Default: `grids` or `flat_grids`.
    labels : int
        Largest value.
    """
    grid = draw(st.one_of(grids(largest=6), flat_grids(largest=8)) if on is None else on)
    data = draw(arrays(np.uint8, grid.shape, elements=st.integers(0, labels)))
    named = tuple(Label(value, f"structure {value}") for value in range(1, labels + 1))
    return Mask(data, grid, named)


_NUMBER = st.floats(-1000, 1000, allow_nan=False)
_LENGTHS = st.tuples(*[st.one_of(st.just("keep"), st.integers(1, 9))] * 3)
_FILL = st.one_of(st.just("minimum"), st.integers(0, 100).map(float))
_OVER = st.one_of(st.sampled_from(("all", "nonzero")), _NUMBER)
_STEPPED = st.tuples(*[st.one_of(st.just("keep"), st.floats(0.5, 6.0))] * 3)
_ORDERED = st.tuples(st.floats(-1000, 0), st.floats(1, 1000))
_ORIENTATIONS = ("SPL", "IPL", "LPS", "RAS", "ASL", "PIR")
_AXES = ("slice", "row", "column")
_VOXELS = st.integers(0, 9)
_PLACES = st.tuples(_VOXELS, _VOXELS, _VOXELS)
_RISING = st.lists(st.integers(-1000, 1000), min_size=2, max_size=6, unique=True).map(
    lambda values: [float(value) for value in sorted(values)]
)


def _box(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[list[int], list[int]]:
    pairs = list(zip(first, second, strict=True))
    return [min(pair) for pair in pairs], [max(pair) + 1 for pair in pairs]


_BOXES = st.builds(_box, _PLACES, _PLACES)
_AFFINE = st.builds(
    lambda steps, origin: [
        [float(step) if row == axis else 0.0 for axis, step in enumerate(steps)] + [origin[row]]
        for row in range(3)
    ],
    st.tuples(*[st.floats(0.5, 5.0)] * 3),
    st.tuples(*[st.floats(-100, 100)] * 3),
)
_SHAPE = st.tuples(*[st.integers(1, 9)] * 3)
_SETTINGS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "bias_field": st.fixed_dictionaries({"coefficients": st.just([0.2, -0.1, 0.3])}),
    "bilateral": st.fixed_dictionaries({"sigma_value": st.floats(1.0, 500.0)}),
    "crop_around": _BOXES.map(lambda box: {"start": box[0], "stop": box[1]}),
    "cut_out": _BOXES.map(lambda box: {"boxes": [[*box[0], *box[1]]]}),
    "gamma": st.fixed_dictionaries({"gamma": st.floats(0.1, 5.0)}),
    "ghosting": st.fixed_dictionaries(
        {"axis": st.sampled_from(_AXES), "ghosts": st.integers(2, 6), "intensity": st.floats(0.1, 1.0)}
    ),
    "histogram_match": _RISING.map(lambda values: {"values": values}),
    "low_resolution": st.fixed_dictionaries({"factors": st.tuples(*[st.floats(1.0, 4.0)] * 3)}),
    "mirror": st.fixed_dictionaries({"axes": st.lists(st.sampled_from(_AXES), min_size=1, unique=True)}),
    "noise": st.fixed_dictionaries(
        {
            "deviation": st.floats(0.1, 50.0),
            "seed": st.integers(0, 2**31),
            "kind": st.sampled_from(("gaussian", "rician")),
        }
    ),
    "nyul": _RISING.map(
        lambda values: {
            "landmarks": values,
            "percents": [1.0 + 98.0 * n / (len(values) - 1) for n in range(len(values))],
        }
    ),
    "to_grid": st.fixed_dictionaries({"shape": _SHAPE, "affine": _AFFINE}),
    "total_variation": st.fixed_dictionaries({"weight": st.floats(0.1, 100.0)}),
    "transform_to": st.fixed_dictionaries({"shape": _SHAPE, "affine": _AFFINE}),
    "cast": st.fixed_dictionaries({"dtype": st.sampled_from(("float32", "float16", "int16", "uint8"))}),
    "clip": _ORDERED.map(lambda pair: {"low": pair[0], "high": pair[1]}),
    "crop": st.fixed_dictionaries({"shape": _LENGTHS}),
    "crop_foreground": st.fixed_dictionaries({"threshold": _NUMBER, "margin": st.integers(0, 3)}),
    "crop_or_pad": st.fixed_dictionaries({"shape": _LENGTHS, "fill": _FILL}),
    "flip": st.fixed_dictionaries({"axes": st.lists(st.sampled_from(_AXES), min_size=1, unique=True)}),
    "pad": st.fixed_dictionaries({"shape": _LENGTHS, "fill": _FILL}),
    "percentile": st.fixed_dictionaries({"low": st.floats(0, 40), "high": st.floats(60, 100), "over": _OVER}),
    "reorient": st.fixed_dictionaries({"orientation": st.sampled_from(_ORIENTATIONS)}),
    "resample": st.fixed_dictionaries(
        {"spacing": _STEPPED, "order": st.sampled_from(("nearest", "linear", "cubic"))}
    ),
    "rescale": st.fixed_dictionaries({"scale": _NUMBER, "offset": _NUMBER, "unit": st.sampled_from(_UNITS)}),
    "resize": st.fixed_dictionaries(
        {
            "shape": _LENGTHS,
            "filter": st.sampled_from(("linear", "area", "nearest")),
            "keep_aspect": st.booleans(),
            "fill": _FILL,
        }
    ),
    "window": _ORDERED.map(lambda pair: {"low": pair[0], "high": pair[1]}),
    "zscore": st.fixed_dictionaries({"over": _OVER}),
}


@st.composite
def steps(draw: st.DrawFn) -> Step:
    """Steps that come with voxlake, with valid settings."""
    name = draw(st.sampled_from(sorted(STEPS)))
    return STEPS[name].read(draw(_SETTINGS.get(name, st.just({}))))


def plans(*, largest: int = 4) -> st.SearchStrategy[Plan]:
    """Plans of up to `largest` steps; not every plan suits every volume."""
    return st.lists(steps(), max_size=largest).map(Plan.of)
