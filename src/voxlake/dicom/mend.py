"""Slices that are no volume, mended where a plan says how: sheared, missing, unevenly spaced, repeated.

Nothing is done unasked, and every mend gives a sentence with its numbers for the lineage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import ItemError
from voxlake.core.grid import Grid
from voxlake.core.mends import Mends
from voxlake.dicom.geometry import (
    TOLERANCE,
    SortedPlanes,
    Verdict,
    judge_planes,
    same_height,
    sorted_planes,
)
from voxlake.dicom.planes import Plane

__all__ = ["Mended", "mend", "moved", "spaced"]

Array = NDArray[Any]
Float = NDArray[np.float64]

# A place this close to a pixel or slice (of the spacing) is that pixel: the rounding of decimal strings.
_WHOLE = 1e-3
# So many times as many voxels as there were may come out; more is no mend.
_MOST_GROWTH = 8


@dataclass(frozen=True, eq=False)
class Mended:
    """A volume out of slices that were none.

    Parameters
    ----------
    values : array
        Shape (slices, rows, columns[, 3]).
    grid : Grid
        At right angles, evenly spaced.
    steps : tuple of str
        What was done, a sentence each.
    """

    values: Array
    grid: Grid
    steps: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _State:
    planes: list[Plane]
    values: Array
    fill: float
    mends: Mends
    # Where nothing was imaged, as `values` without colours; None if everything was.
    outside: NDArray[np.bool_] | None = None


def mend(
    rows: Sequence[Mapping[str, Any]], planes: Sequence[Plane], values: Array, mends: Mends, *, fill: float
) -> Mended:
    """Mend one stack, fault by fault, until it is a volume.

    Parameters
    ----------
    rows : sequence of mapping
        Rows of `instances` that `planes` count in.
    planes : sequence of Plane
        One for each slice.
    values : array
        Shape (n, rows, columns[, 3]), in the order of `planes`, in the unit of the volume.
    mends : Mends
        What is allowed.
    fill : float
        Value outside of what was imaged.

    Raises
    ------
    ItemError
        ``geometry_*`` for a fault that may not or cannot be mended.
    """
    order = {id(plane): place for place, plane in enumerate(planes)}
    stack = sorted_planes(planes).planes
    state = _State(stack, values[[order[id(plane)] for plane in stack]], fill, mends)
    steps: list[str] = []
    # Each mend takes one fault away, and there are four.
    for _ in range(len(_MENDS) + 1):
        verdict = judge_planes(rows, state.planes)
        if verdict.grid is not None:
            return Mended(state.values, verdict.grid, tuple(steps))
        if not mends.allows(verdict.kind):
            break
        state, sentence = _MENDS[verdict.kind](state, verdict)
        steps.append(sentence)
    raise ItemError(f"geometry_{verdict.kind}", f"the series is no volume: {verdict.note}")


def moved(values: Array, shifts: Float, *, fill: float) -> tuple[Array, tuple[int, int]]:
    """Move every slice within its plane onto one larger plane that holds them all.

    Parameters
    ----------
    values : array
        Shape (n, rows, columns[, 3]).
    shifts : array
        Pixels along (rows, columns) by which each slice lies further on, (n, 2). Fractions are interpolated
        linearly; what lies less than a thousandth off a whole pixel counts as whole.
    fill : float
        Value where a slice does not reach.

    Returns
    -------
    values : array
        As many slices, larger. The type stays if all shifts are whole, or with uint8; else float32.
    start : tuple of int
        Pixels by which the first row and column lie before those of an unmoved slice (0 or negative).
    """
    near = np.rint(shifts)
    places = np.where(np.abs(shifts - near) < _WHOLE, near, shifts)
    low = np.floor(places.min(axis=0)).astype(int)
    high = np.ceil(places.max(axis=0)).astype(int)
    shape = np.array(values.shape[1:3]) + high - low
    if shape.prod() > _MOST_GROWTH * values.shape[1] * values.shape[2]:
        raise ItemError("geometry_tilt", f"moving the slices would need images of {shape[0]} x {shape[1]}")
    whole = bool((places == np.rint(places)).all())
    dtype = values.dtype if whole or values.dtype == np.uint8 else np.dtype(np.float32)
    result = np.full((len(values), *shape, *values.shape[3:]), fill, dtype=dtype)
    for target, source, place in zip(result, values, places - low, strict=True):
        _place(target, source, place)
    return result, (int(low[0]), int(low[1]))


def _place(target: Array, source: Array, place: Float) -> None:
    """Put one slice onto a larger one at a place of pixels and fractions, by linear interpolation."""
    start = np.floor(place).astype(int)
    part = source
    first = list(start)
    for axis, fraction in enumerate(place - start):
        if fraction > 0:
            part = part.astype(np.float64)
            ahead, behind = (np.swapaxes(part, 0, axis)[cut] for cut in (slice(1, None), slice(None, -1)))
            part = np.swapaxes((1 - fraction) * ahead + fraction * behind, 0, axis)
            # The first pixel has no neighbour before it.
            first[axis] += 1
    if target.dtype == np.uint8:
        part = np.rint(part)
    target[first[0] : first[0] + part.shape[0], first[1] : first[1] + part.shape[1]] = part


def spaced(values: Array, heights: Float, targets: Float, *, near: float = _WHOLE) -> Array:
    """Slices at other heights, by linear interpolation between the two neighbours.

    Parameters
    ----------
    values : array
        Shape (n, rows, columns[, 3]).
    heights : array
        Height of each slice, ascending, (n,).
    targets : array
        Wanted heights, ascending, evenly spaced, between the first and the last, (m,).
    near : float
        A slice as close to a target as this share of the target's spacing is taken as it is.

    Returns
    -------
    array
        Shape (m, rows, columns[, 3]); the type stays if nothing is interpolated, or with uint8; else float32.
    """
    step = float(targets[1] - targets[0])
    after = np.clip(np.searchsorted(heights, targets), 1, len(heights) - 1)
    before = after - 1
    closest = np.where(targets - heights[before] <= heights[after] - targets, before, after)
    taken = np.abs(heights[closest] - targets) <= near * step
    dtype = values.dtype if taken.all() or values.dtype == np.uint8 else np.dtype(np.float32)
    result = np.empty((len(targets), *values.shape[1:]), dtype=dtype)
    for number, target in enumerate(targets):
        if taken[number]:
            result[number] = values[closest[number]]
            continue
        low, high = before[number], after[number]
        share = (target - heights[low]) / (heights[high] - heights[low])
        slice_ = (1 - share) * values[low].astype(np.float64) + share * values[high].astype(np.float64)
        result[number] = np.rint(slice_) if dtype == np.uint8 else slice_
    return result


def _single(state: _State, verdict: Verdict) -> tuple[_State, str]:
    """Of the images at each place one, or their mean."""
    del verdict
    along = sorted_planes(state.planes).along
    gaps = np.diff(along)
    starts = np.flatnonzero(np.concatenate([[True], gaps > same_height(gaps)]))
    planes = [state.planes[start] for start in starts.tolist()]
    removed = len(state.planes) - len(planes)
    if state.mends.duplicates == "first":
        done = f"{removed} of {len(along)} images left out, as others stand at their places before them"
        return replace(state, planes=planes, values=state.values[starts]), done
    parts = np.split(state.values, starts[1:])
    colour = state.values.dtype == np.uint8
    means = [part.mean(axis=0, dtype=np.float64) for part in parts]
    values = np.stack([np.rint(mean) if colour else mean for mean in means])
    values = values.astype(np.uint8 if colour else np.float32)
    done = f"mean taken of images at one place: {len(along)} images at {len(planes)} places"
    return replace(state, planes=planes, values=values), done


def _straight(state: _State, verdict: Verdict) -> tuple[_State, str]:
    """Slices moved within their plane onto one line along the normal."""
    stack = sorted_planes(state.planes)
    sideways = _sideways(stack)
    shifts = sideways / np.array(stack.in_plane)
    values, start = moved(state.values, shifts, fill=state.fill)
    imaged, _ = moved(np.ones(state.values.shape[:3], dtype=np.uint8), shifts, fill=0)
    corner = stack.directions[1:].T @ (np.array(start) * stack.in_plane)
    planes = [
        replace(
            plane,
            shape=(values.shape[1], values.shape[2]),
            position=position - stack.directions[1:].T @ side + corner,
        )
        for plane, position, side in zip(stack.planes, stack.positions, sideways, strict=True)
    ]
    rows, columns = values.shape[1] - state.values.shape[1], values.shape[2] - state.values.shape[2]
    done = (
        f"{verdict.note}: resampled at right angles, moved by up to {np.abs(sideways).max():.4g} mm, "
        f"{rows} rows and {columns} columns added, filled with {state.fill:g}"
    )
    return replace(state, planes=planes, values=values, outside=imaged == 0), done


def _even(state: _State, verdict: Verdict) -> tuple[_State, str]:
    """Slices at one distance; missing ones between their neighbours."""
    stack = sorted_planes(state.planes)
    if (np.abs(_sideways(stack)) > TOLERANCE * np.array(stack.in_plane)).any():
        return _straight(state, verdict)
    wanted = verdict.spacing[0] if verdict.spacing is not None else 0.0
    length = float(stack.along[-1] - stack.along[0])
    count = int(np.rint(length / wanted)) + 1 if wanted > 0 else 0
    if not 2 < count <= _MOST_GROWTH * len(state.planes):
        raise ItemError(f"geometry_{verdict.kind}", f"the series cannot be mended: {verdict.note}")
    step = length / (count - 1)
    targets = stack.along[0] + step * np.arange(count)
    gap = verdict.kind == "gap"
    near = TOLERANCE if gap else _WHOLE
    values = spaced(state.values, stack.along, targets, near=near)
    if state.outside is not None:
        # A blend of tissue with what fills the rim is neither.
        values[spaced(state.outside.astype(np.float32), stack.along, targets, near=near) > 0] = state.fill
    normal = stack.directions[0]
    nearest = [int(np.abs(stack.along - target).argmin()) for target in targets]
    planes = [
        replace(stack.planes[place], position=stack.positions[0] + normal * (target - stack.along[0]))
        for place, target in zip(nearest, targets, strict=True)
    ]
    what = "missing slices interpolated" if gap else "slices interpolated at a constant distance"
    done = f"{verdict.note}: {what}, {len(stack.along)} slices became {count}, {step:.4g} mm apart"
    return replace(state, planes=planes, values=values), done


def _sideways(stack: SortedPlanes) -> Float:
    """How far each slice lies off the normal through the first, mm along (rows, columns), (n, 2)."""
    off: Float = (stack.positions - stack.positions[0]) @ stack.directions[1:].T
    return off


_MENDS: Mapping[str, Callable[[_State, Verdict], tuple[_State, str]]] = MappingProxyType(
    {"duplicates": _single, "tilt": _straight, "gap": _even, "uneven": _even}
)
