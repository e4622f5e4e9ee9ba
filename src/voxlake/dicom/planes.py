"""The image planes of a series: one for each frame, from the rows of its instances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.dicom.mosaic import tile_shape

__all__ = ["Plane", "is_image", "is_mosaic", "is_projection", "is_untiled", "planes_of"]

Row = Mapping[str, Any]
Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Plane:
    """One frame of one instance, or one tile of a mosaic.

    Parameters
    ----------
    instance, frame : int
        Index of the row, and of the frame (or tile) in it.
    shape : tuple of int
        Rows, columns.
    kind : tuple
        What must be the same in all planes of a volume besides geometry: samples, photometric
        interpretation, frame of reference.
    position : array or None
        LPS mm of the centre of the first pixel, (3,).
    orientation : array or None
        Direction of a row and of a column, (6,).
    spacing : tuple of float or None
        mm between rows, between columns.
    """

    instance: int
    frame: int
    shape: tuple[int, int]
    kind: tuple[Any, ...]
    position: Float | None
    orientation: Float | None
    spacing: tuple[float, float] | None

    @property
    def placed(self) -> bool:
        """Whether all is there that a place in space needs."""
        return self.position is not None and self.orientation is not None and self.spacing is not None


def is_image(row: Row) -> bool:
    """Whether the instance holds pixels with a size."""
    return all((row.get(name) or 0) > 0 for name in ("rows", "columns", "number_of_frames"))


def is_mosaic(row: Row) -> bool:
    """Whether the image is a sheet of tiles, each a slice (Siemens mosaic, UIH grid)."""
    return row.get("mosaic_tiles") is not None or "MOSAIC" in (row.get("image_type") or ())


def is_untiled(row: Row) -> bool:
    """Whether the sheet of a mosaic can be taken apart: its layout and the place of every tile are known."""
    return row.get("mosaic_layout") is not None and row.get("mosaic_positions") is not None


def is_projection(row: Row) -> bool:
    """Whether the image is a projection although it has a position: the localizer of a CT."""
    return row.get("modality") == "CT" and "LOCALIZER" in (row.get("image_type") or ())


def planes_of(rows: Sequence[Row]) -> list[Plane]:
    """All frames of all instances that hold pixels, in the order of the rows."""
    return [plane for index, row in enumerate(rows) if is_image(row) for plane in _planes_of_one(index, row)]


def _planes_of_one(instance: int, row: Row) -> list[Plane]:
    count = int(row["number_of_frames"])
    shape = (int(row["rows"]), int(row["columns"]))
    if count == 1 and is_untiled(row):
        count = int(row["mosaic_tiles"])
        shape = tile_shape(*shape, row["mosaic_layout"])
        positions = _table(row["mosaic_positions"], count, 3)
    else:
        positions = _table(row.get("frame_positions"), count, 3)
    if positions is None and count == 1:
        positions = _table(row.get("image_position_patient"), 1, 3)
    orientations = _table(row.get("frame_orientations"), count, 6)
    if orientations is None:
        orientations = _table(row.get("image_orientation_patient"), count, 6)
    kind = (
        row.get("samples_per_pixel"),
        row.get("photometric_interpretation"),
        row.get("frame_of_reference_uid"),
    )
    spacing = _spacing(row.get("pixel_spacing"))
    return [
        Plane(
            instance,
            frame,
            shape,
            kind,
            None if positions is None else positions[frame],
            None if orientations is None else orientations[frame],
            spacing,
        )
        for frame in range(count)
    ]


def _table(values: Sequence[float] | None, count: int, width: int) -> Float | None:
    """Numbers end to end as (count, width); one set is repeated if it is six cosines."""
    if values is None:
        return None
    numbers = np.asarray(values, dtype=np.float64)
    if not np.isfinite(numbers).all():
        return None
    if numbers.size == count * width:
        return numbers.reshape(count, width)
    if numbers.size == width == 6:
        return np.broadcast_to(numbers, (count, width))
    return None


def _spacing(values: Sequence[float] | None) -> tuple[float, float] | None:
    if values is None or len(values) != 2 or not all(np.isfinite(value) and value > 0 for value in values):
        return None
    return float(values[0]), float(values[1])
