"""Sheets of tiles, each a slice: Siemens mosaics and UIH grids.

Siemens. The tiles stand row by row in a square as small as holds them. ImagePositionPatient is that of a
sheet centred on the slice, so the first pixel of the first tile lies further in, by half of what the sheet
is larger than a tile. The slices follow each other along SliceNormalVector of the CSA header, which may run
against ``cross(row direction, column direction)``, at SpacingBetweenSlices. (NiBabel's documentation,
"Siemens mosaic format"; checked here against the slice positions of the protocol and against dcm2niix.)

UIH. A sequence in a private element has the place of every tile.
"""

from __future__ import annotations

from math import ceil, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from voxlake.core.errors import ItemError
from voxlake.dicom.elements import items, number, numbers, private

__all__ = ["SLICE_NORMAL", "mosaic_geometry", "tile_shape", "untile"]

SLICE_NORMAL = "SliceNormalVector"

Float = NDArray[np.float64]


def mosaic_geometry(dataset: Dataset, tiles: int | None, normal: list[float] | None) -> dict[str, Any]:
    """Layout of the sheet and place of every tile, in the order of the tiles.

    Parameters
    ----------
    dataset : Dataset
        The original object, with its private elements.
    tiles : int or None
        Number of tiles; None for an image that is no mosaic.
    normal : list of float or None
        SliceNormalVector of the CSA header.

    Returns
    -------
    dict
        ``mosaic_layout``: rows and columns of tiles. ``mosaic_positions``: LPS mm of the first pixel of
        every tile, end to end. Either is None where it is not known.
    """
    sheet = None if tiles is None else _sheet(dataset)
    if tiles is None or sheet is None:
        return {"mosaic_layout": None, "mosaic_positions": None}
    grid = private(dataset, 0x0065, "Image Private Header", 0x51)
    across = ceil(sqrt(tiles))
    down = across if grid is None else ceil(tiles / across)
    if sheet[0] % down or sheet[1] % across:
        return {"mosaic_layout": None, "mosaic_positions": None}
    if grid is None:
        places = _siemens_places(dataset, tiles, normal, (sheet[0] // down, sheet[1] // across))
    else:
        places = _uih_places(dataset, tiles, grid)
    return {"mosaic_layout": [down, across], "mosaic_positions": places}


def tile_shape(rows: int, columns: int, layout: list[int]) -> tuple[int, int]:
    """Rows and columns of one tile of a sheet."""
    return rows // layout[0], columns // layout[1]


def untile(sheets: NDArray[Any], layout: list[int]) -> NDArray[Any]:
    """Take one sheet apart.

    Parameters
    ----------
    sheets : array
        Shape (1, rows, columns).
    layout : list of int
        Rows and columns of tiles.

    Returns
    -------
    array
        Shape (rows of tiles x columns of tiles, rows, columns) of a tile, row by row; the last may be empty.

    Raises
    ------
    ItemError
        ``decode_error`` if the sheet is not of whole tiles.
    """
    down, across = layout
    if sheets.ndim != 3 or len(sheets) != 1 or sheets.shape[1] % down or sheets.shape[2] % across:
        raise ItemError("decode_error", f"a sheet of {sheets.shape} is not {down} x {across} tiles")
    height, width = sheets.shape[1] // down, sheets.shape[2] // across
    split = sheets[0].reshape(down, height, across, width)
    tiles: NDArray[Any] = split.swapaxes(1, 2).reshape(down * across, height, width)
    return tiles


def _sheet(dataset: Dataset) -> tuple[int, int] | None:
    rows, columns = number(dataset, "Rows"), number(dataset, "Columns")
    return (int(rows), int(columns)) if rows and columns else None


def _siemens_places(
    dataset: Dataset, tiles: int, normal: list[float] | None, tile: tuple[int, int]
) -> list[float] | None:
    corner = numbers(dataset, "ImagePositionPatient", 3)
    cosines = numbers(dataset, "ImageOrientationPatient", 6)
    pixel = numbers(dataset, "PixelSpacing", 2)
    step = number(dataset, "SpacingBetweenSlices")
    sheet = _sheet(dataset)
    if corner is None or cosines is None or pixel is None or sheet is None or not step:
        return None
    # Without the vector the direction of the slices would be a guess, and half of the guesses wrong.
    if normal is None or len(normal) != 3:
        return None
    right, down = np.array(cosines[:3]), np.array(cosines[3:])
    along = np.cross(right, down)
    # The vector is printed with few digits: it gives the sign, the cosines give the direction.
    towards = float(along @ np.array(normal))
    if abs(towards) < 0.5:
        return None
    first = (
        np.array(corner)
        + down * pixel[0] * (sheet[0] - tile[0]) / 2
        + right * pixel[1] * (sheet[1] - tile[1]) / 2
    )
    places = first + np.outer(np.arange(tiles), along * np.sign(towards) * step)
    return [float(part) for part in places.ravel()]


def _uih_places(dataset: Dataset, tiles: int, grid: int) -> list[float] | None:
    places = [numbers(item, "ImagePositionPatient", 3) for item in items(dataset, grid)]
    found = [part for place in places if place is not None for part in place]
    return found if len(places) == tiles and len(found) == 3 * tiles else None
