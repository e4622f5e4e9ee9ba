"""Columns of the `instances` table that images with a place in space have in common."""

from __future__ import annotations

from typing import Any

import numpy as np

from voxlake.core.grid import Grid

__all__ = ["place_columns", "value_columns"]


def value_columns(samples: int, kind: np.dtype[Any]) -> dict[str, Any]:
    """Columns that say what a value is.

    Parameters
    ----------
    samples : int
        1 for grey, 3 for RGB.
    kind : dtype
        Type of one sample.
    """
    return {
        "samples_per_pixel": samples,
        "photometric_interpretation": "MONOCHROME2" if samples == 1 else "RGB",
        "bits_allocated": kind.itemsize * 8,
        "bits_stored": kind.itemsize * 8,
        "pixel_representation": {"u": 0, "i": 1}.get(kind.kind),
    }


def place_columns(grid: Grid, times: int = 1) -> dict[str, Any]:
    """Columns that say where an image lies.

    Parameters
    ----------
    grid : Grid
        Place of one volume, in LPS mm; of a flat one nothing is said but its sizes.
    times : int
        How many volumes on it follow one another.
    """
    sizes = {"rows": grid.shape[1], "columns": grid.shape[2], "number_of_frames": grid.shape[0] * times}
    if grid.flat:
        return sizes
    frames = grid.index_to_world([(n, 0, 0) for n in range(grid.shape[0])])
    directions = grid.direction
    depth, height, width = grid.spacing
    return sizes | {
        "spacing_between_slices": depth,
        "pixel_spacing": [height, width],
        "image_position_patient": [float(value) for value in grid.origin],
        "image_orientation_patient": [float(v) for v in (*directions[:, 2], *directions[:, 1])],
        "frame_positions": [float(value) for value in np.tile(frames.ravel(), times)],
        "frame_orientations": [float(v) for v in (*directions[:, 2], *directions[:, 1])],
    }
