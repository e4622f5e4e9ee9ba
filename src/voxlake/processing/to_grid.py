"""Resample onto a given grid."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from voxlake.core.errors import GeometryError
from voxlake.core.grid import Grid
from voxlake.core.step import Step
from voxlake.core.volume import Volume
from voxlake.processing.box import fill_value, grid_of, need_match
from voxlake.processing.resample import gaussian_width, need_finite
from voxlake.processing.separable import linear_at, mix, take_nearest
from voxlake.processing.sizes import Fill
from voxlake.processing.spline import mix_splines, spline_at
from voxlake.processing.values import mixable

__all__ = ["ToGrid", "resample_to"]

Order = Literal["nearest", "linear", "cubic"]
Size = Annotated[int, Field(ge=1)]
Row = tuple[float, float, float, float]
_ORDERS: Mapping[Order, Literal[0, 1, 3]] = MappingProxyType({"nearest": 0, "linear": 1, "cubic": 3})
# Voxels: less than any interpolation shows, more than rounding makes.
_ALIGNED = 1e-6


class ToGrid(Step):
    """Interpolate onto a given grid: that of a template, an atlas, another series or time point.

    The world does not move: a voxel of the result shows what the volume has at that place in LPS mm. Places
    within half a voxel of the volume see its edge voxel (``"cubic"``: its mirror image), places farther off
    get `fill`. Grids whose axes are parallel to those of the volume are done axis by axis, others in one go;
    values agree. The unit stays. Values are float32 afterwards, except with ``order = "nearest"``, which
    keeps values and type. NaN and infinities spread to the neighbours that interpolation or smoothing mixes
    them into; ``"cubic"`` refuses them. Flat images are refused.

    Parameters
    ----------
    shape : three numbers of voxels
        Slices, rows, columns of the grid.
    affine : three rows of four numbers
        (slice, row, column, 1) index -> LPS mm, without its last row 0 0 0 1.
    order : str
        ``"nearest"``, ``"linear"`` or ``"cubic"`` (see `Resample`).
    antialias : bool
        Smooth along the axes of the volume whose voxels are finer than the grid, as `Resample` does.
    fill : number or "minimum"
        Value outside of the volume, in its unit.

    Raises
    ------
    GeometryError
        The image is flat, or the affine cannot be inverted.
    ItemError
        ``step_failed``: ``"cubic"`` on a volume with NaN or infinities, or `fill` does not fit the type.
    """

    name: ClassVar[str] = "to_grid"
    version: ClassVar[int] = 1

    shape: tuple[Size, Size, Size]
    affine: tuple[Row, Row, Row]
    order: Order = "linear"
    antialias: bool = True
    fill: Fill = 0.0

    @model_validator(mode="after")
    def _invertible(self) -> Self:
        try:
            self.grid()
        except GeometryError as error:
            raise ValueError(str(error)) from None
        return self

    @classmethod
    def of(
        cls, grid: Grid, *, order: Order = "linear", antialias: bool = True, fill: float | str = 0.0
    ) -> Self:
        """The step onto a grid at hand."""
        _need_solid(grid)
        return cls.read(
            {
                "shape": grid.shape,
                "affine": grid.matrix[:3],
                "order": order,
                "antialias": antialias,
                "fill": fill,
            }
        )

    def grid(self, frame: str | None = None) -> Grid:
        """The grid that volumes are brought to."""
        return Grid.from_affine(self.shape, (*self.affine, (0.0, 0.0, 0.0, 1.0)), frame=frame)

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        grid = self.grid(volume.grid.frame)
        data = _sample(volume, grid, self.order, self.antialias, self.fill)
        return volume.with_data(data, step=self.tag, grid=grid)

    def undo(self, volume: Volume, before: Volume | Grid) -> Volume:
        """Interpolate back onto the grid before; outside of what the step kept there is `fill`."""
        grid = grid_of(before)
        need_match(volume.grid, self.grid(grid.frame), self.tag)
        data = _sample(volume, grid, self.order, self.antialias, self.fill)
        return volume.with_data(data, step=f"undo {self.tag}", grid=grid)


def resample_to(
    volume: Volume, grid: Grid, *, order: Order = "linear", antialias: bool = True, fill: float | str = 0.0
) -> Volume:
    """Interpolate a volume onto a grid; see `ToGrid`.

    Raises
    ------
    GeometryError
        One of the two is flat, or they are in different frames of reference.
    ItemError
        As `ToGrid`.
    """
    _need_solid(grid)
    frames = {volume.grid.frame, grid.frame} - {None}
    if len(frames) > 1:
        raise GeometryError("the volume and the grid are in different frames of reference: register first")
    return ToGrid.of(grid, order=order, antialias=antialias, fill=fill)(volume)


@dataclass(frozen=True)
class _Line:
    """Places (in voxels) along one axis of the volume, by one axis of the grid."""

    source: int
    at: NDArray[np.float64]
    step: float


def _need_solid(grid: Grid) -> None:
    if grid.flat:
        raise GeometryError("resampling to a grid needs millimetres, but this image is flat; use resize")


def _sample(volume: Volume, grid: Grid, order: Order, antialias: bool, fill: float | str) -> NDArray[Any]:
    _need_solid(volume.grid)
    to_index = np.linalg.inv(volume.grid.affine) @ grid.affine
    lines = _lines(to_index, grid.shape)
    given = volume.numpy()
    data = given if order == "nearest" else mixable(volume, "to_grid")
    if order == "cubic":
        need_finite(data, "to_grid")
    if lines is not None:
        out, outside = _by_axes(data, lines, order, antialias)
    else:
        out, outside = _by_points(data, to_index, grid.shape, order, antialias)
    if outside.any():
        out[outside] = fill_value(out.dtype, fill, given, "to_grid")
    return out


def _lines(to_index: NDArray[np.float64], shape: Sequence[int]) -> list[_Line] | None:
    """How each axis of the grid runs along one axis of the volume; None if one runs askew."""
    for order in itertools.permutations(range(3)):
        rest = to_index[:3, :3].copy()
        rest[list(order), range(3)] = 0
        # What an axis drifts sideways over its whole length.
        if np.abs(rest * (np.asarray(shape) - 1)).max() < _ALIGNED:
            steps = [float(to_index[source, axis]) for axis, source in enumerate(order)]
            return [
                _Line(source, to_index[source, 3] + step * np.arange(count), step)
                for source, step, count in zip(order, steps, shape, strict=True)
            ]
    return None


def _by_axes(
    data: NDArray[Any], lines: Sequence[_Line], order: Order, antialias: bool
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    axes = [line.source for line in lines]
    turned = np.transpose(data, (*axes, 3)[: data.ndim])
    sizes = turned.shape[:3]
    widths = [
        gaussian_width(n, abs(line.step)) if antialias else 0.0 for n, line in zip(sizes, lines, strict=True)
    ]
    places = list(zip([line.at for line in lines], sizes, widths, strict=True))
    outside = [_beyond(at, size) for at, size, _ in places]
    if order == "nearest":
        out = np.array(take_nearest(turned, [at for at, _, _ in places]), order="C")
    elif order == "cubic":
        out = mix_splines(
            turned, [spline_at(np.clip(at, -0.5, n - 0.5), n, width) for at, n, width in places]
        )
    else:
        out = mix(turned, [linear_at(*place) for place in places])
    return out, outside[0][:, None, None] | outside[1][:, None] | outside[2]


def _by_points(
    data: NDArray[Any], to_index: NDArray[np.float64], shape: Sequence[int], order: Order, antialias: bool
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    # Start-up: reading a plan must not load SciPy.
    from scipy.ndimage import affine_transform, gaussian_filter1d

    sizes = data.shape[:3]
    if antialias and order != "nearest":
        data = np.asarray(data, dtype=np.float32)
        for axis, length in enumerate(np.linalg.norm(to_index[:3, :3], axis=1)):
            width = gaussian_width(sizes[axis], float(length))
            if width:
                data = gaussian_filter1d(data, width, axis=axis, mode="reflect", output=np.float32)
    number = _ORDERS[order]
    kind = data.dtype if order == "nearest" else np.dtype(np.float32)
    out = np.empty((*shape, *data.shape[3:]), dtype=kind)
    for channel in np.ndindex(data.shape[3:]):
        affine_transform(
            data[(..., *channel)],
            to_index[:3, :3],
            to_index[:3, 3],
            tuple(shape),
            output=out[(..., *channel)],
            order=number,
            mode="mirror" if order == "cubic" else "nearest",
        )
    outside = np.zeros(tuple(shape), dtype=bool)
    steps = [np.arange(count, dtype=np.float64) for count in shape]
    for axis, size in enumerate(sizes):
        row = to_index[axis]
        at = (row[0] * steps[0][:, None] + row[3])[:, None] + row[1] * steps[1][:, None] + row[2] * steps[2]
        outside |= _beyond(at, size)
    return out, outside


def _beyond(at: NDArray[np.float64], size: int) -> NDArray[np.bool_]:
    return np.asarray((at < -0.5 - _ALIGNED) | (at > size - 0.5 + _ALIGNED))
