"""A stored series as a volume, straight from what is kept: no plan, nothing prepared."""

from __future__ import annotations

from typing import Any

from voxlake.core.errors import NotFoundError, UsageError
from voxlake.core.volume import Volume
from voxlake.dicom.stacks import Stack, split
from voxlake.dicom.volume import assemble
from voxlake.lake.lake import Lake
from voxlake.store.packs import read_member
from voxlake.volumes.assembly import assemble_stored

__all__ = ["read_series"]

_ROWS = """
select * exclude (tags) from instances
where series_instance_uid = $series and policy_digest = (
    select last(policy_digest order by committed_at) from instances where series_instance_uid = $series
)
order by instance_number, sop_instance_uid
"""


def read_series(
    lake: Lake, series_instance_uid: str, *, stack: int | None = None, verified: bool = False
) -> Volume:
    """Read a stored DICOM series as a volume.

    An uncompressed series is assembled by reading its pixels alone; any other is decoded.

    Parameters
    ----------
    lake : Lake
        The lake.
    series_instance_uid : str
        SeriesInstanceUID as in `series`. Stored under several policies, what came in last is read.
    stack : int, optional
        Which volume of the series (echo, time point, b-value), as numbered in `stacks`, from 1; needed where
        there are several.
    verified : bool
        Compare the SHA-256 of every file also where ranges would do. What is decoded is always compared.

    Returns
    -------
    Volume
        In memory, in the unit of the modality; see `voxlake.dicom.volume.assemble`.

    Raises
    ------
    NotFoundError
        There is no such series, or no such stack.
    UsageError
        It has several stacks and none is named, or is no DICOM series.
    ItemError
        ``geometry_*``: the slices form no volume; or the pixels cannot be decoded.
    IntegrityError
        Stored bytes are gone or damaged.

    Examples
    --------
    >>> read_series(lake, "2.25.1234").numpy()  # doctest: +SKIP
    """
    rows = lake.sql(_ROWS, {"series": series_instance_uid}).dicts()
    if not rows:
        raise NotFoundError(
            "there is no series of this SeriesInstanceUID in the lake; look it up in `series`"
        )
    if any(row["format"] != "dicom" for row in rows):
        raise UsageError("the series is no DICOM; prepare it and read it with iter_volumes")
    chosen = _chosen(rows, stack)
    volume = None
    if chosen is not None:
        volume = assemble_stored(lake.objects, rows, chosen.verdict, verified=verified)
    if volume is not None:
        return volume
    blobs = [
        read_member(lake.objects, row["pack"], row["offset"], row["length"], sha256=row["sha256"])
        for row in rows
    ]
    return assemble(rows, blobs, stack=chosen)


def _chosen(rows: list[dict[str, Any]], number: int | None) -> Stack | None:
    stacks = split(rows)
    if number is None:
        if len(stacks) > 1:
            raise UsageError(
                f"the series holds {len(stacks)} stacks; say which with stack=1 to {len(stacks)}"
            )
        return stacks[0] if stacks else None
    found = next((one for one in stacks if one.number == number), None)
    if found is None:
        raise NotFoundError(f"the series has {len(stacks)} stacks, there is no stack {number}")
    return found
