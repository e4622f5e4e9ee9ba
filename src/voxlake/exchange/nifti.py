"""NIfTI-1 files (https://nifti.nimh.nih.gov/nifti-1): LPS becomes RAS here, at the edge."""

from __future__ import annotations

import gzip
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray

from voxlake.core.errors import ItemError
from voxlake.core.grid import Grid

__all__ = ["nifti_bytes"]

_SCANNER = 1
_LPS_TO_RAS = np.diag((-1.0, -1.0, 1.0, 1.0))
_RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
_LEVEL = 6


def nifti_bytes(values: NDArray[Any], grid: Grid, *, description: str = "") -> bytes:
    """Write an array on a grid as a compressed NIfTI-1 file.

    The values are written as they are, in their type (bool as uint8, float16 as float32), with a slope of 1.
    The sform holds the affine exactly; the qform does where the axes are at right angles, and is marked
    unknown elsewhere. Of a flat image both are marked unknown.

    Parameters
    ----------
    values : array
        (slice, row, column), or with 3 channels of uint8 at the end.
    grid : Grid
        Where the voxels lie, LPS mm.
    description : str
        At most 79 characters are kept.

    Raises
    ------
    ItemError
        ``shape_mismatch``: colours of another type than uint8.
    """
    data = _turned(values)
    # Its types are not complete.
    make: Any = Nifti1Image
    image = make(data, None, dtype=data.dtype)
    header = image.header
    if grid.flat:
        header.set_xyzt_units("unknown")
        image.set_sform(None, 0)
        image.set_qform(None, 0)
    else:
        affine = ras_affine(grid)
        header.set_xyzt_units("mm")
        image.set_sform(affine, _SCANNER)
        image.set_qform(affine, _SCANNER if grid.orthogonal else 0, strip_shears=True)
        # A qform sets the voxel sizes; those of the columns of the affine are right in any case.
        header.set_zooms(np.linalg.norm(affine[:3, :3], axis=0))
    header.set_slope_inter(1.0, 0.0)
    header["descrip"] = description.encode("ascii", "replace")[:79]
    # The same image gives the same bytes: no time is written.
    return gzip.compress(image.to_bytes(), _LEVEL, mtime=0)


def ras_affine(grid: Grid) -> NDArray[np.float64]:
    """4 x 4, index (column, row, slice) -> RAS mm."""
    return np.asarray(_LPS_TO_RAS @ grid.affine[:, [2, 1, 0, 3]], dtype=np.float64)


def _turned(values: NDArray[Any]) -> NDArray[Any]:
    """(column, row, slice), in a type that NIfTI knows."""
    if values.ndim == 4:
        if values.dtype != np.uint8:
            raise ItemError("shape_mismatch", f"NIfTI has colours of uint8 only, got {values.dtype}")
        colours = np.ascontiguousarray(values).view(_RGB)[..., 0]
        return np.ascontiguousarray(colours.transpose(2, 1, 0))
    kept = {"bool": np.uint8, "float16": np.float32}.get(values.dtype.name, values.dtype)
    return values.astype(kept, copy=False).transpose(2, 1, 0)
