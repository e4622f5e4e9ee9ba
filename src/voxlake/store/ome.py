"""OME-Zarr metadata (version 0.5): what other viewers read."""

from __future__ import annotations

from typing import Any

from voxlake.core.grid import Grid

__all__ = ["ome_metadata"]


def ome_metadata(grid: Grid, *, channels: bool) -> dict[str, Any]:
    """Attributes of a group whose array ``0`` lies on a grid.

    OME-Zarr 0.5 knows a scale and a translation along the axes of the array, but no rotation. The scale is
    the spacing; the translation is the place of the first voxel along each axis, which for an axial image
    is its z, y and x. The exact affine is kept beside it.

    Parameters
    ----------
    grid : Grid
        Where the voxels lie; a flat grid has no unit.
    channels : bool
        Whether a last axis of three colours follows. OME-Zarr wants it in front of the axes of space; it is
        kept last, as everywhere in voxlake, and named so that nobody takes it for space.

    Returns
    -------
    dict
        With the key ``"ome"``.
    """
    axes: list[dict[str, str]] = [{"name": name, "type": "space"} for name in "zyx"]
    scale, translation = [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]
    if not grid.flat:
        axes = [{**axis, "unit": "millimeter"} for axis in axes]
        scale = list(grid.spacing)
        translation = [float(place) for place in grid.direction.T @ grid.origin]
    if channels:
        axes.append({"name": "c", "type": "channel"})
        scale, translation = [*scale, 1.0], [*translation, 0.0]
    transformations = [
        {"type": "scale", "scale": scale},
        {"type": "translation", "translation": translation},
    ]
    datasets = [{"path": "0", "coordinateTransformations": transformations}]
    return {"ome": {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}}
