"""Drawing an anatomy on a grid: coverage of each voxel by each shape, mixed in HU."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from voxlake.sources.anatomy import Anatomy, Ellipsoid, Torso, Tube

__all__ = ["paint"]

Array = NDArray[np.float64]
Axes = tuple[Array, Array, Array]

_AIR, _TISSUE, _FAT = -1000.0, 42.0, -95.0
_RIB_PERIOD, _DISC_PERIOD = 24.0, 25.0
# Each voxel is looked at in 2 x 2 x 2 places, so that a shape smaller than it still shows by its share.
_FINER = 2


def paint(anatomy: Anatomy, x: Array, y: Array, z: Array) -> Array:
    """Draw a chest.

    Parameters
    ----------
    anatomy : Anatomy
        What is to be drawn.
    x, y, z : arrays of float
        LPS mm of the columns, rows and slices; evenly spaced, in either direction.

    Returns
    -------
    array of float64, shape (slices, rows, columns)
        HU, without blur and noise.
    """
    axes = (x, y, z)
    volume = np.full((z.size, y.size, x.size), _AIR)
    _paint_torso(volume, anatomy.torso, axes)
    for lung in anatomy.lungs:
        # Blood sinks: the lung is denser towards the back of a patient who lies on it.
        _mix(volume, _coverage(lung, axes), lung.hu + 0.5 * y[np.newaxis, :, np.newaxis])
    for organ in anatomy.organs:
        _mix(volume, _coverage(organ, axes) * _within(anatomy.torso, axes, 0.9), organ.hu)
    for tube in (*anatomy.vessels, *anatomy.airways):
        _paint_small(
            volume, axes, _box_of_tube(tube), tube.hu, lambda *at, tube=tube: _tube_distance(tube, *at)
        )
    for nodule in anatomy.nodules:
        box = [(c - r, c + r) for c, r in zip(nodule.centre, nodule.radii, strict=True)]
        _paint_small(
            volume, axes, box, nodule.hu, lambda *at, nodule=nodule: _ellipsoid_distance(nodule, *at)
        )
    return volume


def _mix(volume: Array, coverage: Array, hu: float | Array) -> None:
    volume += coverage * (hu - volume)


def _step(axis: Array) -> float:
    return float(abs(axis[-1] - axis[0]) / max(1, axis.size - 1)) or 1.0


def _soft(distance: Array, width: float) -> Array:
    return np.clip(0.5 - distance / width, 0.0, 1.0)


def _open(axes: Axes) -> Axes:
    x, y, z = axes
    return x[np.newaxis, np.newaxis, :], y[np.newaxis, :, np.newaxis], z[:, np.newaxis, np.newaxis]


def _coverage(shape: Ellipsoid, axes: Axes) -> Array:
    return _soft(_ellipsoid_distance(shape, *_open(axes)), _step(axes[0]))


def _within(torso: Torso, axes: Axes, share: float) -> Array:
    x, y, _ = _open(axes)
    a, b = share * (torso.half_width - torso.fat), share * (torso.half_depth - torso.fat)
    return _soft((np.sqrt((x / a) ** 2 + (y / b) ** 2) - 1) * min(a, b), _step(axes[0]))


def _paint_torso(volume: Array, torso: Torso, axes: Axes) -> None:
    x, y, z = _open(axes)
    width = _step(axes[0])
    outer = np.sqrt((x / torso.half_width) ** 2 + (y / torso.half_depth) ** 2)
    _mix(volume, _soft((outer - 1) * torso.half_depth, width), _FAT)
    _mix(volume, _within(torso, axes, 1.0), _TISSUE)
    ring = _within(torso, axes, 0.97) - _within(torso, axes, 0.88)
    wave = np.cos(2 * np.pi * (z + torso.rib_slope * y + torso.rib_phase) / _RIB_PERIOD)
    _mix(volume, ring * np.clip(2 * wave, 0, 1), 330.0)
    from_spine = np.hypot(x, y - torso.spine_y)
    bone = 230 + 90 * np.cos(2 * np.pi * z / _DISC_PERIOD)
    _mix(volume, _soft(from_spine - torso.spine_radius, width), bone)
    canal = np.hypot(x, y - torso.spine_y - torso.spine_radius - 5)
    _mix(volume, _soft(canal - 7, width), 25.0)


def _ellipsoid_distance(shape: Ellipsoid, x: Array, y: Array, z: Array) -> Array:
    """Mm to the surface, negative inside; exact for a sphere, close to it near the surface of others."""
    (cx, cy, cz), (rx, ry, rz) = shape.centre, shape.radii
    depth = np.sqrt(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2)
    return np.asarray((depth - 1) * min(shape.radii))


def _tube_distance(tube: Tube, x: Array, y: Array, z: Array) -> Array:
    start, along = np.array(tube.start), np.subtract(tube.end, tube.start)
    length = float(along @ along)
    px, py, pz = x - start[0], y - start[1], z - start[2]
    share = np.clip((px * along[0] + py * along[1] + pz * along[2]) / length, 0, 1)
    distance = np.sqrt(
        (px - share * along[0]) ** 2 + (py - share * along[1]) ** 2 + (pz - share * along[2]) ** 2
    )
    first, last = tube.radii
    return np.asarray(distance - (first + share * (last - first)))


def _box_of_tube(tube: Tube) -> list[tuple[float, float]]:
    thick = max(tube.radii)
    return [(min(a, b) - thick, max(a, b) + thick) for a, b in zip(tube.start, tube.end, strict=True)]


def _paint_small(
    volume: Array,
    axes: Axes,
    box: list[tuple[float, float]],
    hu: float,
    distance: Callable[..., Array],
) -> None:
    """Mix in a shape that may be smaller than a voxel, looking only at the voxels around it."""
    spans = [_span(axis, *edges) for axis, edges in zip(axes, box, strict=True)]
    if any(span.stop <= span.start for span in spans):
        return
    fine = [_finer(axis, span) for axis, span in zip(axes, spans, strict=True)]
    share = _soft(distance(*_open((fine[0], fine[1], fine[2]))), 1.5)
    depth, height, width = (n // _FINER for n in share.shape)
    share = share.reshape(depth, _FINER, height, _FINER, width, _FINER).mean(axis=(1, 3, 5))
    across, down, through = spans
    part = volume[through, down, across]
    _mix(part, share, hu)


def _span(axis: Array, low: float, high: float) -> slice:
    margin = _step(axis)
    inside = np.flatnonzero((axis > low - margin) & (axis < high + margin))
    return slice(int(inside[0]), int(inside[-1]) + 1) if inside.size else slice(0, 0)


def _finer(axis: Array, span: slice) -> Array:
    offsets = (np.arange(_FINER) + 0.5) / _FINER - 0.5
    return np.asarray((axis[span, np.newaxis] + offsets * _step(axis)).ravel())
