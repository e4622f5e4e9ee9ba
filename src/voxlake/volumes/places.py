"""Where the slices of a unit lie, without a look at their pixels."""

from __future__ import annotations

import numpy as np

from voxlake.core.errors import ItemError
from voxlake.core.grid import Grid
from voxlake.core.mends import Mends
from voxlake.dicom.mend import mend
from voxlake.dicom.planes import planes_of
from voxlake.volumes.units import Unit

__all__ = ["source_grid"]


def source_grid(unit: Unit, mends: Mends) -> Grid:
    """The grid of the volume that a unit becomes before the steps of a plan.

    Parameters
    ----------
    unit : Unit
        From `voxlake.volumes.units.units`.
    mends : Mends
        How a bad geometry is mended.

    Raises
    ------
    ItemError
        ``geometry_*``: the slices are no volume.
    """
    if unit.flat:
        return Grid.flat_image((unit.rows[0]["rows"], unit.rows[0]["columns"]))
    if unit.stack is None:
        raise ItemError("geometry_none", "there is nothing that could be a volume")
    verdict = unit.stack.verdict
    if verdict.grid is not None:
        return verdict.grid
    if not mends.allows(verdict.kind):
        raise ItemError(f"geometry_{verdict.kind}", f"the series is no volume: {verdict.note}")
    known = {(plane.instance, plane.frame): plane for plane in planes_of(unit.rows)}
    planes = [known[place] for place in verdict.order]
    # What a mend makes of the places depends on the places alone, so values of nothing will do.
    nothing = np.zeros((len(planes), *planes[0].shape), dtype=np.uint8)
    return mend(unit.rows, planes, nothing, mends, fill=0.0).grid
